"""Where onnxruntime computes something else than a file says, or in an order of its own: found, and told."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from sateen.errors import SateenWarning
from sateen.frontends.onnx.file import Node, OnnxModel
from sateen.frontends.onnx.parts import constants_of, kind_of
from sateen.graph import Graph, Mean, Op, Tensor
from sateen.hw.spec.descriptor import Rounding

__all__ = ["merged_pairs", "open_means", "rounded_weights", "warn_of_differences"]

SHOWN = 6
"""Operators that a warning names."""
REMOVED = ("Dropout", "Identity")
"""Operators that onnxruntime removes first."""
BETWEEN = (*REMOVED, "Clip", "Relu")
"""Operators between a layer and the QuantizeLinear of its result."""
LAYERS = ("Conv", "ConvTranspose", "Gemm")
"""Layers whose weights onnxruntime quantizes."""
LARGEST = 2**22
"""Sums that are tried."""


def warn_of_differences(model: OnnxModel, graph: Graph) -> None:
    """Warns of operators whose results may differ from those of onnxruntime."""
    merged, means = [*merged_pairs(model)], [*open_means(graph)]
    if merged:
        _warn(
            f"onnxruntime computes {_named(merged)} with other scales than the file's: it makes one pair of two pairs "
            "of QuantizeLinear and DequantizeLinear. Here they are as ONNX defines them, and as onnxruntime has them "
            "without optimizations; give both pairs the same scale and zero point"
        )
    rounded = [*rounded_weights(model)]
    if rounded:
        _warn(
            f"onnxruntime rounds the real weights of {_named(rounded)} to int8, since codes are read and made around "
            "them. Here they are the file's, and as onnxruntime has them without optimizations; quantize them"
        )
    if means:
        _warn(
            f"onnxruntime adds the real numbers of {_named(means)} in an order of its own, and some sums come next to "
            "a tie, where a result may differ from it by one; scales that are powers of two are exact"
        )


def _warn(text: str) -> None:
    warnings.warn(text, SateenWarning, stacklevel=4)


def _named(operators: Sequence[Node | Op]) -> str:
    """The first by name, and how many more there are."""
    more = f" and {len(operators) - SHOWN} more" if len(operators) > SHOWN else ""
    return ", ".join(map(str, operators[:SHOWN])) + more


def merged_pairs(model: OnnxModel) -> Iterator[Node]:
    """Each QuantizeLinear that onnxruntime removes, with the DequantizeLinear before it, though the pair that they end
    and the one that they begin have different numbers (``DoubleQDQPairsRemover``)."""
    readers = _readers(model)
    for first in model.nodes:
        chain = [first] if kind_of(first) == "QuantizeLinear" and first.outputs else []
        for kind in ("DequantizeLinear", "QuantizeLinear", "DequantizeLinear"):
            follower = _behind(model, readers, chain[-1], kind, REMOVED) if chain else None
            chain = [*chain, follower] if follower is not None else []
        numbers = [_numbers(model, node) for node in chain]
        if numbers and None not in numbers and numbers[0] == numbers[1] != numbers[2] == numbers[3]:
            yield chain[2]


def rounded_weights(model: OnnxModel) -> Iterator[Node]:
    """Each layer with real weights whose input and result are quantized (``WeightBiasQuantization``)."""
    readers = _readers(model)
    makers = {name: node for node in model.nodes for name in node.outputs}
    constants = constants_of(model)
    for node in model.nodes:
        if node.kind not in LAYERS or not (node.has(0) and node.has(1) and node.outputs):
            continue
        before, weights = _source(makers, node.inputs[0]), constants.get(node.inputs[1])
        real = weights is not None and weights.dtype == np.float32
        bias = constants.get(node.inputs[2]) if node.has(2) else np.zeros(1)
        if not real or before is None or kind_of(before) != "DequantizeLinear" or bias is None or bias.ndim != 1:
            continue
        scale = constants.get(before.inputs[1])
        if scale is not None and scale.size == 1 and _behind(model, readers, node, "QuantizeLinear", BETWEEN):
            yield node


def _readers(model: OnnxModel) -> dict[str, list[Node]]:
    """Who reads each tensor; twice, who reads it twice."""
    readers: dict[str, list[Node]] = {}
    for node in model.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    return readers


def _source(makers: Mapping[str, Node], name: str) -> Node | None:
    """The operator that makes a tensor."""
    node = makers.get(name)
    while node is not None and node.kind in REMOVED:
        node = makers.get(node.inputs[0])
    return node


def _behind(
    model: OnnxModel, readers: Mapping[str, list[Node]], node: Node, kind: str, between: Sequence[str]
) -> Node | None:
    """The operator of a kind that alone reads a node's result, or that behind some others."""
    while True:
        name = node.outputs[0]
        found = readers.get(name, [])
        if len(found) != 1 or name in model.outputs or not found[0].outputs:
            return None
        (node,) = found
        if node.kind not in between:
            return node if kind_of(node) == kind else None


def _numbers(model: OnnxModel, node: Node) -> tuple[float, int] | None:
    """Scale and zero point, if the file states them as one number each."""
    given = [model.constants.get(name) for name in node.inputs[1:3]]
    found = [value.item() for value in given if value is not None and value.size == 1]
    return (found[0], found[1]) if len(found) == 2 else None


def open_means(graph: Graph) -> Iterator[Op]:
    """Each mean or sum of real numbers of which some result depends on the order of its additions in float32."""
    for op in graph.ops:
        real = isinstance(op, Mean) and op.rounding == Rounding.FLOAT32 and not op.fused
        if isinstance(op, Mean) and real and not op.is_real(graph.tensors):
            x, y = graph.tensors[op.input], graph.tensors[op.output]
            if _is_next_to_tie(x, y, op.count(graph.tensors), op.divisor(graph.tensors)):
                yield op


def _is_next_to_tie(x: Tensor, y: Tensor, count: int, divisor: int) -> bool:
    """Whether a sum of ``count`` codes comes so near to a tie that the errors of float32 may decide. Its additions, the
    product and the quotient err by half a unit of the last place each, of numbers up to the largest sum."""
    if count * 255 > LARGEST:
        return True
    ratio = float(np.float32(x.scale)) / float(np.float32(y.scale)) / divisor
    sums = np.arange(count * (-128 - x.zero_point), count * (127 - x.zero_point) + 1)
    results = sums * ratio
    error = (count + 3) * 2.0**-24 * np.abs(results).max()
    # What is cut off does not count.
    inside = np.abs(results + y.zero_point) <= 129
    return bool((np.abs(results - np.floor(results) - 0.5)[inside] <= error).any())
