"""Recurrent layers with states of 16 bits on a device with a unit for them: tflite-micro's results, step by step."""

from __future__ import annotations

import itertools
import re
import warnings
from dataclasses import replace

import numpy as np
import pytest

import sateen
from recurrent_models import lstm_model, svdf_model
from recurrent_streams import check_states, stream
from sateen.compiler import consistency
from sateen.compiler.model import Model
from sateen.compiler.verification import verify_program
from sateen.compiler.verification.decoding import records
from sateen.errors import CompileError, InternalError, ModelFileError, SateenWarning
from sateen.frontends import tflite
from sateen.graph import FeatureBytes, FromBytes, LstmBytes, Recurrent, Reshape, ToBytes, run
from sateen.hw.spec.descriptor import DESCRIPTOR_WORDS

CONFIGS = {
    "plain": "tiny,lanes=4,recurrent=64",
    "all": "small,lanes=8,multipliers=none,recurrent=256,overlap=1,weight_rows=2,products=1,softmax=1,norms=1,direct=1",
}
"""A small device, and one with everything else that results may pass."""


@pytest.fixture(scope="module", params=CONFIGS.values(), ids=CONFIGS)
def device(request):
    with sateen.open(f"sim:{request.param}") as opened:
        yield opened


def compiled(built, config) -> Model:
    """A file's model, all of which the device computes, but for the bytes of states."""
    builder, *ends = built
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = sateen.compile(tflite.load(builder.build(*ends)), config, strict=True)
    kinds = {op.name: type(op) for op in model.graph.ops}
    assert {kinds[step.host] for step in model.steps if step.host} <= {ToBytes, FromBytes}
    return model


def check(device, built, items: int = 4, seed: int = 0) -> None:
    """Asserts that a device's results and states are tflite-micro's, and its cycles those of the cycle model."""
    graph, x, expected = stream(built, items, seed)
    model = device.load(compiled(built, device.config))
    np.testing.assert_array_equal(model.run(x).reshape(expected.shape), expected)
    states = graph.first_states()
    run(graph, graph.tensors[graph.inputs[0]].from_file(x), states=states)
    for name, values in model.states.items():
        np.testing.assert_array_equal(values, graph.tensors[name].to_file(states[name]))
    for layer, counted in zip(model.model.layers, model.profile.layers, strict=True):
        predicted, counters = layer.predicted, counted.counters
        assert abs(predicted.cycles - counters.cycles) <= device.config.overlap, layer.name
        assert (predicted.busy, predicted.weights) == (counters.busy, counters.weights), layer.name


@pytest.mark.parametrize(("rank", "steps"), [(1, 1), (1, 6), (3, 2)])
def test_svdf(device, rank, steps):
    for loud in (0.2, 8.0):
        rng = np.random.default_rng(int(loud))
        check(device, svdf_model(rng, rank=rank, steps=steps, loud=loud, inputs=11, units=7))


@pytest.mark.parametrize(
    ("power", "clip", "loud"), [(-15, 0.7, 1.0), (-11, 0.0, 0.3), (-9, 0.0, 60.0), (-12, 3.0, 1.0)]
)
def test_lstm(device, power, clip, loud):
    """Gates and cells at their limits, cells that are clipped, and steps whose inputs do not fit together."""
    rng = np.random.default_rng(-power)
    built = lstm_model(rng, power=power, loud=loud, clip=clip, cells=9, steps=7, inputs=13, time_major=power == -9)
    check(device, built)


@pytest.mark.parametrize("changes", [{"steps": 1}, {"cells": 1}, {"inputs": 1}, {"hidden_scale": 1 / 900}])
def test_lstms_of_one_step_cell_or_input(device, changes):
    check(device, lstm_model(np.random.default_rng(4), **changes))


@pytest.mark.parametrize("built", [svdf_model, lstm_model])
def test_states_live_from_run_to_run(device, built):
    given = built(np.random.default_rng(2))
    _, x, expected = stream(given, 8)
    model = device.load(compiled(given, device.config))
    assert {values.dtype.name for values in model.states.values()} <= {"int8", "int16"}
    check_states(model, x, expected)


@pytest.mark.parametrize("built", [svdf_model, lstm_model])
@pytest.mark.parametrize("steps", [1, 4])
def test_compiled_graphs_are_the_files_again_for_another_device(built, steps):
    """Tensors and operators by name, whose order may be another."""
    builder, *ends = built(np.random.default_rng(0), steps=steps)
    graph = tflite.load(builder.build(*ends))
    model = sateen.compile(graph, CONFIGS["plain"])
    with pytest.warns(SateenWarning, match="recurrent states of 16 bits, on the host"):
        again = sateen.compile(model.graph, "tiny").graph
    assert any(isinstance(op, (FeatureBytes, LstmBytes)) for op in model.graph.ops)
    assert again.tensors == graph.tensors
    first, second = (sorted((op.name, type(op).__name__, op.inputs, op.output) for op in g.ops) for g in (graph, again))
    assert first == second


def test_layers_in_turn(device):
    """Two layers, each of which finds its own cells, though the unit keeps those of one."""
    builder, inputs, (middle,) = lstm_model(np.random.default_rng(2), inputs=5, cells=5)
    shape, scale = builder.tensors[middle]["shape"], builder.tensors[middle]["scale"]
    places = list(builder.ops[0]["inputs"])
    places[0] = middle
    for place in (18, 19):
        fields = {**builder.tensors[places[place]]}
        builder.tensors.append(fields)
        places[place] = len(builder.tensors) - 1
    point = builder.tensors[middle]["zero_point"]
    y = builder.tensor(shape, scale=scale, zero_point=point)
    # The second layer's biases count in the first one's results.
    for gate in range(4):
        weights = builder.tensors[places[1 + gate]]["scale"]
        values = np.random.default_rng(gate).integers(-3000, 3000, 5)
        places[12 + gate] = builder.constant(values, "INT32", scale=float(np.float32(scale) * np.float32(weights)))
    options = {"FusedActivationFunction": 4}
    builder.op("UNIDIRECTIONAL_SEQUENCE_LSTM", places, [y], "UnidirectionalSequenceLSTMOptions", **options)
    check(device, (builder, inputs, [y]))


def test_long_sequences_take_several_programs(device):
    """More descriptors than the program memory holds, and the unit's words stay between them."""
    steps = 2 * device.config.descriptors
    model = compiled(lstm_model(np.random.default_rng(3), steps=steps), device.config)
    assert len(model.segments) > 1
    check(device, lstm_model(np.random.default_rng(3), steps=steps), items=3)


@pytest.mark.parametrize(
    ("changes", "config", "message"),
    [
        ({"power": -8}, CONFIGS["plain"], "its cells count in 2^-8, more than 2^-9, the device's most"),
        (
            {"cells": 13}, CONFIGS["plain"],
            "its 13 cells take 65 words of the device's unit, which has 64; raise recurrent",
        ),
        (
            {"cells": 820, "steps": 1}, CONFIGS["plain"],
            "its 820 cells take 4100 words of the device's unit, which has 64; no unit has more than 4096",
        ),
        (
            {"cells": 12, "inputs": 90}, "tiny,lanes=4,recurrent=64,weight_bytes=4096",
            "its weights take 4848 bytes of the weight store at once, which has 4096; raise weight_bytes",
        ),
    ],
)  # fmt: skip
def test_what_the_host_computes(changes, config, message):
    builder, *ends = lstm_model(np.random.default_rng(4), **changes)
    graph = tflite.load(builder.build(*ends))
    with pytest.warns(SateenWarning, match=re.escape(message)):
        model = sateen.compile(graph, config)
    with pytest.raises(CompileError, match=re.escape(message)):
        sateen.compile(graph, config, strict=True)
    x = np.random.default_rng(1).integers(-128, 128, (2, *graph.tensors[graph.inputs[0]].shape[1:])).astype(np.int8)
    for name, values in run(graph, x).items():
        np.testing.assert_array_equal(run(model.graph, x)[name], values)


def test_without_the_unit_nothing_changes():
    builder, *ends = lstm_model(np.random.default_rng(4))
    graph = tflite.load(builder.build(*ends))
    with pytest.warns(SateenWarning, match="recurrent states of 16 bits, on the host"):
        assert sateen.compile(graph, "tiny").graph.ops == graph.ops
    assert any(isinstance(op, Recurrent) and op.HOST_ONLY for op in graph.ops)


def test_files(tmp_path):
    """A model is itself when it is read again, and refused if a word of it is another."""
    model = compiled(lstm_model(np.random.default_rng(4)), CONFIGS["plain"])
    model.save(tmp_path / "model.sateen")
    again = Model.load(tmp_path / "model.sateen")
    consistency.check(again)
    assert [type(op) for op in again.graph.ops] == [type(op) for op in model.graph.ops]
    assert {LstmBytes, ToBytes, FromBytes, Reshape} <= {type(op) for op in again.graph.ops}
    # Of a step's output section: its address, whether words are added, the scale, the clip, the power.
    step, output = 3, DESCRIPTOR_WORDS - 11
    for word, bit in ((0, 1), (4, 2), (4, 0), (4, 7), (8, 0), (8, 29), (10, 0), (10, 17), (10, 25)):
        (segment,) = model.segments
        program = segment.program.copy()
        program[4 * (step * DESCRIPTOR_WORDS + output + word) + bit // 8] ^= 1 << bit % 8
        damaged = replace(model, segments=(replace(segment, program=program),), trusted=False)
        with pytest.raises(InternalError, match="this is a mistake of Sateen's compiler"):
            verify_program(damaged)
        damaged.save(tmp_path / "damaged.sateen")
        with pytest.raises(ModelFileError, match="compile it again"):
            consistency.check(Model.load(tmp_path / "damaged.sateen"))


@pytest.mark.parametrize(("built", "index", "rows"), [(svdf_model, 0, 8), (lstm_model, 1, 5), (lstm_model, 2, 7)])
def test_words_that_are_wrong(built, index, rows):
    """The lowest bit of each weight, bias and scale of a descriptor's first group: of an SVDF's features, an LSTM's
    inputs and a step."""
    model = compiled(built(np.random.default_rng(4)), CONFIGS["plain"])
    (segment,) = model.segments
    stream = records(segment.program)[index].weights
    words = [*range(rows), stream.words, *range(stream.words + 4, stream.words + 9)]
    for word, column in itertools.product(words, range(model.config.cols)):
        weights = segment.weights.copy()
        weights[stream.base + word, column] ^= 1
        with pytest.raises(InternalError, match="this is a mistake of Sateen's compiler"):
            verify_program(replace(model, segments=(replace(segment, weights=weights),), trusted=False))
