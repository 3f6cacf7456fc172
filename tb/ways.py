"""Every way in which the compiler can compute a layer, not only the one that it chooses: each form of kernel, each
number of rows in a block, each walk of a window that slides, each packing; and behind an unfolded image."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Iterator
from functools import cache
from unittest import mock

import numpy as np

import sateen
from sateen.compiler import choice
from sateen.compiler.lowering import Kernel, Lowered, weighted
from sateen.errors import CompileError
from sateen.graph import AveragePool2D, Conv2D, DepthwiseConv2D, Graph, Op, Weighted, run
from sateen.hw.spec.config import Config
from sateen.testing.graphs import Builder, random_input

__all__ = ["CONFIGS", "batches", "check", "compiled", "copies", "depthwise", "random_layer", "soak", "ways"]

lower = importlib.import_module("sateen.compiler.lowering.lower")
stages = importlib.import_module("sateen.compiler.stages")
unfold = importlib.import_module("sateen.compiler.rewrites.unfold")
CONFIGS = ["small", "large", "tiny", "tiny,combine=4", "tiny,pe=bitserial", "tiny,rows=9,window_skip=16,overlap=1"]
"""A seed's is that at its remainder."""
AGAIN = "repeat with .venv/bin/python tb/soak.py ways --seed"


def forms(op: Op, graph: Graph, config: Config) -> list[tuple[Kernel, ...]]:
    """The kernels as which a layer can be computed: as the compiler lowers it, and for convolutions every number of
    kernel rows in a beat and of pixels side by side."""
    x, y = graph.tensors[op.inputs[0]], graph.tensors[op.output]
    found = [lower.lower_operator(op, graph.tensors, config).kernels]
    if isinstance(op, DepthwiseConv2D) and op.weights.shape[0] == x.shape[3]:
        dense = np.zeros((*op.weights.shape[:3], x.shape[3]), op.weights.dtype)
        dense[np.arange(len(dense)), :, :, np.arange(len(dense))] = op.weights[..., 0]
        fields = {field.name: getattr(op, field.name) for field in dataclasses.fields(op)}
        op = Conv2D(**{**fields, "weights": dense})
    if isinstance(op, Conv2D) and len(weighted.weight_parts(op.weights, config)) == 1:
        found.append((weighted.row_by_row(op, x, y, config),))
        outputs, kernel_y, kernel_x, channels = op.weights.shape
        if kernel_x == 1 or op.dilation[1] == 1:
            pitch = x.shape[2] * channels * op.dilation[0]
            most = min(kernel_y, (config.tile_depth - kernel_x * channels) // pitch + 1)
            for rows in range(2, most + 1) if kernel_x <= x.shape[2] else ():
                found.append(tuple(weighted._narrow(op, x, y, config, rows)))
            for pixels in range(2, config.cols // outputs + 1):
                if y.shape[2] % pixels == 0:
                    found.append((weighted._side_by_side(op, x, y, config, pixels),))
    return found


def candidates(chooser: choice._Chooser, op: Op, kernel: Kernel, source: int, target: int) -> list[choice.Candidate]:
    """All that the compiler chooses among."""
    found = list(chooser._dense(kernel, source, target))
    for packed in chooser.packer.packed(kernel) if chooser.packer is not None else ():
        found += chooser._blocks(packed, source, target)
    return found


def ways(graph: Graph, config: Config) -> list[tuple[int, int]]:
    """A form and a candidate for each way of a graph's only layer. Where a form is several kernels, each has a
    candidate at that place or at its remainder."""
    (op,) = graph.ops
    chooser = choice._Chooser(config, choice.Packer(config) if config.combine > 1 else None)
    found = []
    for form, kernels in enumerate(forms(op, graph, config)):
        count = max(len(candidates(chooser, op, kernel, 0, 0)) for kernel in kernels)
        found += [(form, place) for place in range(count)]
    return found


def copies(graph: Graph, chosen: list[tuple[int, int]]) -> Graph:
    """A copy of the layer for each way, all of the same input."""
    (op,) = graph.ops
    names = [f"way.{form}.{place}" for form, place in chosen]
    y = graph.tensors[op.output]
    tensors = {op.inputs[0]: graph.tensors[op.inputs[0]]} | {name: dataclasses.replace(y, name=name) for name in names}
    ops = [dataclasses.replace(op, name=name, output=name) for name in names]
    return Graph(name=graph.name, tensors=tensors, ops=ops, inputs=graph.inputs, outputs=names)


def compiled(graph: Graph, original: Graph, config: Config) -> sateen.Model:
    """The copies, each computed in its way."""
    made = forms(original.ops[0], original, config)

    def lowered(op: Op, tensors: object, config: Config) -> Lowered:
        return Lowered(kernels=made[int(op.name.split(".")[1])])

    def forced(self: choice._Chooser, op: Op, kernel: Kernel, source: int, target: int) -> choice.Candidate:
        every = candidates(self, op, kernel, source, target)
        return every[int(op.name.split(".")[2]) % len(every)]

    with (
        mock.patch.object(lower, "lower_operator", lowered),
        mock.patch.object(choice._Chooser, "_fastest", forced),
        mock.patch.object(stages, "unfold", lambda rewritten, config: rewritten),
    ):
        return sateen.compile(graph, config, strict=True)


def unfolded(graph: Graph, config: Config) -> sateen.Model:
    """A convolution behind an unfolded image, whether that pays or not; as it is if there is no room."""
    with mock.patch.object(unfold, "_pays", lambda op, *shapes_and_config: op.dilation[0] == 1):
        return sateen.compile(graph, config, strict=True)


def batches(graph: Graph, config: Config) -> Iterator[list[tuple[int, int]]]:
    """The ways, as many at a time as the scratchpad has room for."""
    (op,) = graph.ops
    size = [int(np.prod(graph.tensors[name].shape[1:])) for name in (op.inputs[0], op.output)]
    room = max(1, (config.scratchpad_bytes - size[0]) // size[1])
    every = ways(graph, config)
    for first in range(0, len(every), room):
        yield every[first : first + room]


def check(device: sateen.runtime.Device, graph: Graph, x: np.ndarray) -> int:
    """Computes a layer in every way on a device, and compares with the golden model; the number of ways."""
    wanted = run(graph, x)[graph.outputs[0]]
    count = 0
    for some in batches(graph, device.config):
        each = copies(graph, some)
        given = device.load(compiled(each, graph, device.config)).run(x)
        results = given if isinstance(given, dict) else {each.outputs[0]: given}
        for name, values in results.items():
            np.testing.assert_array_equal(values, wanted, err_msg=f"{name} of {graph.ops[0]}")
        count += len(some)
    if isinstance(graph.ops[0], Conv2D) and device.config.engine == "pipelined":
        model = unfolded(graph, device.config)
        np.testing.assert_array_equal(device.load(model).run(x), wanted, err_msg=f"unfolded {graph.ops[0]}")
        count += 1
    return count


def depthwise(height: int, width: int, kernel: int, channels: int, rng: np.random.Generator) -> Graph:
    """A depthwise layer whose result has the size of its input."""
    pads = ((kernel - 1) // 2, kernel // 2)
    builder = Builder((height, width, channels), rng)
    return builder.depthwise_conv2d((kernel, kernel), padding=(pads, pads)).graph()


def random_layer(rng: np.random.Generator) -> Graph:
    """One layer on a small image; kernels may be larger than that, and strides larger than kernels."""
    size = [int(rng.integers(1, 9)) for _ in range(2)]
    channels = int(rng.choice([1, 2, 3, 5, 8, 16, 20]))
    kernel = tuple(int(rng.integers(1, 12 if rng.random() < 0.3 else 5)) for _ in range(2))
    stride = tuple(int(rng.integers(1, k + 3 if rng.random() < 0.3 else 3)) for k in kernel)
    pads = tuple(
        tuple(int(rng.integers(low, low + k)) for low in (max(0, -(-(k - s) // 2)),) * 2)
        if rng.random() < 0.7 or k > s else (0, 0)
        for k, s in zip(kernel, size, strict=True)
    )  # fmt: skip
    builder = Builder((*size, channels), rng, density=float(rng.choice([1, 1, 0.2])))
    kinds: list[Callable[[], Builder]] = [
        lambda: builder.depthwise_conv2d(kernel, stride=stride, padding=pads),
        lambda: builder.depthwise_conv2d(kernel, stride=stride, padding=pads, each=int(rng.integers(2, 4))),
        lambda: builder.conv2d(int(rng.integers(1, 20)), kernel, stride=stride, padding=pads),
        lambda: pooled(builder, kernel, stride, size),
    ]
    graph = kinds[int(rng.choice(len(kinds), p=[0.5, 0.1, 0.3, 0.1]))]().graph()
    return with_zero_point(graph, int(rng.integers(-128, 128))) if rng.random() < 0.3 else graph


def with_zero_point(graph: Graph, zero_point: int) -> Graph:
    """The graph with weights as uint8 models have them, less a zero point, if it has any."""
    (op,) = graph.ops
    if not isinstance(op, Weighted):
        return graph
    weights = op.weights.astype(np.int16) - zero_point
    return dataclasses.replace(graph, ops=[dataclasses.replace(op, weights=np.clip(weights, -255, 255))])


def pooled(builder: Builder, kernel: tuple[int, ...], stride: tuple[int, ...], size: list[int]) -> Builder:
    """A maximum or a mean over windows, none of which lies wholly in padding."""
    kernel = tuple(min(k, s) for k, s in zip(kernel, size, strict=True))
    pads = tuple((k // 2, 0) for k in kernel)
    if builder.rng.random() < 0.5:
        return builder.max_pool2d(kernel, stride=stride, padding=pads)
    shape = [(s + k // 2 - k) // step + 1 for s, k, step in zip(size, kernel, stride, strict=True)]
    output = builder._output((*shape, builder.last.shape[3]), same=True)
    return builder._add(AveragePool2D, output, size=kernel, stride=stride, padding=pads)


@cache
def opened(config: str) -> sateen.runtime.Device:
    """A simulated device, which stays open."""
    return sateen.open(f"sim:{config}")


def soak(seed: int) -> str:
    """A random layer in every way on a simulated device; a word for what came out."""
    rng = np.random.default_rng(seed)
    graph, config = random_layer(rng), CONFIGS[seed % len(CONFIGS)]
    try:
        count = check(opened(config), graph, random_input(graph, rng))
    except CompileError:
        return "refused"
    except Exception as error:
        raise AssertionError(f"layer {seed} on {config}: {error}; {AGAIN} {seed}") from error
    return "one way" if count == 1 else "equal"
