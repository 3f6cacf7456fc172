"""Windows that slide over the columns: small images, and weights that never stand on one another."""

import dataclasses
import itertools

import numpy as np
import pytest

import sateen
from sateen.compiler import sliding
from sateen.compiler.lowering import lower_operator
from sateen.graph import run
from sateen.hw.spec.config import parse_config
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
