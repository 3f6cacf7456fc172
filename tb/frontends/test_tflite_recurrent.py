"""Recurrent layers and their states: the golden model's integers against tflite-micro's, step by step."""

from __future__ import annotations

import re
import threading
from contextlib import nullcontext

import numpy as np
import pytest

import sateen
from recurrent_models import lstm_model, svdf_model, variable_model
from recurrent_streams import check_states, stream
from sateen.errors import InputError, SateenError, SateenWarning
from sateen.frontends import tflite
from sateen.graph import GraphError, LastStep, LstmCells, LstmHidden, Recurrent, Reshape, run
from sateen.reference import interpreted, interpreter, random_inputs
from sateen.runtime.device import LoadedModel
from sateen.runtime.inference import Inference
from tflite_models import ModelBuilder

CONFIG = "tiny"


def check(built, steps: int = 12, seed: int = 0) -> np.ndarray:
    """Asserts that the results are tflite-micro's, and returns them."""
    graph, x, expected = stream(built, steps, seed)
    actual = run(graph, graph.tensors[graph.inputs[0]].from_file(x))[graph.outputs[0]]
    np.testing.assert_array_equal(actual.reshape(expected.shape), expected)
    return actual


@pytest.mark.parametrize("built", [svdf_model, lstm_model])
def test_states_step_by_step(built, tmp_path):
    """All bits of the states, which show a multiplier that was rounded otherwise."""
    for seed in range(4):
        builder, *ends = built(np.random.default_rng(seed), inputs=60)
        (tmp_path / "model.tflite").write_bytes(builder.build(*ends))
        graph = tflite.load(tmp_path / "model.tflite")
        x = random_inputs(graph, 60)
        expected = interpreted(interpreter(tmp_path / "model.tflite", graph), graph, x, lambda done, count: None)
        (name,) = graph.inputs
        values = run(graph, graph.tensors[name].from_file(x[name]), layers=True)
        for following in graph.states.values():
            found = graph.tensors[following].to_file(values[following])
            np.testing.assert_array_equal(found.reshape(expected[following].shape), expected[following])


@pytest.mark.parametrize("loud", [0.2, 1.0, 8.0, 100.0])
@pytest.mark.parametrize(("rank", "steps"), [(1, 1), (1, 6), (2, 4), (3, 2)])
@pytest.mark.parametrize("kind", ["INT16", "INT8"])
def test_svdf(kind, rank, steps, loud):
    # Where a sum leaves the range, the kernel of tflite-micro's package wraps states of int8 with a zero point.
    state = plain(kind) if loud > 0.5 else {}
    for seed in range(3):
        rng = np.random.default_rng(seed)
        check(svdf_model(rng, kind, rank=rank, steps=steps, loud=loud, state=state), seed=seed)


def test_svdf_whose_states_leave_the_range_with_a_zero_point():
    """The zero point is added before the clip, as tflite-micro's source has it since 2026."""
    built = svdf_model(np.random.default_rng(1), "INT8", loud=8.0, state={"zero_point": 9})
    graph, x, _ = stream(built, 3)
    given = np.full(graph.tensors[graph.inputs[0]].shape, 127, np.int8)
    states = graph.first_states()
    assert all((value == 9).all() for value in states.values())
    feature = next(op.output for op in graph.ops if op.name.endswith("feature"))
    codes = run(graph, given, layers=True)[feature]
    assert {-128, 127} <= set(codes.reshape(-1).tolist())


def test_results_of_svdf_next_to_ties():
    """Biases alone, so large that their scaling's last bits decide how they are rounded."""
    rng = np.random.default_rng(0)
    for _ in range(10):
        state, time = (np.float32(rng.uniform(0.01, 0.02) * 2.0**-6) for _ in range(2))
        scale = np.float32(float(state) * float(time) * 2**24 * rng.uniform(0.9, 1.1))
        halves = rng.integers(-100, 100, 64) + 0.5
        bias = np.round(halves * float(scale) / (float(state) * float(time))) + rng.integers(-60, 60, 64)
        b = ModelBuilder()
        places = [
            b.tensor((1, 2), scale=0.1), b.constant(np.ones((64, 2)), "INT8", scale=0.1),
            b.constant(np.zeros((64, 3)), "INT16", scale=time), b.constant(bias, "INT32", scale=state * time),
            b.tensor((1, 192), "INT16", scale=state, IsVariable=True),
        ]  # fmt: skip
        y = b.tensor((1, 64), scale=scale)
        b.op("SVDF", places, [y], "SVDFOptions", Rank=1)
        check((b, [0], [y]), 3)


@pytest.mark.parametrize("clip", [0.0, 0.7])
@pytest.mark.parametrize("loud", [0.3, 1.0, 60.0])
@pytest.mark.parametrize("power", [-15, -12, -11, -3])
def test_lstm(power, loud, clip):
    for seed in range(2):
        rng = np.random.default_rng(seed)
        built = lstm_model(rng, power=power, loud=loud, clip=clip, time_major=seed == 1, steps=4 + seed)
        assert len(np.unique(check(built, seed=seed))) > 20


@pytest.mark.parametrize("changes", [{"steps": 1}, {"steps": 1, "time_major": True}, {"cells": 1}, {"inputs": 1}])
@pytest.mark.parametrize("hidden_scale", [1 / 128, 1 / 900])
def test_lstm_of_one_step_cell_or_input(changes, hidden_scale):
    check(lstm_model(np.random.default_rng(4), hidden_scale=hidden_scale, **changes))


def test_fields_that_say_what_the_kind_says():
    """Converters list the states, and tensors that layer normalization would use."""
    check(lstm_model(np.random.default_rng(4), intermediates=True))
    check(lstm_model(np.random.default_rng(4), AsymmetricQuantizeInputs=True, ProjClip=2.0))
    check(svdf_model(np.random.default_rng(4), activation=1, point=-128))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"changed": {1: -1}}, "an LSTM without weights of an input gate (CIFG) is not supported"),
        ({"changed": {10: -2}}, "an LSTM with peephole weights is not supported"),
        ({"changed": {16: -2}}, "an LSTM with a projection is not supported"),
        ({"changed": {22: -2}}, "an LSTM with layer normalization is not supported"),
        ({"changed": {13: -1}}, "its bias at input 13 is missing"),
        ({"changed": {13: -2}}, "is INT16, not INT32"),
        ({"changed": {3: -2}}, "are INT16, not INT8"),
        ({"changed": {18: 0}}, "must be a variable, in which its state lives"),
        ({"power": -2.5}, "must be a power of two from 2^-24 to 1, not 2^-2.5"),
        ({"clip": -1.0}, "its cell_clip must be 0 or more, not -1.0"),
        ({"clip": 1e-9}, "is less than a step of"),
        ({"DiagonalRecurrentTensors": True}, "its options DiagonalRecurrentTensors = True are not supported"),
        ({"FusedActivationFunction": 1}, "its activation must be TANH, not 1"),
    ],
)
def test_lstms_that_are_refused(changes, message):
    builder, *ends = lstm_model(np.random.default_rng(4), **changes)
    with pytest.raises(GraphError, match=re.escape(message)):
        tflite.load(builder.build(*ends))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Rank": 5}, "do not fit a rank of 5"),
        ({"activation": 1, "point": 3}, "its fused activation 1 is not what the range of its output"),
        ({"activation": 3, "point": -128}, "its fused activation 3 is not what the range of its output"),
        ({"state": {"IsVariable": False}}, "tensor 't4' must be a variable, in which its state lives"),
        ({"state": {"scale": 1.0}}, "its bias tensor 't3' has the scale"),
        ({"state": {"data": np.zeros((1, 60), np.int16)}}, "it is a variable, but the file has its values"),
    ],
)
def test_svdfs_that_are_refused(changes, message):
    builder, *ends = svdf_model(np.random.default_rng(4), **changes)
    with pytest.raises(GraphError, match=re.escape(message)):
        tflite.load(builder.build(*ends))


def test_states_belong_to_one_operator():
    builder, inputs, _ = svdf_model(np.random.default_rng(4))
    state = builder.ops[0]["inputs"][4]
    second = builder.tensor((1, 6), scale=0.1)
    builder.op("SVDF", builder.ops[0]["inputs"], [second], "SVDFOptions", Rank=2)
    with pytest.raises(GraphError, match="is the state of another operator, too"):
        tflite.load(builder.build(inputs, [second]))
    builder.ops.pop()
    second = builder.tensor((60, 1), "INT16", scale=0.1)
    builder.op("RESHAPE", [state], [second], "ReshapeOptions", NewShape=[60, 1])
    with pytest.raises(GraphError, match="it is a variable, which only SVDF and UNIDIRECTIONAL_SEQUENCE_LSTM take"):
        tflite.load(builder.build(inputs, [second]))


@pytest.mark.parametrize("begin", [None, "zeros"])
@pytest.mark.parametrize("type", ["INT8", "INT16", "FLOAT32"])
def test_resource_variables(type, begin):
    """Streaming models keep the last frames in them, and begin with zeros."""
    zero = {"INT8": 9}.get(type, 0)
    check(variable_model(type, begin=None if begin is None else zero), steps=9)


def test_a_variable_that_is_read_again_after_it_was_assigned():
    b, inputs, _, _ = variable_model()
    again = b.tensor((1, 3, 1, 5), scale=0.05, zero_point=9)
    handle = b.ops[0]["outputs"][0]
    b.op("READ_VARIABLE", [handle], [again], "ReadVariableOptions")
    check((b, inputs, [again]), steps=5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"begin": 4}, "it sets a variable to tensor 't1', which is not zero throughout; begin with zeros"),
        ({"names": ("one", "other")}, "tensor 'v0' (one): nothing assigns values to this variable"),
    ],
)
def test_variables_that_are_refused(changes, message):
    builder, inputs, outputs, once = variable_model(**changes)
    with pytest.raises(GraphError, match=re.escape(message)):
        tflite.load(builder.build(inputs, outputs, once=once))


@pytest.mark.parametrize("numbers", [{"scale": 0.1}, {"scale": 0.05, "zero_point": 1}])
def test_variables_of_other_numbers_are_refused(numbers):
    b = ModelBuilder()
    x, y, handle = b.tensor((1, 4), **numbers), b.tensor((1, 4), scale=0.05), b.tensor((), "RESOURCE")
    b.op("VAR_HANDLE", [], [handle], "VarHandleOptions", Container="", SharedName="kept")
    b.op("READ_VARIABLE", [handle], [y])
    b.op("ASSIGN_VARIABLE", [handle, x], [])
    with pytest.raises(GraphError, match="'t0' must have the shape, type, scale and zero point of the variable 'kept'"):
        tflite.load(b.build([x], [y]))


def loaded(built, device) -> tuple[LoadedModel, np.ndarray, np.ndarray]:
    """A model on a device, inputs and tflite-micro's results."""
    graph, x, expected = stream(built, 8)
    with pytest.warns(SateenWarning, match="recurrent states of 16 bits, on the host") if any(
        isinstance(op, Recurrent) for op in graph.ops
    ) else nullcontext():
        model = sateen.compile(graph, device.config)
    return device.load(model), x, expected


def plain(kind: str) -> dict[str, int]:
    """Fields of a state that tflite-micro's package clips."""
    return {"zero_point": 0} if kind == "INT8" else {}


@pytest.fixture(scope="module")
def device():
    with sateen.open(f"sim:{CONFIG}") as opened:
        yield opened


@pytest.mark.parametrize("kind", ["INT16", "INT8", "LSTM", "variable"])
def test_states_live_from_run_to_run(device, kind):
    rng = np.random.default_rng(2)
    others = {"LSTM": lstm_model, "variable": lambda _: variable_model()}
    built = others[kind](rng) if kind in others else svdf_model(rng, kind, state=plain(kind))
    model, x, expected = loaded(built, device)
    check_states(model, x, expected)


def test_a_reset_during_an_item(device, monkeypatch):
    """It comes behind that item, and is not undone by what the item leaves."""
    model, x, expected = loaded(variable_model(), device)
    users, items = [], iter(range(len(x)))
    run = Inference.run

    def interrupted(self, *arguments, **options):
        if next(items) == 2:
            users.append(threading.Thread(target=model.reset))
            users[0].start()
            users[0].join(0.2)
        return run(self, *arguments, **options)

    monkeypatch.setattr(Inference, "run", interrupted)
    np.testing.assert_array_equal(model.run(x[:3]).reshape(3, -1), expected[:3])
    users[0].join()
    np.testing.assert_array_equal(model.run(x[:2]).reshape(2, -1), expected[:2])


def test_an_svdf_of_int8_is_the_devices(device):
    model, _, _ = loaded(svdf_model(np.random.default_rng(2), "INT8", rank=1), device)
    assert [type(model.model.graph.ops[0]).__name__, model.model.layers[0].op] == ["FullyConnected"] * 2
    kinds = {op.name: type(op).__name__ for op in model.model.graph.ops}
    assert {kinds[step.host] for step in model.model.steps if step.host} <= {"Slice"}
    assert "DepthwiseConv2D" in {layer.op for layer in model.model.layers}


def test_states_that_do_not_fit(device):
    model, _, _ = loaded(svdf_model(np.random.default_rng(2)), device)
    (name,) = model.states
    with pytest.raises(InputError, match=f"the model's states are {name}; none came"):
        model.states = {}
    with pytest.raises(InputError, match=re.escape(f"state {name!r} must be int16 of (1, 60), not int8 of (1, 60)")):
        model.states = {name: np.zeros((1, 60), np.int8)}
    with pytest.raises(sateen.errors.CompileError, match="quantize an SVDF with a state of int8"):
        sateen.compile(model.model.graph, CONFIG, strict=True)


def test_files_keep_states(tmp_path):
    builder, *ends = lstm_model(np.random.default_rng(2))
    graph = tflite.load(builder.build(*ends))
    graph.save(tmp_path / "graph.npz")
    again = type(graph).load(tmp_path / "graph.npz")
    assert again.states == graph.states and len(again.states) == 2
    x = np.random.default_rng(1).integers(-128, 128, (5, *graph.tensors[graph.inputs[0]].shape[1:])).astype(np.int8)
    for name, values in run(graph, x, layers=True).items():
        np.testing.assert_array_equal(run(again, x, layers=True)[name], values)
    states = graph.first_states()
    parts = [run(graph, x[:2], states=states), run(graph, x[2:], states=states)]
    name = graph.outputs[0]
    np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), run(graph, x)[name])
    assert {type(op) for op in graph.ops} == {LastStep, LstmCells, LstmHidden, Reshape}


def soak(seed: int) -> str:
    """A random recurrent layer or variable of any size and loudness, over a stream."""
    rng = np.random.default_rng(seed)
    kind = str(rng.choice(["INT8", "INT16", "LSTM", "variable"]))
    loud, sizes = float(2.0 ** rng.uniform(-3, 7)), [int(size) for size in rng.integers(1, 24, 3)]
    if kind == "variable":
        point = int(rng.integers(-128, 128))
        built = variable_model(frames=1 + sizes[0], depth=sizes[1], channels=sizes[2], point=point)
    elif kind == "LSTM":
        built = lstm_model(
            rng, inputs=sizes[0], cells=sizes[1], steps=1 + sizes[2] // 3, power=int(rng.integers(-15, 0)), loud=loud,
            clip=float(rng.choice([0.0, rng.uniform(1, 4)])), time_major=bool(rng.integers(2)),
            hidden_scale=float(np.float32(2.0 ** rng.uniform(-10, -6))),
        )  # fmt: skip
    else:
        built = svdf_model(
            rng, kind, inputs=sizes[0], units=sizes[1], rank=int(rng.integers(1, 4)), steps=sizes[2], loud=loud,
            state=plain(kind),
        )  # fmt: skip
    check(built, steps=int(rng.integers(4, 24)), seed=seed)
    return kind


def test_an_svdf_without_a_bias_has_no_interpreter(tmp_path):
    """tflite-micro's would end the process."""
    builder, *ends = svdf_model(np.random.default_rng(0), bias=False)
    (path := tmp_path / "svdf.tflite").write_bytes(data := builder.build(*ends))
    with pytest.raises(SateenError, match="tflite-micro: it ends at an SVDF without a bias"):
        interpreter(path, tflite.load(data))
