"""Ranges, equalization and bias correction where the right answer is known, and the report of what quantization
costs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import needs
from command_line import cli, read_document
from sateen import digits
from sateen.graph import Graph, GraphError, Network, run
from sateen.graph.network import Conv2D
from sateen.quantize import Calibration, assess, onnx_float, quantize_network, quantize_source
from sateen.quantize.assessment import decibels
from sateen.quantize.equalization import equalize
from sateen.quantize.ranges import activation_scale, find_ranges, mean_square_error

onnx = needs.package("onnx", extra="onnx")
helper = onnx.helper
needs.package("sklearn", extra="demo")


MAX = Calibration()


def one(values):
    """A trace of one tensor."""
    return lambda: [{"x": np.asarray(part, np.float32)} for part in values]


def test_whole_range():
    assert find_ranges(one([[-1, 2], [3, 0.5]]), Calibration()) == {"x": (-1.0, 3.0)}


@pytest.mark.parametrize("share", [99.0, 99.9])
def test_percentile_cuts_what_is_outside(share):
    """Of 100,000 evenly spread values and ten outliers, half of what is cut off lies on each side."""
    values = np.linspace(-1, 1, 100_000)
    outliers = np.full(10, 3.0)
    low, high = find_ranges(one([values, outliers]), Calibration(method="percentile", percentile=share))["x"]
    assert low == pytest.approx(-share / 100, abs=2e-3) and high == pytest.approx(share / 100, abs=3e-3)
    assert find_ranges(one([values, outliers]), Calibration(method="percentile", percentile=100))["x"] == pytest.approx(
        (-1, 3), abs=1e-6
    )


def test_least_square_error():
    """Of even values the whole range is best; of a distribution with long tails it is not, and no range of a fine grid
    is much better."""
    even = np.linspace(0, 1, 10_000)
    assert find_ranges(one([even]), Calibration(method="mse"))["x"] == pytest.approx((0, 1), abs=1e-6)
    values = np.random.default_rng(0).laplace(size=1_000_000).astype(np.float32)
    low, high = find_ranges(one([values]), Calibration(method="mse"))["x"]

    def error(low, high):
        return mean_square_error(values, activation_scale(low, high, scheme="asymmetric"))

    best = min(error(-end, end) for end in np.linspace(6, float(values.max()), 40))
    assert error(low, high) <= 1.02 * best
    assert error(low, high) < 0.8 * error(float(values.min()), float(values.max()))


def test_options_say_what_they_allow():
    with pytest.raises(ValueError, match="method must be max, percentile or mse, not 'best'"):
        Calibration(method="best")
    with pytest.raises(ValueError, match="percentile must lie within 50 and 100"):
        Calibration(percentile=0.99)


@pytest.fixture(scope="module")
def network():
    """The float network of the demonstration, its training data, and its test data."""
    train_x, _, test_x, test_y = digits.load_data()
    return digits.load_network(), train_x[:200], test_x, test_y


def accuracy(graph, x, labels):
    codes = graph.tensors[graph.inputs[0]].quantize(x)
    return float((run(graph, codes)[graph.outputs[0]].argmax(axis=1) == labels).mean())


def test_outliers_in_calibration(network):
    """One pixel of one calibration image is 300 times too bright: ranges without it keep the accuracy."""
    model, x, test_x, labels = network
    spoiled = x.copy()
    spoiled[0, 3, 3, 0] = 300
    clean = accuracy(quantize_network(model, x).graph, test_x, labels)
    cut = Calibration(method="percentile", percentile=99)
    found = {each: accuracy(quantize_network(model, spoiled, each).graph, test_x, labels) for each in (MAX, cut)}
    assert found[MAX] < clean - 0.3 and found[cut] >= clean - 0.02


def test_report_names_the_cure(network):
    model, x, test_x, labels = network
    spoiled = x.copy()
    spoiled[0, 3, 3, 0] = 300
    found = assess(quantize_network(model, spoiled), labels=np.zeros(len(x), int))
    assert found.items == len(x) and set(found.accuracy) == {"float", "int8"}
    advised = {layer.layer: layer.suggestion for layer in found.layers if layer.suggestion}
    assert "--method percentile --percentile 99" in advised["input"]
    cured = assess(quantize_network(model, spoiled, Calibration(method="percentile", percentile=99)))
    for each in (cured, assess(quantize_network(model, x))):
        assert not [layer for layer in each.layers if layer.suggestion]
        assert min(layer.snr for layer in each.layers) > 22
    with pytest.raises(ValueError, match="give a label for each item: there are 3 for 200"):
        assess(quantize_network(model, x), labels=[1, 2, 3])


def test_decibels():
    assert decibels(100.0, 1.0) == pytest.approx(20) and decibels(1.0, 0.0) == np.inf and np.isnan(decibels(0.0, 1.0))


def as_onnx(network, path):
    """A network of the demonstration as an ONNX file, with images (N, C, H, W)."""
    nodes, constants, x = [], {}, "x"
    for layer in network.fold().layers:
        kind, inputs, attributes = type(layer).__name__, [x], {}
        if kind == "Flatten":
            nodes.append(helper.make_node("Transpose", [x], [f"{x}.nhwc"], perm=[0, 2, 3, 1]))
            inputs = [f"{x}.nhwc"]
        for field in ("weights", "bias"):
            if hasattr(layer, field):
                values = getattr(layer, field)
                constants[f"{layer.name}.{field}"] = values.transpose(0, 3, 1, 2) if values.ndim == 4 else values
                inputs.append(f"{layer.name}.{field}")
        if kind in ("Conv2D", "MaxPool2D"):
            (top, bottom), (left, right) = layer.padding
            attributes = {"pads": [top, left, bottom, right], "strides": list(layer.stride)}
        if kind == "MaxPool2D":
            attributes["kernel_shape"] = list(layer.size)
        onnx_kind = {"Conv2D": "Conv", "MaxPool2D": "MaxPool", "FullyConnected": "Gemm"}.get(kind, kind)
        attributes |= {"transB": 1} if onnx_kind == "Gemm" else {}
        nodes.append(helper.make_node(onnx_kind, inputs, [layer.name], f"{layer.name}_node", **attributes))
        x = layer.name
    ends = [helper.make_tensor_value_info(name, 1, ("N", *shape)) for name, shape in (("x", (1, 8, 8)), (x, (10,)))]
    tensors = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "digits", ends[:1], ends[1:], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return [node.output[0] for node in nodes if node.op_type == "Conv"]


def spread(network):
    """The same float function with the channels of the first convolution up to 256 times apart."""
    layers = list(network.fold().layers)
    first, second = [place for place, layer in enumerate(layers) if type(layer).__name__ == "Conv2D"][:2]
    factors = np.float32(2) ** np.random.default_rng(5).integers(-4, 5, len(layers[first].bias)).astype(np.float32)
    layers[first] = replace(
        layers[first], weights=layers[first].weights * factors.reshape(-1, 1, 1, 1), bias=layers[first].bias * factors
    )
    layers[second] = replace(layers[second], weights=layers[second].weights / factors)
    return replace(network, layers=layers)


def test_equalization_brings_channels_together(network, tmp_path):
    model, x, test_x, labels = network
    x, test_x = x[:40].transpose(0, 3, 1, 2), test_x[:200].transpose(0, 3, 1, 2)
    as_onnx(model, tmp_path / "as_is.onnx")
    as_onnx(spread(model), tmp_path / "spread.onnx")
    found = {}
    for name, wanted in (("as_is", False), ("spread", False), ("spread", True), ("as_is", True)):
        made = quantize_source(tmp_path / f"{name}.onnx", x, Calibration(equalize=wanted))
        graph = made.graph
        codes = graph.tensors["x"].from_file(test_x)
        answers = run(graph, codes)[graph.outputs[0]].argmax(axis=1)
        found[name, wanted] = float((answers == labels[:200]).mean()), assess(made)
    noise = {key: min(layer.snr for layer in each.layers) for key, (_, each) in found.items()}
    assert found["spread", False][0] < found["as_is", False][0] - 0.02
    assert noise["spread", False] < noise["as_is", False] - 6
    assert any("--equalize" in layer.suggestion for layer in found["spread", False][1].layers)
    for name in ("spread", "as_is"):
        assert found[name, True][0] >= found["as_is", False][0] - 0.01
        assert noise[name, True] >= noise["as_is", False] - 1


@pytest.mark.parametrize("between", ["Relu", "HardSwish"])
def test_suggestions_help(between, tmp_path):
    """Equalization where it reaches and has not been tried; else the layers from which on channels lie apart."""
    rng = np.random.default_rng(7)
    far = np.float32(10) ** np.linspace(0, 4, 8, dtype=np.float32)
    values = {"a": rng.normal(size=(8, 1, 3, 3)) * 0.3, "b": rng.normal(size=(8, 8, 1, 1)) * 0.3}
    values = {name: value.astype(np.float32) for name, value in values.items()}
    values = {"a": values["a"] * far[:, None, None, None], "b": values["b"] / far[None, :, None, None]}
    nodes = [helper.make_node("Conv", ["x", "a"], ["first"], pads=[1] * 4), helper.make_node(between, ["first"], ["h"])]
    nodes.append(helper.make_node("Conv", ["h", "b"], ["last"]))
    ends = [helper.make_tensor_value_info(name, 1, ("N", count, 8, 8)) for name, count in (("x", 1), ("last", 8))]
    tensors = [onnx.numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "apart", ends[:1], ends[1:], tensors)
    path, x = tmp_path / "apart.onnx", rng.normal(size=(8, 1, 8, 8)).astype(np.float32)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8), path)

    def last(**options):
        return assess(quantize_source(path, x, Calibration(**options))).layers[-1]

    plain, equalized = last(), last(equalize=True)
    assert plain.snr < 20 and "ranges of channels lie" in plain.suggestion
    if between == "Relu":
        assert plain.suggestion.endswith("try --equalize") and equalized.snr > plain.snr + 10
    else:
        layers = ("first", "h", "last")
        for each in (plain, equalized):
            assert each.suggestion.endswith(f": {' '.join(f'--float {x}' for x in layers)} leave them to the host")
        assert last(keep_float=layers).snr > plain.snr + 20


@pytest.mark.parametrize("shape", ["rows", "reshaped"])
def test_only_channels_are_equalized(shape, tmp_path):
    """Products of rows have channels along their last axis, and not every Reshape flattens."""
    rng = np.random.default_rng(0)
    wide = (rng.normal(size=(4, 4)) * 2.0 ** np.arange(-4, 4, 2)).astype(np.float32)
    if shape == "rows":
        constants = {"v": wide, "w": rng.normal(size=(4, 4)).astype(np.float32)}
        nodes = [("MatMul", ["x", "v"], "a"), ("Relu", ["a"], "b"), ("MatMul", ["b", "w"], "y")]
        ends = (("x", (1, 4, 4)), ("y", (1, 4, 4)))
    else:
        constants = {"v": wide.reshape(4, 4, 1, 1), "s": np.array([4, 4], np.int64), "w": wide}
        nodes = [("Conv", ["x", "v"], "a"), ("Reshape", ["a", "s"], "b"), ("MatMul", ["b", "w"], "y")]
        ends = (("x", (1, 4, 2, 2)), ("y", (4, 4)))
    made = [helper.make_node(kind, inputs, [output]) for kind, inputs, output in nodes]
    values = [helper.make_tensor_value_info(name, 1, sizes) for name, sizes in ends]
    tensors = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(made, "g", values[:1], values[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    x = rng.normal(size=(3, *ends[0][1][1:])).astype(np.float32)
    float_model = onnx_float.float_model(model.SerializeToString(), x)
    equalized, trace = equalize(float_model.model, float_model.trace)
    for name, value in float_model.model.constants.items():
        np.testing.assert_array_equal(equalized.constants[name], value)
    for before, after in zip(float_model.trace(), trace(), strict=True):
        np.testing.assert_array_equal(before["a"], after["a"])


def test_bias_correction_removes_the_mean_error(tmp_path):
    """Weights that all round down, on inputs that are all positive: the whole error is a mean."""
    rng = np.random.default_rng(0)
    codes = rng.integers(-100, 100, (6, 8, 1, 1)) + 0.45
    codes[:, 0] = 127
    constants = {"w": (codes / 127).astype(np.float32), "b": np.zeros(6, np.float32)}
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["y"])]
    ends = [helper.make_tensor_value_info(name, 1, ("N", count, 4, 4)) for name, count in (("x", 8), ("y", 6))]
    tensors = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "m.onnx")
    x = rng.uniform(0.4, 0.6, (20, 8, 4, 4)).astype(np.float32)
    errors = []
    for correct in (False, True):
        made = quantize_source(tmp_path / "m.onnx", x, Calibration(correct_bias=correct))
        tensor = made.graph.tensors["y.codes"]
        y = run(made.graph, made.graph.tensors["x"].from_file(x), layers=True)["y.codes"]
        expected = np.concatenate([tensors["y"] for tensors in made.trace()]).transpose(0, 2, 3, 1)
        errors.append(np.abs((tensor.dequantize(y) - expected).mean(axis=(0, 1, 2))).max())
    assert errors[0] > 0.01 and errors[1] < 0.001


def test_layers_stay_in_float(network, tmp_path):
    """What the host computes with real weights has the noise of its operands alone; between two such layers there is
    none at all."""
    model, x, _, _ = network
    convolutions = as_onnx(spread(model), tmp_path / "spread.onnx")
    x = x[:20].transpose(0, 3, 1, 2)
    relus = [node.output[0] for node in onnx.load(tmp_path / "spread.onnx").graph.node if node.op_type == "Relu"]
    noise = {}
    for kept in ((), (convolutions[1],), tuple(convolutions[:2])):
        made = quantize_source(tmp_path / "spread.onnx", x, Calibration(keep_float=kept))
        kinds = [type(op).__name__ for op in made.graph.ops]
        assert kinds.count("RealConv2D") == len(kept) and kinds.count("Conv2D") == len(convolutions) - len(kept)
        noise[kept] = {layer.layer: layer.snr for layer in assess(made).layers}
    second = relus[1]
    assert noise[convolutions[1],][second] > noise[()][second] + 0.5
    assert noise[tuple(convolutions[:2])][second] > noise[()][second] + 8
    with pytest.raises(GraphError, match="layer 'none': the model has none of this name; layers are "):
        quantize_source(tmp_path / "spread.onnx", x, Calibration(keep_float=("none",)))


def test_networks_are_equalized(network, tmp_path):
    """As a model of ONNX's operators is; what the network computes in float stays."""
    model, x, test_x, labels = network
    as_onnx(spread(model), tmp_path / "spread.onnx")
    wanted = Calibration(equalize=True)
    made = quantize_network(spread(model), x[:40], wanted)
    other = quantize_source(tmp_path / "spread.onnx", x[:40].transpose(0, 3, 1, 2), wanted)
    layers = [[op.weights.astype(int) for op in each.graph.ops if hasattr(op, "weights")] for each in (made, other)]
    for mine, same in zip(*(each[:2] for each in layers), strict=True):
        np.testing.assert_allclose(mine, same.reshape(mine.shape), atol=1)
    (tensors,) = made.trace()
    np.testing.assert_allclose(tensors["logits"], model.forward(x[:40]), rtol=1e-3, atol=1e-3)
    assert (
        accuracy(made.graph, test_x, labels) >= accuracy(quantize_network(model, x[:40]).graph, test_x, labels) - 0.01
    )
    assert min(layer.snr for layer in assess(made).layers) > 30
    # A ReLU6's limit does not move with a factor.
    limited = replace(
        spread(model),
        layers=[replace(each, limit=6.0) if type(each).__name__ == "Relu" else each for each in spread(model).layers],
    )
    (tensors,) = quantize_network(limited, x[:40], wanted).trace()
    np.testing.assert_allclose(tensors["relu1"], limited.fold().trace(x[:40])["relu1"])


def test_biases_of_networks_are_corrected():
    """The same layer as above."""
    rng = np.random.default_rng(0)
    codes = rng.integers(-100, 100, (6, 1, 1, 8)) + 0.45
    codes[..., 0] = 127
    layer = Conv2D(name="y", weights=(codes / 127).astype(np.float32), bias=np.zeros(6, np.float32))
    model = Network(name="one", input_shape=(4, 4, 8), layers=[layer])
    x = rng.uniform(0.4, 0.6, (20, 4, 4, 8)).astype(np.float32)
    errors = []
    for correct in (False, True):
        graph = quantize_network(model, x, Calibration(correct_bias=correct)).graph
        y = graph.tensors["y"].dequantize(run(graph, graph.tensors["input"].quantize(x))["y"])
        errors.append(np.abs((y - model.forward(x)).mean(axis=(0, 1, 2))).max())
    assert errors[0] > 0.01 and errors[1] < 0.001


@pytest.mark.parametrize(
    ("kept", "kinds"),
    [
        (("relu2",), "Conv2D Dequantize RealConv2D RealUnary Quantize MaxPool2D Reshape FullyConnected"),
        (("conv1", "conv2"), "Dequantize RealConv2D RealUnary RealConv2D RealUnary Quantize MaxPool2D Reshape "
                             "FullyConnected"),
        (("logits",), "Conv2D Conv2D MaxPool2D Reshape Dequantize RealProduct"),
    ],
)  # fmt: skip
def test_layers_of_networks_stay_in_float(network, kept, kinds, tmp_path):
    """By the name of the layer or of the ReLU behind it; an answer of the last is real."""
    model, x, _, _ = network
    made = quantize_network(spread(model), x[:40], Calibration(keep_float=kept))
    assert [type(op).__name__ for op in made.graph.ops] == kinds.split()
    made.graph.save(tmp_path / "kept.npz")
    graph = Graph.load(tmp_path / "kept.npz")
    assert graph.tensors[graph.outputs[0]].dtype == ("float32" if kept == ("logits",) else "int8")
    found = {layer.layer: layer.snr for layer in assess(made, labels=np.zeros(40, int)).layers}
    plain = {layer.layer: layer.snr for layer in assess(quantize_network(spread(model), x[:40])).layers}
    assert found.keys() <= plain.keys()
    if kept != ("logits",):
        assert found["relu2"] > plain["relu2"] + (8 if "conv1" in kept else 0.5)
    with pytest.raises(
        ValueError, match="layer 'pool': the network has none of this name with weights; such are conv1"
    ):
        quantize_network(model, x[:40], Calibration(keep_float=("pool",)))


def test_command_line_reports_and_counts(network, tmp_path):
    model, x, _, _ = network
    model.save(tmp_path / "digits.npz")
    _, labels, _, _ = digits.load_data()
    np.save(tmp_path / "x.npy", x[:40])
    np.save(tmp_path / "labels.npy", labels[:40])
    result = cli(
        "quantize", tmp_path / "digits.npz", "-c", tmp_path / "x.npy", "-o", tmp_path / "q.npz", "--method", "mse",
        "--equalize", "--correct-bias", "--float", "logits",
        "--labels", tmp_path / "labels.npy", "--device", "sim:tiny", "--json", tmp_path / "q.json",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "SNR dB" in result.stdout and "right answers of 40: float" in result.stdout
    report = read_document(tmp_path / "q.json", "quantize")
    assert set(report["accuracy"]) == {"float", "int8", "sim:tiny"}
    assert report["accuracy"]["int8"] == report["accuracy"]["sim:tiny"] >= 0.95
    assert {"layer", "operator", "snr", "own", "suggestion"} == set(report["layers"][0])
    np.save(tmp_path / "labels.npy", labels[:39])
    result = cli("quantize", tmp_path / "digits.npz", "-c", tmp_path / "x.npy", "-o", tmp_path / "q.npz",
                 "--labels", tmp_path / "labels.npy")  # fmt: skip
    assert result.returncode == 1 and "has 39 labels for the 40 items" in result.stderr
