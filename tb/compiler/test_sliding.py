"""Windows that slide over the columns: small images, and weights that never stand on one another."""

import contextlib
import dataclasses
import itertools

import numpy as np
import pytest

import sateen
import ways
from sateen.compiler import sliding
from sateen.compiler.lowering import lower_operator
from sateen.compiler.notes import notes
from sateen.errors import InternalError
from sateen.graph import run
from sateen.hw.spec.config import parse_config
from sateen.hw.spec.descriptor import Descriptor
from sateen.testing.graphs import Builder, random_input


def depthwise(height, width, kernel, rng):
    """A graph of one depthwise layer whose result has the size of its input."""
    pad = kernel // 2
    builder = Builder((height, width, 3), rng)
    return builder.depthwise_conv2d((kernel, kernel), padding=((pad, pad), (pad, pad))).graph()


def test_images_smaller_than_the_kernel():
    """Where the result is no larger than the padding before it, a kernel row reaches into the beats of the next one."""
    rng = np.random.default_rng(1)
    with sateen.open("sim:small") as device:
        for kernel, height, width in itertools.product((3, 5), (1, 2, 3), (1, 2, 4)):
            graph = depthwise(height, width, kernel, rng)
            x = random_input(graph, rng)
            y = device.load(sateen.compile(graph, device.config)).run(x)
            np.testing.assert_array_equal(y, run(graph, x)[graph.outputs[0]], err_msg=f"{kernel=} {height=} {width=}")


def test_two_weights_in_one_row_are_refused():
    """Whatever walk is asked for."""
    config, graph = parse_config("small"), depthwise(4, 1, 3, np.random.default_rng(1))
    (kernel,) = lower_operator(graph.ops[0], graph.tensors, config).kernels
    walk = sliding.Walk(outer=0, results=1, kernel_steps=2, wraps=True)
    assert walk not in set(sliding.walks(kernel, config))
    with pytest.raises(ValueError, match="puts two weights in one row of the tile"):
        sliding.words(kernel, config, walk)
    sliding.words(kernel, config, dataclasses.replace(walk, kernel_steps=1))


def test_strides_beyond_a_descriptor():
    """A stride that a descriptor's field for it cannot hold: another way is taken."""
    rng = np.random.default_rng(1)
    graph = Builder((1, 301, 3), rng).depthwise_conv2d((1, 3), stride=(1, 300), padding=((0, 0), (1, 1))).graph()
    x = random_input(graph, rng)
    with sateen.open("sim:small") as device:
        loaded = device.load(sateen.compile(graph, device.config))
        np.testing.assert_array_equal(loaded.run(x), run(graph, x)[graph.outputs[0]])


PAIRS = "small,pe=packed,multipliers=24"
FEW = "small,window_rows=5"
"""On both, windows slide over the last five rows only."""
LAYERS = [
    # Height, width, kernel, stride, padding.
    (4, 5, (3, 3), (1, 1), ((1, 1), (1, 1))),
    (5, 4, (3, 2), (1, 1), ((2, 2), (1, 0))),
    (4, 6, (2, 3), (1, 2), ((0, 1), (2, 3))),
    (5, 3, (1, 4), (2, 1), ((0, 0), (3, 3))),
    (9, 5, (4, 2), (1, 1), ((1, 2), (0, 0))),
    (2, 20, (1, 2), (1, 1), ((0, 0), (1, 1))),
    (6, 4, (2, 2), (1, 1), ((1, 1), (2, 2))),
    (7, 7, (5, 1), (2, 1), ((2, 3), (1, 1))),
    (20, 1, (3, 3), (1, 1), ((1, 1), (1, 1))),
    (20, 2, (3, 5), (1, 1), ((1, 1), (2, 2))),
]


def kernel_of(config, height, width, kernel, stride, padding):
    """A depthwise layer as a kernel, and its graph."""
    builder = Builder((height, width, 3), np.random.default_rng(1))
    graph = builder.depthwise_conv2d(kernel, stride=stride, padding=padding).graph()
    (lowered,) = lower_operator(graph.ops[0], graph.tensors, config).kernels
    return lowered, graph


def right_walks(config, graph, size, kernel, stride, padding):
    """By their definition: what a window needs is in the beats before, and each weight has a row of its own."""
    out = graph.tensors[graph.outputs[0]].shape[1:3]
    for outer, wraps in itertools.product((0, 1), (False, True)):
        inner = 1 - outer
        before = padding[inner][0] if wraps else 0
        for steps, results in itertools.product(range(1, kernel[outer] + 1), range(1, out[inner] + 1)):
            span = (results - 1) * stride[inner] + kernel[inner] - before
            places = [(step * span + beat) for step in range(steps) for beat in range(kernel[inner])]
            if wraps:
                # A window's first values are the last beats of the line before: padding, and not the whole window.
                there = results == out[inner] and 0 < before < kernel[inner]
                if not there or any(span - place < size[inner] for place in range(1, before + 1)):
                    continue
                if len(set(places)) < len(places):
                    continue
            if max(places) < config.sliding_rows and results <= config.positions:
                yield sliding.Walk(outer, results, steps, wraps)
                # All lines of padding before the image are also the last ones of each walk, which is over all results,
                # and each window has some of the image.
                lines = [step - padding[outer][0] for step in range((out[outer] - 1) * stride[outer] + kernel[outer])]
                above, below = sum(line < 0 for line in lines), sum(line >= size[outer] for line in lines)
                whole = steps == kernel[outer] and out[outer] * results <= config.positions
                several = results < out[inner] and config.overlap
                if several and whole and 0 < above <= below and above < kernel[outer]:
                    yield sliding.Walk(outer, results, steps, wraps, apart=1)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", ["small,overlap=1", "small,positions=16", "small,rows=20,positions=16", PAIRS, FEW])
def test_every_walk_that_is_right(layer, name):
    config = parse_config(name)
    kernel, graph = kernel_of(config, *layer)
    found = list(sliding.walks(kernel, config))
    assert len(found) == len(set(found))
    assert set(found) == set(right_walks(config, graph, layer[:2], *layer[2:]))


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", [PAIRS, FEW])
def test_other_rows_stay_empty(layer, name):
    """Where windows slide over the last rows, the others add nothing."""
    config = parse_config(name)
    kernel, _ = kernel_of(config, *layer)
    for walk in sliding.walks(kernel, config):
        tiles = sliding.words(kernel, config, walk)[0, : walk.parts(kernel) * config.rows].reshape(-1, 8, 8)
        assert not tiles[:, :3].any() and tiles[:, 3:].any()


@pytest.mark.parametrize(
    ("config", "rows", "advice"),
    [
        ("pe=packed,multipliers=24", 5, "with fewer multipliers, fewer do"),
        ("pe=packed,multipliers=40", 3, "with fewer multipliers, fewer do"),
        ("pe=packed,multipliers=48", 2, "with fewer multipliers, fewer do"),
        ("pe=packed,multipliers=64", 0, "with fewer multipliers, fewer do"),
        ("pe=packed,multipliers=24,window_rows=4", 4, "window_rows says so"),
        ("window_rows=5", 5, "window_rows says so"),
        ("window_rows=0", 0, "window_rows says so"),
    ],
)
def test_compiles_for_few_rows(config, rows, advice):
    """The compiler compares the program with the layer. No window slides over fewer than three rows."""
    graph = depthwise(9, 9, 3, np.random.default_rng(1))
    model = sateen.compile(graph, f"small,{config}")
    assert any(Descriptor.slides(segment.program.tobytes()) for segment in model.segments) == (rows >= 3)
    (said,) = notes(model).values()
    assert said.startswith(f"its windows slide over {rows} of the tile's 8 rows" if rows else "its windows do not")
    assert said.endswith(advice)


def test_all_rows_need_no_note():
    graph = depthwise(9, 9, 3, np.random.default_rng(1))
    assert not notes(sateen.compile(graph, "small"))


@pytest.mark.parametrize(
    ("channels", "stride", "beats"),
    [
        # Blocks of 6 rows of results, from 13 rows; 24 columns of every second pixel and one more.
        (16, (2, 2), 2 * 4 * 13 * 25),
        # Blocks of 6 columns of results, from 7 columns of pairs of pixels; 48 rows and two more.
        (8, (1, 1), 2 * 4 * 7 * 50),
    ],
)
def test_interleaved(channels, stride, beats):
    """Beats on every second pixel, in two passes."""
    builder = Builder((48, 48, channels), np.random.default_rng(1))
    graph = builder.depthwise_conv2d((3, 3), stride=stride, padding=((1, 1), (1, 1))).graph()
    (layer,) = sateen.compile(graph, "large").layers
    assert layer.predicted.busy == beats


def same_size(shape, layers=1):
    """Depthwise layers whose results have the size of their inputs."""
    builder = Builder(shape, np.random.default_rng(1))
    for _ in range(layers):
        builder.depthwise_conv2d((3, 3), padding=((1, 1), (1, 1)))
    return builder.graph()


@pytest.mark.parametrize(
    ("shape", "device", "beats"),
    [
        # Lines of 6 pixels and one of padding: 8 of them and one before, and 7 for each of the other groups.
        ((6, 6, 128), "large,window_skip=16", 63 + 7 * 49),
        ((6, 6, 128), "large,rows=24", 63 + 7 * 49),
        # Two blocks of 6 columns of results, from 8 columns and 14 rows. Two walks hide a descriptor's latency.
        ((12, 12, 32), "large,window_skip=16", 8 * (2 * 14 + 2 * 13)),
    ],
)
def test_padding_between_walks(shape, device, beats):
    """What lies behind one group of channels, or one block, also lies before the next."""
    (layer,) = sateen.compile(same_size(shape), f"{device},overlap=1").layers
    assert layer.predicted.busy == beats


@pytest.mark.parametrize(("descriptors", "beats"), [(4, 3 * 63 + 5 * 49), (3, 8 * 63)])
def test_descriptors_that_do_not_fit(descriptors, beats):
    """Padding between groups takes one more for each layer. Where these are too many, none is taken."""
    config = f"large,window_skip=16,overlap=1,descriptors={descriptors}"
    model = sateen.compile(same_size((6, 6, 128), layers=2), config)
    assert model.resident and model.layers[1].predicted.busy == beats


@pytest.mark.parametrize(("below", "right"), [(1, True), (0, False)])
def test_padding_that_is_not_there(below, right, monkeypatch):
    """Where a walk ends with lines of the image, the compiler finds its own mistake."""
    config = parse_config("small,overlap=1")
    graph = Builder((4, 2, 20), np.random.default_rng(1)).depthwise_conv2d((3, 2), padding=((1, below), (0, 0))).graph()
    monkeypatch.setattr(sliding, "_may_follow", lambda walk, kernel, config: walk.outer == 0 and walk.kernel_steps == 3)
    (kernel,) = lower_operator(graph.ops[0], graph.tensors, config).kernels
    assert any(walk.apart for walk in sliding.walks(kernel, config))
    with contextlib.nullcontext() if right else pytest.raises(InternalError, match="bias is larger by"):
        for some in ways.batches(graph, config):
            ways.compiled(ways.copies(graph, some), graph, config)


@pytest.mark.parametrize("layer", LAYERS)
def test_programs_of_every_walk(layer):
    """Where the accumulators hold few lines of results, in as few descriptors as there can be. The compiler compares
    each program with the layer."""
    config = parse_config("small,positions=16,overlap=1")
    kernel, graph = kernel_of(config, *layer)
    several = 0
    for walk in sliding.walks(kernel, config):
        made = list(sliding.descriptors(kernel, config, walk, source=0, target=0, groups=(0, 1)))
        lines, blocks = kernel.out[walk.outer], kernel.out[1 - walk.outer]
        times = -(-lines // (config.positions // walk.results))
        more = walk.apart > 0 and blocks >= 2 * walk.results
        assert len(made) == times * (1 + (blocks % walk.results > 0) + more)
        several += times > 1
    assert several
    for some in ways.batches(graph, config):
        ways.compiled(ways.copies(graph, some), graph, config)
