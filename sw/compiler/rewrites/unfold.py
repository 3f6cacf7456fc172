"""Convolutions of few channels, whose kernel rows are shorter than a beat: an image unfolded once, so that a whole
window is one run of bytes."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter

from sateen.compiler.rewrites.base import Rewritten
from sateen.graph import Conv2D, Op, Shape, Tensor, TurnedConv2D, Unfold
from sateen.hw.spec.config import Config

__all__ = ["fold", "unfold"]

LAYER_CYCLES = 150
"""That one layer more takes besides its beats, at most; and a few to spare."""


def fold(given: Rewritten, config: Config, combine: bool) -> Rewritten:
    """The inverse of :func:`unfold`, for the graph of a compiled model: another device may compute it otherwise."""
    graph = given.graph
    made = {op.output: op for op in graph.ops if isinstance(op, Unfold)}
    readers = Counter(name for op in graph.ops for name in op.inputs)
    ops: list[Op] = []
    folded: set[str] = set()
    for op in graph.ops:
        unfolded = made.get(op.input) if isinstance(op, TurnedConv2D) else None
        if unfolded is None or not isinstance(op, TurnedConv2D) or readers[op.input] > 1 or op.input in graph.results:
            ops.append(op)
            continue
        outputs, _, rows, _ = op.weights.shape
        channels = graph.tensors[unfolded.input].shape[3]
        fields: dict[str, object] = {field.name: getattr(op, field.name) for field in dataclasses.fields(op)}
        fields |= {
            "input": unfolded.input,
            "weights": op.weights.reshape(outputs, rows, unfolded.size, channels),
            "stride": (op.stride[1], unfolded.stride),
            "padding": (op.padding[1], unfolded.padding),
            "dilation": (1, unfolded.dilation),
        }
        ops.append(Conv2D(**fields))  # type: ignore[arg-type]
        folded.add(unfolded.output)
    if not folded:
        return given
    ops = [op for op in ops if op.output not in folded]
    tensors = {name: tensor for name, tensor in graph.tensors.items() if name not in folded}
    return dataclasses.replace(given, graph=dataclasses.replace(graph, tensors=tensors, ops=ops))


def unfold(given: Rewritten, config: Config) -> Rewritten:
    """Replaces each :class:`Conv2D` by an :class:`Unfold` and a :class:`TurnedConv2D` where that takes fewer beats.

    The unfolded image takes more memory: whoever asks for this must see whether all tensors still have room.
    """
    graph = given.graph
    tensors: dict[str, Tensor] = dict(graph.tensors)
    ops: list[Op] = []
    for op in graph.ops:
        if not isinstance(op, Conv2D) or not _pays(op, tensors[op.input].shape, tensors[op.output].shape, config):
            ops.append(op)
            continue
        x, (outputs, rows, size, channels) = tensors[op.input], op.weights.shape
        image = (x.shape[0], tensors[op.output].shape[2], x.shape[1], size * channels)
        unfolded = dataclasses.replace(
            x, name=f"{op.name}.unfolded", shape=image, file_layout=None, channel_order=None, label=""
        )
        tensors[unfolded.name] = unfolded
        ops.append(
            Unfold(
                name=unfolded.name, input=op.input, output=unfolded.name, size=size, stride=op.stride[1],
                dilation=op.dilation[1], padding=op.padding[1],
            )
        )  # fmt: skip
        turned: dict[str, object] = {field.name: getattr(op, field.name) for field in dataclasses.fields(op)}
        turned |= {
            "input": unfolded.name,
            "weights": op.weights.reshape(outputs, 1, rows, size * channels),
            "stride": (1, op.stride[0]),
            "padding": ((0, 0), op.padding[0]),
            "dilation": (1, 1),
        }
        ops.append(TurnedConv2D(**turned))  # type: ignore[arg-type]
    if len(ops) == len(graph.ops):
        return given
    return dataclasses.replace(given, graph=dataclasses.replace(graph, tensors=tensors, ops=ops))


def _pays(op: Conv2D, x: Shape, y: Shape, config: Config) -> bool:
    """Whether a convolution takes fewer cycles behind an unfolded image, whose own beats count, too."""
    outputs, rows, size, channels = op.weights.shape
    if config.engine != "pipelined" or op.terms is not None or rows == 1 or op.dilation[0] > 1 or y[1] * y[2] == 1:
        return False
    groups, drains = -(-outputs // config.cols), config.drain_groups
    run, pitch = ((size - 1) * op.dilation[1] + 1) * channels, x[2] * channels
    together = max(1, min(rows, (config.tile_depth - run) // pitch + 1)) if op.dilation[1] == 1 else 1
    if op.dilation[1] > 1:
        beats: float = rows * size * math.ceil(channels / config.tile_depth)
    elif together > 1 and size <= x[2]:
        beats = math.ceil(rows / together)
    else:
        beats = rows * min(
            math.ceil((run + (pixels - 1) * op.stride[1] * channels) / config.tile_depth) / pixels
            for pixels in range(1, max(1, config.cols // outputs) + 1)
            if y[2] % pixels == 0
        )
    plain = y[1] * y[2] * groups * max(beats, drains)
    turned = y[1] * y[2] * groups * max(math.ceil(rows * size * channels / config.tile_depth), drains)
    taken = size * channels
    copies = max(
        -(-taken // config.cols) * math.ceil(run / config.tile_depth), taken // config.cols * drains
        + -(-(taken % config.cols) // config.lanes)
    )  # fmt: skip
    return turned + x[1] * y[2] * copies + LAYER_CYCLES < plain
