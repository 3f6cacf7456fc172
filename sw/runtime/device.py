"""The driver: one API for simulations and boards."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, overload

import numpy as np
from numpy.typing import ArrayLike

from sateen.compiler import Layer, Model, Part
from sateen.compiler.consistency import check
from sateen.compiler.verification.decoding import records
from sateen.errors import ConfigMismatch, LinkError, OvertimeError, SateenWarning
from sateen.graph import Array
from sateen.hw.spec.config import Config
from sateen.hw.spec.counters import Counters
from sateen.hw.spec.descriptor import Descriptor
from sateen.hw.spec.identity import Identity
from sateen.hw.spec.wire import Space
from sateen.runtime.inference import Inference
from sateen.runtime.inputs import taken_inputs
from sateen.runtime.link import Link, Operation, wait, write
from sateen.runtime.link import run as start
from sateen.runtime.position import Place, Position
from sateen.runtime.shelf import Shelf
from sateen.runtime.states import Stateful
from sateen.runtime.transport import alternatives, open_transport
from sateen.sim.cycles import predict

__all__ = ["Device", "LayerProfile", "LoadedModel", "Profile", "allowed_cycles", "open"]

PATIENCE, GRACE_CYCLES = 4, 10_000
"""A program may take so many times the cycles that are predicted, and so many more."""
Job = tuple[Part, Sequence[Operation], Sequence[Operation]]
"""Descriptors to run, with operations before and after."""
Inputs = ArrayLike | Mapping[str, Array]
Progress = Callable[[int, int], None]
"""Called with what is done, inferences or bytes of a model, and how many there are."""


@dataclass(frozen=True, kw_only=True)
class LayerProfile:
    """Counters of one layer in one inference."""

    layer: Layer
    counters: Counters
    pes: int

    @property
    def utilization(self) -> float:
        """Multiply-accumulates ÷ (cycles × PEs)."""
        return self.layer.macs / (self.counters.cycles * self.pes) if self.counters.cycles else 0.0


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The device's counters for the last inference of a run."""

    layers: tuple[LayerProfile, ...]
    inferences: int
    """Inferences of the run."""
    link_bytes: int
    """Bytes over the link in both directions, in the whole run."""
    copied_bytes: int = 0
    """Bytes copied from SDRAM into the device's memories, in the whole run. A copy takes about a cycle for
    :attr:`~sateen.hw.spec.config.Config.moved_bytes`, besides :attr:`cycles`."""

    @property
    def cycles(self) -> int:
        """Cycles of one inference, without the link."""
        return sum(layer.counters.cycles for layer in self.layers)

    @property
    def utilization(self) -> float:
        """Multiply-accumulates ÷ (cycles × PEs) of one inference."""
        if not self.cycles:
            return 0.0
        return sum(layer.layer.macs for layer in self.layers) / (self.cycles * self.layers[0].pes)


class Device:
    """An accelerator at the other end of a link; a context manager. Threads may share it: they take turns, an inference
    each.

    Raises
    ------
    LinkError
        From any method, if the device does not answer.
    DeviceTakenError
        From any method, if somebody else has begun a session with it.
    """

    def __init__(self, link: Link):
        self.link = link
        self.identity: Identity = link.hello()
        self.turn = threading.RLock()
        """Held during an inference, whose layers rely on what the device holds."""
        self.shelf = Shelf(link, self.config) if self.config.sdram else None
        """The models in the device's SDRAM, if it has any."""
        if self.shelf is not None:
            self.shelf.probe()
        self._resident: tuple[Model, frozenset[int]] | None = None
        """The model whose segments are in the device's memories, and which of them."""
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
        theirs, ours = model.config.layout, self.config.layout
        # A field that is left out is 0.
        names = dict.fromkeys((*ours, *theirs))
        differ = [
            f"{name} is {ours.get(name, 0)} here, {theirs.get(name, 0)} in the model"
            for name in names
            if ours.get(name, 0) != theirs.get(name, 0)
        ]
        programs = [segment.program.tobytes() for segment in model.segments]
        if not self.config.sliding and any(map(Descriptor.slides, programs)):
            which = "engine" if self.config.pe_kind.sliding else "pe"
            here, there = (getattr(config, which) for config in (self.config, model.config))
            differ.append(f"{which} is {here} here, which has no sliding windows, {there} in the model")
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
        with self.turn:
            if self.shelf is not None:
                self.shelf.load(model, progress)
            if model.resident and model.segments:
                self.place(model, 0)
        return loaded

    def close(self) -> None:
        """Closes the connection."""
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
            operations, cycles = self._placing(model, segment)
            if operations:
                self.link.transaction(operations, busy_cycles=cycles)

    def _placing(self, model: Model, segment: int) -> tuple[list[Operation], int]:
        """What places a segment, and the cycles that it takes besides the link's; nothing if the segment is there.
        Others of the model that stand elsewhere stay."""
        known = self._resident if getattr(self.link, "holder", None) is self else None
        here = known[1] if known is not None and known[0] is model else frozenset()
        self.link.holder = self
        self._resident = model, frozenset({segment, *(other for other in here if self._beside(model, other, segment))})
        if segment in here:
            return [], 0
        if self.shelf is not None:
            return self.shelf.placing(model, segment)
        data = model.segments[segment]
        words = np.zeros((len(data.weights), self.config.weight_word_bytes), np.int8)
        words[:, : self.config.cols] = data.weights
        return [write(Space.WEIGHTS, 0, words.tobytes()), write(Space.PROGRAM, 0, data.program.tobytes())], 0

    def _beside(self, model: Model, one: int, other: int) -> bool:
        """Whether the device's memories hold two segments at a time."""
        return self.shelf is not None and self.shelf.slot(model, one).beside(self.shelf.slot(model, other))

    def run_all(self, model: Model, jobs: Sequence[Job], following: int | None = None) -> bytes:
        """Runs several parts without waiting for each, and returns what all read. With SDRAM the next part's segment,
        or ``following``, is copied while a part runs, if it stands elsewhere."""
        limit = self._limit(model)
        operations: list[Operation] = []
        busy = 0
        with self._unknown_if_it_fails():
            for (part, before, after), behind in zip(
                jobs, [*(job[0].segment for job in jobs[1:]), following], strict=True
            ):
                if self.shelf is None:
                    self.place(model, part.segment)
                placing, cycles = self._placing(model, part.segment)
                first = part.first + (self.shelf.slot(model, part.segment).descriptors.start if self.shelf else 0)
                ahead, more = [], 0
                if behind is not None and self._beside(model, part.segment, behind):
                    ahead, more = self._placing(model, behind)
                operations += [*placing, *before, start(first, part.count, limit=limit), *ahead, wait(), *after]
                # A limit may be reached late.
                busy += 8 * limit + cycles + more
            try:
                return self.link.transaction(operations, busy_cycles=busy)
            except OvertimeError as error:
                # Tiles of a chain have equally many descriptors; other parts are of one layer, whichever ran.
                alike = len({part.count for part, _, _ in jobs}) == 1 and error.place < jobs[0][0].count
                layer = model.layer_at(jobs[0][0], error.place if alike else 0)
                raise OvertimeError(
                    f"the device ended the program in layer {layer.name!r}: it still "
                    f"ran after {limit:,} cycles, more than {PATIENCE} times what it should take; compile the model "
                    f"again, and if that does not help, report it",
                    place=error.place,
                ) from error

    @contextmanager
    def _unknown_if_it_fails(self) -> Iterator[None]:
        """After an error, what the device holds is unknown."""
        try:
            yield
        except BaseException:
            self._resident = None
            raise

    def _limit(self, model: Model) -> int:
        """Cycles after which the device ends a program of a model."""
        if self._allowed is None or self._allowed[0] is not model:
            self._allowed = model, allowed_cycles(model, self.config)
        return self._allowed[1]


def allowed_cycles(model: Model, config: Config) -> int:
    """What any program of a model may take on a device before it counts as stuck."""
    return PATIENCE * expected_cycles(model, config) + GRACE_CYCLES


def expected_cycles(model: Model, config: Config) -> int:
    """What the cycle model expects of one inference on a device, which may have another engine or kind of PE than the
    model was compiled for."""
    if (config.engine, config.pe) == (model.config.engine, model.config.pe):
        return sum(layer.predicted.cycles for layer in model.layers)
    cycles = [[each.cycles for each in predict(records(segment.program), config)] for segment in model.segments]
    parts = [part for layer in model.layers for part in layer.parts]
    return sum(sum(cycles[part.segment][part.first : part.first + part.count]) for part in parts)


class LoadedModel(Stateful):
    """A model on a device. Others may be loaded and run between its runs."""

    def __init__(self, device: Device, model: Model):
        super().__init__(model.graph)
        self.device, self.model = device, model
        self.profile: Profile | None = None
        """The profile of the last :meth:`run`."""
        self._position: Position | None = None

    @property
    def position(self) -> Place | None:
        """Where the inference is that runs now or ran last, ``None`` before the first; for other threads, to tell how
        far it is."""
        return self._position() if self._position is not None and self.model.layers else None

    @overload
    def run(self, x: Inputs, *, layers: Literal[False] = ..., progress: Progress | None = ...) -> Any: ...
    @overload
    def run(
        self, x: Inputs, *, layers: Literal[True], progress: Progress | None = ...
    ) -> tuple[Any, dict[str, Array]]: ...
    def run(self, x: Any, *, layers: bool = False, progress: Progress | None = None) -> Any:
        """Runs a batch, item by item; for a model with states these are the next steps of its stream.

        Parameters
        ----------
        x
            [N, …], or a single item without the N, in the layout and type of the model's file (int8, uint8 or float32),
            or for a model of several inputs a dictionary of such arrays by name. A uint8 tensor may also be given as
            int8, smaller by 128.
        layers
            Also return every tensor; each layer's result is read back from the device after the layer.
        progress
            Called after each item.

        Returns
        -------
        [N, …] in the layout and type of the model's file, or for a model of several outputs a dictionary of such
        arrays. With ``layers``, a pair of that and a dictionary of all tensors by name.

        Raises
        ------
        InputError
            If ``x`` has another shape or type.
        """
        inputs = taken_inputs(self.model.graph, x)
        graph, count = self.model.graph, len(next(iter(inputs.values())))
        simulated = None if self.device.simulated_cycles is None else lambda: self.device.simulated_cycles or 0
        self._position = Position(self.model, simulated)
        with self.device.turn:
            inference = Inference(self.device, self.model, self._position)
        items: list[dict[str, Array]] = []
        counters: list[Counters] = []
        link_bytes = copied = 0
        for item in range(count):
            single = {name: values[item : item + 1] for name, values in inputs.items()}
            with self.device.turn:
                before, copied_before = self.device.link.bytes, self._copied()
                # The last item is profiled.
                values, counters = inference.run(
                    {**single, **self._states}, layers=layers, profiled=layers or item == count - 1
                )
                self._advance(values)
                link_bytes += self.device.link.bytes - before
                copied += self._copied() - copied_before
            items.append(values)
            if progress is not None:
                progress(item + 1, count)
        pes = self.device.config.rows * self.device.config.cols * self.device.config.group
        self.profile = Profile(
            layers=tuple(
                LayerProfile(layer=layer, counters=c, pes=pes)
                for layer, c in zip(self.model.layers, counters, strict=True)
            ),
            inferences=count,
            link_bytes=link_bytes,
            copied_bytes=copied,
        )
        tensors = {
            name: graph.tensors[name].to_file(np.concatenate([values[name] for values in items])) for name in items[0]
        }
        outputs = {name: tensors[name] for name in graph.outputs}
        result = next(iter(outputs.values())) if len(outputs) == 1 else outputs
        return (result, tensors) if layers else result

    def _copied(self) -> int:
        return 0 if self.device.shelf is None else self.device.shelf.copied


def open(name: str = "sim:small", *, trace: Path | str | None = None) -> Device:
    """Opens a device.

    Parameters
    ----------
    name
        ``sim:PRESET[,field=value…]``, ``serial:/dev/ttyUSB0[?baud=…]`` or ``tcp:HOST:PORT``. Without a rate, the rates
        of the boards' default configurations are tried.
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
