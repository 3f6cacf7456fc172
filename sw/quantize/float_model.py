"""Post-training quantization of a float model, wherever it comes from.

A front end gives its operators as ONNX's, and a way to run it on the calibration data. From there all float models take
one path: batch normalization is folded, ranges are found, and the model is rewritten in QDQ form and read as a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from sateen.frontends.onnx import Maker, OnnxModel, guarded
from sateen.graph import Array, Graph
from sateen.quantize.equalization import equalize, scalable
from sateen.quantize.ranges import Calibration, Range, Trace, find_ranges
from sateen.quantize.rewriting import WEIGHTED, fold_batch_norms, inline_constants, rewrite

__all__ = ["FloatModel", "Progress", "Quantized", "ignore"]

Progress = Callable[[int, int], None]
"""Called with (items done, items)."""


def ignore(done: int, total: int) -> None:
    """Shows no progress."""


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """A graph, and the float model that it stands for."""

    graph: Graph
    trace: Trace
    """Every real tensor of the float model on the calibration data; the first is the input."""
    names: Mapping[str, str]
    """The graph's tensors, by the float tensors whose codes they are."""
    input: str
    output: str
    """The float model's first input and output."""
    scalable: Set[str] = frozenset()
    """Float tensors to whose channels equalization would give one range, and has not."""


@dataclass(frozen=True, kw_only=True)
class FloatModel:
    """A float model and its calibration data."""

    name: str
    model: OnnxModel
    trace: Trace
    """Runs it on the calibration data."""
    graph: Callable[[OnnxModel], Graph]
    """Reads the model in QDQ form."""
    item_shape: tuple[int, ...]
    shared: Sequence[Sequence[str]] = ()
    """Groups of real tensors that shall have one range."""
    factors: Set[str] = frozenset()
    """Real tensors whose scales shall be powers of two."""

    def quantize(self, calibration: Calibration = Calibration()) -> Quantized:  # noqa: B008
        """The model as a graph of int8 activations and weights.

        Weights have a scale for each output channel. An activation's scale covers its range on the calibration data.

        Raises
        ------
        GraphError
            If it has an operator that cannot be quantized, or calibration leads to values that are not finite.
        """
        with guarded("file", "it cannot be quantized"), np.errstate(all="ignore"):
            model, trace = fold_batch_norms(inline_constants(self.model)), self.trace
            able = frozenset[str]()
            if calibration.equalize:
                model, trace = equalize(model, trace)
            else:
                able = scalable(model, trace)
            made = {name for node in model.nodes for name in node.outputs} | {*model.inputs}
            found = _joined(find_ranges(_only(trace, made), calibration), self.shared)
            means = _channel_means(trace, model) if calibration.correct_bias else {}
            rewritten = rewrite(
                model, found, Maker(), means=means, keep_float=calibration.keep_float, factors=self.factors
            )
        graph = self.graph(rewritten)
        names = {name: f"{name}.codes" for name in found if f"{name}.codes" in graph.tensors}
        entry, end = next(iter(model.inputs)), model.outputs[0]
        return Quantized(graph=graph, trace=trace, names=names, input=entry, output=end, scalable=able)


def _joined(ranges: Mapping[str, Range], groups: Sequence[Sequence[str]]) -> dict[str, Range]:
    """The ranges, where each tensor of a group has that of the whole group."""
    joined = dict(ranges)
    for group in groups:
        found = {name: ranges[name] for name in group if name in ranges}
        if found:
            whole = min(low for low, _ in found.values()), max(high for _, high in found.values())
            joined |= dict.fromkeys(found, whole)
    return joined


def _channel_means(trace: Trace, model: OnnxModel) -> dict[str, Array]:
    """The mean of each channel of layers' inputs: along axis 1 of images, else along the last axis."""
    axes = {node.inputs[0]: 1 if node.kind.startswith("Conv") else -1 for node in model.nodes if node.kind in WEIGHTED}
    sums: dict[str, Array] = {}
    counts = dict.fromkeys(axes, 0)
    for tensors in trace():
        for name, axis in axes.items():
            if name in tensors:
                values = np.moveaxis(tensors[name], axis, -1)
                sums[name] = sums.get(name, 0) + values.reshape(-1, values.shape[-1]).sum(axis=0, dtype=np.float64)
                counts[name] += values.size // values.shape[-1]
    return {name: total / counts[name] for name, total in sums.items()}


def _only(trace: Trace, names: set[str]) -> Trace:
    def chosen() -> Iterator[Mapping[str, Array]]:
        for tensors in trace():
            yield {name: values for name, values in tensors.items() if name in names}

    return chosen
