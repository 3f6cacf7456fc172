"""What onnxruntime computes an operator with, once its optimizations have made of a network what they make of it.

Operators whose codes are of one type are replaced with kernels of codes (``BinaryNodeGroupSelector``,
``UnaryNodeGroupSelector``), and layers whose codes are uint8 (``ConvNodeGroupSelector``, ``MatMulNodeGroupSelector``,
``GemmNodeGroupSelector``); products of real numbers with codes alone with a kernel that quantizes the real numbers
(``DQMatMulNodeGroupSelector``). Those are the rules for x86-64.
"""

from __future__ import annotations

import enum
from dataclasses import replace

import numpy as np

from sateen.frontends.onnx.file import Node, OnnxModel
from sateen.frontends.onnx.parts import DEQUANTIZE, QUANTIZE, Part, Parts, kind_of
from sateen.graph import Array

__all__ = ["KERNELS", "LAYERS", "Kernel", "Replacement"]

KERNELS = ("Add", "AveragePool", "GlobalAveragePool", "Mul", "Softmax")
"""Kinds that have kernels of codes, and whose results depend on that."""
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Sums of products, which have kernels of codes if these are uint8, Gemm also of int8; ConvTranspose has none."""
PAIRS = ("Add", "Mul")
"""Those that have two operands, and such kernels only if no scale or zero point is a list."""
CLAMPS = ("Clip", "Relu")
BLOCK = 16
"""The least number of weights with one scale that there are kernels for."""
ABSOLUTE, RELATIVE = 1e-6, 1e-2
"""How far a bias's scale may be from that of the sums."""


class Kernel(enum.Enum):
    """What computes an operator between DequantizeLinear and QuantizeLinear."""

    CODES = enum.auto()
    """A kernel of codes, as the file has them."""
    UINT8 = enum.auto()
    """A kernel of uint8, larger by 128 than the file's int8."""
    REAL = enum.auto()
    """The operator itself, in float32."""


class Replacement(Parts):
    """A network's operators, and what becomes of each."""

    def __init__(self, model: OnnxModel):
        super().__init__(model)
        self._weights: set[str] = set()

    def note_weights(self, node: Node) -> None:
        """Notes codes that a product of real numbers takes as they are: matrices with one scale, with one for each
        column, or with one for each block of a column."""
        if kind_of(node) != DEQUANTIZE or len(node.inputs) < 2:
            return
        codes, scales = (self.constants.get(name) for name in node.inputs[:2])
        points = self.constants.get(node.inputs[2]) if node.has(2) else scales
        if codes is None or scales is None or points is None or codes.ndim != 2 or points.ndim != scales.ndim:
            return
        if self.replaceable & {*node.inputs}:
            return
        axis, size = node.attributes.get("axis", 1), node.attributes.get("block_size", 0)
        whole = scales.ndim == 0 or scales.shape == codes.shape[1:] and axis == 1
        if whole if not size else axis == 0 and size >= BLOCK and size & (size - 1) == 0:
            self._weights.add(node.inputs[0])

    def quantizes_input(self, part: Part) -> bool:
        """Whether a product quantizes its real input, in blocks, while it runs: one with codes, which nobody quantizes
        behind it (``DQMatMulToMatMulNBits``)."""
        if part.kind not in ("Gemm", "MatMul") or len(part.inputs) < 2:
            return False
        first, second = (self.makers.get(name) for name in part.inputs[:2])
        if first is not None and first.kind == DEQUANTIZE or second is None or second.kind != DEQUANTIZE:
            return False
        last = self._bias_of(part) or part if part.kind == "MatMul" else part
        stated = [str(part.attributes.get(name, 1.0)) for name in ("alpha", "beta")]
        turned = [part.attributes.get(name, 0) for name in ("transA", "transB")]
        good = second.inputs[0] in self._weights and stated == ["1.0", "1.0"] and turned == [0, 0]
        # Of rows in more than two axes a Reshape stands between a sum and its clamp.
        free = last is not part or not self._is_clamped(last)
        return good and free and all(reader.kind != QUANTIZE for reader in self.readers.get(last.output, []))

    def _is_clamped(self, part: Part) -> bool:
        """Whether one clamp alone, which one operator reads, is behind an operator."""
        clamp = self.only_reader(part.output)
        return clamp is not None and clamp.kind in CLAMPS and self.only_reader(clamp.output) is not None

    def kernel(self, part: Part, *, rows: bool = False) -> Kernel:
        """What computes an operator; a MatMul perhaps of ``rows`` in more than two axes."""
        if part.kind in LAYERS:
            return Kernel.CODES if self._is_coded_layer(part, rows) else Kernel.REAL
        before, behind = [self.makers.get(name) for name in part.inputs], self._quantizer(part)
        if behind is None or any(each is None or each.kind != DEQUANTIZE for each in before):
            return Kernel.REAL
        kinds = {self._kind(behind), *(self._kind_read(each) for each in before if each is not None)}
        if len(kinds) > 1 or not kinds <= {"int8", "uint8"}:
            return Kernel.REAL
        given = [*filter(None, before)]
        if part.kind in PAIRS and not all(map(self._is_plain, [behind, *given])):
            return Kernel.REAL
        # That has a table of exponentials of the scale.
        if part.kind == "Softmax" and not all(each.numbers and each.numbers.fixed[0] for each in given):
            return Kernel.REAL
        return Kernel.UINT8 if kinds == {"uint8"} else Kernel.CODES

    def _quantizer(self, part: Part) -> Part | None:
        """The QuantizeLinear behind an operator, or behind clamps that change no code."""
        clamps, behind = [], self.only_reader(part.output)
        while behind is not None and behind.kind in CLAMPS:
            clamps.append(behind)
            behind = self.only_reader(behind.output)
        if behind is None or behind.kind != QUANTIZE or any(self._changes_codes(clamp, behind) for clamp in clamps):
            return None
        return behind

    def _is_coded_layer(self, part: Part, rows: bool) -> bool:
        """Whether a layer or a product has a kernel of codes. Without a QuantizeLinear behind it the result is real, of
        exact sums. Of ``rows`` in more than two axes a MatMul with a bias is a Gemm between two Reshapes, and pairs are
        put between them, which become uint8."""
        inputs, last = [name for name in part.inputs if name], part
        if part.kind == "MatMul":
            last = self._bias_of(part) or part
            inputs += [name for name in last.inputs if name != part.output and last is not part]
        sources = [self.makers.get(name) for name in inputs[:2]]
        if part.kind == "ConvTranspose" or len(sources) < 2:
            return False
        first, second = sources
        if first is None or second is None or {first.kind, second.kind} != {DEQUANTIZE}:
            return False
        rows &= last is not part and first.numbers is not None and first.numbers.stated
        kind, gemm = "uint8" if rows else self._kind_read(first), part.kind == "Gemm" or last is not part
        weights = self._kind_read(second) if second.numbers else self._values(second).dtype.name
        if not (kind == "uint8" and "int4" not in weights or gemm and kind == weights == "int8"):
            return False
        behind, readers = self._quantizer(last), self.readers.get(last.output, [])
        whole = str(part.attributes.get("beta", 1.0)) == "1.0"
        if len(inputs) > 2 and not (whole and self._is_int32(inputs[2], last, behind)):
            return False
        if part.kind == "Conv" and len(inputs) > 2 and not _fits_sums(self.makers.get(inputs[2]), first, second):
            return False
        if behind is not None:
            near = self.only_reader(last.output) is behind
            return near and behind.numbers is not None and behind.numbers.stated if rows else self._kind(behind) == kind
        return part.kind != "Conv" and not self._is_clamped(last) and all(each.kind != QUANTIZE for each in readers)

    def _bias_of(self, part: Part) -> Part | None:
        """The sum behind a product by constants that becomes part of it (``MatMulAddFusion``)."""
        behind, weights = self.only_reader(part.output), self.makers.get(part.inputs[-1])
        if behind is None or behind.kind != "Add" or weights is None or self._values(weights).ndim != 2:
            return None
        name = next((name for name in behind.inputs if name != part.output), "")
        maker = self.makers.get(name)
        values = self.constants.get(name) if maker is None else self._values(maker)
        return behind if values is not None and values.ndim == 1 else None

    def _values(self, part: Part) -> Array:
        """The codes that a DequantizeLinear of constants reads; of others, a single number."""
        found = self.constants.get(part.inputs[0]) if part.kind == DEQUANTIZE else None
        return np.zeros(()) if found is None else np.asarray(found)

    def _is_int32(self, name: str, last: Part, behind: Part | None) -> bool:
        """Whether a bias is codes of int32, or becomes that: real ones before a QuantizeLinear do
        (``WeightBiasQuantization``)."""
        maker, values = self.makers.get(name), self.constants.get(name)
        if maker is None:
            return values is not None and values.ndim == 1 and behind is not None and last.kind != "MatMul"
        return maker.kind == DEQUANTIZE and self._values(maker).dtype == np.int32

    def _changes_codes(self, clamp: Part, quantize: Part) -> bool:
        """Whether a clamp before a QuantizeLinear changes codes (``IsClipMadeRedundantByQ``)."""
        numbers = quantize.numbers
        if numbers is None or numbers.kind not in ("int8", "uint8") or not numbers.fixed[1]:
            return True
        least = -128 if numbers.kind == "int8" else 0
        if clamp.kind == "Relu":
            return numbers.zero_point != least or not (numbers.stated or numbers.fixed[0])
        fixed = self.constants.keys() - self.replaceable | {""}
        if not (self._is_plain(quantize) and numbers.fixed[0] and fixed.issuperset(clamp.inputs[1:])):
            return True
        given = [self.constants.get(name) for name in [*clamp.inputs[1:], "", ""][:2]]
        stated = [clamp.attributes.get(name, value) for name, value in zip(("min", "max"), given, strict=True)]
        with np.errstate(all="ignore"):
            lowest, highest = (
                np.rint(np.float32(end if value is None else np.asarray(value).flat[0]) / np.float32(numbers.scale))
                for value, end in zip(stated, (-np.inf, np.inf), strict=True)
            )
        # Without a zero point only one of its two steps looks, which takes what is beyond int32 for the least.
        return bool(not numbers.stated and highest >= 2**31) or bool(
            lowest + numbers.zero_point > least or highest + numbers.zero_point < least + 255
        )

    def _kind_read(self, part: Part) -> str:
        """The type of the codes that a DequantizeLinear reads."""
        maker = self.makers.get(part.inputs[0]) if part.inputs else None
        if maker is not None and maker.kind == QUANTIZE:
            return self._kind(maker)
        return part.numbers.kind if part.numbers else ""

    def _is_plain(self, part: Part) -> bool:
        """Whether scale and zero point are single numbers, not lists of one. Codes that become uint8 get such a zero
        point."""
        if part.numbers is None:
            return False
        scale, point = part.numbers.ranks
        kind = self._kind(part) if part.kind == QUANTIZE else self._kind_read(part)
        return scale == 0 and (point == 0 or kind != part.numbers.kind)

    def _kind(self, part: Part) -> str:
        """The type of the codes that a QuantizeLinear gives. Those of int8 become uint8 if a DequantizeLinear alone
        reads them, with the same zero point; its scale does not matter."""
        numbers, behind = part.numbers, self.only_reader(part.output)
        if numbers is None or numbers.kind != "int8":
            return numbers.kind if numbers else ""
        read = behind.numbers if behind is not None and behind.kind == DEQUANTIZE else None
        alike = read is not None and replace(read, scale=numbers.scale) == numbers
        fixed = read is not None and numbers.fixed[1] and read.fixed[1]
        return "uint8" if alike and fixed and numbers.stated else "int8"


@np.errstate(all="ignore")
def _fits_sums(bias: Part | None, first: Part, second: Part) -> bool:
    """Whether a bias without a zero point has about the scales of a convolution's sums (``CheckConvBiasScale``), or
    gets these."""
    if first.scales is None or first.numbers is None or second.scales is None:
        return False
    if bias is None or bias.scales is None:
        return bias is None
    wanted = np.float64(first.numbers.scale) * second.scales.astype(np.float64)
    fits = bias.scales.size == 1 or bias.scales.shape == wanted.shape
    near = fits and np.abs(bias.scales - wanted) <= ABSOLUTE + RELATIVE * np.abs(wanted)
    return bool(np.all(near)) and (bias.points is None or not bias.points.any())
