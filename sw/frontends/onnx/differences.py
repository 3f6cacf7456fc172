"""Where onnxruntime computes something else than a file says, or in an order of its own: found, and told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from sateen.frontends.onnx.file import Node, OnnxModel
from sateen.frontends.onnx.importer import Importer
from sateen.frontends.onnx.parts import constants_of, kind_of
from sateen.graph import (
    Graph,
    Mean,
    Op,
    Quantize,
    RealBinary,
    RealConv2D,
    RealMatrixProduct,
    RealNormalize,
    RealPool2D,
    RealProduct,
    RealReduce,
    RealSoftmax,
    RealTransposeConv2D,
    RealUnary,
    Tensor,
)
from sateen.hw.spec.descriptor import Rounding
from sateen.sim import golden

__all__ = ["differences", "open_codes", "open_means", "quantized_reals", "rounded_weights"]

SHOWN = 6
"""Operators that a warning names."""
CLAMPS = ("Clip", "Relu")
"""Operators between a layer and the QuantizeLinear of its result."""
LAYERS = ("Conv", "ConvTranspose", "Gemm")
"""Layers whose weights onnxruntime quantizes."""
LARGEST = 2**22
"""Sums that are tried."""


def differences(model: OnnxModel, graph: Graph, importer: Importer) -> Iterator[str]:
    """What onnxruntime computes otherwise than the file says, or than it is computed here: in a sentence each, with the
    file's operators. ``importer`` is the one that made the graph, with what it has noted."""
    if importer.biased:
        yield (
            f"onnxruntime computes {_named(importer.biased)} with another bias than the file's: it takes its codes for "
            "units of the sums, whatever their scale and zero point. Here they are as the file says, and as "
            "onnxruntime has them without optimizations; give the bias the product of the scales of input and weights"
        )
    pairs, quantizing = (
        [node for node in model.nodes if node.outputs and node.outputs[0] in names]
        for names in (importer.optimized.merged, importer.optimized.quantizing)
    )
    if quantizing:
        yield (
            f"onnxruntime computes {_named(quantizing)} with codes that it makes of the real input while it runs. Here "
            "that is as the file has it, and as onnxruntime has it without optimizations; quantize what is multiplied"
        )
    if pairs:
        yield (
            f"onnxruntime computes {_named(pairs)} with other scales than the file's: it makes one pair of two pairs "
            "of QuantizeLinear and DequantizeLinear. Here they are as ONNX defines them, and as onnxruntime has them "
            "without optimizations; give both pairs the same scale and zero point"
        )
    if importer.single:
        yield (
            f"onnxruntime computes {_named(importer.single)} of several items together, or of the first alone: the "
            "file's batch is free, and there it is 1. Here each item is computed by itself; export the model with a "
            "fixed batch of 1"
        )
    if rounded := [*rounded_weights(model, importer.optimized.removed)]:
        yield (
            f"onnxruntime rounds the real weights of {_named(rounded)} to int8, since codes are read and made around "
            "them. Here they are the file's, and as onnxruntime has them without optimizations; quantize them"
        )
    if means := [importer.origins.get(op.output, op) for op in open_means(graph)]:
        yield (
            f"onnxruntime adds the real numbers of {_named(means)} in an order of its own, and some sums come next to "
            "a tie, where a result may differ from it by one; scales that are powers of two are exact"
        )
    if coded := [*open_codes(graph, importer.open).values()]:
        yield (
            f"onnxruntime computes {_named(coded)} with real numbers, in an order of its own or by other "
            "approximations, and some results come next to a tie, where one may differ from it by one; scales that "
            "are powers of two are exact, and so are layers of uint8 that read and make codes, without a clamp that "
            "these do not imply"
        )
    found = [op for ops in quantized_reals(graph, importer.open).values() for op in ops]
    if real := [op if isinstance(op, Node) else importer.origins.get(op.output, op) for op in found]:
        yield (
            f"onnxruntime computes {_named(real)} with real numbers, in an order of its own, which are quantized "
            "behind them: next to a tie a result may differ from it by one; quantize what they give"
        )


def _named(operators: Sequence[Node | Op]) -> str:
    """The first by name, and how many more there are; each once."""
    names = [*dict.fromkeys(map(str, operators))]
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def rounded_weights(model: OnnxModel, removed: Mapping[str, str]) -> Iterator[Node]:
    """Each layer with real weights whose input and result are quantized (``WeightBiasQuantization``); ``removed`` are
    results of operators that go away before, and what they are."""
    readers = _readers(model)
    makers = {name: node for node in model.nodes for name in node.outputs}
    constants = constants_of(model)
    for node in model.nodes:
        if node.kind not in LAYERS or not (node.has(0) and node.has(1) and node.outputs):
            continue
        before, weights = makers.get(removed.get(node.inputs[0], node.inputs[0])), constants.get(node.inputs[1])
        real = weights is not None and weights.dtype == np.float32
        bias = constants.get(node.inputs[2]) if node.has(2) else np.zeros(1)
        if not real or before is None or kind_of(before) != "DequantizeLinear" or bias is None or bias.ndim != 1:
            continue
        scale = constants.get(before.inputs[1])
        if scale is not None and scale.size == 1 and _behind(model, readers, node, "QuantizeLinear", removed):
            yield node


def _readers(model: OnnxModel) -> dict[str, list[Node]]:
    """Who reads each tensor; twice, who reads it twice."""
    readers: dict[str, list[Node]] = {}
    for node in model.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    return readers


def _behind(
    model: OnnxModel, readers: Mapping[str, list[Node]], node: Node, kind: str, removed: Mapping[str, str]
) -> Node | None:
    """The operator of a kind that alone reads a node's result, or that behind some others."""
    while True:
        name = node.outputs[0]
        found = readers.get(name, [])
        if len(found) != 1 or name in model.outputs or not found[0].outputs:
            return None
        (node,) = found
        if node.kind not in CLAMPS and node.outputs[0] not in removed:
            return node if kind_of(node) == kind else None


def open_codes(graph: Graph, open_: Mapping[str, Node]) -> dict[str, Node]:
    """Those of the operators that make codes, by their results."""
    kept = ((name, node) for name, node in open_.items() if name in graph.tensors)
    return {name: node for name, node in kept if graph.tensors[name].dtype == "int8"}


def quantized_reals(graph: Graph, open_: Mapping[str, Node]) -> dict[str, list[Op | Node]]:
    """Codes that are made of real numbers that depend on an order of additions, or on approximations, and the operators
    that give these."""
    makers, found = {op.output: op for op in graph.ops}, dict[str, list[Op | Node]]()
    for quantize in graph.ops:
        waiting, seen = [quantize.input] if isinstance(quantize, Quantize) else [], set[str]()
        while waiting:
            name = waiting.pop()
            op, kind = makers.get(name), graph.tensors[name].dtype
            if name in seen or op is None or kind not in ("float32", "int32"):
                continue
            seen.add(name)
            who = open_.get(name, op if kind == "float32" and _is_rounded_often(op) else None)
            if who is not None:
                found.setdefault(quantize.output, []).append(who)
            waiting += op.inputs if kind == "float32" else ()
    return found


def _is_rounded_often(op: Op) -> bool:
    """Whether an operator on real numbers is no single operation of float32."""
    if isinstance(op, RealReduce | RealPool2D):
        return op.function not in ("maximum", "minimum")
    if isinstance(op, RealUnary | RealBinary):
        return op.function in (*golden.REAL_APPROXIMATED, "power")
    return isinstance(
        op, RealConv2D | RealTransposeConv2D | RealProduct | RealMatrixProduct | RealNormalize | RealSoftmax
    )


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
