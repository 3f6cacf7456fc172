"""Float LSTM, GRU and RNN of ONNX: unrolled they are what onnxruntime computes, and quantized they answer like it."""

from __future__ import annotations

import re

import numpy as np
import pytest

import needs
import sateen
from recurrent_onnx import recurrent_onnx
from sateen.graph import GraphError, run
from sateen.quantize import quantize_file
from sateen.quantize.unrolling import LONGEST, unrolled
from sateen.testing import check_layers

onnx = needs.package("onnx", extra="onnx")
STEPS, INPUTS = 6, 5


def answers(data: bytes, x: np.ndarray) -> np.ndarray:
    """What onnxruntime computes for items."""
    runtime = needs.package("onnxruntime", extra="reference")
    return runtime.InferenceSession(data).run(None, {"x": x})[0]


def given(count: int = 24, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, STEPS, INPUTS)).astype(np.float32)


def quantized(tmp_path, data: bytes, x: np.ndarray):
    """The graph, and its answers for the items."""
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    graph = quantize_file(path, x)
    return graph, codes_run(graph, x)


def codes_run(graph, x: np.ndarray) -> np.ndarray:
    name = graph.outputs[0]
    return graph.tensors[name].to_file(run(graph, graph.tensors[graph.inputs[0]].from_file(x))[name])


WAYS = [
    {},
    {"result": "state"},
    {"result": "sequence"},
    {"direction": "reverse", "result": "sequence"},
    {"direction": "reverse", "result": "state"},
    {"layers": 2},
    {"layers": 2, "direction": "bidirectional"},
    {"direction": "bidirectional", "result": "sequence"},
    {"direction": "bidirectional", "result": "state"},
]


@pytest.mark.parametrize("ways", WAYS, ids=str)
@pytest.mark.parametrize(
    ("kind", "attributes"),
    [("LSTM", {}), ("GRU", {}), ("GRU", {"linear_before_reset": 1}), ("RNN", {}), ("RNN", {"activations": ["Relu"]})],
)
def test_unrolled_layers_are_onnxruntimes(kind, attributes, ways):
    if "activations" in attributes and ways.get("direction") == "bidirectional":
        attributes = {"activations": ["Relu", "Relu"]}
    data, x = recurrent_onnx(kind, **ways, **attributes), given()
    made = unrolled(onnx, onnx.load_from_string(data), x.shape[1:])
    assert not {"LSTM", "GRU", "RNN"} & {node.op_type for node in made.model.graph.node}
    actual = answers(made.model.SerializeToString(), x)
    np.testing.assert_allclose(actual, answers(data, x), atol=2e-6)


@pytest.mark.parametrize("result", ["last", "state", "sequence"])
def test_the_batch_in_front(result):
    """onnxruntime does not have it, so the same layer by time is the reference."""
    x = given()
    plain, turned = (recurrent_onnx("LSTM", result=result, layout=layout) for layout in (0, 1))
    made = unrolled(onnx, onnx.load_from_string(turned), x.shape[1:])
    np.testing.assert_allclose(answers(made.model.SerializeToString(), x), answers(plain, x), atol=2e-6)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_all_steps_have_one_range_and_few_weights(kind, tmp_path):
    data, x = recurrent_onnx(kind, steps=STEPS, size=8), given()
    graph, y = quantized(tmp_path, data, x)
    assert np.abs(y - answers(data, x)).max() < 0.08
    hidden = [tensor for name, tensor in graph.tensors.items() if re.fullmatch(r"layer0\.0\.hidden\.\d\.codes", name)]
    assert len(hidden) == STEPS and len({tensor.quantization for tensor in hidden}) == 1
    model = sateen.compile(graph, "small,descriptors=255", strict=True)
    # Each later step has the words of the second.
    longer, x = recurrent_onnx(kind, steps=2 * STEPS, size=8), np.concatenate([x, x], axis=1)
    more = sateen.compile(quantized(tmp_path, longer, x)[0], "small,descriptors=255", strict=True)
    assert len(more.layers) > 1.8 * len(model.layers) and more.weight_words < 1.3 * model.weight_words


def test_on_a_device(tmp_path):
    """Small steps on a small device, whose layers without tables the host computes."""
    data, x = recurrent_onnx("LSTM", steps=3, size=4, inputs=3), given()[:, :3, :3]
    graph, _ = quantized(tmp_path, data, x)
    with pytest.warns(sateen.SateenWarning, match="tables"), sateen.open("sim:tiny") as device:
        check_layers(device.load(sateen.compile(graph, "tiny")), x[:2])


def test_digits_row_by_row(tmp_path):
    """A trained network's accuracy on images that neither training nor calibration saw."""
    torch = needs.package("torch", extra="train")
    from sateen.digits import load_data

    train_x, train_y, test_x, test_y = load_data()
    threads = torch.get_num_threads()
    # Such small steps take several times as long with more.
    torch.set_num_threads(1)
    rows, tests = (images.reshape(len(images), 8, 8) for images in (train_x, test_x))
    for kind, order in (("LSTM", (0, 3, 1, 2)), ("GRU", (1, 0, 2))):
        torch.manual_seed(0)
        layer, head = getattr(torch.nn, kind)(8, 24, batch_first=True), torch.nn.Linear(24, 10)
        train(torch, layer, head, torch.from_numpy(rows), torch.from_numpy(train_y))
        weights = exported(layer, order)
        weights |= {"W": head.weight.detach().numpy(), "B": head.bias.detach().numpy()}
        reset = {"linear_before_reset": 1} if kind == "GRU" else {}
        data = recurrent_onnx(kind, steps=8, inputs=8, size=24, classes=10, weights=weights, **reset)
        expected = answers(data, tests)
        graph, _ = quantized(tmp_path, data, rows[:40])
        y = codes_run(graph, tests)
        right = [float((each.argmax(axis=1) == test_y).mean()) for each in (expected, y)]
        assert right[0] > 0.93 and right[1] > right[0] - 0.02, right
    torch.set_num_threads(threads)


def train(torch, layer, head, x, labels) -> None:
    optimizer = torch.optim.Adam([*layer.parameters(), *head.parameters()], lr=0.02)
    for step in range(200):
        chosen = torch.arange(step * 128, (step + 1) * 128) % len(x)
        loss = torch.nn.functional.cross_entropy(head(layer(x[chosen])[0][:, -1]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def exported(layer, order: tuple[int, ...]) -> dict[str, np.ndarray]:
    """A layer's weights with its gates in ONNX's order."""
    parts = {name: value.detach().numpy() for name, value in layer.named_parameters()}
    ordered = {
        name: np.concatenate([np.split(value, len(order))[place] for place in order]) for name, value in parts.items()
    }
    bias = np.concatenate([ordered["bias_ih_l0"], ordered["bias_hh_l0"]])
    return {"W0": ordered["weight_ih_l0"][None], "R0": ordered["weight_hh_l0"][None], "B0": bias[None]}


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("LSTM", {"steps": LONGEST + 1}, "at most 128 are unrolled; use a shorter sequence"),
        ("LSTM", {"steps": 100, "direction": "bidirectional"}, "have 200 steps up to here"),
        ("LSTM", {"extra": {7: np.ones((1, 24))}}, "peephole weights are not supported"),
        ("LSTM", {"extra": {5: np.ones((1, 1, 8))}}, "its state before the first step, 'extra5', must be zeros"),
        ("GRU", {"extra": {4: np.array([3])}}, "its sequences have lengths of their own"),
        ("LSTM", {"clip": 3.0}, "its attribute clip = 3.0 is not supported"),
        ("LSTM", {"input_forget": 1}, "its attribute input_forget = 1 is not supported"),
        ("LSTM", {"activations": ["Sigmoid", "Relu", "Tanh"]}, "its activations sigmoid, relu, tanh are not supported"),
    ],
)
def test_layers_that_are_refused(kind, changes, message, tmp_path):
    steps = changes.get("steps", STEPS)
    data = recurrent_onnx(kind, **changes)
    with pytest.raises(GraphError, match=rf"'layer0' \({kind}\): .*{re.escape(message)}"):
        quantized(tmp_path, data, np.zeros((1, steps, INPUTS), np.float32))


def test_zeros_before_the_first_step():
    data, x = recurrent_onnx("LSTM", extra={5: zeros(1, 1, 8), 6: zeros(1, 1, 8)}), given(1)
    made = unrolled(onnx, onnx.load_from_string(data), x.shape[1:])
    np.testing.assert_allclose(answers(made.model.SerializeToString(), x), answers(data, x), atol=2e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("input", "its input 'x' is by time, and no Transpose has made it so; export the model with batch_first=True"),
        ("sum", "operator 'more' (ReduceSum): it computes with the result of a recurrent layer by time; export"),
        ("squeeze", "operator 'squeeze0' (Squeeze): it takes other axes away than that of the only direction"),
        ("output", "output 'y0': it is by time or by direction; export the model with batch_first=True"),
    ],
)
def test_other_uses_of_a_sequence_are_refused(change, message):
    model = onnx.load_from_string(recurrent_onnx("GRU"))
    nodes = {node.name: node for node in model.graph.node}
    if change == "input":
        nodes["layer0"].input[0] = "x"
    elif change == "sum":
        model.graph.node.append(onnx.helper.make_node("ReduceSum", ["y0"], ["sum"], "more"))
    elif change == "squeeze":
        next(each for each in model.graph.initializer if each.name == "axis0").CopyFrom(
            onnx.numpy_helper.from_array(np.array([2]), "axis0")
        )
    else:
        model.graph.output.append(onnx.helper.make_tensor_value_info("y0", 1, (STEPS, 1, 1, 8)))
    with pytest.raises(GraphError, match=re.escape(message)):
        unrolled(onnx, model, (STEPS, INPUTS))
