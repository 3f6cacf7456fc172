"""What is expected of a model equals what compiling it for the other configuration gives."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest

import sateen
from recurrent_models import lstm_model, svdf_model
from sateen.cli.outlook import print_outlook
from sateen.cli.printing import console
from sateen.fpga.boards import BOARDS
from sateen.frontends import tflite
from sateen.hw.spec.config import PRESETS, parse_config
from sateen.report.outlook import outlook, timing
from sateen.testing.graphs import Builder


def cycles(model):
    return sum(layer.predicted.cycles for layer in model.layers)


def test_outlook():
    builder = Builder((12, 12, 1), np.random.default_rng(1)).conv2d(16, (3, 3)).conv2d(16, (3, 3))
    graph = builder.max_pool2d((8, 8)).graph()
    model = sateen.compile(graph, "tiny,baud=12000000")
    found = outlook(model)
    assert sum(share.cycles for share in found.bound) == cycles(model) == found.timing.cycles
    # Weights and program are resident; an image goes in and a vector comes out, ten bits a byte.
    assert model.resident and found.timing.link_bytes == 12 * 12 + 16
    assert found.timing.link_ms == pytest.approx(1e3 * 160 * 10 / model.config.baud)
    assert found.changes and {"small", "large"} & {change.config for change in found.changes}
    for change in found.changes:
        name = change.config if change.config in PRESETS else f"tiny,{change.config}"
        assert change.cycles == cycles(sateen.compile(graph, name)) and change.factor > 1
    assert [each.board for each in found.boards] == list(BOARDS)
    for each in found.boards:
        board = BOARDS[each.board]
        assert each.compute_ms == pytest.approx(1e3 * each.cycles / board.run_hz)
        assert each.baud == board.parse("").line_baud
        if each.matches:
            assert each.cycles == cycles(model)
    assert {each.board for each in found.boards if each.matches} == {
        "versa-ecp5", "icepi-zero", "colorlight-5a-75b",
    }  # fmt: skip


@pytest.mark.parametrize("link", ["usb", "ethernet"])
def test_other_links(link):
    """What else is tried has the same link, and the text names it."""
    graph = Builder((12, 12, 1), np.random.default_rng(1)).conv2d(16, (3, 3)).conv2d(16, (3, 3)).graph()
    model = sateen.compile(graph, f"tiny,link={link}")
    found = outlook(model)
    for change in found.changes:
        assert change.link_ms == pytest.approx(1e4 * change.link_bytes / model.config.line_baud)
    with console.capture() as capture:
        print_outlook(model, found)
    name = {"usb": "USB", "ethernet": "Ethernet"}[link]
    text = " ".join(capture.get().split())
    assert re.search(rf"bound by (the array|{name}): .* bytes on {name} [\d.]+ ms (?!at)", text)


@pytest.mark.parametrize("text", [*PRESETS, *(board.config for board in BOARDS.values()), "small,multipliers=8"])
def test_a_configuration_names_itself(text):
    """But for its clock and its link."""
    config = parse_config(text)
    again = parse_config(config.text)
    assert replace(again, clock_hz=config.clock_hz, baud=config.baud, link=config.link) == config


@pytest.mark.filterwarnings("ignore:.*runs on the host")
def test_sdram():
    """Neither weights nor tensors that fit no memory pass the link, but for what the host computes and takes."""
    builder = Builder((15, 9, 3), np.random.default_rng(1)).conv2d(5, (3, 3), padding=((1, 1), (1, 1)))
    builder = builder.conv2d(8, (3, 3), padding=((1, 1), (1, 1))).conv2d(120, (3, 3))
    graph = builder.conv2d(7, (1, 1)).conv2d(6, (3, 3)).flatten().fully_connected(9).graph()
    config = parse_config("micro,sdram=m12l64322a,scratchpad_bytes=1024,weight_bytes=4096")
    model = sateen.compile(graph, config)
    (host,) = (op for op in graph.ops if op.name in model.fallbacks)
    assert not model.resident and model.tiled
    ends = [*graph.inputs, host.inputs[0], host.output, *graph.outputs]
    assert timing(model, config).link_bytes == sum(map(model.size, ends))
    without = timing(model, replace(config, sdram=None))
    assert without.link_bytes > 2 * sum(len(s.weights) for s in model.segments)
    # All weights, and the rows of tensors, a byte a cycle.
    found = timing(model, config)
    assert config.weight_word_bytes * model.weight_words < found.memory_bytes < found.memory_cycles
    assert found.memory_ms == 1e3 * found.memory_cycles / config.clock_hz
    assert found.total_ms == found.compute_ms + found.memory_ms + found.link_ms
    assert (without.memory_bytes, without.memory_cycles) == (0, 0)


@pytest.mark.filterwarnings("ignore::sateen.SateenWarning")
@pytest.mark.parametrize("built", [lstm_model, svdf_model])
def test_layers_of_a_unit(built):
    """What was compiled for a unit is compiled anew for boards without it, as the model's file would be."""
    builder, *ends = built(np.random.default_rng(0))
    rows, size = math.prod(builder.tensors[ends[1][0]]["shape"][:-1]), builder.tensors[ends[1][0]]["shape"][-1]
    weights = builder.constant(np.ones((3, size)), "INT8", scale=0.02)
    y = builder.tensor((rows, 3), scale=0.1)
    builder.op("FULLY_CONNECTED", [ends[1][0], weights], [y], "FullyConnectedOptions")
    graph = tflite.load(builder.build(ends[0], [y]))
    model = sateen.compile(graph, "tiny,lanes=4,recurrent=64")
    assert model.layers and model.config.recurrent
    for each in outlook(model).boards:
        expected = sateen.compile(graph, BOARDS[each.board].parse())
        assert (each.cycles, each.host_layers) == (cycles(expected), len(expected.fallbacks)) and each.cycles
