"""Calls that move values without changing them."""

from __future__ import annotations

import math

import numpy as np

from sateen.frontends.torch.functions import pointwise
from sateen.frontends.torch.layers import rounded
from sateen.frontends.torch.program import Call
from sateen.frontends.torch.translator import Handler, Numbers, Translator, registers

__all__ = ["MOVES"]

MOVES: dict[str, Handler] = {}
handles = registers(MOVES)
END = 2**31


@handles(
    "aten.view.default", "aten.reshape.default", "aten._unsafe_view.default", "aten.flatten.using_ints",
    "aten.unflatten.int", "aten.squeeze.default", "aten.squeeze.dim", "aten.squeeze.dims", "aten.unsqueeze.default",
)  # fmt: skip
def reshape(translator: Translator, call: Call) -> str:
    """Another shape, which the program states."""
    for name in ("size", "shape", "start_dim", "end_dim", "dim", "sizes"):
        if name in call.arguments:
            call.take(name)  # The result's shape follows from it.
    return _reshaped(translator, call, translator.name(call.take("self")), call.node.name)


def _reshaped(translator: Translator, call: Call, source: str, name: str) -> str:
    shape = call.shape()
    call.require(len(shape) > 0, "its result has no axis; keep the batch")
    given = translator.constant(f"{name}.shape", np.array(shape, np.int64))
    return translator.moved(call, source, translator.emit(call, "Reshape", [source, given], name))


@handles("aten.permute.default", "aten.transpose.int", "aten.t.default")
def transpose(translator: Translator, call: Call) -> str:
    """Axes in another order."""
    node = call.take("self")
    order = list(range(len(call.shape(node))))
    if "permute" in call.kind:
        order = [int(axis) % len(order) for axis in call.take("dims")]
    else:
        a, b = (int(call.take(f"dim{place}")) for place in (0, 1)) if "transpose" in call.kind else (0, -1)
        order[a], order[b] = order[b], order[a]
    source = translator.name(node)
    return translator.moved(call, source, translator.emit(call, "Transpose", [source], perm=order))


@handles(
    "aten.clone.default", "aten.alias.default", "aten.contiguous.default", "aten.detach.default",
    "aten.lift_fresh_copy.default", "aten.dropout.default", "aten.feature_dropout.default", "aten._to_copy.default",
    "aten.to.dtype", "aten.native_dropout.default",
)  # fmt: skip
def identity(translator: Translator, call: Call) -> str | tuple[str, ...]:
    """The same values; a layout in memory changes none."""
    for name in ("memory_format", "p"):
        if name in call.arguments:
            call.take(name)
    call.require(not call.arguments.get("train", False), "it is in training mode; call eval() before the export")
    if "train" in call.arguments:
        call.take("train")
    node = call.take("self" if "self" in call.arguments else "input")
    if "dtype" in call.arguments:
        wanted, found = str(call.take("dtype")), str(node.meta["val"].dtype)
        call.require(wanted in ("None", found), f"it makes {wanted} of {found}; export the model without it")
    source = translator.name(node)
    result = translator.moved(call, source, translator.emit(call, "Identity", [source]))
    return (result,) if "native" in call.kind else result


@handles("aten.slice.Tensor")
def slice_(translator: Translator, call: Call) -> str:
    """Part of an axis."""
    node, axis = call.take("self"), int(call.take("dim"))
    length = call.shape(node)[axis]
    start, end = call.take("start"), call.take("end")
    part = (start or 0, END if end is None else min(int(end), END), call.take("step"))
    return _sliced(translator, call, translator.name(node), axis, slice(*part).indices(length), call.node.name)


def _sliced(translator: Translator, call: Call, source: str, axis: int, part: tuple[int, int, int], name: str) -> str:
    given = [
        translator.constant(f"{name}.{title}", np.array([value], np.int64))
        for title, value in zip(("starts", "ends", "axes", "steps"), (part[0], part[1], axis, part[2]), strict=True)
    ]
    return translator.moved(call, source, translator.emit(call, "Slice", [source, *given], name))


@handles("aten.select.int")
def select(translator: Translator, call: Call) -> str:
    """One place of an axis, which goes."""
    node, axis = call.take("self"), int(call.take("dim"))
    place = int(call.take("index")) % call.shape(node)[axis]
    part = _sliced(translator, call, translator.name(node), axis, (place, place + 1, 1), f"{call.node.name}.part")
    return _reshaped(translator, call, part, call.node.name)


@handles("aten.split.Tensor", "aten.split_with_sizes.default", "aten.chunk.default")
def split(translator: Translator, call: Call) -> tuple[str, ...]:
    """A tensor in pieces."""
    node, axis = call.take("self"), int(call.take("dim"))
    for name in ("split_size", "split_sizes", "chunks"):
        if name in call.arguments:
            call.take(name)  # The pieces' shapes follow from it.
    source, start, pieces = translator.name(node), 0, []
    for place, piece in enumerate(call.node.meta["val"]):
        size = int(piece.shape[axis])
        part = (start, start + size, 1)
        pieces.append(_sliced(translator, call, source, axis, part, f"{call.node.name}.{place}"))
        start += size
    return tuple(pieces)


@handles("aten.cat.default", "aten.concat.default")
def concat(translator: Translator, call: Call) -> str:
    """Tensors joined. What has another quantization than the result is requantized before."""
    sources, numbers, name = [], _wanted(translator, call), call.node.name
    for place, node in enumerate(call.take("tensors")):
        source = translator.name(node)
        if numbers is not None and translator.plain.get(source, numbers) != numbers:
            real = pointwise(translator, call, source, lambda real: real, f"{name}.real{place}")
            codes = translator.quantize(call, real, numbers, f"{name}.codes{place}")
            source = translator.dequantize(call, codes, numbers, f"{name}.source{place}")
        sources.append(source)
    result = translator.emit(call, "Concat", sources, axis=int(call.take("dim")))
    if numbers is not None and all(translator.plain.get(source) == numbers for source in sources):
        translator.plain[result] = numbers
    return result


def _wanted(translator: Translator, call: Call) -> Numbers | None:
    """The quantization that the only reader of a result gives it."""
    users = list(call.node.users)
    if len(users) != 1 or str(users[0].target) != "quantized_decomposed.quantize_per_tensor.default":
        return None
    reader = Call(users[0])
    dtype = str(reader.arguments["dtype"]).removeprefix("torch.")
    if dtype not in ("int8", "uint8"):
        return None
    scale, reciprocal = rounded(reader.arguments["scale"])
    return Numbers(scale, int(reader.arguments["zero_point"]), dtype, reciprocal)


@handles("aten.pad.default", "aten.constant_pad_nd.default")
def pad(translator: Translator, call: Call) -> str:
    """A border: of one number, or of the tensor's own values."""
    node, name = call.take("self"), call.node.name
    mode = call.take("mode") if "mode" in call.arguments else "constant"
    modes = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    call.require(mode in modes, f"its mode {mode!r} is not supported")
    given, rank = [int(size) for size in call.take("pad")], len(call.shape(node))
    # PyTorch begins with the last axis.
    pairs = [(0, 0)] * (rank - len(given) // 2) + list(zip(given[::2], given[1::2], strict=True))[::-1]
    pads = [before for before, _ in pairs] + [after for _, after in pairs]
    inputs = [translator.name(node), translator.constant(f"{name}.pads", np.array(pads, np.int64))]
    value = call.take("value") or 0.0
    if mode == "constant":
        inputs.append(translator.constant(f"{name}.value", np.float32(value)))
    result = translator.emit(call, "Pad", inputs, mode=modes[mode])
    return translator.moved(call, inputs[0], result)


@handles("aten.upsample_nearest2d.vec", "aten.upsample_nearest2d.default")
def upsample(translator: Translator, call: Call) -> str:
    """An image of another size, by the neighbours that PyTorch takes, which computes positions in float32."""
    import torch

    title = "input" if "input" in call.arguments else "self"
    node, name = call.take(title), call.node.name
    others = {other: call.take(other) for other in call.arguments if other != title}
    before, after = call.shape(node)[2:], call.shape()
    call.require(math.prod(before) < 1 << 24, "its input is too large")
    places = torch.arange(math.prod(before), dtype=torch.float32).reshape(1, 1, *before)
    taken = call.node.target(**{title: places}, **others)[0, 0].numpy().astype(np.int64)  # type: ignore[operator]
    positions = taken[:, 0] // before[1], taken[0] % before[1]
    source = result = translator.name(node)
    exact = [np.arange(wanted) * size // wanted for size, wanted in zip(before, after[2:], strict=True)]
    if all(np.array_equal(*both) for both in zip(positions, exact, strict=True)):
        inputs = [source, "", "", translator.constant(f"{name}.sizes", np.array(after, np.int64))]
        options = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return translator.moved(call, source, translator.emit(call, "Resize", inputs, mode="nearest", **options))
    for axis, chosen, made in zip((2, 3), positions, (f"{name}.rows", ""), strict=True):
        given = translator.constant(f"{name}.places{axis}", chosen)
        result = translator.moved(call, source, translator.emit(call, "Gather", [result, given], made, axis=axis))
    return result


@handles("aten.pixel_shuffle.default", "aten.pixel_unshuffle.default")
def pixel_shuffle(translator: Translator, call: Call) -> str:
    """Channels as pixels, or back."""
    source, inverse = translator.name(call.take("self")), "unshuffle" in call.kind
    factor = int(call.take("downscale_factor" if inverse else "upscale_factor"))
    call.require(not inverse, "pixel_unshuffle is not supported; export the model without it")
    result = translator.emit(call, "DepthToSpace", [source], blocksize=factor, mode="CRD")
    return translator.moved(call, source, result)
