"""Windows that leave out beats between their lines, on a device that keeps samples for as many."""

import numpy as np
import pytest

import sateen
import seeds
import ways
from sateen.compiler import sliding
from sateen.compiler.lowering import lower_operator
from sateen.graph import run
from sateen.hw.spec.config import Config, parse_config
from sateen.hw.spec.pe import sample_ages
from sateen.testing.graphs import Builder, random_input

SMALL = "tiny,rows=9,window_skip=16"
PAIRS = "tiny,rows=11,pe=packed,multipliers=8,window_skip=16"
"""Two rows of pairs, over which no window slides, and nine others."""
FEW = "tiny,rows=12,window_rows=9,window_skip=16,weight_rows=2,overlap=1,scratchpad_bytes=32768"
"""The first four rows have multipliers, the next eight have none; the last nine take samples."""
SAME = ((1, 1), (1, 1))
LAYERS = {
    "a wide line": ((3, 18, 3), (3, 3), {"padding": SAME}),
    "a high column": ((20, 2, 3), (3, 3), {"padding": SAME}),
    "padding shared": ((4, 6, 5), (3, 3), {"padding": SAME}),
    "padding shared by groups": ((4, 6, 10), (3, 3), {"padding": SAME}),
    "every second": ((4, 9, 3), (3, 3), {"padding": SAME, "stride": (2, 2)}),
    "two lines at a time": ((4, 8, 3), (5, 3), {"padding": ((2, 2), (1, 1))}),
    "as long as can be": ((3, 19, 3), (2, 3), {}),
    "pixels side by side": ((2, 12, 2), (3, 3), {"padding": SAME}),
}


def graph_of(name):
    shape, kernel, fields = LAYERS[name]
    return Builder(shape, np.random.default_rng(1)).depthwise_conv2d(kernel, **fields).graph()


def skipping(graph, config):
    """The walks that leave out beats, and how many."""
    (kernel,) = lower_operator(graph.ops[0], graph.tensors, config).kernels
    kernels = [kernel, *sliding.interleaved(kernel, config)]
    return [walk.skipped(each, config) for each in kernels for walk in sliding.walks(each, config) if walk.skips]


def test_ages():
    assert sample_ages(9, 0) == list(range(9))
    assert sample_ages(10, 4) == [0, 1, 2, 7, 8, 9, 14, 15, 16, 17]


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("text", [SMALL, FEW, pytest.param(PAIRS, marks=pytest.mark.prove)])
def test_programs(text, name):
    """The compiler compares each program with the layer."""
    config, graph = parse_config(text), graph_of(name)
    skipped = skipping(graph, config)
    assert skipped and 0 < min(skipped) <= max(skipped) <= 16
    assert name != "as long as can be" or max(skipped) == 16
    for some in ways.batches(graph, config):
        ways.compiled(ways.copies(graph, some), graph, config)


@pytest.mark.parametrize(
    ("shape", "stride", "beats"),
    [
        # Two blocks of 12 columns of results, from 14 columns and 26 rows, for two groups of channels.
        ((24, 24, 32), (1, 1), 2 * 2 * 14 * 26),
        # Blocks of 8 columns of results, from 17 columns and 49 rows.
        ((48, 48, 16), (2, 2), 3 * 17 * 49),
        # Lines of 6 pixels and one of padding, 8 of them and one before.
        ((6, 6, 128), (1, 1), 8 * 7 * 9),
    ],
)
def test_saves_beats(shape, stride, beats):
    padding = ((0, 1), (0, 1)) if stride == (2, 2) else SAME
    graph = Builder(shape, np.random.default_rng(1)).depthwise_conv2d((3, 3), stride=stride, padding=padding).graph()
    busy = [sateen.compile(graph, f"large{more}").layers[0].predicted.busy for more in (",window_skip=16", "")]
    assert busy[0] <= beats < busy[1]


def test_a_device_without_refuses():
    """What is compiled for one kind of device is refused by the other."""
    codes = {parse_config(f"tiny,rows=9{more}").layout_code for more in ("", ",window_skip=16", ",window_skip=32")}
    assert len(codes) == 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"window_skip": 8}, "window_skip must be 0, 16 or 32, not 8"),
        ({"window_skip": True}, "window_skip must be 0, 16 or 32, not True"),
        ({"window_skip": 16}, "window_skip must be 0 without engine=pipelined, pe=mac or packed, .* 9 rows or more"),
        ({"window_skip": 16, "rows": 9, "pe": "bitserial"}, "window_skip must be 0 without engine=pipelined, pe=mac"),
        ({"window_skip": 16, "rows": 10, "pe": "packed", "multipliers": 16}, "9 rows or more over which"),
        ({"window_skip": 16, "rows": 10, "window_rows": 8}, "9 rows or more over which"),
        ({"window_rows": 9}, r"window_rows must be a whole number from 0 to 8 \(rows\), not 9"),
        ({"window_rows": -1}, r"window_rows must be a whole number from 0 to 8 \(rows\), not -1"),
        ({"window_rows": True}, r"window_rows must be a whole number from 0 to 8 \(rows\), not True"),
        ({"window_rows": 4, "pe": "bitserial"}, "window_rows must be none without engine=pipelined and pe=mac"),
    ],
)
def test_refusals(fields, message):
    with pytest.raises(ValueError, match=message):
        Config(**fields)


def test_windows_over_the_last_rows():
    """Through the RTL, in turn with layers whose windows do not slide; what is compiled for all rows is refused."""
    with sateen.open(f"sim:{FEW},multipliers=16") as device:
        for name in LAYERS:
            graph = graph_of(name)
            loaded = device.load(sateen.compile(graph, device.config, strict=True))
            x = random_input(graph, np.random.default_rng(2))
            np.testing.assert_array_equal(loaded.run(x), run(graph, x)[graph.outputs[0]])
            for layer in loaded.profile.layers:
                assert abs(layer.counters.cycles - layer.layer.predicted.cycles) <= 3
        shared = graph_of("padding shared by groups")
        (kernel,) = lower_operator(shared.ops[0], shared.tensors, device.config).kernels
        assert {walk.apart for walk in sliding.walks(kernel, device.config)} == {0, 1, 3}
        ways.check(device, shared, random_input(shared, np.random.default_rng(3)))
        for case in range(6):
            graph = ways.random_layer(np.random.default_rng([seeds.BASE, case]))
            ways.check(device, graph, random_input(graph, np.random.default_rng(case)))
        with pytest.raises(sateen.ConfigMismatch, match="windows slide over 9 rows here, over 12 in the model"):
            device.load(sateen.compile(graph_of("a wide line"), FEW.replace("window_rows=9", "window_rows=12")))


@pytest.mark.prove
@pytest.mark.parametrize("config", [SMALL, f"{SMALL.replace('16', '32')},weight_bits=9,overlap=1", PAIRS])
def test_every_way(config):
    """Through the RTL, in turn with layers that leave out none."""
    with sateen.open(f"sim:{config}") as device:
        for name in LAYERS:
            graph = graph_of(name)
            assert ways.check(device, graph, random_input(graph, np.random.default_rng(2))) > 4
        for case in range(20):
            rng = np.random.default_rng([seeds.BASE, case])
            graph = ways.random_layer(rng)
            ways.check(device, graph, random_input(graph, rng))


@pytest.mark.prove
def test_networks():
    """Several layers behind each other, as the compiler chooses; its cycles are the device's."""
    with sateen.open(f"sim:{SMALL},overlap=1,scratchpad_bytes=32768") as device:
        for seed in range(4):
            builder = Builder((12, 20, 4), np.random.default_rng(seed))
            for _ in range(3):
                builder.depthwise_conv2d((3, 3), padding=SAME).conv2d(4, (1, 1))
            graph = builder.graph()
            x = random_input(graph, np.random.default_rng(seed))
            loaded = device.load(sateen.compile(graph, device.config, strict=True))
            np.testing.assert_array_equal(loaded.run(x), run(graph, x)[graph.outputs[0]])
            for layer in loaded.profile.layers:
                assert abs(layer.counters.cycles - layer.layer.predicted.cycles) <= 3
