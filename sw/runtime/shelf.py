"""Models in the SDRAM beside a device: loaded once, found again by their contents, also by another program.

A directory at the SDRAM's beginning says which models lie where. It is written last, when a model is complete, and the
device itself computes the checksum of every model before that is relied on. So half a model, or what an SDRAM holds
after its power was off, is never taken for one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, dataclass
from functools import partial
from typing import Any

import numpy as np

from sateen.compiler import Model, Segment
from sateen.compiler.passes import relocated
from sateen.compiler.verification.decoding import records
from sateen.errors import DeviceError
from sateen.hw.spec.config import Config
from sateen.hw.spec.sdram import find_chip
from sateen.hw.spec.wire import Space
from sateen.runtime.frames import CYCLES_PER_BYTE
from sateen.runtime.link import Link, Operation, copies, read, write
from sateen.runtime.lists import Lists, called, rehearsed
from sateen.runtime.slots import Piece, Plan, Slot

__all__ = ["Entry", "Shelf"]

log = logging.getLogger(__name__)

MAGIC = b"SATEEN1\n"
DIRECTORY_BYTES = 1 << 16
PROBE = DIRECTORY_BYTES - 16
"""Where the directory's last bytes are left for :meth:`Shelf.probe`."""
PATTERNS = (bytes.fromhex("00ff55aa0f1e2d3c"), bytes.fromhex("ff00aa55f0e1d2c3"))
KEPT_IMAGES = 64
"""Models whose bytes are kept ready."""
HEAD = struct.Struct("<8sII")
"""Of the directory: magic, length and CRC-32 of the JSON text behind."""
NAME_LENGTH = 40
PIECE_BYTES = 1 << 14
"""Written between two calls of ``progress``."""
Progress = Callable[[int, int], None]
"""Called with the bytes sent, and their number."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A model in SDRAM."""

    name: str
    sha256: str
    """Of its bytes."""
    base: int
    """Where it begins."""
    size: int
    crc32: int


@dataclass(frozen=True, kw_only=True)
class _Image:
    """A model's bytes."""

    model: Model
    data: bytes
    """Of its segments; lists follow."""
    lists: Lists
    sha256: str
    places: tuple[tuple[int, int, int], ...]
    """For each segment: where it begins, and how many bytes are weights and program."""
    plan: Plan
    """Where each segment goes in the device's memories."""

    @property
    def size(self) -> int:
        """Bytes in SDRAM."""
        return len(self.data) + len(self.lists.data)


class Shelf:
    """The models in the SDRAM of one device.

    Parameters
    ----------
    link : Link
    config : Config
        The device's, with SDRAM.
    """

    def __init__(self, link: Link, config: Config):
        assert config.sdram is not None
        self.link, self.config, self.chip = link, config, find_chip(config.sdram)
        self.sent = 0
        """Bytes of models sent so far."""
        self.copied = 0
        """Bytes of models copied from SDRAM into the device's memories so far."""
        self._images: list[_Image] = []
        self._checked: dict[str, Entry] = {}
        self._entries: list[Entry] | None = None

    @property
    def entries(self) -> list[Entry]:
        """What the directory names; none if it is damaged, or nobody has written one."""
        self._recall()
        if self._entries is None:
            self._entries = self._read_directory()
        return list(self._entries)

    def _recall(self) -> None:
        """Forgets what was found before the present session, or before another shelf used this link."""
        if self.link.shelf is not self:
            self.link.shelf, self._entries, self._checked = self, None, {}

    def probe(self) -> None:
        """Raises :class:`~sateen.errors.DeviceError` if the SDRAM does not answer."""
        for pattern in PATTERNS:
            self.link.transaction([write(Space.SDRAM, PROBE, pattern)])
            if (found := self.link.transaction([read(Space.SDRAM, PROBE, len(pattern))])) != pattern:
                raise DeviceError(
                    f"the device's SDRAM does not answer: {found.hex()} was read where {pattern.hex()} was written; "
                    f"check that the board has {self.chip.title}, for which the device was built, or build it without "
                    f"sdram"
                )

    def size(self, model: Model) -> int:
        """Bytes that a model takes."""
        return self._image(model).size

    def reserve(self, size: int) -> int:
        """Keeps the last bytes of the SDRAM free of models, for what one inference needs at a time; where they begin.
        Models that lie there give way, and all shelves of the link leave them free.

        Raises
        ------
        DeviceError
            If there are not as many.
        """
        room = self.chip.capacity - DIRECTORY_BYTES
        if size > room:
            raise DeviceError(
                f"the model's tensors take {size:,} bytes of SDRAM, {size - room:,} more than {self.chip.title} has "
                f"room for; choose a smaller model, or a device with more SDRAM"
            )
        self.link.reserved = max(self.link.reserved, size)
        staying = [entry for entry in self.entries if entry.base + entry.size <= self._end]
        if staying != self.entries:
            self._write_directory(staying)
        return self.chip.capacity - size

    @property
    def _end(self) -> int:
        """Where the models' part of the SDRAM ends."""
        return self.chip.capacity - self.link.reserved

    def load(self, model: Model, progress: Progress | None = None) -> Entry:
        """Puts a model into SDRAM, unless it is there. Others give way if there is no room.

        Raises
        ------
        DeviceError
            If the model is larger than the SDRAM, or that does not keep what is written.
        """
        self._recall()
        image = self._image(model)
        digest, size = image.sha256, image.size
        if digest in self._checked:
            return self._checked[digest]
        for entry in self.entries:
            if entry.sha256 == digest and entry.size == size and self._crc(entry) == entry.crc32:
                log.info("the device has %r already", model.graph.name)
                self._checked[digest] = entry
                return entry
        others = [entry for entry in self.entries if entry.sha256 != digest]
        base, staying = self._place(model.graph.name, others, size)
        data = image.data + image.lists.placed(base, self.chip.capacity)
        entry = Entry(name=model.graph.name[:NAME_LENGTH], sha256=digest, base=base, size=size, crc32=zlib.crc32(data))
        # Models that give way are forgotten before they are written over.
        self._write_directory(staying)
        for start in range(0, size, PIECE_BYTES):
            piece = data[start : start + PIECE_BYTES]
            self.link.transaction([write(Space.SDRAM, base + start, piece)])
            self.sent += len(piece)
            if progress is not None:
                progress(start + len(piece), size)
        if self._crc(entry) != entry.crc32:
            raise DeviceError(
                f"the SDRAM does not keep what is written to it; check that the board has {self.chip.title}, for which "
                f"the device was built, and build it with a lower clock_hz"
            )
        self._write_directory([*staying, entry])
        self._checked[digest] = entry
        return entry

    def copying(self, model: Model, pieces: Sequence[Piece]) -> tuple[list[Operation], int]:
        """Operations that copy pieces of a model's segments from SDRAM into the device's memories, and the cycles that
        they take at most. Loads the model first, unless it is there."""
        image = self._image(model)
        self.copied += sum(piece.count for piece in pieces)
        return _copying(self.load(model).base, image.places, image.plan, pieces)

    def called(self, model: Model, operations: Sequence[Operation]) -> list[Operation]:
        """The same operations, with a CALL for those that lie in SDRAM with the model, if that is there."""
        self._recall()
        image = self._image(model)
        entry = self._checked.get(image.sha256)
        if entry is None:
            return list(operations)
        lists = image.lists.placed(entry.base, self.chip.capacity)
        return called(operations, lists, entry.base + len(image.data))

    def plan(self, model: Model) -> Plan:
        """Where a model's segments go in the device's memories."""
        return self._image(model).plan

    def _image(self, model: Model) -> _Image:
        """A model's bytes, made once."""
        for known in self._images:
            if known.model is model:
                return known
        parts, places, start = [], [], 0
        plan = Plan(model, self.config)
        for segment, slot in zip(model.segments, plan.slots, strict=True):
            words = np.zeros((len(segment.weights), self.config.weight_word_bytes), np.int8)
            words[:, : self.config.cols] = segment.weights
            weights, program = words.tobytes(), _relocated(segment, slot, self.config)
            places.append((start, len(weights), len(program)))
            parts += [weights, program]
            start += len(weights) + len(program)
        data = b"".join(parts)
        lists = rehearsed(model, self.config, plan, partial(_copying, 0, places, plan))
        digest = hashlib.sha256(data + lists.data).hexdigest()
        image = _Image(model=model, data=data, lists=lists, sha256=digest, places=tuple(places), plan=plan)
        self._images = [image, *self._images[: KEPT_IMAGES - 1]]
        return image

    def _place(self, name: str, others: Sequence[Entry], size: int) -> tuple[int, list[Entry]]:
        """Where a model of this size goes, and the models that stay."""
        room = self._end - DIRECTORY_BYTES
        if size > room:
            kept = self.link.reserved
            beside = f" beside {kept:,} bytes of tensors of models that ran" if kept else ""
            raise DeviceError(
                f"the model {name!r} takes {size:,} bytes of SDRAM, {size - room:,} more than {self.chip.title} has "
                f"room for{beside}; choose a smaller model, or a device with more SDRAM"
            )
        base = DIRECTORY_BYTES
        for entry in sorted(others, key=lambda entry: entry.base):
            if base + size <= entry.base:
                break
            base = max(base, entry.base + entry.size)
        if base + size <= self._end and len(_directory([*others, _longest(size)])) <= PROBE:
            return base, list(others)
        return DIRECTORY_BYTES, []

    def _crc(self, entry: Entry) -> int:
        """The checksum of what lies in a model's place, by the device."""
        operations = [*copies(entry.base, Space.CHECK, 0, entry.size), read(Space.CHECK, 0, 4)]
        return int.from_bytes(self.link.transaction(operations, busy_cycles=CYCLES_PER_BYTE * entry.size), "little")

    def _read_directory(self) -> list[Entry]:
        magic, length, crc32 = HEAD.unpack(self.link.transaction([read(Space.SDRAM, 0, HEAD.size)]))
        if magic != MAGIC or length > PROBE - HEAD.size:
            return []
        text = self.link.transaction([read(Space.SDRAM, HEAD.size, length)])
        if zlib.crc32(text) != crc32:
            return []
        try:
            found: list[dict[str, Any]] = json.loads(text)
            entries = [Entry(**fields) for fields in found]
        except (TypeError, ValueError, RecursionError):
            # Another version's.
            return []
        return entries if all(map(self._possible, entries)) else []

    def _possible(self, entry: Entry) -> bool:
        """Whether it is one that :meth:`load` may have written."""
        if any(
            type(value) is not type(known) for value, known in zip(astuple(entry), astuple(_longest(0)), strict=True)
        ):
            return False
        return DIRECTORY_BYTES <= entry.base <= self.chip.capacity - entry.size and entry.size >= 0

    def _write_directory(self, entries: Sequence[Entry]) -> None:
        self._entries = None
        self._checked = {entry.sha256: entry for entry in entries if entry.sha256 in self._checked}
        self.link.transaction([write(Space.SDRAM, 0, _directory(entries))])
        self._entries = list(entries)


def _copying(
    base: int, places: Sequence[tuple[int, int, int]], plan: Plan, pieces: Sequence[Piece]
) -> tuple[list[Operation], int]:
    """As :meth:`Shelf.copying`, of a model that begins at ``base``, with the places of its segments."""
    operations: list[Operation] = []
    for piece in pieces:
        start, weights, _ = places[piece.segment]
        source = base + start + piece.first + (weights if piece.space == Space.PROGRAM else 0)
        target = plan.address(piece.segment, piece.space) + piece.first
        operations += copies(source, piece.space, target, piece.count)
    return operations, CYCLES_PER_BYTE * sum(piece.count for piece in pieces)


def _relocated(segment: Segment, slot: Slot, config: Config) -> bytes:
    """A segment's program for weights in its slot."""
    base = slot.words.start
    if not base:
        return segment.program.tobytes()
    program = records(segment.program)
    return b"".join(relocated(descriptor, base, config.weight_word_bytes).encode() for descriptor in program)


def _directory(entries: Sequence[Entry]) -> bytes:
    text = json.dumps([asdict(entry) for entry in entries], separators=(",", ":")).encode()
    return HEAD.pack(MAGIC, len(text), zlib.crc32(text)) + text


def _longest(size: int) -> Entry:
    """An entry that takes as much of the directory as any."""
    return Entry(name="\uffff" * NAME_LENGTH, sha256="f" * 64, base=0xFFFFFFFF, size=size, crc32=0xFFFFFFFF)
