"""The driver: one API for simulations and boards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from weft.errors import ConfigMismatch, InputError
from weft.graph import Reshape
from weft.hw.spec.config import Config
from weft.hw.spec.counters import Counters
from weft.hw.spec.identity import Identity
from weft.hw.spec.wire import Space
from weft.link import Link, Operation, read, run, wait, write
from weft.model import Layer, Model, Part
from weft.transport import open_transport

__all__ = ["Device", "LayerProfile", "LoadedModel", "Profile", "open"]

Int8Array = NDArray[np.int8]
Progress = Callable[[int, int], None]
"""Called with the number of inferences done and their total."""


@dataclass(frozen=True, kw_only=True)
class LayerProfile:
    """What one layer took in one inference."""

    layer: Layer
    counters: Counters
    pes: int

    @property
    def utilization(self) -> float:
        """Multiply-accumulates ÷ (cycles × PEs)."""
        return self.layer.macs / (self.counters.cycles * self.pes) if self.counters.cycles else 0.0


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What the device's own counters say of the last inference of a run."""

    layers: tuple[LayerProfile, ...]
    inferences: int
    """Inferences of the run."""
    link_bytes: int
    """Bytes over the link, both ways, in the whole run."""

    @property
    def cycles(self) -> int:
        """Cycles of one inference, the link excluded."""
        return sum(layer.counters.cycles for layer in self.layers)

    @property
    def utilization(self) -> float:
        """Multiply-accumulates ÷ (cycles × PEs) of one inference."""
        if not self.cycles:
            return 0.0
        return sum(layer.layer.macs for layer in self.layers) / (self.cycles * self.layers[0].pes)


class Device:
    """An accelerator at the other end of a link; a context manager.

    Raises
    ------
    LinkError
        From any method, if the device does not answer.
    """

    def __init__(self, link: Link):
        self.link = link
        self.identity: Identity = link.hello()
        self._resident: tuple[Model, int] | None = None

    @property
    def config(self) -> Config:
        """The configuration that the device reports."""
        return self.identity.config

    def load(self, model: Model) -> LoadedModel:
        """Makes a model ready to run; a resident one is sent now.

        Raises
        ------
        ConfigMismatch
            If it was compiled for a device of another layout; the message names the fields that differ.
        """
        theirs, ours = model.config.layout, self.config.layout
        differ = [f"{name} is {ours[name]} here, {theirs[name]} in the model" for name in ours if ours[name] != theirs[name]]
        if differ:
            raise ConfigMismatch(
                f"the model was compiled for another device: {'; '.join(differ)}; compile it for this configuration"
            )
        loaded = LoadedModel(self, model)
        if model.resident:
            self._place(model, 0)
        return loaded

    def close(self) -> None:
        """Ends the connection."""
        self.link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _place(self, model: Model, segment: int) -> None:
        """Sends a segment's weights and program, unless the device has them."""
        if self._resident is not None and self._resident[0] is model and self._resident[1] == segment:
            return
        self._resident = None
        data = model.segments[segment]
        words = np.zeros((len(data.weights), self.config.weight_word_bytes), np.int8)
        words[:, : self.config.cols] = data.weights
        self.link.transaction(
            [write(Space.WEIGHTS, 0, words.tobytes()), write(Space.PROGRAM, 0, data.program.tobytes())]
        )
        self._resident = (model, segment)

    def _run(self, model: Model, part: Part, before: list[Operation], after: list[Operation]) -> bytes:
        """Runs descriptors, with operations before and after; the bytes that ``after`` reads."""
        cycles = sum(layer.predicted.cycles for layer in model.layers)
        try:
            self._place(model, part.segment)
            return self.link.transaction(
                [*before, run(part.first, part.count), wait(), *after],
                busy_seconds=4 * cycles / self.config.clock_hz,
            )
        except BaseException:
            # Nobody knows what the device holds now.
            self._resident = None
            raise


class LoadedModel:
    """A model on a device. Others may be loaded and run between its runs."""

    def __init__(self, device: Device, model: Model):
        self.device, self.model = device, model
        self.profile: Profile | None = None
        """Of the last :meth:`run`."""

    @overload
    def run(self, x: ArrayLike, *, layers: Literal[False] = ..., progress: Progress | None = ...) -> Any: ...
    @overload
    def run(self, x: ArrayLike, *, layers: Literal[True], progress: Progress | None = ...) -> tuple[Any, dict[str, Int8Array]]: ...
    def run(self, x: Any, *, layers: bool = False, progress: Progress | None = None) -> Any:
        """Runs a batch, item by item.

        Parameters
        ----------
        x
            int8 [N, …], or for a model of several inputs a dictionary of those by name.
        layers
            Also give every layer's result, read back from the device after the layer.
        progress
            Called after each item.

        Returns
        -------
        int8 [N, …], or a dictionary of those for a model of several outputs. With ``layers`` a pair of that and a dictionary of
        all tensors by name.

        Raises
        ------
        InputError
            If ``x`` has another shape or type.
        """
        inputs = self._inputs(x)
        count = len(next(iter(inputs.values())))
        names = [layer.output for layer in self.model.layers] if layers else list(self.model.graph.outputs)
        results = {name: np.empty((count, self.model.size(name)), np.int8) for name in names}
        link_bytes = self.device.link.bytes
        counters: list[Counters] = []
        for item in range(count):
            sent = [write(Space.SCRATCHPAD, self.model.addresses[n], values[item].tobytes()) for n, values in inputs.items()]
            last = item == count - 1
            counters = self._item_by_layer(sent, item, results) if layers else self._item(sent, item, results, profiled=last)
            if progress is not None:
                progress(item + 1, count)
        pes = self.device.config.rows * self.device.config.cols * self.device.config.group
        self.profile = Profile(
            layers=tuple(
                LayerProfile(layer=layer, counters=c, pes=pes)
                for layer, c in zip(self.model.layers, counters, strict=False)
            ),
            inferences=count,
            link_bytes=self.device.link.bytes - link_bytes,
        )
        tensors = self._tensors(inputs, results)
        outputs = {name: tensors[name] for name in self.model.graph.outputs}
        result = next(iter(outputs.values())) if len(outputs) == 1 else outputs
        return (result, tensors) if layers else result

    def _inputs(self, x: Any) -> dict[str, Int8Array]:
        names = list(self.model.graph.inputs)
        given = dict(x) if isinstance(x, Mapping) else {names[0]: x}
        if set(given) != set(names):
            raise InputError(f"the model's inputs are {', '.join(names)}; {', '.join(map(str, given))} came")
        inputs = {}
        for name in names:
            values, shape = np.asarray(given[name]), self.model.graph.tensors[name].shape[1:]
            if values.dtype != np.int8:
                raise InputError(
                    f"input {name!r} must be int8, not {values.dtype}; quantize it: model.graph.tensors[{name!r}].quantize(x)"
                )
            if values.ndim != len(shape) + 1 or values.shape[1:] != shape or len(values) == 0:
                wanted = ", ".join(["N", *map(str, shape)])
                raise InputError(f"input {name!r} must have shape [{wanted}] with N of 1 or more, not {list(values.shape)}")
            inputs[name] = values
        if len({len(values) for values in inputs.values()}) != 1:
            raise InputError("all inputs must have the same number of items")
        return inputs

    def _item(
        self, sent: list[Operation], item: int, results: dict[str, Int8Array], *, profiled: bool
    ) -> list[Counters]:
        """One inference, segment by segment."""
        records: dict[int, bytes] = {}
        for index, segment in enumerate(self.model.segments):
            last = index == len(self.model.segments) - 1
            outputs = list(results) if last else []
            size = segment.count * Counters.LAYOUT.size if profiled else 0
            after = [read(Space.SCRATCHPAD, self.model.addresses[name], self.model.size(name)) for name in outputs]
            if size:
                after.append(read(Space.COUNTERS, 0, size))
            part = Part(segment=index, first=0, count=segment.count)
            answer = self.device._run(self.model, part, sent if index == 0 else [], after)
            for name in outputs:
                results[name][item] = np.frombuffer(answer, np.int8, self.model.size(name))
                answer = answer[self.model.size(name) :]
            records[index] = answer
        if not profiled:
            return []
        return [
            _sum(_records(records[p.segment])[p.first : p.first + p.count] for p in layer.parts)
            for layer in self.model.layers
        ]

    def _item_by_layer(
        self, sent: list[Operation], item: int, results: dict[str, Int8Array]
    ) -> list[Counters]:
        """One inference, stopping after each layer to read its result."""
        counters = []
        for layer in self.model.layers:
            records = []
            for index, part in enumerate(layer.parts):
                after = [read(Space.COUNTERS, 0, part.count * Counters.LAYOUT.size)]
                if index == len(layer.parts) - 1:
                    after.append(read(Space.SCRATCHPAD, self.model.addresses[layer.output], self.model.size(layer.output)))
                answer = self.device._run(self.model, part, sent, after)
                sent = []
                size = part.count * Counters.LAYOUT.size
                records.append(_records(answer[:size]))
                if answer[size:]:
                    results[layer.output][item] = np.frombuffer(answer[size:], np.int8)
            counters.append(_sum(records))
        return counters

    def _tensors(self, inputs: dict[str, Int8Array], results: dict[str, Int8Array]) -> dict[str, Int8Array]:
        """Results in their shapes, with the tensors that only rename or reshape them."""
        graph = self.model.graph
        flat = {**inputs, **results}
        for op in graph.ops:
            if isinstance(op, Reshape) and op.input in flat:
                flat.setdefault(op.output, flat[op.input])
        return {name: values.reshape(len(values), *graph.tensors[name].shape[1:]) for name, values in flat.items()}


def _records(data: bytes) -> list[Counters]:
    size = Counters.LAYOUT.size
    return [Counters.decode(data[start : start + size]) for start in range(0, len(data), size)]


def _sum(groups: Any) -> Counters:
    flat = [counters for group in groups for counters in group]
    return sum(flat[1:], flat[0])


def open(name: str = "sim:small", *, trace: Path | str | None = None) -> Device:
    """Opens a device.

    Parameters
    ----------
    name
        ``sim:PRESET[,field=value…]``, ``serial:/dev/ttyUSB0[?baud=…]`` or ``tcp:HOST:PORT``.
    trace
        File for a waveform (FST); simulations only.

    Raises
    ------
    DeviceError
        If the name is none, or the device cannot be opened.
    LinkError
        If it does not answer.
    """
    transport = open_transport(name, trace=trace)
    try:
        return Device(Link(transport))
    except BaseException:
        transport.close()
        raise
