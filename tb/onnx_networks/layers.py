"""Operators that compute: layers with weights, pools, and operators on several tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from onnx_networks.builder import KINDS, MOST, NetworkBuilder, Value

__all__ = ["Layers"]


class Layers(NetworkBuilder):
    """The methods that return a ``bool`` try to add an operator; it says whether they did."""

    # Layers with weights.

    def weights(self, shape: tuple[int, ...], axis: int, kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Integers, scales and zero points."""
        rng = self.rng
        codes = rng.integers(-127, 128, shape)
        if rng.random() < 0.2:
            codes[rng.random(shape) < 0.7] = 0
        if rng.random() < 0.5:
            scales = self.chosen(rng.uniform(0.003, 0.02, shape[axis]))
            return codes.astype(np.int8), scales, np.zeros(shape[axis], np.int8)
        scale = self.chosen(rng.uniform(0.003, 0.02))
        if kind == "u" and rng.random() < 0.5:
            return (codes + 128).astype(np.uint8), scale, np.uint8(rng.integers(100, 156))
        return codes.astype(np.int8), scale, np.int8(0)

    def layer(
        self,
        kind: str,
        x: Value,
        weights: tuple[np.ndarray, np.ndarray, np.ndarray],
        axis: int,
        depth: int,
        shape: Sequence[int],
        *,
        biased: bool,
        **attributes,
    ) -> None:
        """A convolution or product, in either form; kind is Conv, Gemm or MatMul."""
        rng = self.rng
        codes, scales, points = weights
        count = codes.shape[axis]
        products = (x.scale * scales).astype(np.float32)
        bias = rng.integers(-3000, 3001, count) * max(1, round(math.sqrt(depth))) if biased else None
        scale = float(np.mean(products)) * 73 * 60 * math.sqrt(depth) / 45
        numbers = [self.constant(scales, "s"), self.constant(points, "z")]
        name = self.constant(codes, "w")
        if self.coded():
            out = self.drawn(scale, x.kind)
            given = [*self.codes(x), name, *numbers]
            bias_name = "" if bias is None else self.constant(bias.astype(np.int32), "b")
            if kind == "Conv":
                given += [*self.numbers(*out), *([bias_name] if bias_name else [])]
                made = self.node("QLinearConv", given, **attributes)
            elif kind == "Gemm":
                made = self.node("QGemm", [*given, bias_name, *self.numbers(*out)], **attributes)
            else:
                made = self.node("QLinearMatMul", [*given, *self.numbers(*out)])
            self.add(made[0], shape, out)
            return
        # Counted from the end, too.
        axes = {"axis": axis - codes.ndim if rng.random() < 0.3 else axis} if scales.ndim else {}
        if rng.random() < 0.2:
            name = self.node("QuantizeLinear", [self.real_weights(weights, axis), *numbers], **axes)[0]
        given = [self.real(x), self.node("DequantizeLinear", [name, *numbers], **axes)[0]]
        added = []
        if bias is not None:
            steps = [self.constant(products, "s"), self.constant(np.zeros(products.shape, np.int32), "z")]
            axes = {"axis": 0} if products.ndim else {}
            added = self.node("DequantizeLinear", [self.constant(bias.astype(np.int32), "b"), *steps], **axes)
        if kind == "MatMul" and added:
            made = self.node("Add", self.node(kind, given) + added)
        else:
            made = self.node(kind, given + added, **attributes)
        self.result(made[0], shape, scale, x.kind)

    def real_weights(self, weights: tuple[np.ndarray, np.ndarray, np.ndarray], axis: int) -> str:
        """A constant of real numbers that quantizing makes the weights' integers."""
        codes, scales, points = weights
        sides = [-1 if place == axis else 1 for place in range(codes.ndim)]
        scales, points = (array.reshape(sides if array.ndim else ()) for array in (scales, np.asarray(points)))
        steps = codes.astype(np.float64) - points + self.rng.uniform(-0.45, 0.45, codes.shape)
        return self.constant((steps * scales).astype(np.float32), "r")

    def window(self, x: Value, *, pool: bool) -> tuple[dict, list[int]] | None:
        """Attributes of a window over an image, and the result's sides."""
        rng = self.rng
        for _ in range(8):
            size = [int(n) for n in rng.integers(1, 5, 2)]
            stride = [int(n) for n in rng.choice([1, 1, 1, 2, 3, 5], 2)]
            dilation = [1, 1] if pool or rng.random() < 0.7 else [int(n) for n in rng.integers(1, 4, 2)]
            extents = [d * (k - 1) + 1 for d, k in zip(dilation, size, strict=True)]
            pads, fields = [0, 0, 0, 0], {}
            if rng.random() < 0.15:
                # onnxruntime has no others of dilated windows.
                fields["auto_pad"] = (
                    str(rng.choice(["SAME_UPPER", "SAME_LOWER", "VALID"])) if max(dilation) == 1 else "VALID"
                )
                if fields["auto_pad"] != "VALID":
                    totals = [
                        (-(-side // step) - 1) * step + extent - side
                        for side, step, extent in zip(x.shape[2:], stride, extents, strict=True)
                    ]
                    if min(totals) < 0:
                        continue
                    for axis, total in enumerate(totals):
                        before = total // 2 if fields["auto_pad"] == "SAME_UPPER" else total - total // 2
                        pads[axis], pads[axis + 2] = before, total - before
            elif rng.random() < 0.6:
                most = [k - 1 for k in size] * 2 if pool else [3] * 4
                pads = [int(rng.integers(0, top + 1)) for top in most]
                fields["pads"] = pads
            padded = [x.shape[axis + 2] + pads[axis] + pads[axis + 2] for axis in (0, 1)]
            if any(side < extent for side, extent in zip(padded, extents, strict=True)):
                continue
            if any(pad >= k for pad, k in zip(pads, size * 2, strict=True)) and pool:
                continue
            sides = [(side - extent) // step + 1 for side, extent, step in zip(padded, extents, stride, strict=True)]
            fields |= {"kernel_shape": size, "strides": stride}
            if max(dilation) > 1:
                fields["dilations"] = dilation
            return fields, sides
        return None

    def conv(self) -> bool:
        x = self.pick(4)
        found = x and self.window(x, pool=False)
        if not x or not found:
            return False
        rng, channels = self.rng, x.shape[1]
        fields, sides = found
        groups = int(rng.choice([n for n in range(1, channels + 1) if channels % n == 0] + [1, channels]))
        outputs = groups * int(rng.integers(1, 4)) if groups > 1 else int(rng.integers(1, 14))
        if outputs * math.prod(sides) > MOST:
            return False
        depth = channels // groups * math.prod(fields["kernel_shape"])
        weights = self.weights((outputs, channels // groups, *fields["kernel_shape"]), 0, x.kind)
        self.layer(
            "Conv", x, weights, 0, depth, (1, outputs, *sides), biased=bool(rng.random() < 0.7), group=groups, **fields
        )
        return True

    def matmul(self) -> bool:
        x = self.pick()
        if x is None:
            return False
        rng, outputs = self.rng, int(self.rng.integers(1, 14))
        kind = "Gemm" if len(x.shape) == 2 and rng.random() < 0.6 else "MatMul"
        transposed = kind == "Gemm" and rng.random() < 0.5
        depth = x.shape[-1]
        if outputs * math.prod(x.shape[:-1]) > MOST:
            return False
        axis = 0 if transposed else 1
        weights = self.weights((outputs, depth) if transposed else (depth, outputs), axis, x.kind)
        fields = {"transB": int(transposed)} if kind == "Gemm" else {}
        biased = bool(rng.random() < (0.7 if kind == "Gemm" else 0.4))
        self.layer(kind, x, weights, axis, depth, (*x.shape[:-1], outputs), biased=biased, **fields)
        return True

    def product(self) -> bool:
        """A matrix product of a tensor with itself, transposed: either may be the left one."""
        x = self.pick(3, 4)
        if x is None:
            return False
        *outer, rows, depth = x.shape
        turned = (*outer, depth, rows)
        order = (*range(len(outer)), len(outer) + 1, len(outer))
        self.move("Transpose", x, turned, perm=order)
        a, b = (x, self.values[-1]) if self.rng.random() < 0.5 else (self.values[-1], x)
        shape = (*outer, a.shape[-2], b.shape[-1])
        if math.prod(shape) > MOST or a.shape[-1] != b.shape[-2] or b.shape[:-2] != a.shape[:-2]:
            return False
        scale = float(a.scale) * float(b.scale) * 73 * 73 * math.sqrt(a.shape[-1]) / 45
        if self.coded():
            out = self.drawn(scale, x.kind)
            made = self.node("QLinearMatMul", [*self.codes(a), *self.codes(b), *self.numbers(*out)])
            self.add(made[0], shape, out)
        else:
            self.result(self.node("MatMul", [self.real(a), self.real(b)])[0], shape, scale, x.kind)
        return True

    # Pools.

    def pool(self) -> bool:
        x, rng = self.pick(4), self.rng
        if x is None:
            return False
        mean, coded = bool(rng.random() < 0.5), self.coded()
        border = [0, 0, 0, 0, 0, 0, 0, 0]
        if mean and not coded and rng.random() < 0.2:
            # A Pad of real numbers before a mean.
            border[2:4], border[6:] = (rng.integers(0, 2, 2).tolist() for _ in range(2))
        sides = [size + border[axis] + border[axis + 4] for axis, size in enumerate(x.shape)]
        found = self.window(replace(x, shape=tuple(sides)), pool=True)
        if not found or math.prod(sides) > MOST:
            return False
        fields, made = found
        if rng.random() < 0.2 and "auto_pad" not in fields:
            made = self.ceiled(sides[2:], fields)
            if not made:
                return False
        shape, scale = (1, x.shape[1], *made), float(x.scale) * 0.7
        if not mean:
            self.move("MaxPool", x, shape, **fields)
            return True
        if rng.random() < 0.5:
            fields["count_include_pad"] = 1
        if coded:
            out = self.drawn(scale, x.kind)
            self.add(self.node("QLinearAveragePool", [*self.codes(x), *self.numbers(*out)], **fields)[0], shape, out)
            return True
        real = self.real(x)
        if any(border):
            real = self.node("Pad", [real, self.constant(np.array(border, np.int64))])[0]
        self.result(self.node("AveragePool", [real], **fields)[0], shape, scale, x.kind)
        return True

    @staticmethod
    def ceiled(sides: list[int], fields: dict) -> list[int]:
        """The sides of a result whose last windows may reach beyond the image, which is stated; none, if one would lie
        behind it: ONNX's own shapes have that, onnxruntime's results do not."""
        pads, fields["ceil_mode"], made = fields.get("pads", [0] * 4), 1, []
        for axis, side in enumerate(sides):
            before, after, step = pads[axis], pads[axis + 2], fields["strides"][axis]
            made.append(-(-(side + before + after - fields["kernel_shape"][axis]) // step) + 1)
            if (made[axis] - 1) * step >= side + before:
                return []
        return made

    def mean(self) -> bool:
        x = self.pick(4)
        if x is None:
            return False
        out = self.drawn(float(x.scale) * 0.5, x.kind)
        if self.coded():
            made = self.node("QLinearGlobalAveragePool", [*self.codes(x), *self.numbers(*out)], channels_last=0)
            self.add(made[0], (1, x.shape[1], 1, 1), out)
        else:
            self.quantized(self.node("GlobalAveragePool", [self.real(x)])[0], (1, x.shape[1], 1, 1), out)
        return True

    # Two tensors and more.

    def arithmetic(self) -> bool:
        a = self.pick()
        if a is None:
            return False
        rng, kind = self.rng, str(self.rng.choice(["Add", "Add", "Mul", "Mul", "Sub"]))
        coded = self.coded() and kind != "Sub"
        others = [v for v in self.values if _fits(a.shape, v.shape) and (v.kind == a.kind or not coded)]
        if others and rng.random() < 0.6:
            b = others[rng.integers(len(others))]
        else:
            shapes = [
                a.shape,
                (),
                (1,),
                a.shape[-1:],
                tuple(n if place == 1 else 1 for place, n in enumerate(a.shape)),
                a.shape[1:],
            ]
            if len(a.shape) == 4:
                shapes.append((a.shape[1], 1, 1))
            shape = shapes[rng.integers(len(shapes))]
            codes = rng.integers(-128, 128, shape) + (128 if a.kind == "u" else 0)
            numbers = self.drawn(float(a.scale) * 10 ** rng.uniform(-1, 0.5), a.kind)
            b = Value(self.constant(codes.astype(KINDS[a.kind]), "c"), shape, *numbers)
        shape = np.broadcast_shapes(a.shape, b.shape)
        if math.prod(shape) > MOST:
            return False
        scale = float(a.scale) * float(b.scale) * 60 if kind == "Mul" else math.hypot(float(a.scale), float(b.scale))
        swapped = rng.random() < 0.3
        first, second = (b, a) if swapped else (a, b)
        if coded:
            out = self.drawn(scale, a.kind)
            made = self.node(f"QLinear{kind}", [*self.codes(first), *self.codes(second), *self.numbers(*out)])
            self.add(made[0], shape, out)
        else:
            self.result(self.node(kind, [self.real(first), self.real(second)])[0], shape, scale, a.kind)
        return True

    def concat(self) -> bool:
        x = self.pick()
        if x is None:
            return False
        rng, axis = self.rng, int(self.rng.integers(1, len(x.shape)))
        rest = [n for place, n in enumerate(x.shape) if place != axis]
        fit = [
            v
            for v in self.values
            if len(v.shape) == len(x.shape) and [n for p, n in enumerate(v.shape) if p != axis] == rest
        ]
        coded = self.coded()
        fit = [v for v in fit if v.kind == x.kind or not coded]
        sources = [x, *(fit[rng.integers(len(fit))] for _ in range(int(rng.integers(1, 3))))]
        shape = list(x.shape)
        shape[axis] = sum(v.shape[axis] for v in sources)
        if math.prod(shape) > MOST:
            return False
        out = sources[-1].numbers if rng.random() < 0.5 else self.drawn(max(float(v.scale) for v in sources), x.kind)
        if coded:
            given = [*self.numbers(*out), *(name for v in sources for name in self.codes(v))]
            self.add(self.node("QLinearConcat", given, axis=axis)[0], shape, out)
        else:
            axis = axis - len(shape) if rng.random() < 0.3 else axis
            self.quantized(self.node("Concat", [self.real(v) for v in sources], axis=axis)[0], shape, out)
        return True


def _fits(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether shapes broadcast."""
    return all(m == n or 1 in (m, n) for m, n in zip(a[::-1], b[::-1], strict=False))
