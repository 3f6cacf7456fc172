"""Every way in which a layer can be computed, through the RTL: small images, kernels larger than they are, strides
larger than kernels."""

import itertools

import numpy as np
import pytest

import sateen
import seeds
import ways
from sateen.compiler import means
from sateen.compiler.lowering import lower_operator
from sateen.compiler.passes import alike
from sateen.graph import AveragePool2D, DepthwiseConv2D, MaxPool2D, run
from sateen.hw.spec.config import parse_config
from sateen.sparsity import packing
from sateen.testing.graphs import Builder, random_input

KERNELS, SIZES = range(3, 12), range(1, 9)


def swept(config, kernels, heights, widths, channels):
    """Depthwise layers whose results have the sizes of their inputs; the number of ways that were computed."""
    rng = np.random.default_rng(1)
    with sateen.open(f"sim:{config}") as device:
        graphs = [ways.depthwise(*shape, rng) for shape in itertools.product(heights, widths, kernels, channels)]
        return sum(ways.check(device, graph, random_input(graph, rng)) for graph in graphs)


def test_small_images():
    assert swept("small", (3, 5), (1, 3), (1, 2), (3,)) > 50


@pytest.mark.prove
@pytest.mark.parametrize(
    ("config", "kernels", "sizes"), [("small", KERNELS, SIZES), ("large", KERNELS[::4], SIZES[::2])]
)
def test_all_small_images(config, kernels, sizes):
    assert swept(config, kernels, sizes, sizes, (3, 16)) > 500


@pytest.mark.prove
def test_all_small_images_as_chosen():
    """On the large array, as the compiler chooses to compute each."""
    with sateen.open("sim:large") as device:
        for place, shape in enumerate(itertools.product(SIZES, SIZES, KERNELS[::2], (3, 16))):
            graph = ways.depthwise(*shape, np.random.default_rng([place, 7]))
            x = random_input(graph, np.random.default_rng([place, 8]))
            actual = device.load(sateen.compile(graph, device.config)).run(x)
            np.testing.assert_array_equal(actual, run(graph, x)[graph.outputs[0]], err_msg=f"image and kernel {shape}")


@pytest.mark.parametrize("case", range(8))
def test_random_layers(case):
    with sateen.open("sim:small") as device:
        rng = np.random.default_rng([seeds.BASE, case])
        graph = ways.random_layer(rng)
        ways.check(device, graph, random_input(graph, rng))


@pytest.mark.parametrize("config", ways.CONFIGS[1:5])
def test_programs_of_random_layers(config):
    """The compiler compares each program with the layer; here no device runs it."""
    config, count = parse_config(config), 0
    for case in range(8):
        graph = ways.random_layer(np.random.default_rng([seeds.BASE, case]))
        for some in ways.batches(graph, config):
            ways.compiled(ways.copies(graph, some), graph, config)
            count += len(some)
    assert count > 20


def test_ways_are_there():
    """What is forced is not always the same."""
    rng = np.random.default_rng(1)
    for config, graph, forms, least in (
        ("large", ways.depthwise(8, 8, 3, 16, rng), 2, 20),
        ("small", Builder((12, 2, 1), rng).conv2d(5, (5, 2), padding=((2, 2), (1, 0))).graph(), 4, 6),
        ("small", Builder((7, 8, 3), rng).conv2d(2, (3, 2), padding=((1, 1), (1, 0))).graph(), 4, 8),
        ("tiny,combine=4", Builder((5, 4, 64), rng, density=0.1).conv2d(6, (3, 3)).graph(), 2, 4),
    ):
        every = ways.ways(graph, parse_config(config))
        assert len({form for form, _ in every}) >= forms and len(every) >= least, (config, every)


def whole(kind, channels, rng):
    """A graph of one layer that makes one pixel of an image."""
    builder = Builder((5, 4, channels), rng)
    if kind is DepthwiseConv2D:
        return builder.depthwise_conv2d((5, 4)).graph()
    return builder._add(kind, builder._output((1, 1, channels), same=True), size=(5, 4), stride=(5, 4)).graph()


def test_groups_that_are_alike():
    """Groups of channels as columns of results, where all do the same; on small arrays that is what is chosen. A mean's
    window slides over them, too."""
    rng = np.random.default_rng(1)
    with sateen.open("sim:small") as device:
        for kind, channels, count in ((AveragePool2D, 24, 1), (MaxPool2D, 16, 1), (AveragePool2D, 8, 0),
                                      (AveragePool2D, 20, 0), (DepthwiseConv2D, 24, 0)):  # fmt: skip
            graph = whole(kind, channels, rng)
            (kernel,) = lower_operator(graph.ops[0], graph.tensors, device.config).kernels
            assert len(list(alike(kernel, device.config))) == count
            assert (means.together(kernel, device.config) is not None) == (kind is AveragePool2D and count == 1)
            assert ways.check(device, graph, random_input(graph, rng)) > count
    (layer,) = sateen.compile(whole(AveragePool2D, 64, rng), "small").layers
    assert layer.predicted.cycles < 320


def test_two_weights_in_one_cell_are_refused(monkeypatch):
    """Of a tile with selects."""
    weights = np.ones((1, 1, 8), np.int8)
    config, windows = parse_config("tiny,combine=4"), packing.Windows(1, 2, 4)
    assert packing.pack_into(weights, windows, config) is not None
    monkeypatch.setattr(packing, "_place", lambda *_: np.zeros((1, 8), np.int64))
    with pytest.raises(ValueError, match="puts two weights in one cell"):
        packing.pack_into(weights, windows, config)
