"""Tensors that stay in the scratchpad beside layers that are computed row by row: which do, that nobody writes over
them, and results."""

import dataclasses
from unittest import mock

import numpy as np
import pytest

import sateen
import seeds
from sateen.compiler import chains, placement
from sateen.compiler.consistency import check
from sateen.compiler.verification import verify_program
from sateen.compiler.verification.tiles import misplaced
from sateen.errors import InternalError, ModelFileError
from sateen.graph import Add
from sateen.graph import run as golden
from sateen.hw.spec.config import parse_config
from sateen.testing.graphs import Builder, random_input

CONFIG = "tiny,scratchpad_bytes=1024,positions=256,descriptors=96"


def blocks(count, *, wide=14, rows=8, seed=3):
    """A layer, and inverted residuals: ``wide`` channels, of which each has its window, and the sum of input and result
    of the three layers."""
    builder = Builder((rows, 8, 4), np.random.default_rng(seed)).conv2d(4, (1, 1))
    for number in range(count):
        before = builder.last
        builder.conv2d(wide, (1, 1)).depthwise_conv2d((3, 3), padding=((1, 1), (1, 1))).conv2d(4, (1, 1))
        output = builder._output(before.shape[1:])
        builder.ops.append(Add(name=f"sum{number}", a=before.name, b=builder.last.name, output=output.name))
        builder.last = output
    return builder.graph()


def moved(model):
    """Bytes that go to the device and come from there, without weights."""
    total = sum(model.size(name) for step in model.steps for name in (*step.writes, *step.reads))
    for step in model.steps:
        ends = [model.layers[step.first].name, model.layers[step.first + step.count - 1].output] if step.tiles else []
        inputs = [name for op in model.graph.ops if op.name in ends[:1] for name in op.inputs]
        total += sum(tile.source[1] for tile in step.tiles for name in inputs if name not in step.inside)
        total += sum(tile.target[1] for tile in step.tiles if ends[1] not in step.inside)
    return total


def without(graph, config):
    """The model of which no tensor stays."""
    with mock.patch.object(placement.Search, "find", lambda self: {}):
        return sateen.compile(graph, config)


def test_only_inputs_and_outputs_move():
    """Between the blocks nothing leaves the scratchpad, though their tensors do not fit."""
    graph = blocks(3)
    model = sateen.compile(graph, CONFIG)
    check(model)
    assert [step.inside for step in model.steps if step.tiles] == [("t0", "t3"), ("t4", "t7"), ("t8", "t11")]
    assert moved(model) == model.size("x") + model.size(graph.outputs[0])
    assert moved(without(graph, CONFIG)) > 8 * moved(model)


def test_programs_that_do_not_fit():
    """Where each tile's program would have to be sent in each inference, all else is."""
    graph = blocks(3)
    with mock.patch.object(chains, "DESCRIPTORS", 0):
        model = sateen.compile(graph, "tiny,scratchpad_bytes=1024,positions=256")
    assert not any(step.inside for step in model.steps) and model.resident


def test_what_does_not_stay():
    """A tensor that the host needs, too, and those for which there is no room."""
    graph = blocks(1)
    shown = dataclasses.replace(graph, outputs=("t0", *graph.outputs))
    model = sateen.compile(shown, CONFIG)
    check(model)
    assert [step.inside for step in model.steps if step.tiles] == [("t3",)]
    tight = sateen.compile(blocks(1, wide=24), f"{CONFIG},scratchpad_bytes=896")
    check(tight)
    assert all(len(step.inside) < 2 for step in tight.steps)


def branches():
    """A layer that two branches read, each of two layers."""
    builder = Builder((8, 8, 4), np.random.default_rng(3)).conv2d(4, (1, 1))
    first = builder.last
    one = builder.conv2d(14, (1, 1)).conv2d(2, (3, 3), padding=((1, 1), (1, 1))).last
    builder.last = first
    graph = builder.conv2d(14, (1, 1)).conv2d(4, (1, 1)).graph()
    return dataclasses.replace(graph, outputs=(one.name, *graph.outputs))


@pytest.mark.parametrize(
    ("config", "make", "inside"),
    [
        ("tiny,positions=256,scratchpad_bytes=512,overlap=1", lambda: blocks(2, wide=8, rows=4), "t0 t3 t4 t7"),
        ("tiny,sdram=as4c32m16sb,scratchpad_bytes=1024,weight_bytes=4096", branches, "t0 t0"),
        ("tiny,scratchpad_bytes=1024", branches, "t0 t0"),
    ],
)
def test_results(config, make, inside):
    """In one go, again, and layer by layer."""
    graph = make()
    x = random_input(graph, np.random.default_rng(4), 2)
    wanted = golden(graph, x, layers=True)
    with sateen.open(f"sim:{config}") as device:
        loaded = device.load(sateen.compile(graph, device.config))
        assert [name for step in loaded.model.steps for name in step.inside] == inside.split()
        for layers in (False, False, True, False):
            found = loaded.run(x, layers=layers)
            if layers:
                tensors = found[1]
            outputs = found[0] if layers else found
            for name in graph.outputs:
                values = outputs[name] if len(graph.outputs) > 1 else outputs
                np.testing.assert_array_equal(values, wanted[name])
            if not layers:
                tiles = sum(len(step.tiles) * step.count for step in loaded.model.steps) + len(graph.ops)
                for layer in loaded.profile.layers:
                    assert abs(layer.layer.predicted.cycles - layer.counters.cycles) <= 4 * tiles
    for tensor, values in tensors.items():
        np.testing.assert_array_equal(values, wanted[tensor], err_msg=tensor)


def test_random_blocks():
    """Of any size: programs and places are right, and no more moves than without."""
    rng = np.random.default_rng(seeds.own())
    stays = 0
    for _ in range(8):
        count, wide, rows = (int(rng.integers(*span)) for span in ((1, 4), (8, 20), (6, 12)))
        room = int(rng.integers(8, 14)) * 128
        graph, config = blocks(count, wide=wide, rows=rows), parse_config(f"{CONFIG},scratchpad_bytes={room}")
        model = sateen.compile(graph, config)
        check(model)
        assert model.resident and moved(model) <= moved(without(graph, config))
        stays += any(step.inside for step in model.steps)
    assert stays > 3


def changed(model, number, **fields):
    """The model with other fields of a step."""
    steps = list(model.steps)
    steps[number] = dataclasses.replace(steps[number], **fields)
    return dataclasses.replace(model, steps=tuple(steps))


def test_damaged_files():
    """What is to stand in the scratchpad, and does not, or is written over."""
    model = sateen.compile(blocks(2), CONFIG)
    number = next(number for number, step in enumerate(model.steps) if step.tiles)
    for inside, message in (
        ((), "the host lacks 't0'"),
        (("t0",), "the device lacks 't3'"),
        (("t0", "t3", "t9"), "what is to stand in the scratchpad does not"),
    ):
        with pytest.raises(ModelFileError, match=message):
            check(changed(model, number, inside=inside))
    step = model.steps[number]
    elsewhere = {**model.addresses, "t3": model.addresses["t3"] - 8}
    with pytest.raises(InternalError, match="its results are read at address"):
        verify_program(dataclasses.replace(model, addresses=elsewhere))
    tile = step.tiles[1]
    moved_piece = dataclasses.replace(tile.pieces[0], source_address=tile.pieces[0].source_address - 8)
    assert list(misplaced(tile, 1, source=model.addresses["t0"], target=model.addresses["t3"])) == []
    (wrong,) = misplaced(
        dataclasses.replace(tile, pieces=(moved_piece, *tile.pieces[1:])), 1, source=model.addresses["t0"]
    )
    assert "its rows are at address" in wrong
    over = {**model.addresses, "t0": model.size("x")}
    with pytest.raises(ModelFileError, match="'t0' is to stand in the scratchpad, and is written over"):
        check(dataclasses.replace(model, addresses=over))


def test_files(tmp_path):
    model = sateen.compile(blocks(1), CONFIG)
    model.save(tmp_path / "staying.sateen")
    assert sateen.Model.load(tmp_path / "staying.sateen").steps == model.steps
