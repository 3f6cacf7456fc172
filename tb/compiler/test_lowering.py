"""Which kernels an operator becomes. The compiler compares each program with the layer; here are the forms that make it
fast, and the boundaries between them."""

from dataclasses import replace

import numpy as np
import pytest

import sateen
from sateen.compiler.lowering import lower_operator
from sateen.compiler.lowering.arrange import LONGEST
from sateen.errors import CompileError
from sateen.graph import (
    AveragePool2D,
    Broadcast,
    DepthToSpace,
    DepthwiseConv2D,
    FullyConnected,
    Mean,
    ReduceMax,
    Requantize,
    Slice,
    Table,
    Take,
)
from sateen.hw.spec.config import parse_config
from sateen.hw.spec.parameters import table_words
from sateen.testing.graphs import Builder

SAME = ((1, 1), (1, 1))
WIDE = "tiny,pe=bitserial"
"""PEs that hold 8 bits, so that wider weights are cut."""


class Ops(Builder):
    """A builder for operators of any kind."""

    def then(self, kind, *shape, same=True, **fields):
        return self._add(kind, self._output(shape, same=same), **fields)

    def depthwise(self, kernel, shape, *, wide=0, **fields):
        made = self._weighted((shape[-1], *kernel, 1))
        if wide:
            made["weights"] = made["weights"].astype(np.int16) + wide
        return self._add(DepthwiseConv2D, self._output(shape), **made, **fields)

    def rows(self, outputs):
        """A fully connected layer of several rows."""
        made = self._weighted((outputs, self.last.shape[-1]))
        return self._add(FullyConnected, self._output((*self.last.shape[1:-1], outputs)), **made)


def wide(outputs, kernel, channels, *, least=-200, most=200):
    return np.random.default_rng(8).integers(least, most + 1, (outputs, *kernel, channels)).astype(np.int16)


def ops(*shape):
    return Ops(shape, np.random.default_rng(3))


CASES = {
    # Kernel rows side by side, two and three at a time, and images that are too wide for that.
    "narrow": ("large", ops(6, 3, 2).conv2d(5, (3, 3), padding=SAME)),
    "narrow by two": ("tiny", ops(6, 2, 1).conv2d(5, (2, 2))),
    "narrow, dilated": ("large", ops(9, 3, 2).conv2d(5, (3, 2), dilation=(2, 1))),
    "not narrow": ("tiny", ops(6, 5, 1).conv2d(5, (2, 2))),
    # Neighbouring results side by side.
    "few outputs": ("large", ops(6, 8, 4).conv2d(3, (3, 3), padding=SAME)),
    "few outputs, strided": ("small", ops(6, 9, 2).conv2d(2, (3, 3), stride=(2, 2), padding=SAME)),
    "parts": (WIDE, ops(6, 8, 2).conv2d(2, (3, 3), weights=wide(2, (3, 3), 2))),
    "parts of a column, dilated": (WIDE, ops(3, 3, 9).conv2d(3, (2, 1), dilation=(2, 2), weights=wide(3, (2, 1), 9))),
    "parts, dilated": (WIDE, ops(4, 6, 2).conv2d(3, (2, 2), dilation=(1, 2), weights=wide(3, (2, 2), 2))),
    "9 bits below": ("tiny", ops(4, 4, 3).conv2d(5, (1, 1), weights=wide(5, (1, 1), 3, least=-250, most=0))),
    "9 bits above": ("tiny", ops(4, 4, 3).conv2d(5, (1, 1), weights=wide(5, (1, 1), 3, least=0, most=250))),
    "9 bits and more": ("tiny", ops(4, 4, 3).conv2d(5, (1, 1), weights=wide(5, (1, 1), 3))),
    "rows": ("tiny", ops(3, 4, 9).rows(6)),
    "vector": ("tiny", ops(9).rows(6)),
    "depthwise, dense": ("tiny", ops(5, 4, 4).depthwise((3, 3), (3, 2, 4))),
    "depthwise, dense, dilated": ("tiny", ops(6, 5, 3).depthwise((2, 2), (4, 3, 3), dilation=(2, 2))),
    "depthwise, doubled": ("tiny", ops(5, 4, 2).depthwise((3, 3), (3, 2, 4))),
    "depthwise, diagonal": ("small", ops(5, 4, 20).depthwise((3, 3), (3, 2, 20))),
    "depthwise, tripled": ("small", ops(5, 4, 9).depthwise((3, 3), (3, 2, 27))),
    "depthwise, parts": (WIDE, ops(5, 4, 9).depthwise((2, 2), (4, 3, 9), wide=100)),
    "mean of rows": ("tiny", ops(6, 5, 7).then(Mean, 5, 7, axes=(1,), same=False)),
    "mean of columns": ("tiny", ops(6, 5, 7).then(Mean, 6, 7, axes=(2,), same=False)),
    "mean of an image": ("tiny", ops(6, 5, 7).then(Mean, 7, axes=(1, 2), same=False)),
    "mean of channels": ("small", ops(6, 4, 7).then(Mean, 6, 4, axes=(3,), same=False)),
    "mean of a matrix": ("tiny", ops(6, 5).then(Mean, 5, axes=(1,), same=False)),
    "largest": ("tiny", ops(6, 5, 3).then(ReduceMax, 3, axes=(1, 2))),
    "pooled": ("tiny", ops(6, 4, 3).max_pool2d((2, 2))),
    "means at the edges": (
        "tiny", ops(5, 7, 3).then(AveragePool2D, 3, 4, 3, size=(3, 3), stride=(2, 2), padding=SAME)
    ),
    "means": ("tiny", ops(6, 4, 3).then(AveragePool2D, 3, 2, 3, size=(2, 2), stride=(2, 2))),
    "scaled": ("small", ops(5, 3, 7).then(Requantize, 5, 3, 7, same=False, multiplier=1 << 30, shift=0)),
    "repeated values": ("tiny", ops(3, 4, 1).then(Broadcast, 3, 4, 11)),
    "repeated pixels": ("tiny", ops(1, 1, 5).then(Broadcast, 3, 4, 5)),
    "repeated rows": ("tiny", ops(1, 4, 5).then(Broadcast, 3, 4, 5)),
    "repeated columns": ("tiny", ops(3, 1, 5).then(Broadcast, 3, 4, 5)),
    "repeated rows and values": ("tiny", ops(1, 4, 1).then(Broadcast, 3, 4, 5)),
    "chosen channels": (
        "tiny", ops(3, 4, 70).then(Take, 3, 4, 66, places=(None, None, tuple(i * 5 % 67 for i in range(66))))
    ),
    "shuffled": ("tiny", ops(2, 3, 12).then(DepthToSpace, 4, 6, 3, size=2)),
    "shuffled otherwise": ("tiny", ops(2, 3, 12).then(DepthToSpace, 4, 6, 3, size=2, blocks_first=False)),
}  # fmt: skip
FORMS = {
    "narrow": (3, [(6, 1, 5, 12, 2, False)], True),
    "narrow by two": (1, [(5, 1, 5, 4, 2, False)], True),
    "narrow, dilated": (1, [(5, 2, 5, 16, 2, False)], True),
    "not narrow": (1, [(5, 4, 5, 2, 4, False)], True),
    "few outputs": (1, [(6, 4, 6, 16, 3, False)], True),
    "few outputs, strided": (1, [(3, 5, 2, 6, 3, False)], True),
    "parts": (1, [(4, 6, 2, 6, 12, False)], True),
    "parts of a column, dilated": (1, [(1, 3, 3, 9, 12, False)], True),
    "parts, dilated": (1, [(3, 4, 3, 6, 8, False)], True),
    "9 bits below": (1, [(4, 4, 5, 3, 2, False)], True),
    "9 bits above": (1, [(4, 4, 5, 3, 2, False)], True),
    "9 bits and more": (1, [(4, 4, 5, 3, 4, False)], True),
    "rows": (1, [(1, 12, 6, 9, 6, False)], True),
    "vector": (1, [(1, 1, 6, 9, 6, False)], True),
    "depthwise, dense": (1, [(3, 2, 4, 12, 9, True)], True),
    "depthwise, dense, dilated": (1, [(4, 3, 3, 3, 4, False)], True),
    "depthwise, doubled": (1, [(3, 2, 4, 6, 6, False)], True),
    "depthwise, diagonal": (1, [(3, 2, 20, 8, 27, True)], True),
    "depthwise, tripled": (1, [(3, 2, 27, 27, 48, False)], True),
    "depthwise, parts": (1, [(4, 3, 9, 4, 12, True)], True),
    "mean of rows": (1, [(1, 5, 7, 4, 12, True)], True),
    "mean of columns": (1, [(6, 1, 7, 4, 10, True)], True),
    "mean of an image": (1, [(1, 1, 7, 4, 60, True)], True),
    "mean of channels": (1, [(1, 3, 8, 56, 7, False)], True),
    "mean of a matrix": (1, [(1, 1, 5, 4, 12, True)], True),
    "largest": (1, [(1, 1, 3, 3, 1, False)], True),
    "pooled": (1, [(3, 2, 3, 3, 1, False)], True),
    "means at the edges": (9, [(1, 1, 3, 3, 9, True), (1, 2, 3, 3, 9, True)], False),
    "means": (1, [(3, 2, 3, 3, 4, True)], True),
    "scaled": (1, [(1, 15, 7, 7, 1, True)], True),
    "repeated values": (1, [(1, 12, 11, 1, 3, False)], True),
    "repeated pixels": (1, [(1, 12, 5, 4, 2, False)], True),
    "repeated rows": (1, [(1, 3, 20, 4, 5, False)], True),
    "repeated columns": (1, [(3, 4, 5, 4, 2, False)], True),
    "repeated rows and values": (1, [(3, 4, 5, 1, 2, False)], True),
    "chosen channels": (1, [(3, 4, 66, 70, 306, False)], True),
    "shuffled": (2, [(2, 3, 6, 4, 2, True)], False),
    "shuffled otherwise": (2, [(2, 3, 6, 12, 6, False)], False),
}


def forms(config, graph):
    """Compiles a graph's last operator, and says what it became: how many kernels; of each different one, results down
    and right, channels, bytes of a run, tiles of weights, and whether it may slide; whether its rows can be computed
    alone."""
    model = sateen.compile(graph, config, strict=True)
    assert model.layers and not any(step.host for step in model.steps)
    lowered = lower_operator(graph.ops[-1], graph.tensors, config)
    kernels = [
        (*kernel.out, kernel.channels, kernel.run_length, kernel.tiles(config), kernel.filters is not None)
        for kernel in lowered.kernels
    ]
    return len(kernels), list(dict.fromkeys(kernels)), lowered.row_kernel is not None


@pytest.mark.filterwarnings("ignore:.* in parts:sateen.SateenWarning")
@pytest.mark.parametrize("case", CASES)
def test_forms(case):
    config, builder = CASES[case]
    assert forms(parse_config(config), builder.graph()) == FORMS[case]


def refused(config, graph, reason):
    with pytest.raises(CompileError, match=reason):
        lower_operator(graph.ops[-1], graph.tensors, config)


def test_largest_selection():
    """A matrix that selects channels has 65,536 weights at most."""
    config = parse_config("large")
    for count, fits in ((256, True), (257, False)):
        places = None, None, tuple(reversed(range(0, 256, 2))) + tuple(range(count - 128))
        graph = ops(2, 2, 256).then(Take, 2, 2, count, places=places).graph()
        if fits:
            assert lower_operator(graph.ops[-1], graph.tensors, config).kernels
        else:
            refused(config, graph, "it selects 257 of 256 channels, too many for a matrix")


def test_longest_axis():
    """So many places along an axis are looked through."""
    config = parse_config("tiny")
    for count, reason in ((LONGEST, "it has 131072 channels"), (LONGEST + 1, "it places 131,073 values along an axis")):
        graph = ops(LONGEST + 2).then(Slice, count, ranges=((1, count + 1, 1),)).graph()
        refused(config, graph, reason)


def test_tables_that_just_fit():
    config = parse_config("tiny,positions=256")
    graph = ops(3, 4, 5).then(Table, 3, 4, 5, table=np.arange(-64, 64, 0.5).astype(np.int8), function="half").graph()
    words = table_words(config.cols) + config.parameter_words
    words += -words % config.rows
    fits, less = (replace(config, weight_bytes=count * config.weight_word_bytes) for count in (words, words - 4))
    assert lower_operator(graph.ops[-1], graph.tensors, fits).tables is not None
    refused(less, graph, "its tables take .* bytes of the weight store, which has")
