"""PReLU with a slope for each channel, from operators that the device has: what is above zero and what is below are
scaled apart, and added."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from sateen.compiler.rewrites.base import Rewritten
from sateen.compiler.rewrites.constants import without_unread
from sateen.graph import Add, Array, Constant, DepthwiseConv2D, Graph, Op, PRelu, Requantize, Reshape, Tensor, run
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import Rounding
from sateen.sim import golden

__all__ = ["split_slopes"]

CODES = np.arange(-128, 128).astype(np.int8)
ONE = {"multiplier": 1 << 30, "shift": 1}
"""A scale of exactly 1."""


def split_slopes(given: Rewritten, config: Config, combine: bool) -> Rewritten:
    """Replaces each :class:`PRelu` whose slopes are constant and differ along the last axis only, if the device adds
    tensors and gives the same results for all codes."""
    if not config.tables:
        return given
    graph = given.graph
    constants = {op.output: op.values for op in graph.ops if isinstance(op, Constant)}
    constants |= {
        op.output: constants[op.input] for op in graph.ops if isinstance(op, Reshape) and op.input in constants
    }
    tensors: dict[str, Tensor] = dict(graph.tensors)
    ops: list[Op] = []
    for op in graph.ops:
        parts = _parts(op, tensors, constants) if isinstance(op, PRelu) else None
        if parts is None:
            ops.append(op)
        else:
            made, operators = parts
            tensors |= made
            ops += operators
    if len(ops) == len(graph.ops):
        return given
    kept = without_unread(ops, graph.results, set(constants))
    return dataclasses.replace(given, graph=dataclasses.replace(graph, tensors=tensors, ops=kept))


def _parts(
    op: PRelu, tensors: Mapping[str, Tensor], constants: Mapping[str, Array]
) -> tuple[dict[str, Tensor], list[Op]] | None:
    """New tensors and the operators in place of one; ``None`` if there are none that give the same."""
    x, slope, y, values = tensors[op.a], tensors[op.b], tensors[op.output], constants.get(op.b)
    channels = x.shape[-1]
    if values is None or values.size != channels or slope.shape[-1] != channels or op.is_for_host(tensors):
        return None
    codes = values.reshape(-1).astype(np.int64) - slope.zero_point
    above, below = op.scales(tensors)
    try:
        (factor, shift), (multiplier, left) = golden.quantize_multiplier(above), golden.quantize_multiplier(below)
    except ValueError:
        return None
    narrow = bool((codes >= -128).all() and (codes <= 127).all())
    weights: Array = codes.astype(np.int8 if narrow else np.int16).reshape(-1, 1, 1, 1)
    image = (x.shape[0], int(np.prod(x.shape[1:-1])), 1, channels)
    plain = {"file_layout": None, "channel_order": None, "label": ""}
    made = {
        name: dataclasses.replace(like, name=f"{op.name}.{name}", shape=shape, **plain)  # type: ignore[arg-type]
        for name, like, shape in (
            ("limited", x, x.shape),
            ("pixels", x, image),
            ("scaled", y, image),
            ("below", y, x.shape),
            ("above", y, x.shape),
        )
    }
    operators: list[Op] = [
        Requantize(name=f"{op.name}.limited", input=x.name, output=made["limited"].name, high=x.zero_point, **ONE),
        Reshape(name=f"{op.name}.pixels", input=made["limited"].name, output=made["pixels"].name),
        DepthwiseConv2D(
            name=f"{op.name}.scaled",
            input=made["pixels"].name,
            output=made["scaled"].name,
            weights=weights,
            bias=np.zeros(channels, np.int32),
            multiplier=np.full(channels, multiplier, np.int32),
            shift=np.full(channels, left, np.int8),
            rounding=op.rounding,
        ),
        Reshape(name=f"{op.name}.below", input=made["scaled"].name, output=made["below"].name),
        Requantize(
            name=f"{op.name}.above",
            input=x.name,
            output=made["above"].name,
            multiplier=factor,
            shift=shift,
            low=y.zero_point,
            rounding=op.rounding,
        ),
        Add(name=op.name, a=made["above"].name, b=made["below"].name, output=y.name, rounding=Rounding.DOUBLE),
    ]
    named = {tensor.name: tensor for tensor in made.values()}
    return (named, operators) if _are_equal(op, {**tensors, **named}, operators, values) else None


def _are_equal(op: PRelu, tensors: Mapping[str, Tensor], operators: list[Op], slopes: Array) -> bool:
    """Whether the operators give the results of one for all codes of each channel."""
    x = tensors[op.a]
    codes = np.broadcast_to(
        CODES.reshape(-1, *(1,) * (len(x.shape) - 1)), (256, *(1,) * (len(x.shape) - 2), x.shape[-1])
    )
    small = {
        name: dataclasses.replace(
            tensor, shape=(1, *(1,) * (len(tensor.shape) - 2), tensor.shape[-1]), file_layout=None
        )
        for name, tensor in tensors.items()
        if name in {op.a, op.output, *(part.output for part in operators)}
    }
    graph = Graph(name=op.name, tensors=small, ops=operators, inputs=[op.a], outputs=[op.output])
    slopes = slopes.reshape(1, *(1,) * (len(x.shape) - 2), -1)
    return bool(np.array_equal(run(graph, codes)[op.output], op.execute(tensors, {op.a: codes, op.b: slopes})))
