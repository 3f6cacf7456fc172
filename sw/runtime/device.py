"""The driver: one API for simulations and boards."""

from __future__ import annotations

import threading
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from sateen.compiler import Model, Part
from sateen.compiler.consistency import check
from sateen.errors import ConfigMismatch, DeviceError, LinkError, OvertimeError, SateenWarning
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import Descriptor
from sateen.hw.spec.identity import Identity
from sateen.hw.spec.wire import Op, Space
from sateen.runtime.inference import Job
from sateen.runtime.limits import PATIENCE, allowed_cycles, limit_of
from sateen.runtime.link import Link, Operation, write
from sateen.runtime.lists import ordered
from sateen.runtime.loaded import LayerProfile, LoadedModel, Profile, Progress
from sateen.runtime.shelf import Shelf
from sateen.runtime.slots import Piece, Plan, Stock
from sateen.runtime.transport import alternatives, open_transport
from sateen.runtime.window import Job as LinkJob

__all__ = ["Device", "LayerProfile", "LoadedModel", "Profile", "allowed_cycles", "open"]

MOST_NAMED = 4
"""Layers that an error names."""


class Device:
    """An accelerator at the other end of a link; a context manager. Threads may share it: they take turns, an inference
    each, or up to 16 of a batch.

    Raises
    ------
    LinkError
        From any method, if the device does not answer.
    DeviceTakenError
        From any method, if somebody else has begun a session with it.
    """

    def __init__(self, link: Link):
        self.link = link
        self.turn = getattr(link, "turn", None) or threading.RLock()
        """Held during an inference, whose layers rely on what the device holds; all devices of a link share it."""
        with self.turn:
            self.identity: Identity = link.hello()
            self.shelf = Shelf(link, self.config) if self.config.sdram else None
            """The models in the device's SDRAM, if it has any."""
            if self.shelf is not None:
                self.shelf.probe()
        self._loaded: weakref.WeakSet[LoadedModel] = weakref.WeakSet()
        self._stock: tuple[Model, Stock] | None = None
        """The model whose segments are in the device's memories, and what of them."""
        self._allowed: tuple[Model, int] | None = None

    @property
    def config(self) -> Config:
        """The configuration that the device reports."""
        return self.identity.config

    @property
    def simulated_cycles(self) -> int | None:
        """Clock cycles so far of a simulation in this process, else ``None``; may be read while it runs."""
        simulation = getattr(getattr(self.link, "transport", None), "device", None)
        return None if simulation is None else int(simulation.cycles)

    def load(self, model: Model, *, progress: Progress | None = None) -> LoadedModel:
        """Makes a model ready to run; a resident model is sent at once. With SDRAM every model is, unless it lies there
        already, so that no run sends weights. A :class:`~sateen.errors.SateenWarning` names each layer that the host
        runs because the device cannot.

        Raises
        ------
        ConfigMismatch
            If the model was compiled for another layout; the message names the fields that differ.
        ModelFileError
            If the model is from a file and contradicts itself.
        DeviceError
            If the model is larger than the device's SDRAM, or that does not keep what is written.
        """
        # A field that is left out has its default.
        names = dict.fromkeys((*self.config.layout, *model.config.layout))
        pairs = [(name, getattr(self.config, name), getattr(model.config, name)) for name in names]
        differ = [f"{name} is {ours} here, {theirs} in the model" for name, ours, theirs in pairs if ours != theirs]
        programs = [segment.program.tobytes() for segment in model.segments]
        slides, rows = any(map(Descriptor.slides, programs)), self.config.sliding_rows
        if slides and rows and not self.config.sliding:
            which = "engine" if self.config.pe_kind.sliding else "pe"
            here, there = (getattr(config, which) for config in (self.config, model.config))
            differ.append(f"{which} is {here} here, which has no sliding windows, {there} in the model")
        elif slides and rows != model.config.sliding_rows:
            differ.append(f"windows slide over {rows} rows here, over {model.config.sliding_rows} in the model")
        if (
            self.config.engine != model.config.engine
            and not self.config.tables
            and any(map(Descriptor.looks_up, programs))
        ):
            differ.append(
                f"engine is {self.config.engine} here, which has no tables, {model.config.engine} in the model"
            )
        if differ:
            raise ConfigMismatch(
                f"the model was compiled for another device: {'; '.join(differ)}; compile it for this configuration"
            )
        for name, reason in model.fallbacks.items():
            warnings.warn(f"layer {name!r} runs on the host: {reason}", SateenWarning, stacklevel=2)
        if not model.trusted:
            check(model)
        loaded = LoadedModel(self, model)
        self._loaded.add(loaded)
        with self.turn:
            if self.shelf is not None:
                self.shelf.load(model, progress)
            if model.resident and model.segments:
                self.place(model, 0)
        return loaded

    def close(self) -> None:
        """Closes the connection. Inferences that are under way end before; submissions that have not begun are
        cancelled."""
        for loaded in list(self._loaded):
            loaded.withdraw()
        self.link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def place(self, model: Model, segment: int) -> None:
        """Puts a segment's weights and program into the memories that programs use, unless they are there."""
        with self._unknown_if_it_fails():
            operations, cycles = self._placing(model, self._stocked(model).needed(segment))
            if operations:
                self.link.transaction(operations, busy_cycles=cycles)

    def holds(self, model: Model) -> bool:
        """Whether the memories that programs use are as this model left them: nobody else has used them since."""
        return getattr(self.link, "holder", None) is self and self._stock is not None and self._stock[0] is model

    def _stocked(self, model: Model) -> Stock:
        """What of a model's segments is in the device's memories."""
        known = self._stock if getattr(self.link, "holder", None) is self else None
        self.link.holder = self
        if known is None or known[0] is not model:
            plan = Plan(model, self.config) if self.shelf is None else self.shelf.plan(model)
            known = model, Stock(plan)
        self._stock = known
        return known[1]

    def _placing(self, model: Model, pieces: Sequence[Piece]) -> tuple[list[Operation], int]:
        """What places pieces of segments, and the cycles that it takes besides the link's."""
        if self.shelf is not None:
            return self.shelf.copying(model, pieces) if pieces else ([], 0)
        operations = []
        for piece in pieces:
            segment = model.segments[piece.segment]
            data = segment.program.tobytes()
            if piece.space == Space.WEIGHTS:
                words = np.zeros((len(segment.weights), self.config.weight_word_bytes), np.int8)
                words[:, : self.config.cols] = segment.weights
                data = words.tobytes()
            operations.append(write(piece.space, 0, data))
        return operations, 0

    def run_all(
        self, model: Model, jobs: Sequence[Job], following: Sequence[int] = (), leading: Sequence[Operation] = ()
    ) -> bytes:
        """Runs several parts without waiting for each, behind the operations ``leading``, and returns what all read.
        With SDRAM, segments of the next parts and those ``following`` are copied while a part runs. Without SDRAM all
        parts are of one segment."""
        assert self.shelf is not None or len({part.segment for part, _, _ in jobs}) == 1
        with self._unknown_if_it_fails():
            if self.shelf is None:
                self.place(model, jobs[0][0].segment)
            operations, busy = self._ordered(model, self._stocked(model), jobs, following)
            try:
                return self.link.transaction([*leading, *operations], busy_cycles=busy)
            except OvertimeError as error:
                raise self.explain(error, model, *(part for part, _, _ in jobs)) from error

    def calling(
        self, model: Model, jobs: Sequence[Job], following: Sequence[int], leading: Sequence[Operation]
    ) -> tuple[list[Operation], int] | None:
        """What :meth:`run_all` would send, and the cycles that it takes at most, if that is writes, one CALL and reads,
        and leaves in the device's memories what it finds there; else ``None``."""
        assert self.shelf is not None
        stock, copied = self._stocked(model), self.shelf.copied
        after = stock.copy()
        operations, busy = self._ordered(model, after, jobs, following)
        kinds = [kind for kind, _ in groupby(each.header.op for each in operations)]
        if after.same(stock) and kinds in ([Op.WRITE, Op.CALL, Op.READ], [Op.CALL, Op.READ]):
            return [*leading, *operations], busy
        self.shelf.copied = copied
        return None

    def _ordered(
        self, model: Model, stock: Stock, jobs: Sequence[Job], following: Sequence[int]
    ) -> tuple[list[Operation], int]:
        """The operations that run parts, and the cycles that they take at most."""
        operations, busy = ordered(
            stock, jobs, following, partial(self._placing, model),
            lambda part: limit_of(stock.plan, part, self.limit(model)), ahead=self.shelf is not None,
        )  # fmt: skip
        return (operations if self.shelf is None else self.shelf.called(model, operations)), busy

    @contextmanager
    def _unknown_if_it_fails(self) -> Iterator[None]:
        """After an error, what the device holds is unknown."""
        try:
            yield
        except BaseException:
            self._stock = None
            raise

    def stream(
        self, model: Model, part: Part | None, source: Callable[[], LinkJob | None], *,
        poll_seconds: float | None = None,
    ) -> None:  # fmt: skip
        """Places the segment of a part, if they all run one, and executes jobs, the bytes of one while the one before
        is computed. See :class:`sateen.runtime.window.Window`."""
        with self._unknown_if_it_fails():
            if part is not None:
                self.place(model, part.segment)
            self.link.stream(source, poll_seconds=poll_seconds)

    def forget(self) -> None:
        """What the device holds is unknown."""
        self._stock = None

    def explain(self, error: DeviceError, model: Model, *parts: Part) -> DeviceError:
        """An error of a program that ran one of several parts, with the layer; with all that it may have been, if
        these are of several."""
        if not isinstance(error, OvertimeError):
            return error
        ran = [part for part in parts if error.place < part.count] or parts
        layers = [model.layer_at(part, min(error.place, part.count - 1)) for part in ran]
        first, *more = dict.fromkeys(repr(layer.name) for layer in layers)
        if len(more) >= MOST_NAMED:
            more[MOST_NAMED - 1 :] = [f"one of the {len(more) - MOST_NAMED + 1} that follow"]
        names = " or ".join([first, *more])
        return OvertimeError(
            f"the device ended the program in layer {names}: it still ran after {self._least(model, ran):,} cycles, "
            f"more than {PATIENCE} times what it should take; compile the model again, and if that does not help, "
            f"report it",
            place=error.place,
        )

    def _least(self, model: Model, parts: Sequence[Part]) -> int:
        """The least limit that programs of these parts may have had."""
        plan = Plan(model, self.config)
        return min(limit_of(plan, part, self.limit(model)) for part in parts)

    def limit(self, model: Model) -> int:
        """Cycles after which the device ends a program of a model."""
        if self._allowed is None or self._allowed[0] is not model:
            self._allowed = model, allowed_cycles(model, self.config)
        return self._allowed[1]


def open(name: str = "sim:small", *, trace: Path | str | None = None) -> Device:
    """Opens a device.

    Parameters
    ----------
    name
        ``sim:PRESET[,field=value…]``, ``serial:/dev/ttyUSB0[?baud=…]``, ``udp:HOST`` or ``tcp:HOST:PORT``. Without
        a rate, the rates of the boards' default configurations are tried.
    trace
        File for a waveform (FST); simulations only.

    Raises
    ------
    DeviceError
        If ``name`` names no device, or the device cannot be opened.
    LinkError
        If it does not answer.
    """
    names = alternatives(name)
    for each in names:
        transport = open_transport(each, trace=trace)
        try:
            return Device(Link(transport))
        except BaseException as error:
            transport.close()
            if not isinstance(error, LinkError) or each == names[-1]:
                raise
    raise AssertionError("the last name was tried")
