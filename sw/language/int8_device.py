"""A decoder in int8 at work on a device: one program and one exchange over the link for each token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from sateen.compiler import Part
from sateen.errors import DeviceError, InputError
from sateen.graph.ops import Array
from sateen.hw.spec.counters import Counters
from sateen.hw.spec.wire import Space
from sateen.language.int8 import Int8Model
from sateen.language.int8_program import RECORD_BYTES, DecoderProgram
from sateen.runtime import Device
from sateen.runtime.link import Operation, read, write

__all__ = ["DeviceDecoder"]


class DeviceDecoder:
    """A decoder whose every operator runs on a device. The host looks up the embedding, and gets the codes of the
    logits.

    Parameters
    ----------
    positions
        Tokens that the text may have; by default the model's context.

    Raises
    ------
    CompileError
        As :class:`~sateen.language.int8_program.DecoderProgram` does.
    """

    def __init__(self, device: Device, model: Int8Model, positions: int | None = None):
        self.device, self.model = device, model
        self.positions = min(model.shape.context, positions or model.shape.context)
        self.program = DecoderProgram(model, device.config, self.positions)
        self.position = 0
        """Tokens so far."""
        self.link_bytes = 0
        """Bytes over the link for all tokens so far, both ways, without those of the counters."""
        self.counters: Counter[str] = Counter()
        """Cycles and stalls of all tokens so far, by the fields of the device's counters."""
        self.compiled = self.program.compiled
        self._held = self.program.records(self.program.positions)
        """The descriptors on the device."""
        device.load(self.compiled)

    @property
    def cycles(self) -> int:
        """Cycles of all tokens so far, by the device's counters."""
        return self.counters["cycles"]

    def reset(self) -> None:
        """Begins another text."""
        store, word = self.compiled.segments[0].weights, self.device.config.weight_word_bytes
        words = np.zeros((len(store), word), np.int8)
        words[:, : store.shape[1]] = store
        with self.device.turn:
            self._place()
            self.device.link.transaction(
                write(Space.WEIGHTS, first * word, words[first : first + count].tobytes())
                for first, count in self.program.caches
            )
        self.position = 0

    def step(self, tokens: Sequence[int]) -> NDArray[np.int32]:
        """Takes the next tokens, one after the other; logits with :data:`~sateen.language.integers.LOGIT_BITS`,
        [tokens, vocabulary].

        Raises
        ------
        InputError
            If there is no room for them.
        DeviceError
            If keys and values are lost, since another program has used the device meanwhile, or the link has failed.
        """
        if self.position + len(tokens) > self.positions:
            raise InputError(f"the context of {self.positions} tokens is full")
        codes = np.concatenate([self._token(token) for token in tokens])
        return (self.model.logits(codes) + self.model.offset).astype(np.int32)

    def read(self, tensor: str) -> Array:
        """A tensor of the last token, if nothing was written over it."""
        shape = self.compiled.graph.tensors[tensor].shape
        size, address = self.compiled.size(tensor), self.compiled.addresses[tensor]
        data = self.device.link.transaction([read(Space.SCRATCHPAD, address, size)])
        return np.frombuffer(data, np.int8).reshape(shape)

    def _token(self, token: int) -> NDArray[np.int8]:
        compiled, link = self.compiled, self.device.link
        # The first descriptor loads tables, which stay.
        first = int(self.position > 0)
        part = Part(segment=0, first=first, count=compiled.segments[0].count - first)
        with self.device.turn:
            if self.position and not self.device.holds(compiled):
                raise DeviceError(
                    "the device has lost the text's keys and values, since another program has used it or an exchange "
                    "over the link has failed; begin the text again"
                )
            self._place()
            before = link.bytes
            operations = [*self._inputs(token), *self._changes()]
            logits = read(Space.SCRATCHPAD, compiled.addresses["logits"], compiled.size("logits"))
            data = self.device.run_all(compiled, [(part, operations, [logits])])
            self.link_bytes += link.bytes - before
            size = Counters.LAYOUT.size
            records = link.transaction([read(Space.COUNTERS, 0, part.count * size)])
        for start in range(0, len(records), size):
            self.counters.update(vars(Counters.decode(records[start : start + size])))
        self.position += 1
        return np.frombuffer(data, np.int8)[None]

    def _place(self) -> None:
        """Puts program and weights on the device, unless they are there."""
        if not self.device.holds(self.compiled):
            self._held = self.program.records(self.program.positions)
            self.device.place(self.compiled, 0)

    def _inputs(self, token: int) -> Iterator[Operation]:
        for name, values in self.model.given(token, self.position).items():
            if name == "rotation":
                matrix = np.zeros((len(values), self.device.config.weight_word_bytes), np.int8)
                matrix[:, : len(values)] = values
                yield write(Space.WEIGHTS, self.program.rotation, matrix.tobytes())
            else:
                yield write(Space.SCRATCHPAD, self.compiled.addresses[name], values.tobytes())

    def _changes(self) -> Iterator[Operation]:
        """Writes the words of the program that this token has and the one before had not."""
        wanted = self.program.records(self.position + 1)
        for number, (new, old) in enumerate(zip(wanted, self._held, strict=True)):
            for first, count in _differing(new, old):
                yield write(Space.PROGRAM, number * RECORD_BYTES + first, new[first : first + count])
        self._held = wanted


def _differing(new: bytes, old: bytes) -> Iterator[tuple[int, int]]:
    """Runs of whole words that differ: first byte and byte count. A gap that takes fewer bytes than the header of
    another operation is no gap."""
    words = [place for place in range(0, len(new), 4) if new[place : place + 4] != old[place : place + 4]]
    while words:
        last = 0
        while last + 1 < len(words) and words[last + 1] - words[last] <= 8:
            last += 1
        yield words[0], words[last] + 4 - words[0]
        words = words[last + 1 :]
