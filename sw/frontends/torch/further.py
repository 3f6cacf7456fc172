"""Calls that become several of ONNX's operators: normalizations of groups, resized images, products by indices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sateen.frontends.torch.program import Call
from sateen.frontends.torch.translator import Handler, Translator, registers

__all__ = ["FURTHER"]

FURTHER: dict[str, Handler] = {}
handles = registers(FURTHER)
PATTERN = "write it as permute, matmul and sum"


def _shaped(translator: Translator, call: Call, source: str, shape: Sequence[int], name: str) -> str:
    """A tensor in another shape."""
    given = translator.constant(f"{name}.shape", np.array(shape, np.int64))
    return translator.moved(call, source, translator.emit(call, "Reshape", [source, given], name))


@handles("aten.group_norm.default", "aten.native_group_norm.default", "aten.instance_norm.default")
def group_norm(translator: Translator, call: Call) -> str | tuple[str, ...]:
    """Normalization of each group of channels; of each channel by itself."""
    name, single, native = call.node.name, "instance" in call.kind, "native" in call.kind
    source, affine = call.take("input"), [call.take(place) for place in ("weight", "bias")]
    shape = call.shape(source)
    call.require(len(shape) > 2, "its input has no rows or images; give it 3 axes or more")
    if single:
        own = call.take("use_input_stats") or call.arguments["running_mean"] is None
        call.require(own, "it has fixed statistics; use batch_norm, or call train(False) with none tracked")
        for place in ("running_mean", "running_var", "momentum"):
            call.take(place)  # Only training needs them.
    for place in ("N", "C", "HxW", "cudnn_enabled"):
        if place in call.arguments:
            call.take(place)  # What the input's shape says, and a choice of implementations.
    groups = shape[1] if single else int(call.take("group" if native else "num_groups"))
    rows = _shaped(translator, call, translator.name(source), (shape[0], groups, -1), f"{name}.groups")
    plain = [
        translator.constant(f"{name}.{title}", np.full(groups, value, np.float32))
        for title, value in (("ones", 1), ("zeros", 0))
    ]
    inputs, epsilon = [rows, *plain], float(call.take("eps"))
    normal = translator.emit(call, "InstanceNormalization", inputs, f"{name}.normal", epsilon=epsilon)
    steps = [(kind, given) for kind, given in zip(("Mul", "Add"), affine, strict=True) if given is not None]
    result = _shaped(translator, call, normal, shape, f"{name}.plain" if steps else name)
    for step, (kind, given) in enumerate(steps):
        constant = translator.tensor(given)
        call.require(constant is not None, "its weight or bias is computed at run time")
        assert constant is not None
        made = name if step == len(steps) - 1 else f"{name}.scaled"
        values = constant.numpy().reshape(-1, *[1] * (len(shape) - 2))
        result = translator.emit(call, kind, [result, translator.constant(f"{name}.{kind}", values)], made)
    return (result,) if native else result


@handles(
    "aten.upsample_bilinear2d.vec", "aten.upsample_bilinear2d.default", "aten.upsample_linear1d.vec",
    "aten.upsample_linear1d.default",
)  # fmt: skip
def interpolate(translator: Translator, call: Call) -> str:
    """An image of another size, interpolated: between corners, or between the middles of pixels, whose distance a given
    factor decides."""
    source = call.take("input" if "input" in call.arguments else "self")
    corners, name = bool(call.take("align_corners")), call.node.name
    call.take("output_size")  # The result's shape.
    titles = [title for title in ("scale_factors", "scales_h", "scales_w", "scales") if title in call.arguments]
    stated = [call.take(title) for title in titles]
    factors = [*stated[0]] if "scale_factors" in titles and stated[0] else stated
    inputs = [translator.name(source), ""]
    if corners or None in factors:
        inputs += ["", translator.constant(f"{name}.sizes", np.array(call.shape(), np.int64))]
    else:
        inputs.append(translator.constant(f"{name}.factors", np.array([1, 1, *factors], np.float32)))
    mode = "align_corners" if corners else "half_pixel"
    return translator.emit(call, "Resize", inputs, mode="linear", coordinate_transformation_mode=mode)


@handles("aten.einsum.default")
def product(translator: Translator, call: Call) -> str:
    """Sums of products of two tensors over the indices that the result lacks, as one matrix product."""
    equation, nodes, name = str(call.take("equation")).replace(" ", ""), call.take("tensors"), call.node.name
    call.take("path")  # The order of products, of which there is one.
    given, arrow, result = equation.partition("->")
    parts = given.split(",")
    result = result if arrow else "".join(sorted(letter for letter in set(given) - {","} if given.count(letter) == 1))
    call.require(len(nodes) == len(parts) == 2, f"its equation {equation} has not two operands; {PATTERN}")
    letters = all(part.isalpha() and len(set(part)) == len(part) for part in (*parts, result))
    a, b = parts
    call.require(result[:1] in (a[:1], b[:1]), f"its equation {equation} moves the batch; keep the first index first")
    used = all((letter in a) + (letter in b) + (letter in result) > 1 for letter in a + b + result)
    call.require(letters and used, f"its equation {equation} is no matrix product; {PATTERN}")
    sizes: dict[str, int] = {}
    for part, node in zip(parts, nodes, strict=True):
        sizes |= zip(part, call.shape(node), strict=True)
    shared = [letter for letter in a if letter in b]
    items, inner = ([letter for letter in shared if (letter in result) == kept] for kept in (True, False))
    rows, columns = ([letter for letter in one if letter not in other] for one, other in ((a, b), (b, a)))

    def arranged(source: str, order: Sequence[str], groups: Sequence[Any], at: str, title: str) -> str:
        """Axes in another order, and some of them as one."""
        if list(at) != list(order):
            perm = [at.index(letter) for letter in order]
            moved = translator.emit(call, "Transpose", [source], f"{name}.{title}.order", perm=perm)
            source = translator.moved(call, source, moved)
        shape = [math.prod(sizes[letter] for letter in group) for group in groups]
        if shape == [sizes[letter] for letter in order]:
            return source
        return _shaped(translator, call, source, shape, f"{name}.{title}")

    # Without items that both have, a matrix of constants may meet more axes than two.
    left = [*items, *([rows] if items else rows), inner]
    first = arranged(translator.name(nodes[0]), [*items, *rows, *inner], left, a, "a")
    second = arranged(translator.name(nodes[1]), [*items, *inner, *columns], [*items, inner, columns], b, "b")
    made, order = translator.emit(call, "MatMul", [first, second], f"{name}.product"), [*items, *rows, *columns]
    made = _shaped(translator, call, made, [sizes[letter] for letter in order], f"{name}.indices")
    perm = [order.index(letter) for letter in result]
    return translator.moved(call, made, translator.emit(call, "Transpose", [made], perm=perm))
