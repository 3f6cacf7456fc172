"""Each operator of PyTorch between quantized values: its codes are those of PyTorch's reference, or what exact
arithmetic rounds to where float sums decide; every argument counts or is refused."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import needs
import sateen
from sateen.frontends.torch import load
from sateen.graph import GraphError, run

torch = needs.package("torch", extra="torch")
nn, F = torch.nn, torch.nn.functional

from torch_programs import OPS, Binary, Unary, coded, compare, loaded  # noqa: E402

RAMP = torch.linspace(-1, 1.5, 6)
FUNCTIONS = {
    "relu": torch.relu,
    "relu6": F.relu6,
    "hardtanh": lambda x: F.hardtanh(x, -0.7, 1.3),
    "clamp": lambda x: torch.clamp(x, min=-0.5),
    "clamp_max": lambda x: torch.clamp(x, max=0.5),
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.1),
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "elu": F.elu,
    "softplus": F.softplus,
    "mish": F.mish,
    "exp": torch.exp,
    "abs": torch.abs,
    "neg": torch.neg,
    "affine": lambda x: x * 0.75 + 0.3,
    "rsub": lambda x: 1 - x,
    "divide": lambda x: x / 3,
    "square": lambda x: x**2,
    "root": lambda x: torch.sqrt(torch.relu(x)),
    "swish": lambda x: x * torch.sigmoid(x),
    "hard_swish_in_parts": lambda x: x * torch.clamp(x + 3, 0, 6) / 6,
    "requantize": lambda x: x,
    "in_place": lambda x: (x + 1).mul_(0.5).relu_(),
}
MOVES = {
    "view": lambda x: x.view(1, 2, -1),
    "flatten": lambda x: torch.flatten(x, 1),
    "permute": lambda x: x.permute(0, 2, 3, 1),
    "transpose": lambda x: x.transpose(1, 2),
    "squeeze": lambda x: x[:, :, :1].squeeze(2),
    "unsqueeze": lambda x: x.unsqueeze(1).reshape(1, 4, 6, 6),
    "slice": lambda x: x[:, 1:3, ::2, 1:],
    "select": lambda x: x[:, 1],
    "split": lambda x: torch.split(x, [1, 3], 1)[1],
    "chunk": lambda x: torch.chunk(x, 2, 2)[1],
    "pad": lambda x: F.pad(x, (1, 2, 0, 1)),
    "pad_reflect": lambda x: F.pad(x, (1, 2, 0, 1), mode="reflect"),
    "upsample": lambda x: F.interpolate(x, scale_factor=2, mode="nearest"),
    "upsample_to": lambda x: F.interpolate(x, size=(9, 13), mode="nearest"),
    "upsample_by": lambda x: F.interpolate(x, scale_factor=(1.7, 1.3), mode="nearest"),
    "upsample_in_float32": lambda x: F.interpolate(x[:, :, :2], size=(82, 6), mode="nearest"),
    "max_pool": lambda x: F.max_pool2d(x, 3, 2, 1),
    "max_pool_ceil": lambda x: F.max_pool2d(x, 2, 3, ceil_mode=True),
    "cat": lambda x: torch.cat([x, x[:, :1]], 1),
    "pixel_shuffle": lambda x: F.pixel_shuffle(x, 2),
    "dropout": lambda x: F.dropout(x, 0.5, training=False),
    "contiguous": lambda x: x.contiguous().clone().detach(),
}
REAL = {
    "avg_pool": lambda x: F.avg_pool2d(x, 2),
    "avg_pool_padded": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "avg_pool_not_counted": lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "adaptive": lambda x: F.adaptive_avg_pool2d(x, 1),
    "adaptive_3": lambda x: F.adaptive_avg_pool2d(x, 3),
    "mean": lambda x: x.mean((2, 3)),
    "mean_kept": lambda x: x.mean((2, 3), keepdim=True),
    "mean_channels": lambda x: x.mean(1),
    "sum": lambda x: x[:, :, :2].sum((2, 3)),
    "amax": lambda x: x.amax((2, 3)),
    "softmax": lambda x: F.softmax(torch.flatten(x, 1), 1),
    "function": lambda x: F.adaptive_avg_pool2d(F.hardswish(x), 1),
    "functions": lambda x: F.avg_pool2d(F.elu(x) * 0.5, 2) - 1,
    "layer_norm": lambda x: F.layer_norm(x, (6,)) * 0.5,
    "gelu_of_reals": lambda x: F.gelu(F.layer_norm(x, (6,))),
    "silu_of_reals": lambda x: F.silu(F.layer_norm(x, (6,))),
    "hardsigmoid_of_reals": lambda x: F.hardsigmoid(F.layer_norm(x, (6,))),
    "leaky_relu_of_reals": lambda x: F.leaky_relu(F.layer_norm(x, (6,)), 0.2),
    "elu_of_reals": lambda x: F.elu(F.layer_norm(x, (6,)), 0.7),
    "cos_of_reals": lambda x: torch.cos(F.layer_norm(x, (6,))),
    "matmul": lambda x: torch.matmul(x, x.transpose(2, 3)),
    "group_norm": lambda x: F.group_norm(x, 2, RAMP[:4], RAMP[2:6]),
    "group_norm_plain": lambda x: F.group_norm(x.flatten(2), 1),
    "instance_norm": lambda x: F.instance_norm(x, weight=RAMP[:4], bias=RAMP[2:6]),
    "bilinear": lambda x: F.interpolate(x, scale_factor=(1.7, 2), mode="bilinear"),
    "bilinear_recomputed": lambda x: F.interpolate(x, scale_factor=1.7, mode="bilinear", recompute_scale_factor=True),
    "bilinear_corners": lambda x: F.interpolate(x, size=(9, 1), mode="bilinear", align_corners=True),
    "linear": lambda x: F.interpolate(x.flatten(2), size=50, mode="linear"),
    "minimum": lambda x: torch.minimum(x, x.transpose(2, 3)),
    "maximum": lambda x: torch.max(x, RAMP),
    "einsum_scores": lambda x: torch.einsum("bhqd,bhkd->bhqk", x, x),
    "einsum_moved": lambda x: torch.einsum("bhqk,bhkd->bqhd", x, x),
    "einsum_two_sums": lambda x: torch.einsum("bchw,bdhw->bdc", x, x),
    "einsum_items": lambda x: torch.einsum("bchw,bchw->bc", x, x),
    "einsum_weights": lambda x: torch.einsum("bchw,kw->bckh", x, RAMP[:, None] * RAMP),
    "attention": lambda x: F.scaled_dot_product_attention(x, x, x),
    "attention_scaled": lambda x: F.scaled_dot_product_attention(x[:, :2], x[:, 2:], x[:, :2], scale=0.2),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_equal_pytorch(name):
    """Every code of the operand."""
    exported, graph, _ = loaded(Unary(FUNCTIONS[name], 0.037), 256)
    x = ((np.arange(-128, 128) - 5) * np.float32(0.03)).astype(np.float32)[None]
    found = compare(exported, graph, x)
    assert (found.values, found.different) == (512, 0)
    assert [type(op).__name__ for op in graph.ops] == ["Quantize", "Table", "Dequantize"]


@pytest.mark.parametrize("name", MOVES)
def test_moves_equal_pytorch(name):
    """In the quantization of the operand, and in another."""
    for scale, zero_point in ((0.03, 5), (0.05, -20)):

        class Move(nn.Module):
            def forward(self, x, scale=scale, zero_point=zero_point):
                return coded(MOVES[name](coded(x, 0.03, 5)), scale, zero_point)

        exported, graph, x = loaded(Move(), 4, 6, 6)
        found = compare(exported, graph, x)
        assert found.different == 0 and found.values > 300


@pytest.mark.parametrize("name", REAL)
def test_means_equal_pytorch_up_to_ties(name):
    scale = 1 / 256 if name == "softmax" else 0.031
    found = compare(*loaded(Unary(REAL[name], scale), 4, 6, 6, count=8))
    assert not found.unexplained and found.different <= found.values * 0.01


def weights(*shape, count):
    """Codes of random weights, and ``count`` scales."""
    rng = np.random.default_rng(1)
    codes = torch.from_numpy(rng.integers(-127, 128, shape).astype(np.int8))
    scales = torch.from_numpy(rng.uniform(0.001, 0.01, count).astype(np.float32))
    return codes, scales


class Layer(nn.Module):
    """A layer with weights of 8 bits and a bias of 32 bits, as the quantizers of Arm's targets write them."""

    def __init__(self, function, *shape, per_channel=True, bias=True, axis=0):
        super().__init__()
        outputs = shape[axis]
        codes, scales = weights(*shape, count=outputs if per_channel else 1)
        self.function, self.axis, self.per_channel = function, axis, per_channel
        self.register_buffer("codes", codes)
        self.register_buffer("scales", scales if per_channel else scales[:1])
        self.register_buffer("zeros", torch.zeros(len(scales), dtype=torch.int64))
        self.register_buffer("bias", torch.arange(outputs, dtype=torch.int32) * 100 - 200 if bias else None)

    def forward(self, x):
        x = coded(x, 0.03, 5)
        if self.per_channel:
            numbers = (self.scales, self.zeros, self.axis, -127, 127, torch.int8)
            weight = OPS.dequantize_per_channel(self.codes, *numbers)
        else:
            weight = OPS.dequantize_per_tensor(self.codes, 0.004, 0, -127, 127, torch.int8)
        bias = None
        if self.bias is not None and self.per_channel:
            numbers = (self.scales * 0.03, self.zeros, 0, -(2**31), 2**31 - 1, torch.int32)
            bias = OPS.dequantize_per_channel(self.bias, *numbers)
        elif self.bias is not None:
            bias = OPS.dequantize_per_tensor(self.bias, 0.004 * 0.03, 0, -(2**31), 2**31 - 1, torch.int32)
        return coded(self.function(x, weight, bias), 0.4, 3)


LAYERS = {
    "conv": ((6, 4, 3, 3), lambda x, w, b: F.conv2d(x, w, b, (1, 2), (1, 0)), (4, 8, 9)),
    "conv_same": ((6, 4, 2, 3), lambda x, w, b: F.conv2d(x, w, b, 1, "same", (1, 2)), (4, 8, 9)),
    "conv_groups": ((6, 2, 3, 3), lambda x, w, b: F.conv2d(x, w, b, 2, 1, 1, 2), (4, 8, 9)),
    "depthwise": ((8, 1, 3, 3), lambda x, w, b: F.conv2d(x, w, b, 1, 1, 1, 4), (4, 8, 9)),
    "conv1d": ((6, 4, 3), lambda x, w, b: F.conv1d(x, w, b, 2, 1), (4, 20)),
    "conv_relu": ((6, 4, 1, 1), lambda x, w, b: torch.relu(F.conv2d(x, w, b)), (4, 8, 9)),
    "conv_relu6": ((6, 4, 1, 1), lambda x, w, b: F.relu6(F.conv2d(x, w, b)), (4, 8, 9)),
    "conv_transpose": ((4, 6, 3, 2), lambda x, w, b: F.conv_transpose2d(x, w, b, 2, 1, (1, 0)), (4, 8, 9)),
    "linear": ((5, 12), F.linear, (12,)),
    "linear_rows": ((5, 12), F.linear, (7, 12)),
    "linear_relu": ((5, 12), lambda x, w, b: F.relu(F.linear(x, w, b)), (12,)),
    "product": ((5, 12), lambda x, w, b: torch.addmm(b, x, w.t()), (12,)),
}


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_equal_pytorch_up_to_its_sums(name, per_channel):
    """Bias and weights are integers, so that only PyTorch's float sums can differ from exact ones."""
    shape, function, item = LAYERS[name]
    axis = int(name == "conv_transpose")
    exported, graph, x = loaded(Layer(function, *shape, per_channel=per_channel, axis=axis), *item, count=6)
    found = compare(exported, graph, x)
    assert not found.unexplained and found.different <= found.values * 0.001


@pytest.mark.parametrize("scale", [0.05, 0.0517])
@pytest.mark.parametrize("name", ["add", "sub", "mul", "add_relu"])
def test_pairs_equal_pytorch(name, scale):
    """All pairs of codes. PyTorch multiplies by the result's reciprocal scale where ONNX divides by the scale; with a
    scale of 0.05, hundreds of sums of 0.03 · a and 0.021 · b lie on ties."""
    functions = {"add": torch.add, "sub": torch.sub, "mul": torch.mul, "add_relu": lambda a, b: torch.relu(a + b)}
    inputs = (torch.zeros(1, 256, 256), torch.zeros(1, 256, 256))
    exported = torch.export.export(Binary(functions[name], scale), inputs)
    codes = np.arange(-128, 128)
    a, b = np.meshgrid((codes - 5) * np.float32(0.03), (codes + 9) * np.float32(0.021))
    found = compare(exported, load(exported), *(part[None].astype(np.float32) for part in (a, b)))
    assert not found.unexplained and found.different == 0


def test_pairs_run_on_the_device():
    """Its tables give PyTorch's sums of all pairs; where ties leave none, the host computes them and says so."""
    inputs = (torch.zeros(1, 16, 16), torch.zeros(1, 16, 16))
    model = sateen.compile(torch.export.export(Binary(torch.add, 0.0517), inputs), "small", strict=True)
    assert [layer.op for layer in model.layers] == ["Add"]
    with pytest.raises(sateen.CompileError, match="no tables of the device give its results"):
        sateen.compile(torch.export.export(Binary(torch.add, 0.05), inputs), "small", strict=True)


def unary(function):
    return Unary(function, 0.03)


class Training(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x):
        return coded(self.norm(coded(x, 0.03, 5)), 0.03, 5)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.LSTM(6, 6, batch_first=True)

    def forward(self, x):
        return coded(self.cell(coded(x, 0.03, 5)[:, 0])[0], 0.03, 5)


REFUSED = {
    "alpha": (unary(lambda x: torch.add(x[:, :1], x[:, 1:2], alpha=2)), "its alpha must be 1"),
    "divisor": (unary(lambda x: F.avg_pool2d(x, 2, divisor_override=3)), "argument divisor_override = 3 is not"),
    "ceil": (unary(lambda x: F.avg_pool2d(x, 4, 3, ceil_mode=True)), "its ceil_mode is not supported at this size"),
    "dilation": (unary(lambda x: F.max_pool2d(x, 2, 1, dilation=2)), "dilations"),
    "indices": (unary(lambda x: F.max_pool2d(x, 2, return_indices=True)[1].float()), "result 1 .* is not supported"),
    "uneven": (unary(lambda x: F.adaptive_avg_pool2d(x, 4)), "differ in size; choose a divisor"),
    "batch": (unary(lambda x: x.mean((0, 1))), "it reduces the batch"),
    "everything": (unary(lambda x: x.mean()), "not supported"),
    "unknown": (unary(lambda x: torch.cumsum(x, 1)), r"aten\.cumsum\.default is not supported"),
    "diagonal": (unary(lambda x: torch.einsum("bchh->bch", x)), "bchh->bch has not two operands; write it as permute"),
    "dots": (unary(lambda x: torch.einsum("b...h,b...h->b", x, x)), "is no matrix product; write it as permute"),
    "moved batch": (unary(lambda x: torch.einsum("bchw,bchw->cb", x, x)), "moves the batch; keep the first index"),
    "antialiased": (
        unary(lambda x: F.interpolate(x, size=3, mode="bilinear", antialias=True)), "_aa.* is not supported; export"
    ),
    "undefined": (unary(lambda x: torch.log(x)), "it is not defined for"),
    "int16": (unary(lambda x: coded(x, 0.01, 0, -32768, 32767, torch.int16)), "int16; quantize to 8"),
    "buffers": (Training(), "call eval"),
    "recurrent": (Recurrent(), "lstm.* is not supported; export the float module to ONNX, and give that to sateen"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_operator_and_remedy(name):
    module, text = REFUSED[name]
    module.train(name == "buffers")
    exported = torch.export.export(module, (torch.zeros(2, 4, 6, 6),))
    with pytest.raises(GraphError, match=text):
        load(exported)


def test_entrances_say_what_is_missing():
    module, x = nn.Sequential(nn.Linear(4, 2)), torch.ones(3, 4)
    with pytest.raises(sateen.CompileError, match="in training mode; call eval"):
        sateen.compile(module, calibration=x)
    with pytest.raises(sateen.CompileError, match="give example_inputs"):
        sateen.compile(module.eval())
    with pytest.raises(sateen.CompileError, match="give calibration: representative inputs"):
        sateen.compile(module, example_inputs=x)
    with pytest.raises(GraphError, match="its items are .5,., but the program takes .4,."):
        sateen.compile(module, example_inputs=x, calibration=torch.ones(3, 5))
    with pytest.raises(GraphError, match="calibration: it holds no item"):
        sateen.compile(module, example_inputs=x, calibration=torch.ones(0, 4))
    with pytest.raises(GraphError, match="values in it that are not finite"):
        sateen.compile(module, example_inputs=x, calibration=x * torch.nan)
    with pytest.raises(GraphError, match="its batches must be tensors or tuples of them, not dict"):
        sateen.compile(module, calibration=[{"x": x}])
    exported = torch.export.export(Unary(torch.relu, 0.1), (x,))
    with pytest.raises(GraphError, match="it is quantized already"):
        sateen.compile(exported, calibration=x)


CHANGES = {
    "view_before": lambda x: _changed(x, lambda a: a.view(1, -1), lambda a, v: v),
    "view_after": lambda x: _changed(x, lambda a: a.view(1, -1), lambda a, v: a.view(1, -1)),
    "read_before": lambda x: _changed(x, torch.sigmoid, lambda a, v: (a + v).flatten(1)),
    "slice": lambda x: _changed(x, lambda a: a[:, 1:], lambda a, v: v.flatten(1)),
    "dropout": lambda x: _changed(x, lambda a: F.dropout(a, 0.5, False), lambda a, v: v.flatten(1)),
}


def _changed(x, first, last):
    """What is computed before and after a change in place."""
    a = x * 1.0
    v = first(a)
    a.add_(0.5)
    return last(a, v)


@pytest.mark.parametrize("name", CHANGES)
def test_changes_in_place_reach_whoever_shares_memory(name):
    module = Unary(CHANGES[name], 0.03).eval()
    exported = torch.export.export(module, (torch.zeros(1, 4, 3, 3),))
    x = ((np.random.default_rng(0).integers(-100, 100, (1, 4, 3, 3)) - 5) * np.float32(0.03)).astype(np.float32)
    expected = exported.run_decompositions().module()(torch.from_numpy(x)).numpy()
    graph = load(exported)
    found = run(graph, graph.tensors[graph.inputs[0]].from_file(x))[graph.outputs[0]]
    np.testing.assert_array_equal(graph.tensors[graph.outputs[0]].to_file(found), expected)


def test_import_needs_no_torch():
    code = "import sys, sateen, sateen.quantize; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
