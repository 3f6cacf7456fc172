"""Images that are unfolded once, so that windows of few channels are single runs of bytes."""

import dataclasses
import itertools
import warnings

import numpy as np
import pytest

import sateen
from sateen.compiler.rewrites import Rewritten, unfold
from sateen.compiler.verification import verify_program
from sateen.errors import InternalError
from sateen.graph import GraphError, Unfold, run
from sateen.hw.spec.config import parse_config
from sateen.testing.graphs import Builder, random_input

SAME = ((1, 1), (1, 1))
CONFIG = parse_config("small")


def layer(shape, outputs, kernel, **fields):
    return Builder(shape, np.random.default_rng(1)).conv2d(outputs, kernel, **fields).graph()


def unfolded(graph, config=CONFIG):
    """The graph that the rewrite makes."""
    return unfold(Rewritten(graph=graph), config).graph


LAYERS = {
    "like a spectrogram": layer((24, 10, 1), 24, (10, 4), stride=(2, 2), padding=((4, 5), (1, 1))),
    "one channel": layer((14, 13, 1), 20, (3, 3), padding=SAME),
    "uneven": layer((17, 11, 2), 30, (4, 2), stride=(3, 1), padding=((0, 3), (1, 0))),
    "dilated columns": layer((12, 14, 1), 24, (4, 3), dilation=(1, 3), padding=((2, 1), (3, 3))),
    "pads beyond the image": layer((9, 3, 1), 40, (3, 5), padding=((1, 1), (4, 4))),
}


@pytest.mark.parametrize("case", LAYERS)
def test_equal(case):
    """What the two operators give is the convolution, also for a device."""
    graph = LAYERS[case]
    made = unfolded(graph)
    assert [type(op).__name__ for op in made.ops] == ["Unfold", "TurnedConv2D"]
    x = random_input(graph, np.random.default_rng(2))
    wanted = run(graph, x)[graph.outputs[0]]
    np.testing.assert_array_equal(run(made, x)[graph.outputs[0]], wanted)
    with sateen.open("sim:small") as device:
        model = sateen.compile(graph, device.config, strict=True)
        assert [layer.op for layer in model.layers] == ["Unfold", "TurnedConv2D"]
        assert sum(layer.macs for layer in model.layers) == sum(graph.macs.values())
        np.testing.assert_array_equal(device.load(model).run(x), wanted)


def test_only_where_it_pays():
    """One row of a kernel, one position, and runs that fill the beats as they are, stay."""
    for graph in (
        layer((9, 9, 1), 24, (1, 3)),
        layer((3, 3, 1), 24, (3, 3)),
        layer((9, 9, 8), 24, (3, 3)),
        layer((12, 12, 1), 24, (3, 3), dilation=(2, 1)),
        layer((12, 12, 1), 2, (3, 3)),
    ):
        assert unfolded(graph) is graph
    assert unfolded(LAYERS["one channel"], parse_config("micro")) is LAYERS["one channel"]


def test_saves_cycles():
    graph = LAYERS["like a spectrogram"]
    model = sateen.compile(graph, "small")
    # 12 × 5 results of 40 values, in 3 groups of channels; 24 × 5 times what a window's columns take.
    assert [layer.predicted.busy for layer in model.layers] == [120, 12 * 5 * 3 * 5]


def test_tensors_need_room():
    """Where the unfolded image does not fit beside the others, the layer is computed as it is, in one piece."""
    graph = LAYERS["one channel"]
    size = 14 * 13 * (1 + 20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for bytes_, ops in ((size + 3 * 14 * 13, ["Unfold", "TurnedConv2D"]), (size + 16, ["Conv2D"])):
            model = sateen.compile(graph, f"small,scratchpad_bytes={-(-bytes_ // 8) * 8}")
            assert [layer.op for layer in model.layers] == ops and model.resident


@pytest.mark.parametrize("case", LAYERS)
def test_compiled_again(case):
    """A compiled model's graph, for another device, which may compute the layer as it was."""
    graph = LAYERS[case]
    model = sateen.compile(graph, "small")
    for config in ("small", "micro", "tiny,scratchpad_bytes=1024"):
        again, wanted = sateen.compile(model.graph, config), sateen.compile(graph, config)
        assert [layer.op for layer in again.layers] == [layer.op for layer in wanted.layers]
        assert [layer.predicted for layer in again.layers] == [layer.predicted for layer in wanted.layers]
        for one, other in zip(again.segments, wanted.segments, strict=True):
            np.testing.assert_array_equal(one.program, other.program)
            np.testing.assert_array_equal(one.weights, other.weights)


def test_one_wrong_weight_is_found():
    """In any tile, of the image that is unfolded or of the layer."""
    graph = LAYERS["like a spectrogram"]
    model = sateen.compile(graph, CONFIG)
    (segment,) = model.segments
    # The first tile has 4 bytes of a row for 4 channels; behind it are 9 words of parameters, and 5 tiles.
    for word, column, who in ((0, 0, "Unfold"), (3, 2, "Unfold"), (17, 0, "TurnedConv2D"), (56, 7, "TurnedConv2D")):
        weights = segment.weights.copy()
        weights[word, column] ^= 1
        changed = dataclasses.replace(model, segments=(dataclasses.replace(segment, weights=weights),))
        with pytest.raises(InternalError, match=f"{who}.*: its program"):
            verify_program(changed)


def test_refusals():
    graph = LAYERS["one channel"]
    for fields, reason in itertools.chain(
        (({name: 0}, f"{name} must be a whole number of 1 or more") for name in ("size", "stride", "dilation")),
        [({"padding": (0, -1)}, "padding must be two whole numbers of 0 or more")],
    ):
        with pytest.raises(GraphError, match=reason):
            Unfold(**{"name": "u", "input": "x", "output": "y", "size": 3} | fields)
    op = Unfold(name="u", input=graph.inputs[0], output="y", size=16, padding=(1, 1))
    with pytest.raises(GraphError, match="a window of 16 columns does not fit the 13"):
        op.infer(graph.tensors)
