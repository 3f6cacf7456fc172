"""A model on a device: runs, submissions, and what they took."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from sateen.compiler import Layer, Model
from sateen.graph import Array
from sateen.hw.spec.counters import Counters
from sateen.runtime.calls import called_turn
from sateen.runtime.inference import Inference
from sateen.runtime.inputs import taken_inputs
from sateen.runtime.pipeline import Overlaps, Piece, Tensors, one_turn, take_turn
from sateen.runtime.position import Place, Position
from sateen.runtime.states import Stateful
from sateen.runtime.submissions import Submissions

if TYPE_CHECKING:
    from sateen.runtime.device import Device

__all__ = ["Inputs", "LayerProfile", "LoadedModel", "Profile", "Progress"]

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
    """Bytes of weights and programs copied from SDRAM into the device's memories, in the whole run. A copy takes about
    a cycle for :attr:`~sateen.hw.spec.config.Config.moved_bytes`, while layers run or besides :attr:`cycles`."""
    spilled_bytes: int = 0
    """Bytes of tensors copied from and into SDRAM, in the whole run. A byte takes a cycle at most, about, besides
    :attr:`cycles`."""
    memory_cycles: int = 0
    """Cycles of the last inference in which bytes moved from and to SDRAM while no layer ran, as the device counted
    them: the array waited for memory, besides :attr:`cycles`."""

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


class LoadedModel(Stateful):
    """A model on a device. Others may be loaded and run between its runs."""

    def __init__(self, device: Device, model: Model):
        super().__init__(model.graph, device.turn)
        self.device, self.model = device, model
        self.profile: Profile | None = None
        """The profile of the last :meth:`run`."""
        self._position: Position | None = None
        self._turn: Overlaps | None = None
        # A link of another kind takes one inference after the other.
        if hasattr(device.link, "stream"):
            self._turn = one_turn(model) or (None if device.shelf is None else called_turn(model))
        self._submissions = Submissions(device, self._turn, run=self.run, combine=self._combined)

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
        """Runs a batch; for a model with states its items are the next steps of its stream. Where the host computes
        nothing between an inference's beginning and its end, the next input is sent while the last one is computed.

        Parameters
        ----------
        x
            [N, …], or a single item without the N, in the layout and type of the model's file (int8, uint8 or float32),
            or for a model of several inputs a dictionary of such arrays by name. A uint8 tensor may also be given as
            int8, smaller by 128.
        layers
            Also return every tensor; each layer's result is read back from the device after the layer.
        progress
            Called for each item, after up to 16 of them.

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
        count = len(next(iter(inputs.values())))
        simulated = None if self.device.simulated_cycles is None else lambda: self.device.simulated_cycles or 0
        self._position = Position(self.model, simulated)
        with self.device.turn:
            inference = Inference(self.device, self.model, self._position)
        singles = [{name: values[item : item + 1] for name, values in inputs.items()} for item in range(count)]
        items: list[Tensors] = []
        counters: list[Counters] = []
        link_bytes = copied = 0
        if self._turn is not None and count > 1 and not layers:
            return self._run_overlapped(self._turn, singles, self._position, progress)
        for item in range(count):
            with self.device.turn:
                before, copied_before = self.device.link.bytes, self._copied()
                # The last item is profiled.
                values, counters = inference.run(
                    {**singles[item], **self._states}, layers=layers, profiled=layers or item == count - 1
                )
                self._advance(values)
                link_bytes += self.device.link.bytes - before
                copied += self._copied() - copied_before
            items.append(values)
            if progress is not None:
                progress(item + 1, count)
        spilled = 0 if inference.spill is None else inference.spill.moved
        self._profile(counters, count, link_bytes, copied, spilled, inference.waited)
        tensors = self._stacked(items)
        return (self._result(tensors), tensors) if layers else self._result(tensors)

    def submit(self, x: Inputs) -> Future[Any]:
        """Begins to run a batch, and returns at once. Batches of one model run in the order in which they were
        submitted; where the host computes nothing between an inference's beginning and its end, the next input is sent
        while the last one is computed. Any thread may submit.

        Parameters
        ----------
        x
            As :meth:`run` takes it; it must not change before the result is there.

        Returns
        -------
        Its ``result()`` waits, and returns or raises what :meth:`run` would: an error is of its batch alone. Unless it
        has begun, it can be cancelled, as closing the device does. :attr:`profile` stays as it is. Its callbacks may
        not use the device.

        Raises
        ------
        InputError
            If ``x`` has another shape or type.
        DeviceError
            If the device is closed.
        """
        return self._submissions.submit(x, taken_inputs(self.model.graph, x))

    def withdraw(self) -> None:
        """Cancels all submissions that have not begun, and refuses others."""
        self._submissions.close()

    def _run_overlapped(
        self, turn: Overlaps, singles: list[Tensors], position: Position, progress: Progress | None
    ) -> Any:
        """Runs several items, the next of which is sent while the last is computed."""
        count, errors = len(singles), list[BaseException]()
        results: dict[int, Tensors] = {}
        counters: list[Counters] = []

        def done(item: int, outputs: Tensors, counted: list[Counters]) -> None:
            results[item] = outputs
            counters.extend(counted)

        # The last item is profiled.
        pieces = [
            Piece(inputs=single, profiled=item == count - 1, done=partial(done, item), failed=errors.append)
            for item, single in enumerate(singles)
        ]
        pieces.reverse()

        def source() -> Piece | None:
            position.begin(*turn.span)
            return pieces.pop() if pieces and not errors else None

        link_bytes = copied = spilled = 0
        while pieces and not errors:
            told = len(results)
            with self.device.turn:
                before, copied_before = self.device.link.bytes, self._copied()
                again = take_turn(self.device, turn, source)
                link_bytes += self.device.link.bytes - before
                copied += self._copied() - copied_before
                spilled += turn.spilled
            pieces.extend(reversed(again))
            # Here, since it may use the device.
            if progress is not None and not errors:
                for number in range(told, len(results)):
                    progress(number + 1, count)
        if errors:
            raise errors[0]
        self._profile(counters, count, link_bytes, copied, spilled, turn.waited)
        return self._combined([results[item] for item in range(count)])

    def _profile(
        self, counters: list[Counters], count: int, link_bytes: int, copied: int, spilled: int = 0, waited: int = 0
    ) -> None:
        pes = self.device.config.rows * self.device.config.cols * self.device.config.group
        self.profile = Profile(
            layers=tuple(
                LayerProfile(layer=layer, counters=c, pes=pes)
                for layer, c in zip(self.model.layers, counters, strict=True)
            ),
            inferences=count,
            link_bytes=link_bytes,
            copied_bytes=copied,
            spilled_bytes=spilled,
            memory_cycles=waited,
        )

    def _stacked(self, items: list[Tensors]) -> Tensors:
        """Tensors of all items, in the layout of the model's file."""
        tensors = self.model.graph.tensors
        return {name: tensors[name].to_file(np.concatenate([each[name] for each in items])) for name in items[0]}

    def _result(self, tensors: Tensors) -> Any:
        """What a run returns."""
        outputs = {name: tensors[name] for name in self.model.graph.outputs}
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs

    def _combined(self, items: list[Tensors]) -> Any:
        return self._result(self._stacked(items))

    def _copied(self) -> int:
        return 0 if self.device.shelf is None else self.device.shelf.copied
