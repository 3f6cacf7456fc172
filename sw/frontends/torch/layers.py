"""Quantization, layers with weights, windows over images, and sums and products of tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from sateen.frontends.torch.functions import pointwise
from sateen.frontends.torch.program import Call
from sateen.frontends.torch.translator import Handler, Numbers, Translator, registers

__all__ = ["LAYERS", "rounded"]

LAYERS: dict[str, Handler] = {}
handles = registers(LAYERS)
QD = "quantized_decomposed"
RANGES = {"int8": (-128, 127), "uint8": (0, 255)}


def _dtype(call: Call, *allowed: str) -> str:
    dtype = str(call.take("dtype")).removeprefix("torch.")
    call.require(dtype in allowed, f"its codes are {dtype}; quantize to 8 bits")
    return dtype


def _number(translator: Translator, call: Call, name: str) -> Any:
    """A scale or zero point, which may be a constant tensor."""
    value = call.take(name)
    if hasattr(value, "op"):
        tensor = translator.tensor(value)
        call.require(tensor is not None, f"its {name} is computed at run time; quantize statically, not dynamically")
        assert tensor is not None
        call.require(tensor.numel() == 1, "activations must have one scale for all channels")
        return tensor.item()
    return value


def rounded(scale: float) -> tuple[float, float]:
    """A scale and its reciprocal in float32."""
    with np.errstate(over="ignore"):
        return float(np.float32(scale)), float(np.float32(1 / scale)) if scale > 0 else 0.0


def _numbers(translator: Translator, call: Call, dtype: str) -> Numbers:
    scale, reciprocal = rounded(_number(translator, call, "scale"))
    zero_point, (low, high) = int(_number(translator, call, "zero_point")), RANGES[dtype]
    call.require(np.isfinite(scale) and scale > 0, f"its scale must be finite and above 0, not {scale!r}")
    call.require(low <= zero_point <= high, f"its zero point {zero_point} is no {dtype}")
    return Numbers(scale, zero_point, dtype, reciprocal)


@handles(*(f"{QD}.quantize_per_tensor.{overload}" for overload in ("default", "tensor", "tensor2")))
def quantize(translator: Translator, call: Call) -> str:
    """Codes of real values. Fewer codes than the type has are a clamp."""
    dtype = _dtype(call, "int8", "uint8")
    numbers, node = _numbers(translator, call, dtype), call.take("input")
    source, limits = translator.name(node), [int(_number(translator, call, f"quant_{end}")) for end in ("min", "max")]
    name = call.node.name
    known = translator.plain.get(source)
    if known is not None and known != numbers:
        source = pointwise(translator, call, source, lambda real: real, f"{name}.real")
    if tuple(limits) != RANGES[dtype]:
        bounds = [np.float32((limit - numbers.zero_point) * numbers.scale) for limit in limits]
        given = [translator.constant(f"{name}.{end}", bound) for end, bound in zip(("min", "max"), bounds, strict=True)]
        source = translator.emit(call, "Clip", [source, *given], f"{name}.clip")
    return translator.quantize(call, source, numbers, name)


@handles(*(f"{QD}.dequantize_per_tensor.{overload}" for overload in ("default", "tensor", "tensor2")))
def dequantize(translator: Translator, call: Call) -> str:
    """Real values of codes."""
    dtype = _dtype(call, "int8", "uint8", "int32")
    call.require(str(call.take("out_dtype")) in ("None", "torch.float32"), "its result must be float32")
    for end in ("quant_min", "quant_max"):
        call.take(end)  # The codes lie between them already.
    node = call.take("input")
    if translator.tensor(node) is None:
        return translator.dequantize(call, translator.name(node), _numbers(translator, call, dtype), call.node.name)
    scale, zero_point = (_number(translator, call, name) for name in ("scale", "zero_point"))
    return _constant_codes(translator, call, node, dtype, np.float32(scale), np.int64(zero_point), 0)


@handles(f"{QD}.dequantize_per_channel.default")
def dequantize_per_channel(translator: Translator, call: Call) -> str:
    """Real values of a constant's codes, with a scale for each channel."""
    dtype = _dtype(call, "int8", "uint8", "int32")
    call.require(str(call.take("out_dtype")) in ("None", "torch.float32"), "its result must be float32")
    for end in ("quant_min", "quant_max"):
        call.take(end)  # The codes lie between them already.
    node, scales, points = call.take("input"), translator.tensor(call.take("scales")), call.take("zero_points")
    constant = translator.tensor(node) is not None and scales is not None
    call.require(constant, "only constants may have a scale for each channel; quantize activations per tensor")
    assert scales is not None
    zeros = translator.tensor(points) if points is not None else None
    values = np.zeros(scales.numel(), np.int64) if zeros is None else zeros.numpy().astype(np.int64)
    axis = int(call.take("axis"))
    return _constant_codes(translator, call, node, dtype, scales.numpy().astype(np.float32), values, axis)


def _constant_codes(
    translator: Translator, call: Call, node: Any, dtype: str, scales: Any, points: Any, axis: int
) -> str:
    codes, name = translator.tensor(node), call.node.name
    assert codes is not None
    call.require(str(codes.dtype) == f"torch.{dtype}", f"its codes are {codes.dtype}, not {dtype}")
    inputs = [
        translator.constant(f"{name}.codes", codes.numpy()),
        translator.constant(f"{name}.scale", scales),
        translator.constant(f"{name}.zero_point", np.asarray(points).astype(dtype)),
    ]
    return translator.emit(call, "DequantizeLinear", inputs, axis=axis)


def _padding(call: Call, given: Any, kernel: tuple[int, ...], dilation: tuple[int, ...]) -> list[int]:
    """ONNX's ``pads``: all beginnings, then all ends."""
    if isinstance(given, str):
        call.require(given in ("same", "valid"), f"its padding {given!r} is not supported")
        totals = [d * (k - 1) if given == "same" else 0 for d, k in zip(dilation, kernel, strict=True)]
        return [total // 2 for total in totals] + [total - total // 2 for total in totals]
    return [*given, *given]


@handles(*(f"aten.conv{n}d.{overload}" for n in (1, 2) for overload in ("default", "padding")))
def conv(translator: Translator, call: Call) -> str:
    """A convolution."""
    weight = call.take("weight")
    kernel = call.shape(weight)[2:]
    given = call.arguments["padding"]
    padding = call.take("padding") if isinstance(given, str) else call.pair("padding", len(kernel))
    return _conv(translator, call, weight, kernel, padding)


@handles("aten.convolution.default")
def convolution(translator: Translator, call: Call) -> str:
    """A convolution of any kind."""
    weight = call.take("weight")
    kernel = call.shape(weight)[2:]
    call.require(len(kernel) in (1, 2), "only images and sequences are supported")
    added = call.pair("output_padding", len(kernel))
    if call.take("transposed"):
        return _conv(translator, call, weight, kernel, call.pair("padding", len(kernel)), added)
    return _conv(translator, call, weight, kernel, call.pair("padding", len(kernel)))


@handles("aten.conv_transpose1d.default", "aten.conv_transpose2d.input")
def conv_transpose(translator: Translator, call: Call) -> str:
    """A transposed convolution."""
    weight = call.take("weight")
    kernel = call.shape(weight)[2:]
    added = call.pair("output_padding", len(kernel))
    return _conv(translator, call, weight, kernel, call.pair("padding", len(kernel)), added)


def _conv(
    translator: Translator,
    call: Call,
    weight: Any,
    kernel: tuple[int, ...],
    padding: Any,
    added: tuple[int, ...] | None = None,
) -> str:
    """A convolution; a transposed one with ``added`` at the ends of its result."""
    stride, dilation = call.pair("stride", len(kernel)), call.pair("dilation", len(kernel))
    inputs = [translator.name(call.take("input")), translator.name(weight)]
    bias = call.take("bias")
    more: dict[str, Any] = {} if added is None else {"output_padding": list(added)}
    return translator.emit(
        call,
        "Conv" if added is None else "ConvTranspose",
        inputs + ([] if bias is None else [translator.name(bias)]),
        kernel_shape=list(kernel),
        strides=list(stride),
        dilations=list(dilation),
        pads=_padding(call, padding, kernel, dilation),
        group=call.take("groups"),
        **more,
    )


@handles("aten.linear.default")
def linear(translator: Translator, call: Call) -> str:
    """A matrix product over the last axis, with weights [O, I]."""
    inputs = [translator.name(call.take(name)) for name in ("input", "weight")]
    bias = call.take("bias")
    return translator.emit(call, "Gemm", inputs + ([] if bias is None else [translator.name(bias)]), transB=1)


@handles("aten.addmm.default", "aten.mm.default")
def product(translator: Translator, call: Call) -> str:
    """A matrix product with weights [I, O]."""
    names = ("mat1", "mat2", "self") if "addmm" in call.kind else ("self", "mat2")
    return translator.emit(call, "Gemm", [translator.name(call.take(name)) for name in names])


@handles("aten.bmm.default", "aten.matmul.default")
def matrix_product(translator: Translator, call: Call) -> str:
    """A product of two tensors, matrix by matrix."""
    second = "mat2" if "bmm" in call.kind else "other"
    return translator.emit(call, "MatMul", [translator.name(call.take(name)) for name in ("self", second)])


@handles("aten.scaled_dot_product_attention.default")
def attention(translator: Translator, call: Call) -> str:
    """Softmax of the products of queries and keys, by which values are added."""
    plain = call.take("attn_mask") is None and not call.take("is_causal") and not call.take("enable_gqa")
    call.require(plain, "its mask and its groups are not supported; write it as products and a softmax")
    call.require(call.take("dropout_p") == 0, "it drops values as in training; call eval() on the module")
    names, name = [translator.name(call.arguments[place]) for place in ("query", "key", "value")], call.node.name
    shape, scale = call.shape(call.take("query")), call.take("scale")
    for place in ("key", "value"):
        call.take(place)
    order = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
    keys = translator.emit(call, "Transpose", [names[1]], f"{name}.keys", perm=order)
    scores = translator.emit(call, "MatMul", [names[0], keys], f"{name}.scores")
    factor = translator.constant(f"{name}.scale", np.float32(shape[-1] ** -0.5 if scale is None else scale))
    scaled = translator.emit(call, "Mul", [scores, factor], f"{name}.scaled")
    shares = translator.emit(call, "Softmax", [scaled], f"{name}.shares", axis=-1)
    return translator.emit(call, "MatMul", [shares, names[2]])


@handles("aten.layer_norm.default", "aten.native_layer_norm.default")
def layer_norm(translator: Translator, call: Call) -> str | tuple[str, ...]:
    """Normalization over the last axes."""
    shape, name = tuple(call.take("normalized_shape")), call.node.name
    affine = []
    for place, default in (("weight", np.ones), ("bias", np.zeros)):
        given = call.take(place)
        made = f"{name}.{place}"
        affine.append(
            translator.constant(made, default(shape, np.float32)) if given is None else translator.name(given)
        )
    native = "native" in call.kind
    if not native:
        call.take("cudnn_enable")  # It chooses an implementation.
    inputs = [translator.name(call.take("input")), *affine]
    result = translator.emit(call, "LayerNormalization", inputs, axis=-len(shape), epsilon=float(call.take("eps")))
    return (result,) if native else result


@handles("aten.batch_norm.default", "aten._native_batch_norm_legit_no_training.default")
def batch_norm(translator: Translator, call: Call) -> str | tuple[str, ...]:
    """Batch normalization by fixed statistics."""
    legit = "legit" in call.kind
    training = False if legit else call.take("training")
    call.require(not training, "it is in training mode; call eval() on the module before the export")
    call.take("momentum")  # Only training needs it.
    if not legit:
        call.take("cudnn_enabled")  # It chooses an implementation.
    statistics = [call.take(name) for name in ("running_mean", "running_var")]
    count = call.shape(call.arguments["input"])[1]
    affine = []
    for name, default in (("weight", np.ones), ("bias", np.zeros)):
        given = call.take(name)
        made = f"{call.node.name}.{name}"
        affine.append(
            translator.constant(made, default(count, np.float32)) if given is None else translator.name(given)
        )
    inputs = [translator.name(call.take("input")), *affine, *map(translator.name, statistics)]
    result = translator.emit(call, "BatchNormalization", inputs, epsilon=float(call.take("eps")))
    return (result,) if legit else result


@handles("aten.add.Tensor", "aten.sub.Tensor", "aten.mul.Tensor", "aten.div.Tensor")
def arithmetic(translator: Translator, call: Call) -> str:
    """A sum, difference or product of two tensors."""
    if "alpha" in call.arguments:
        call.require(call.take("alpha") == 1, "its alpha must be 1; multiply by it before")
    kind = call.kind.split(".")[1].capitalize()
    inputs = [translator.name(call.take(name)) for name in ("self", "other")]
    return translator.emit(call, kind, inputs)


@handles("aten.minimum.default", "aten.maximum.default", "aten.min.other", "aten.max.other")
def extremes(translator: Translator, call: Call) -> str:
    """The smaller or the larger of two tensors' values."""
    inputs = [translator.name(call.take(name)) for name in ("self", "other")]
    return translator.emit(call, "Min" if ".min" in call.kind else "Max", inputs)


@handles("aten.max_pool1d.default", "aten.max_pool2d.default", "aten.max_pool2d_with_indices.default")
def max_pool(translator: Translator, call: Call) -> str | tuple[str, ...]:
    """The largest of each window."""
    count = 1 if "1d" in call.kind else 2
    kernel, padding = call.pair("kernel_size", count), call.pair("padding", count)
    stride = call.pair("stride", count) if call.arguments["stride"] else kernel
    call.take("stride")
    source = translator.name(call.take("self"))
    result = translator.emit(
        call, "MaxPool", [source], kernel_shape=list(kernel), strides=list(stride), pads=[*padding, *padding],
        dilations=list(call.pair("dilation", count)), ceil_mode=int(call.take("ceil_mode")),
    )  # fmt: skip
    translator.moved(call, source, result)
    return (result,) if "indices" in call.kind else result


@handles("aten.avg_pool1d.default", "aten.avg_pool2d.default")
def average_pool(translator: Translator, call: Call) -> str:
    """The mean of each window."""
    count = 1 if "1d" in call.kind else 2
    kernel, padding = call.pair("kernel_size", count), call.pair("padding", count)
    stride = call.pair("stride", count) if call.arguments["stride"] else kernel
    call.take("stride")
    source = call.take("self")
    whole = all(
        (size + 2 * pad - length) % step == 0
        for size, pad, length, step in zip(call.shape(source)[-count:], padding, kernel, stride, strict=True)
    )
    # Where windows fit, the mode changes nothing.
    ceil = call.take("ceil_mode")
    call.require(whole or not ceil, "its ceil_mode is not supported at this size; pad the image before")
    return translator.emit(
        call, "AveragePool", [translator.name(source)], kernel_shape=list(kernel), strides=list(stride),
        pads=[*padding, *padding], count_include_pad=int(call.take("count_include_pad")),
    )  # fmt: skip


@handles("aten.adaptive_avg_pool1d.default", "aten.adaptive_avg_pool2d.default", "aten._adaptive_avg_pool2d.default")
def adaptive_average_pool(translator: Translator, call: Call) -> str:
    """The mean of windows of one size."""
    source = call.take("self")
    wanted = call.pair("output_size", 1 if "1d" in call.kind else 2)
    sizes = call.shape(source)[-len(wanted) :]
    if set(wanted) == {1}:
        return translator.emit(call, "GlobalAveragePool", [translator.name(source)])
    fits = all(size % length == 0 for size, length in zip(sizes, wanted, strict=True))
    call.require(fits, f"its windows over {sizes} for {wanted} results differ in size; choose a divisor")
    kernel = [size // length for size, length in zip(sizes, wanted, strict=True)]
    return translator.emit(call, "AveragePool", [translator.name(source)], kernel_shape=kernel, strides=kernel)


@handles("aten.mean.dim", "aten.sum.dim_IntList", "aten.amax.default")
def reduction(translator: Translator, call: Call) -> str:
    """The mean, sum or largest over axes."""
    source, keep = call.take("self"), bool(call.take("keepdim"))
    if "dtype" in call.arguments:
        call.require(str(call.take("dtype")) in ("None", "torch.float32"), "its result must be float32")
    rank = len(call.shape(source))
    axes = sorted(int(axis) % rank for axis in call.take("dim") or range(rank))
    call.require(0 not in axes, "it reduces the batch; keep the first axis")
    name = translator.name(source)
    if "mean" in call.kind and rank == 4 and axes == [2, 3]:
        pooled = translator.emit(call, "GlobalAveragePool", [name], "" if keep else f"{call.node.name}.pooled")
        return pooled if keep else _reshape(translator, call, pooled)
    kind = {"mean": "ReduceMean", "sum": "ReduceSum", "amax": "ReduceMax"}[call.kind.split(".")[1]]
    given = translator.constant(f"{call.node.name}.axes", np.array(axes, np.int64))
    return translator.emit(call, kind, [name, given], keepdims=int(keep))


def _reshape(translator: Translator, call: Call, source: str) -> str:
    shape = translator.constant(f"{call.node.name}.shape", np.array(call.shape(), np.int64))
    return translator.emit(call, "Reshape", [source, shape])


@handles("aten.softmax.int", "aten._softmax.default", "aten.log_softmax.int", "aten._log_softmax.default")
def softmax(translator: Translator, call: Call) -> str:
    """Softmax over an axis, or its logarithm."""
    if "dtype" in call.arguments:
        call.require(str(call.take("dtype")) in ("None", "torch.float32"), "its result must be float32")
    kind = "LogSoftmax" if "log" in call.kind else "Softmax"
    return translator.emit(call, kind, [translator.name(call.take("self"))], axis=int(call.take("dim")))


@handles("aten.argmax.default")
def arg_max(translator: Translator, call: Call) -> str:
    """The position of the largest."""
    call.require(call.arguments["dim"] is not None, "it has no axis; give it one")
    axis, keep = int(call.take("dim")), int(call.take("keepdim"))
    return translator.emit(call, "ArgMax", [translator.name(call.take("self"))], axis=axis, keepdims=keep)


@handles("aten.prelu.default")
def prelu(translator: Translator, call: Call) -> str:
    """Leaky ReLU with a slope for each channel."""
    source, slope, name = call.take("self"), translator.tensor(call.take("weight")), call.node.name
    call.require(slope is not None, "its slopes are computed at run time")
    assert slope is not None
    values = slope.numpy().reshape(-1, *[1] * (len(call.shape(source)) - 2))
    return translator.emit(call, "PRelu", [translator.name(source), translator.constant(f"{name}.slope", values)])
