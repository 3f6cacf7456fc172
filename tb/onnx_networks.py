"""Random quantized ONNX networks: graphs of every operator that the front end knows, in QDQ and in operator form.

Scales have random mantissas, so that sums seldom come to lie on a tie of rounding: onnxruntime multiplies by scales in
float32, the device by factors of 31 bits, and next to a tie these may differ by one. Which way exact ties go is tested
with single operators elsewhere.

What is left out, since results are known to differ, or since the front end says so:

- biases whose scale is not the input's times the weights';
- clamps behind means and concatenations, dilated pools, mean pools with padding that does not count, softmax over
  another axis than the last, resizing where float32 decides between neighbours, and whatever moves the batch: all are
  refused with these words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

__all__ = ["random_network"]

MICROSOFT = "com.microsoft"
KINDS = {"i": np.int8, "u": np.uint8}
MOST = 700
"""Values of a tensor."""


@dataclass(frozen=True)
class Value:
    """A tensor of codes."""

    name: str
    shape: tuple[int, ...]
    scale: np.float32
    zero_point: int
    kind: str
    """i: int8; u: uint8."""

    @property
    def numbers(self) -> tuple[np.float32, int, str]:
        return self.scale, self.zero_point, self.kind


def random_network(rng: np.random.Generator) -> tuple[bytes, dict[str, np.ndarray]]:
    """A model of 2 to 9 operators, and values for its inputs."""
    network = _Network(rng)
    for _ in range(int(rng.integers(1, 3))):
        network.input()
    wanted = int(rng.integers(2, 10))
    for _ in range(wanted * 20):
        if network.count < wanted:
            network.step()
    return network.file(), network.inputs


def _shape(rng: np.random.Generator) -> tuple[int, ...]:
    rank = int(rng.choice([2, 3, 4, 4, 4, 4]))
    if rank < 4:
        return (1, *(int(n) for n in rng.integers(1, 13, rank - 1)))
    side = [1, 1] if rng.random() < 0.1 else rng.integers(1, 9, 2)
    return (1, int(rng.choice([1, 2, 3, 4, 5, 8, 12])), *(int(n) for n in side))


class _Network:
    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.inputs: dict[str, np.ndarray] = {}
        self.values: list[Value] = []
        self.used: set[str] = set()
        self.ends: list[tuple[str, int]] = []
        """Outputs that are no codes, with their types."""
        self.count = 0
        self.main = str(rng.choice(["i", "u"]))
        self.mixed = rng.random() < 0.15
        self.operator = float(rng.choice([0, 0, 0.5, 1]))
        """How often an operator takes codes rather than what they stand for."""
        self.shared = rng.random() < 0.5
        """Whether those who read one tensor read one DequantizeLinear's result."""
        self.opset = int(rng.choice([14, 17]))
        self.known: dict[tuple, str] = {}

    # What all operators are made of.

    def name(self, stem: str) -> str:
        return f"{stem}{len(self.nodes) + len(self.constants)}"

    def constant(self, value: np.ndarray, stem: str = "k") -> str:
        name = self.name(stem)
        self.constants[name] = np.asarray(value)
        if self.rng.random() < 0.1:
            # As an operator.
            held = numpy_helper.from_array(self.constants[name])
            self.nodes.append(helper.make_node("Constant", [], [name], name=f"constant_{name}", value=held))
        return name

    def node(self, kind: str, inputs: Sequence[str], outputs: int = 1, **attributes) -> list[str]:
        names = [f"{kind.lower()}{len(self.nodes)}{'abc'[place] if outputs > 1 else ''}" for place in range(outputs)]
        domain = (
            MICROSOFT
            if kind.startswith("QLinear") and kind not in ("QLinearConv", "QLinearMatMul") or kind == "QGemm"
            else ""
        )
        self.nodes.append(
            helper.make_node(kind, inputs, names, name=f"{kind}_{len(self.nodes)}", domain=domain, **attributes)
        )
        return names

    def numbers(self, scale: np.float32, zero_point: int, kind: str, *, optional: bool = False) -> list[str]:
        """Constants of a scale and a zero point."""
        if kind == "u" and zero_point == 0 and self.rng.random() < 0.5 and optional:
            return [self.constant(np.float32(scale), "s")]
        return [self.constant(np.float32(scale), "s"), self.constant(KINDS[kind](zero_point), "z")]

    def real(self, value: Value) -> str:
        """What codes stand for."""
        self.used.add(value.name)
        key = ("real", value.name)
        if key not in self.known or not self.shared:
            self.known[key] = self.node("DequantizeLinear", [value.name, *self.numbers(*value.numbers, optional=True)])[
                0
            ]
        return self.known[key]

    def codes(self, value: Value) -> list[str]:
        """Codes with their numbers."""
        self.used.add(value.name)
        return [value.name, *self.numbers(*value.numbers)]

    def drawn(self, scale: float, kind: str) -> tuple[np.float32, int, str]:
        """Numbers of about a scale."""
        rng = self.rng
        point = int(
            rng.choice([rng.integers(-40, 41), rng.integers(-128, 128), -128, 127, 0], p=[0.6, 0.15, 0.1, 0.05, 0.1])
        )
        return np.float32(scale * rng.uniform(0.6, 1.5)), point + (128 if kind == "u" else 0), kind

    def add(self, name: str, shape: Sequence[int], numbers: tuple[np.float32, int, str]) -> Value:
        """A result of codes."""
        value = Value(name, tuple(int(n) for n in shape), *numbers)
        self.values.append(value)
        return value

    def quantized(self, name: str, shape: Sequence[int], numbers: tuple[np.float32, int, str]) -> Value:
        """The codes of a real result."""
        return self.add(self.node("QuantizeLinear", [name, *self.numbers(*numbers, optional=True)])[0], shape, numbers)

    def result(self, name: str, shape: Sequence[int], scale: float, kind: str) -> None:
        """The codes of a layer's real result, often clamped before."""
        numbers, chance = self.drawn(scale, kind), self.rng.random()
        if chance < 0.2:
            name = self.node("Relu", [name])[0]
        elif chance < 0.35:
            span = float(numbers[0]) * 127
            low, high = float(self.rng.uniform(-span, 0)), float(self.rng.uniform(0, span))
            limits = [self.constant(np.float32(low)), self.constant(np.float32(high))]
            name = self.node("Clip", [name, limits[0], limits[1]] if self.rng.random() < 0.7 else [name, limits[0]])[0]
        self.quantized(*self.moved(name, shape), numbers)

    def moved(self, name: str, shape: Sequence[int]) -> tuple[str, Sequence[int]]:
        """A real result, now and then moved before it is quantized."""
        while self.rng.random() < 0.12:
            kind = str(self.rng.choice(["Identity", "Flatten", "Transpose", "Relu"]))
            if kind == "Flatten":
                name, shape = self.node(kind, [name], axis=1)[0], (1, math.prod(shape))
            elif kind == "Transpose":
                axes = [0, *(int(axis) + 1 for axis in self.rng.permutation(len(shape) - 1))]
                name, shape = self.node(kind, [name], perm=axes)[0], [shape[axis] for axis in axes]
            else:
                name = self.node(kind, [name])[0]
        return name, shape

    def coded(self) -> bool:
        """Whether the next operator takes codes."""
        return bool(self.rng.random() < self.operator)

    def pick(self, *ranks: int) -> Value | None:
        """A tensor to read, a late one rather than an early one."""
        fit = [value for value in self.values if not ranks or len(value.shape) in ranks]
        if not fit:
            return None
        return fit[max(self.rng.integers(len(fit)), self.rng.integers(len(fit)))]

    def input(self) -> None:
        rng, shape = self.rng, _shape(self.rng)
        kind = self.kind()
        numbers = self.drawn(10 ** rng.uniform(-2, -0.5), kind)
        name = f"x{len(self.inputs)}"
        codes = rng.integers(-128, 128, shape) + (128 if kind == "u" else 0)
        if rng.random() < 0.7:
            spread = float(numbers[0]) * 60
            self.inputs[name] = rng.normal(size=shape, scale=spread).astype(np.float32)
            self.quantized(name, shape, numbers)
        else:
            self.inputs[name] = codes.astype(KINDS[kind])
            self.add(name, shape, numbers)
            # Its first reader says what the codes stand for.
            self.known["real", name] = self.node("DequantizeLinear", [name, *self.numbers(*numbers)])[0]

    def kind(self) -> str:
        return str(self.rng.choice(["i", "u"])) if self.mixed else self.main

    def step(self) -> None:
        """Tries an operator."""
        makers: list[tuple[Callable[[], bool], int]] = [
            (self.conv, 6),
            (self.matmul, 4),
            (self.pool, 3),
            (self.mean, 1),
            (self.arithmetic, 4),
            (self.concat, 3),
            (self.slice, 2),
            (self.split, 2),
            (self.pad, 2),
            (self.resize, 2),
            (self.transpose, 2),
            (self.reshape, 4),
            (self.same, 1),
            (self.clip, 2),
            (self.table, 4),
            (self.softmax, 1),
            (self.argmax, 1),
        ]
        weights = np.array([weight for _, weight in makers], float)
        maker = makers[self.rng.choice(len(makers), p=weights / weights.sum())][0]
        self.count += maker()

    # Layers with weights.

    def weights(self, shape: tuple[int, ...], axis: int, kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Codes, scales and zero points."""
        rng = self.rng
        codes = rng.integers(-127, 128, shape)
        if rng.random() < 0.2:
            codes[rng.random(shape) < 0.7] = 0
        if rng.random() < 0.5:
            scales = rng.uniform(0.003, 0.02, shape[axis]).astype(np.float32)
            return codes.astype(np.int8), scales, np.zeros(shape[axis], np.int8)
        scale = np.float32(rng.uniform(0.003, 0.02))
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
        given = [self.real(x), self.node("DequantizeLinear", [name, *numbers], **axes)[0]]
        if bias is not None:
            steps = [self.constant(products, "s"), self.constant(np.zeros(products.shape, np.int32), "z")]
            axes = {"axis": 0} if products.ndim else {}
            given += self.node("DequantizeLinear", [self.constant(bias.astype(np.int32), "b"), *steps], **axes)
        self.result(self.node(kind, given, **attributes)[0], shape, scale, x.kind)

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
        biased = kind == "Gemm" and bool(rng.random() < 0.7)
        self.layer(kind, x, weights, axis, depth, (*x.shape[:-1], outputs), biased=biased, **fields)
        return True

    # Pools.

    def pool(self) -> bool:
        x = self.pick(4)
        found = x and self.window(x, pool=True)
        if not x or not found:
            return False
        rng = self.rng
        fields, sides = found
        if rng.random() < 0.5:
            if rng.random() < 0.2 and "auto_pad" not in fields:
                pads, sides = fields.get("pads", [0] * 4), []
                for axis in (0, 1):
                    before, after, step = pads[axis], pads[axis + 2], fields["strides"][axis]
                    sides.append(-(-(x.shape[axis + 2] + before + after - fields["kernel_shape"][axis]) // step) + 1)
                    if (sides[axis] - 1) * step >= x.shape[axis + 2] + before:
                        # A window behind the image: ONNX's own shapes have it, onnxruntime's results do not.
                        return False
                fields["ceil_mode"] = 1
            self.move("MaxPool", x, (1, x.shape[1], *sides), **fields)
            return True
        # Windows may reach over the end where padding is not said.
        if "pads" in fields or fields.get("auto_pad", "VALID") != "VALID":
            fields["count_include_pad"] = 1
        shape, scale = (1, x.shape[1], *sides), float(x.scale) * 0.7
        if self.coded():
            out = self.drawn(scale, x.kind)
            self.add(self.node("QLinearAveragePool", [*self.codes(x), *self.numbers(*out)], **fields)[0], shape, out)
        else:
            self.result(self.node("AveragePool", [self.real(x)], **fields)[0], shape, scale, x.kind)
        return True

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

    # What moves values.

    def move(self, kind: str, x: Value, shape: Sequence[int], *more: str, **attributes) -> None:
        """An operator of one tensor whose result has its numbers."""
        if self.coded():
            self.used.add(x.name)
            self.add(self.node(kind, [x.name, *more], **attributes)[0], shape, x.numbers)
        else:
            self.quantized(*self.moved(self.node(kind, [self.real(x), *more], **attributes)[0], shape), x.numbers)

    def slice(self) -> bool:
        x = self.pick()
        axes = [] if x is None else [axis for axis in range(1, len(x.shape)) if x.shape[axis] > 1]
        if x is None or not axes:
            return False
        rng, shape = self.rng, list(x.shape)
        chosen = sorted(rng.choice(axes, int(rng.integers(1, len(axes) + 1)), replace=False))
        starts, ends, steps = [], [], []
        for axis in chosen:
            size = shape[axis]
            start = int(rng.integers(size))
            end, step = int(rng.integers(start + 1, size + 1)), int(rng.choice([1, 1, 2, 3]))
            shape[axis] = len(range(start, end, step))
            starts.append(start - size if rng.random() < 0.3 else start)
            ends.append((end - size or 2**31 - 1) if rng.random() < 0.3 else end)
            steps.append(step)
        given = [self.constant(np.array(values, np.int64)) for values in (starts, ends, chosen, steps)]
        self.move("Slice", x, shape, *(given[:3] if set(steps) == {1} else given))
        return True

    def split(self) -> bool:
        x = self.pick()
        axes = [] if x is None else [axis for axis in range(1, len(x.shape)) if x.shape[axis] > 1]
        if x is None or not axes:
            return False
        rng = self.rng
        axis = int(rng.choice(axes))
        length = x.shape[axis]
        count = int(rng.integers(2, min(length, 3) + 1))
        if length % count == 0 and rng.random() < 0.4:
            sizes, more = [length // count] * count, []
        else:
            cuts = [0, *sorted(int(n) for n in rng.choice(np.arange(1, length), count - 1, replace=False)), length]
            sizes = [end - begin for begin, end in zip(cuts, cuts[1:], strict=False)]
            more = [self.constant(np.array(sizes, np.int64))]
        coded = self.coded()
        source = x.name if coded else self.real(x)
        self.used.add(x.name)
        for name, size in zip(self.node("Split", [source, *more], count, axis=axis), sizes, strict=True):
            shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
            if coded:
                self.add(name, shape, x.numbers)
            else:
                self.quantized(name, shape, x.numbers)
        return True

    def pad(self) -> bool:
        x = self.pick()
        if x is None:
            return False
        rng, rank = self.rng, len(x.shape)
        pads = np.array([rng.integers(0, 3, rank), rng.integers(0, 3, rank)])
        pads[:, 0] = 0
        shape = [n + int(pads[:, axis].sum()) for axis, n in enumerate(x.shape)]
        if math.prod(shape) > MOST:
            return False
        given = [self.constant(pads.reshape(-1).astype(np.int64))]
        if self.coded():
            value = int(rng.integers(-128, 128)) + (128 if x.kind == "u" else 0) if rng.random() < 0.5 else x.zero_point
            self.used.add(x.name)
            made = self.node("Pad", [x.name, *given, self.constant(KINDS[x.kind](value))])
            self.add(made[0], shape, x.numbers)
        else:
            given += [self.constant(np.float32(0))] if rng.random() < 0.5 else []
            self.quantized(self.node("Pad", [self.real(x), *given])[0], shape, x.numbers)
        return True

    def resize(self) -> bool:
        x = self.pick(4)
        if x is None:
            return False
        rng = self.rng
        mode, rounding = [("asymmetric", "floor"), ("half_pixel", "round_prefer_floor")][int(rng.integers(2))]
        if mode == "half_pixel" or rng.random() < 0.6:
            sizes = [n * int(rng.integers(1, 4)) for n in x.shape[2:]]
        else:
            # Factors that float32 holds: of others a position may lie where its rounding decides.
            sizes = [
                n * int(rng.integers(1, 8)) // 4 if n % 4 == 0 else n // 2 if n % 2 == 0 else n for n in x.shape[2:]
            ]
        shape = [*x.shape[:2], *sizes]
        if math.prod(shape) > MOST:
            return False
        fields = {"mode": "nearest", "coordinate_transformation_mode": mode, "nearest_mode": rounding}
        whole = all(size % n == 0 for size, n in zip(shape, x.shape, strict=True))
        if whole and rng.random() < 0.5:
            given = [
                "",
                self.constant(np.array([size / n for size, n in zip(shape, x.shape, strict=True)], np.float32)),
            ]
        else:
            given = ["", "", self.constant(np.array(shape, np.int64))]
        self.move("Resize", x, shape, *given, **fields)
        return True

    def transpose(self) -> bool:
        x = self.pick(3, 4)
        if x is None:
            return False
        axes = [0, *(int(axis) + 1 for axis in self.rng.permutation(len(x.shape) - 1))]
        self.move("Transpose", x, [x.shape[axis] for axis in axes], perm=axes)
        return True

    def reshape(self) -> bool:
        x = self.pick()
        if x is None:
            return False
        rng, kind = self.rng, str(self.rng.choice(["Reshape", "Reshape", "Reshape", "Flatten", "Squeeze", "Unsqueeze"]))
        if kind == "Flatten":
            self.move("Flatten", x, (1, math.prod(x.shape)), axis=int(rng.integers(0, 2)))
        elif kind == "Squeeze":
            axes = [axis for axis in range(1, len(x.shape)) if x.shape[axis] == 1]
            axes = [axis for axis in axes if rng.random() < 0.7][: len(x.shape) - 2]
            if not axes:
                return False
            named = [axis - len(x.shape) if rng.random() < 0.3 else axis for axis in axes]
            shape = [n for axis, n in enumerate(x.shape) if axis not in axes]
            self.move("Squeeze", x, shape, self.constant(np.array(named, np.int64)))
        elif kind == "Unsqueeze":
            if len(x.shape) == 4:
                return False
            axis = int(rng.integers(1, len(x.shape) + 1))
            self.move("Unsqueeze", x, [*x.shape[:axis], 1, *x.shape[axis:]], self.constant(np.array([axis], np.int64)))
        else:
            shape = _factors(rng, math.prod(x.shape), int(rng.integers(1, 4)))
            if rng.random() < 0.2:
                # As exporters write it, by what the tensor's own shape says.
                self.used.add(x.name)
                first = self.node("Gather", [self.node("Shape", [self.real(x)])[0], self.constant(np.int64(0))])[0]
                first = self.node("Unsqueeze", [first, self.constant(np.array([0], np.int64))])[0]
                wanted = self.node("Concat", [first, self.constant(np.array(shape, np.int64))], axis=0)[0]
            else:
                wanted = [int(rng.choice([0, 1])), *shape]
                if rng.random() < 0.5:
                    wanted[int(rng.integers(1, len(wanted)))] = -1
                wanted = self.constant(np.array(wanted, np.int64))
            self.move("Reshape", x, (1, *shape), wanted)
        return True

    def same(self) -> bool:
        x, kind = self.pick(), str(self.rng.choice(["Identity", "Dropout", "Cast"]))
        if x is None:
            return False
        if kind == "Identity":
            self.move(kind, x, x.shape)
        else:
            fields = {"to": onnx.TensorProto.FLOAT} if kind == "Cast" else {}
            self.quantized(self.node(kind, [self.real(x)], **fields)[0], x.shape, x.numbers)
        return True

    # Functions of single values.

    def clip(self) -> bool:
        """A clamp by itself, or another scale."""
        x = self.pick()
        if x is None:
            return False
        numbers = x.numbers if self.rng.random() < 0.4 else self.drawn(float(x.scale), x.kind)
        span = float(x.scale) * 100
        if self.rng.random() < 0.5:
            made = self.node("Relu", [self.real(x)])[0]
        else:
            limits = [
                self.constant(np.float32(limit)) for limit in (self.rng.uniform(-span, 0), self.rng.uniform(0, span))
            ]
            made = self.node("Clip", [self.real(x), *limits])[0]
        self.quantized(made, x.shape, numbers)
        return True

    def table(self) -> bool:
        x = self.pick()
        if x is None:
            return False
        rng, kind = self.rng, str(self.rng.choice(["Sigmoid", "Tanh", "LeakyRelu", "HardSwish", "HardSigmoid"]))
        low = 0 if x.kind == "u" else -128
        out, fields = self.drawn(float(x.scale) * 0.8, x.kind), {}
        if kind in ("Sigmoid", "HardSigmoid"):
            out = np.float32(rng.uniform(0.0035, 0.006)), low, x.kind
        elif kind == "Tanh":
            out = np.float32(rng.uniform(0.0075, 0.01)), low + 128 + int(rng.integers(-5, 6)), x.kind
        if kind == "LeakyRelu":
            fields = {"alpha": float(rng.uniform(0.01, 0.4))}
        elif kind == "HardSigmoid" and rng.random() < 0.5:
            fields = {"alpha": float(rng.uniform(0.1, 0.4)), "beta": float(rng.uniform(0.3, 0.6))}
        if kind in ("Sigmoid", "LeakyRelu") and self.coded():
            self.add(self.node(f"QLinear{kind}", [*self.codes(x), *self.numbers(*out)], **fields)[0], x.shape, out)
        else:
            self.quantized(self.node(kind, [self.real(x)], **fields)[0], x.shape, out)
        return True

    def softmax(self) -> bool:
        x = self.pick()
        if x is None:
            return False
        out = np.float32(self.rng.uniform(0.0035, 0.0045)), 0 if x.kind == "u" else -128, x.kind
        axis = int(self.rng.choice([-1, len(x.shape) - 1]))
        if self.coded():
            made = self.node("QLinearSoftmax", [*self.codes(x), *self.numbers(*out)], axis=axis, opset=13)
            self.add(made[0], x.shape, out)
        else:
            self.quantized(self.node("Softmax", [self.real(x)], axis=axis)[0], x.shape, out)
        return True

    def argmax(self) -> bool:
        x = self.pick()
        if x is None or len(self.ends) > 1:
            return False
        axis, keep = int(self.rng.integers(1, len(x.shape))), int(self.rng.integers(2))
        name = self.node("ArgMax", [self.real(x)], axis=axis, keepdims=keep)[0]
        self.ends.append((name, onnx.TensorProto.INT64))
        return True

    def file(self) -> bytes:
        """The model; what nobody reads is an output, and a few others."""
        rng, outputs = self.rng, list(self.ends)
        loose = [value for value in self.values if value.name not in self.used and value.name not in self.inputs]
        others = [
            value
            for value in self.values
            if value.name in self.used and value.name not in self.inputs and rng.random() < 0.1
        ]
        if not outputs and not loose:
            others = others or self.values[-1:]
        for value in (*loose, *others):
            if rng.random() < 0.6 or value.name in self.inputs:
                outputs.append((self.real(value), onnx.TensorProto.FLOAT))
            else:
                outputs.append((value.name, onnx.TensorProto.INT8 if value.kind == "i" else onnx.TensorProto.UINT8))
        types = {np.dtype(np.float32): onnx.TensorProto.FLOAT, np.dtype(np.int8): onnx.TensorProto.INT8}
        given = [
            helper.make_tensor_value_info(name, types.get(value.dtype, onnx.TensorProto.UINT8), value.shape)
            for name, value in self.inputs.items()
        ]
        made = [helper.make_tensor_value_info(name, kind, None) for name, kind in dict(outputs).items()]
        made_here = {name for node in self.nodes for name in node.output}
        initializers = [numpy_helper.from_array(v, name) for name, v in self.constants.items() if name not in made_here]
        graph = helper.make_graph(self.nodes, "random", given, made, initializers)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def _fits(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether they broadcast, aligned at their ends."""
    return all(m == n or 1 in (m, n) for m, n in zip(a[::-1], b[::-1], strict=False))


def _factors(rng: np.random.Generator, size: int, count: int) -> list[int]:
    """So many factors of a size, at random."""
    factors = [1] * count
    for prime in (2, 3, 5, 7, 11):
        while size % prime == 0:
            factors[int(rng.integers(count))] *= prime
            size //= prime
    factors[int(rng.integers(count))] *= size
    return factors
