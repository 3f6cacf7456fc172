"""Float networks and their quantization: hand-worked cases, a float simulation of the integers, and what is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sateen.archive import ArchiveError
from sateen.graph import GraphError, graph, network, run
from sateen.graph.network import BatchNorm, Conv2D, Flatten, FullyConnected, MaxPool2D, Network, NetworkError, Relu
from sateen.hw.spec.descriptor import Rounding
from sateen.quantize import quantize_file
from sateen.quantize.calibration import SCHEMES, activation_scale, quantize, weight_scales
from tflite_models import small_tflite_model


def floats(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


def small_network(seed=0):
    """Convolution, batch norm, ReLU6, convolution, ReLU, pool, flatten, fully connected, on 7×6×2 images."""
    rng = np.random.default_rng(seed)
    return Network(
        name="small",
        input_shape=(7, 6, 2),
        layers=[
            Conv2D(name="c1", weights=floats(rng, 5, 3, 3, 2), bias=floats(rng, 5), padding=((1, 1), (1, 1))),
            BatchNorm(
                name="n1", gamma=floats(rng, 5), beta=floats(rng, 5), mean=floats(rng, 5),
                variance=floats(rng, 5) ** 2 + np.float32(0.1),
            ),
            Relu(name="r1", limit=6.0),
            Conv2D(name="c2", weights=floats(rng, 4, 2, 3, 5), bias=floats(rng, 4), stride=(1, 2), dilation=(2, 1)),
            Relu(name="r2"),
            MaxPool2D(name="p", size=(2, 2), stride=(2, 1)),
            Flatten(name="flat"),
            FullyConnected(name="logits", weights=floats(rng, 10, 8), bias=floats(rng, 10)),
        ],
    )  # fmt: skip


def images(count, seed=1):
    return floats(np.random.default_rng(seed), count, 7, 6, 2)


def dense(weights, bias, *after):
    """A fully connected layer and what comes after it."""
    layer = FullyConnected(name="f", weights=np.array(weights, np.float32), bias=np.array(bias, np.float32))
    return Network(name="dense", input_shape=(layer.weights.shape[1],), layers=[layer, *after])


def test_convolution_is_its_definition():
    net = small_network()
    layer, x = net.layers[3], net.trace(images(2))["r1"]
    result = layer.forward(x)
    assert result.shape == (2, 5, 2, 4)
    for n, y, column, o in np.ndindex(*result.shape):
        window = x[n, [y, y + 2]][:, 2 * column : 2 * column + 3]
        assert result[n, y, column, o] == pytest.approx((window * layer.weights[o]).sum() + layer.bias[o], abs=1e-4)


def test_pool_and_relu():
    x = np.float32([[-3, 1], [7, 2]]).reshape(1, 2, 2, 1)
    pool = MaxPool2D(name="p", size=(2, 2), stride=(1, 1), padding=((1, 0), (0, 0)))
    np.testing.assert_array_equal(pool.forward(x).ravel(), [1, 7])
    np.testing.assert_array_equal(Relu(name="r", limit=6.0).forward(x).ravel(), [0, 1, 6, 2])


def test_batch_norm_folds_into_convolution_and_fully_connected():
    rng = np.random.default_rng(3)
    net = small_network()
    norm = dataclasses.replace(
        net.layers[1], name="n2", **{f: abs(floats(rng, 10)) for f in ("gamma", "mean", "variance")}
    )
    norm = dataclasses.replace(norm, beta=floats(rng, 10))
    net = dataclasses.replace(net, layers=[*net.layers, norm])
    folded = net.fold()
    assert not any(isinstance(layer, BatchNorm) for layer in folded.layers)
    np.testing.assert_allclose(folded.forward(images(8)), net.forward(images(8)), rtol=1e-3, atol=1e-3)
    norm = net.layers[1]
    np.testing.assert_allclose(
        norm.forward(np.ones((1, 5), np.float32))[0],
        norm.gamma * (1 - norm.mean) / np.sqrt(norm.variance + 1e-5) + norm.beta,
        rtol=1e-5,
    )


def test_batch_norm_needs_a_layer_to_fold_into():
    net = small_network()
    with pytest.raises(
        NetworkError, match="BatchNorm 'n1': it can be folded only into a Conv2D or FullyConnected right"
    ):
        dataclasses.replace(net, layers=[net.layers[0], net.layers[2], net.layers[1]]).fold()


@pytest.mark.parametrize(
    ("index", "fields", "message"),
    [
        (0, {"bias": np.zeros(4, np.float32)}, r"Conv2D 'c1': it needs 5 values per channel, not an array of \(4,\)"),
        (0, {"weights": np.zeros((5, 3, 3, 3), np.float32)}, "its weights take 3 channels, but its input has 2"),
        (
            0,
            {"weights": np.zeros((5, 9, 10, 2), np.float32)},
            r"a window of \(9, 10\) exceeds its padded input of \(9, 8\)",
        ),
        (0, {"bias": np.zeros(5)}, "bias must be finite float32 numbers"),
        (0, {"bias": np.full(5, np.nan, np.float32)}, "bias must be finite float32 numbers"),
        (1, {"mean": np.zeros(4, np.float32)}, "BatchNorm 'n1': it needs 5 values per channel"),
        (1, {"name": "c1"}, "its layers need names, each different and none 'input'"),
        (
            7,
            {"weights": np.zeros((10, 9), np.float32)},
            r"its input must be \(N, 9\), not \(1, 8\); is a Flatten missing",
        ),
    ],
)
def test_network_refuses(index, fields, message):
    net = small_network()
    with pytest.raises(NetworkError, match=message):
        layers = list(net.layers)
        layers[index] = dataclasses.replace(layers[index], **fields)
        dataclasses.replace(net, layers=layers)


def test_network_refuses_other_inputs():
    with pytest.raises(NetworkError, match=r"network 'small': give \(N, \*\(7, 6, 2\)\), not \(2, 7, 6\)"):
        small_network().forward(images(2)[..., 0])


def test_network_save_and_load(tmp_path):
    net, path = small_network(), tmp_path / "small.npz"
    net.save(path)
    again = Network.load(path)
    np.testing.assert_array_equal(again.forward(images(3)), net.forward(images(3)))
    assert [type(layer) for layer in again.layers] == [type(layer) for layer in net.layers]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ArchiveError, match="damaged or not a file of Sateen"):
        Network.load(path)


def test_activation_scale():
    assert activation_scale(-2.0, 1.0, scheme="symmetric") == (2 / 127, 0)
    assert activation_scale(0.0, 5.1, scheme="asymmetric") == (pytest.approx(0.02), -128)
    assert activation_scale(1.0, 5.1, scheme="asymmetric") == (pytest.approx(0.02), -128)
    assert activation_scale(-5.1, -1.0, scheme="asymmetric") == (pytest.approx(0.02), 127)
    assert activation_scale(-127.5, 127.5, scheme="asymmetric") == (1.0, 0)  # -0.5, to even
    assert activation_scale(-1.0, 1.0, scheme="asymmetric", step=0.5) == (0.5, -126)
    assert activation_scale(0.0, 0.0, scheme="asymmetric") == (1.0, -128)
    assert activation_scale(0.0, 0.0, scheme="symmetric") == (1.0, 0)


def test_weight_scales():
    weights = np.float32([[127, -254], [0, 0], [0, 0], [1e-9, 0]])
    scales = weight_scales(weights, np.float32([1, -0.25, 0, 1]), 0.5)
    np.testing.assert_array_equal(scales, [2, 0.25 / 2**29, 2, 1 / 2**29])
    np.testing.assert_array_equal(weight_scales(np.zeros((2, 1), np.float32), np.zeros(2, np.float32), 0.5), [1, 1])


def test_worked_case():
    """Two channels, symmetric, every number by hand; the halves are ties."""
    net = dense([[127, 64.5, -62.5, 0.5], [254, 1, 3, 0]], [-4.5, 11])
    g = quantize(net, np.float32([[127] * 4, [-127] * 4]), scheme="symmetric")
    (op,) = g.ops
    x, y = g.tensors["input"], g.tensors["f"]
    assert (x.scale, x.zero_point, y.zero_point) == (1.0, 0, 0)
    assert y.scale == pytest.approx((254 * 127 + 4 * 127 + 11) / 127)
    np.testing.assert_array_equal(op.weights, [[127, 64, -62, 0], [127, 0, 2, 0]])
    np.testing.assert_array_equal(op.bias, [-4, 6])
    scales = op.multiplier * 2.0 ** (op.shift.astype(float) - 31)
    np.testing.assert_allclose(scales, np.array([1, 2]) / y.scale, rtol=1e-9)
    assert (op.low, op.high) == (-127, 127)
    inputs = np.int8([[0, 0, 0, 0], [127, 0, 0, 0], [0, 127, -127, 127], [-127, 127, 127, -127]])
    np.testing.assert_array_equal(run(g, inputs)["f"], [[0, 0], [62, 125], [62, -2], [-62, -123]])


def test_relu_is_the_clamp():
    net = dense([[1.0]], [0.0], Relu(name="r6", limit=6.0))
    values = np.linspace(-10, 10, 11, dtype=np.float32).reshape(-1, 1)
    g = quantize(net, values)
    y = g.tensors["r6"]
    assert (y.scale, y.zero_point, g.ops[0].low, g.ops[0].high) == (6 / 255, -128, -128, 127)
    assert [op.name for op in g.ops] == ["f"] and g.outputs == ["r6"]
    g = quantize(net, values, scheme="symmetric")
    assert (g.tensors["r6"].scale, g.ops[0].low, g.ops[0].high) == (6 / 127, 0, 127)
    # The limit lies below 127 where calibration data does not reach it.
    g = quantize(dense([[1.0]], [0.0], Relu(name="r", limit=6.0)), np.float32([[-1], [3]]), scheme="symmetric")
    assert g.ops[0].high == 127


def test_relu_after_pool():
    net = Network(
        name="n", input_shape=(2, 2, 1), layers=[MaxPool2D(name="p", size=(1, 2), stride=(1, 1)), Relu(name="r")]
    )
    g = quantize(net, np.float32([[[[-1], [-2]], [[3], [2]]]]))
    zero = g.tensors["input"].zero_point
    assert g.ops[0].low == zero == g.tensors["r"].zero_point
    x = np.int8([-128, -128, -128, 100]).reshape(1, 2, 2, 1)
    np.testing.assert_array_equal(run(g, x)["r"].ravel(), [zero, 100])


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("rounding", [Rounding.DOUBLE, Rounding.SINGLE, Rounding.FLOAT32])
def test_integers_are_the_rounded_reals(scheme, rounding):
    """Each layer's integers are the real-valued layer's results on dequantized inputs and weights, rounded."""
    g = quantize(small_network(), images(64), scheme=scheme, rounding=rounding)
    values = run(g, g.tensors["input"].quantize(images(50, seed=2)), layers=True)
    checked = 0
    for op in g.ops:
        if not isinstance(op, graph.Conv2D | graph.FullyConnected):
            continue
        assert op.rounding == rounding
        x, y = g.tensors[op.input], g.tensors[op.output]
        ratio = op.multiplier * 2.0 ** (op.shift.astype(float) - 31)
        scales = (ratio * y.scale / x.scale).reshape(-1, *[1] * (op.weights.ndim - 1))
        real = {"weights": (op.weights * scales).astype(np.float32), "bias": np.float32(op.bias * ratio * y.scale)}
        if isinstance(op, graph.Conv2D):
            layer = network.Conv2D(name="c", stride=op.stride, padding=op.padding, dilation=op.dilation, **real)
        else:
            layer = network.FullyConnected(name="f", **real)
        expected = layer.forward(x.dequantize(values[op.input])) / y.scale + y.zero_point
        error = values[op.output] - np.clip(expected, op.low, op.high)
        # Rounding twice adds half a unit of the high product, which the shift makes smaller.
        first = 2.0 ** (op.shift.max() - 1) if rounding == Rounding.DOUBLE else 0
        assert np.abs(error).max() < 0.501 + first
        checked += 1
    assert checked == 3


@pytest.mark.parametrize("scheme", SCHEMES)
def test_output_follows_the_float_network(scheme):
    net = small_network()
    g = quantize(net, images(200), scheme=scheme)
    x = images(100, seed=1)
    expected = net.forward(x)
    actual = g.tensors["logits"].dequantize(run(g, g.tensors["input"].quantize(x))["logits"])
    error = np.abs(actual - expected).max() / np.ptp(expected)
    assert error < 0.05, f"largest error {error:.1%} of the range"
    assert all(op.weights.min() >= -127 for op in g.ops if hasattr(op, "weights"))
    assert all(op.shift.max() <= 0 for op in g.ops if hasattr(op, "weights"))


def test_dead_channels_keep_their_bias():
    net = dense([[1, 1], [0, 0], [0, 0], [1e-12, 0]], [0, 0.7, 0, -0.3])
    x = np.random.default_rng(0).uniform(-1, 1, (100, 2)).astype(np.float32)
    g = quantize(net, x)
    (op,) = g.ops
    np.testing.assert_array_equal(op.bias, [0, 2**30, 0, -(2**30)])
    y = g.tensors["f"]
    actual = y.dequantize(run(g, g.tensors["input"].quantize(x))["f"])
    np.testing.assert_allclose(actual, net.forward(x), atol=1.1 * y.scale)


def test_constant_activations():
    """A layer that is always zero, one that is always the same, and a constant input."""
    for bias, calibration in [([0.0], [[1], [2]]), ([-5.0], [[0], [0]]), ([3.0], [[7], [7]])]:
        net = dense([[0.0]], bias)
        x = np.float32(calibration)
        g = quantize(net, x)
        actual = g.tensors["f"].dequantize(run(g, g.tensors["input"].quantize(x))["f"])
        np.testing.assert_allclose(actual, net.forward(x), atol=g.tensors["f"].scale)


def test_a_tiny_range_costs_no_overflow():
    """Results far smaller than the input's steps: no sum is shifted left."""
    net = dense([[1.0, -1.0]], [0.0])
    g = quantize(net, np.float32([[100, 100], [50, 50.001]]))
    assert g.ops[0].shift[0] <= 0
    np.testing.assert_array_equal(run(g, np.int8([[127, -128]]))["f"], [[127]])


@pytest.mark.parametrize(
    ("calibration", "options", "message"),
    [
        (images(2), {"scheme": "both"}, "scheme must be asymmetric or symmetric, not 'both'"),
        (images(0), {}, "calibration must hold one item or more, not none"),
        (np.where(images(2) > 2, np.nan, images(2)), {}, "calibration leads to values in 'input' that are not finite"),
        (images(2) * np.float32(1e38), {}, "calibration leads to values in 'c1' that are not finite"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_quantize_refuses(calibration, options, message):
    with pytest.raises(ValueError, match=message):
        quantize(small_network(), calibration, **options)


@pytest.mark.parametrize("before", [[], [Flatten(name="a")], [Relu(name="a")]])
def test_quantize_refuses_a_lone_relu(before):
    net = Network(name="n", input_shape=(3,), layers=[*before, Relu(name="r")])
    with pytest.raises(
        NetworkError, match="it can be fused only into a Conv2D, FullyConnected or MaxPool2D right before"
    ):
        quantize(net, np.ones((1, 3), np.float32))


def test_a_quantized_file_is_not_quantized_again(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(small_tflite_model())
    with pytest.raises(GraphError, match="m.tflite: the model is quantized already; compile it as it is, without"):
        quantize_file(path, np.zeros((1, 5, 5, 3), np.float32))
