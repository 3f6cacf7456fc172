"""Chains of layers in stripes: what joins one, that every row is where the next layer reads it, and results."""

import dataclasses
import math

import numpy as np
import pytest

import sateen
from sateen.compiler.chains import byte_cycles
from sateen.compiler.lowering import lower
from sateen.compiler.model import Tile
from sateen.compiler.placement import place
from sateen.compiler.verification import verify_program
from sateen.compiler.verification.decoding import records
from sateen.errors import InternalError, ModelFileError
from sateen.graph import Add
from sateen.graph import run as golden
from sateen.hw.spec.config import parse_config
from sateen.testing.graphs import Builder, random_input

CONFIG = parse_config("tiny,scratchpad_bytes=1024")
SAME = ((1, 1), (1, 1))


def builder(shape, seed=3):
    return Builder(shape, np.random.default_rng(seed))


GRAPHS = {
    "pointwise": lambda: builder((8, 8, 4)).conv2d(4, (1, 1)).conv2d(14, (1, 1)).conv2d(2, (1, 1)),
    "inverted residual": lambda: (
        builder((9, 8, 4)).conv2d(20, (1, 1)).depthwise_conv2d((3, 3), stride=(2, 2), padding=SAME).conv2d(4, (1, 1))
    ),
    "windows": lambda: (
        builder((12, 6, 4)).conv2d(8, (3, 3), padding=SAME).conv2d(8, (3, 3), padding=SAME).conv2d(2, (5, 3))
    ),
    "pool": lambda: builder((12, 8, 4)).conv2d(12, (3, 3), padding=SAME).max_pool2d((2, 2)).conv2d(4, (1, 1)),
    # Rows that nobody reads lie between windows, and behind the last one.
    "gaps": lambda: builder((14, 6, 4)).conv2d(14, (1, 1)).conv2d(4, (1, 1), stride=(3, 1)).conv2d(4, (1, 1)),
    "rest": lambda: builder((11, 8, 4)).conv2d(14, (1, 1)).conv2d(4, (2, 2), stride=(4, 1)).conv2d(3, (1, 1)),
    # Windows that reach beyond the image by more than it is high.
    "padding": lambda: (
        builder((2, 20, 2)).conv2d(16, (1, 1)).conv2d(4, (3, 3), padding=((4, 4), (1, 1))).conv2d(2, (1, 1))
    ),
    "dilation": lambda: (
        builder((12, 6, 4)).conv2d(14, (1, 1)).conv2d(4, (3, 3), padding=((3, 3), (1, 1)), dilation=(3, 1))
    ),
    "a single row": lambda: builder((1, 60, 4)).conv2d(8, (1, 1)).conv2d(2, (1, 1)),
}


def chained(model):
    """The layers of each chain."""
    steps = [step for step in model.steps if step.tiles and step.count > 1]
    return [[layer.name for layer in model.layers[step.first : step.first + step.count]] for step in steps]


@pytest.mark.parametrize("name", [name for name in GRAPHS if name not in ("a single row", "padding")])
def test_one_chain(name):
    """All layers are one; each tile's pieces follow each other, and what they give is all of each tensor."""
    graph = GRAPHS[name]().graph()
    model = sateen.compile(graph, CONFIG, strict=True)
    assert chained(model) == [[op.name for op in graph.ops]] and model.tiled == len(graph.ops)
    (step,) = model.steps
    assert len(step.tiles) > 1
    for place_, layer in enumerate(model.layers):
        spans = sorted(tile.pieces[place_].target for tile in step.tiles)
        ends = [0, *(first + size for first, size in spans)]
        assert all(first <= end for (first, _), end in zip(spans, ends, strict=False))
        assert max(ends) == model.size(layer.output)
    moved = sum(tile.source[1] + tile.target[1] for tile in step.tiles)
    alone = sum(model.size(name) for op in graph.ops for name in (op.inputs[0], op.output))
    assert moved < alone


DEVICES = {
    "tiny,scratchpad_bytes=1024": list(GRAPHS),
    "tiny,positions=256,scratchpad_bytes=512,overlap=1": ["pointwise", "windows", "gaps", "rest"],
    "micro,sdram=m12l64322a,scratchpad_bytes=1024": ["inverted residual", "pool"],
}


@pytest.mark.parametrize(("config", "name"), [(config, name) for config, names in DEVICES.items() for name in names])
def test_results(config, name):
    """In one go and layer by layer, of which each is read back whole."""
    graph = GRAPHS[name]().graph()
    x = random_input(graph, np.random.default_rng(4), 2)
    wanted = golden(graph, x, layers=True)
    with sateen.open(f"sim:{config}") as device:
        loaded = device.load(sateen.compile(graph, device.config))
        np.testing.assert_array_equal(loaded.run(x), wanted[graph.outputs[0]])
        cycles = [(layer.layer.predicted.cycles, layer.counters.cycles) for layer in loaded.profile.layers]
        _, tensors = loaded.run(x, layers=True)
    for tensor, values in tensors.items():
        np.testing.assert_array_equal(values, wanted[tensor], err_msg=tensor)
    tiles = sum(len(step.tiles) * step.count for step in loaded.model.steps if step.tiles) + len(graph.ops)
    for predicted, counted in cycles:
        assert abs(predicted - counted) <= 4 * tiles, cycles


def test_what_is_read_elsewhere_ends_a_chain():
    """A tensor that two layers read, and one that is an output, go to the host."""
    b = builder((8, 8, 4)).conv2d(14, (1, 1))
    shared = b.last
    b.conv2d(14, (1, 1))
    output = b._output(shared.shape[1:])
    b.ops.append(Add(name="sum", a=shared.name, b=b.last.name, output=output.name))
    b.last = output
    model = sateen.compile(b.conv2d(2, (1, 1)).graph(), parse_config("tiny,scratchpad_bytes=1024,positions=256"))
    steps = [step for step in model.steps if step.tiles]
    inside = {layer.output for step in steps for layer in model.layers[step.first :][: step.count - 1]}
    assert steps and shared.name not in inside
    graph = GRAPHS["pointwise"]().graph()
    middle = dataclasses.replace(graph, outputs=(graph.ops[1].output, graph.outputs[0]))
    assert chained(sateen.compile(middle, CONFIG, strict=True)) == [["op0", "op1"]]


def test_weights_stand_there_once():
    """Tiles of several kinds, at the image's edges and between, share them."""
    graph = GRAPHS["windows"]().graph()
    model = sateen.compile(graph, CONFIG, strict=True)
    assert len({tile.parts for tile in model.steps[0].tiles}) > 1
    whole = sateen.compile(graph, parse_config("tiny"), strict=True)
    assert len(model.segments) == 1 and model.weight_words <= 1.5 * whole.weight_words


def test_a_chain_that_costs_more_than_it_saves():
    """Layers whose windows need nearly all rows again for each tile stay apart where bytes are cheap."""
    made = builder((24, 4, 4)).conv2d(8, (13, 3), padding=((6, 6), (1, 1))).conv2d(8, (13, 3), padding=((6, 6), (1, 1)))
    graph = made.conv2d(8, (13, 3), padding=((6, 6), (1, 1))).graph()
    cheap = place(lower(graph, slow := parse_config("tiny,scratchpad_bytes=1024,sdram=m12l64322a")), slow)
    dear = place(lower(graph, CONFIG), CONFIG)
    assert sum(map(len, cheap.chains)) < sum(map(len, dear.chains))


def changed(model, number, **fields):
    """The model with other fields in a piece of its first step's second tile."""
    (step, *others) = model.steps
    tile = step.tiles[1]
    pieces = list(tile.pieces)
    pieces[number] = dataclasses.replace(pieces[number], **fields)
    tiles = (step.tiles[0], dataclasses.replace(tile, pieces=tuple(pieces)), *step.tiles[2:])
    return dataclasses.replace(model, steps=(dataclasses.replace(step, tiles=tiles), *others))


def reading_elsewhere(model, address):
    """The model whose first layer reads its rows at another address, also in its program."""
    (step,), (segment,) = model.steps, model.segments
    parts = [part for tile in step.tiles for part in tile.pieces[0].parts]
    moved = {part.first + index for part in parts for index in range(part.count)}
    program = b"".join(
        dataclasses.replace(
            d, activations=dataclasses.replace(d.activations, address=d.activations.address + address * (n in moved))
        ).encode()
        for n, d in enumerate(records(segment.program))
    )
    tiles = [(dataclasses.replace(tile.pieces[0], source_address=address), *tile.pieces[1:]) for tile in step.tiles]
    return dataclasses.replace(
        model,
        segments=(dataclasses.replace(segment, program=np.frombuffer(program, np.uint8)),),
        steps=(dataclasses.replace(step, tiles=tuple(Tile(pieces=pieces) for pieces in tiles)),),
    )


def test_verification_sees_pieces_that_do_not_fit():
    model = sateen.compile(GRAPHS["windows"]().graph(), CONFIG, strict=True)
    pieces = model.steps[0].tiles[1].pieces
    for fields in (
        {"source_address": pieces[1].source_address + 1},
        {"source": (pieces[1].source[0] + 48, pieces[1].source[1])},
    ):
        with pytest.raises(InternalError):
            verify_program(changed(model, 1, **fields))
    with pytest.raises(InternalError):
        verify_program(changed(model, 0, address=pieces[0].source_address))
    # The host puts rows where the first layer reads them.
    verify_program(reading_elsewhere(model, 16))


def test_files_with_chains(tmp_path):
    """They are read again, and refused if a tile lacks a layer or a layer reads another one's result."""
    model = sateen.compile(GRAPHS["inverted residual"]().graph(), CONFIG, strict=True)
    model.save(tmp_path / "good.sateen")
    with sateen.open("sim:tiny,scratchpad_bytes=1024") as device:
        device.load(sateen.Model.load(tmp_path / "good.sateen"))
        short = dataclasses.replace(model.steps[0].tiles[1], pieces=model.steps[0].tiles[1].pieces[:-1])
        step = dataclasses.replace(model.steps[0], tiles=(model.steps[0].tiles[0], short))
        dataclasses.replace(model, steps=(step,)).save(tmp_path / "short.sateen")
        with pytest.raises(ModelFileError, match="a stripe lacks layers"):
            device.load(sateen.Model.load(tmp_path / "short.sateen"))


def test_traffic_of_mobilenet():
    """Its tensors of 2 MB stay on the device but for a tenth."""
    from networks import mobilenet_v2

    graph = mobilenet_v2()
    config = parse_config("large")
    placed = place(lower(graph, config), config)
    assert placed.chains[0] == tuple(f"op{number}" for number in range(6))
    inside = [name for chain in placed.chains for name in chain[:-1]]
    ops = {op.name: op for op in graph.ops}
    kept = sum(2 * math.prod(graph.tensors[ops[name].output].shape) for name in inside)
    assert kept > 1_500_000


def test_bytes_over_faster_links():
    """They take fewer cycles than over a serial port, and none takes less than one of SDRAM's."""
    uart, usb, ethernet = (byte_cycles(parse_config(f"tiny,link={link}")) for link in ("uart", "usb", "ethernet"))
    assert uart > usb > ethernet > byte_cycles(parse_config("tiny,sdram=as4c32m16sb"))
