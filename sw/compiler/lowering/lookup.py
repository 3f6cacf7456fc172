"""Lowering of element-wise operators: the bytes of two tensors are looked up in a table each, and combined.

Tables and requantization must give the defined result for all pairs of bytes. The compiler tries them all, and refuses
the operator if one result differs. Where float32 defines the results, it solves for tables that give them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sateen.compiler.lowering.fitting import Lane, bias_of, fitted
from sateen.compiler.lowering.kernel import parameters
from sateen.errors import CompileError
from sateen.graph.ops import Add, Int8Array, Multiply, Op, SquaredDifference, Subtract, Table, TableProduct, Tensor
from sateen.hw.spec.combining import LARGEST_SHIFT, Combine, Entries, Operand, Source
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import ActivationStream, Descriptor, OutputStream, Rounding, WeightStream
from sateen.hw.spec.nests import Dim
from sateen.hw.spec.parameters import BIAS_BYTES, SCALE_BYTES, TABLE_ENTRIES, table_words
from sateen.sim import golden

__all__ = ["LookUp", "add", "multiply", "squared_difference", "table", "table_product", "unary"]

BYTES = np.arange(TABLE_ENTRIES).astype(np.uint8).view(np.int8).astype(np.int64)
"""The int8 value of each entry of a table, in the order of the entries."""
LARGEST_LANE_SHIFT = 30
LARGEST_COUNT = 65535
"""Limit of a descriptor's counter."""
STEPS = (0, 2, 4, 6, 8)
"""Powers of two by which the steps of tables are tried that are larger than the finest ones."""
NUDGES = (0, *(sign * step << place for place in (7, 4) for step in range(1, 5) for sign in (1, -1)))
"""Changes of a multiplier that are tried: to the next float32, and finer ones."""


@dataclass(frozen=True, kw_only=True)
class LookUp:
    """Looks up and combines bytes of two tensors of one size: ``requantize(tables[0][a] ∘ tables[1][b] + bias)``."""

    tables: NDArray[np.int64]
    """[2, TABLE_ENTRIES], int32."""
    combine: int
    """:class:`sateen.hw.spec.combining.Combine`."""
    lane: Lane
    size: int
    """Bytes of each tensor."""
    bias: int = 0
    sources: tuple[int, int] = (0, 1)
    """Which of the operator's inputs are looked up."""
    operands: tuple[Operand, Operand] = (Operand(), Operand())
    """Where entries come from; both tables' without ``direct`` in the configuration."""
    stays: bool = False
    """The tables are on the device already."""

    @property
    def loads(self) -> bool:
        """Whether tables are loaded."""
        return not self.stays and any(operand.source == Source.TABLE for operand in self.operands)

    def entries(self, config: Config) -> Entries | None:
        """What its descriptor says of the operands."""
        return Entries(*self.operands, loads=self.loads) if config.direct else None

    def results(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int8]:
        """The device's results for pairs of values."""
        left, right = self.tables[0][a & 0xFF], self.tables[1][b & 0xFF]
        entries = left * right if self.combine == Combine.MULTIPLY else left + right
        return self.lane.results((entries**2 if self.combine == Combine.SQUARE else entries) + self.bias)

    def words(self, config: Config) -> NDArray[np.int8]:
        """The weight store's words: [words, cols]."""
        words = table_words(config.cols) if self.loads else 0
        store = np.zeros((words + config.parameter_words, config.cols), np.int8)
        if words:
            entries = self.tables.T if words == TABLE_ENTRIES else self.tables.reshape(-1, 1)
            content = np.ascontiguousarray(entries.astype("<i4")).view(np.int8)
            store[:words, : content.shape[1]] = content
        lane = parameters([self.bias], [self.lane.multiplier], [self.lane.shift]).T.view(np.int8)
        store[words : words + BIAS_BYTES], store[-SCALE_BYTES:] = lane[:BIAS_BYTES], lane[BIAS_BYTES:]
        return store

    def table_words(self, config: Config) -> int:
        """The words of these that are tables."""
        return table_words(config.cols) if self.loads else 0

    def descriptor(self, config: Config, *, sources: tuple[int, int], target: int) -> Descriptor:
        """One descriptor for all of it, from and to byte addresses; its weights stand at word 0."""
        width, (rows, columns) = self.lines(config)
        line = (0, columns * width, columns * width)
        activations = ActivationStream(
            address=sources[0], row=0, x=0, height=1, width=self.size, padding=0, pairs=True,
            dims=(
                *(Dim() for _ in range(5)), Dim(rows, line), Dim(columns, (0, width, width)), Dim(),
                Dim(2, (0, 0, sources[1] - sources[0])),
            ),
        )  # fmt: skip
        output = OutputStream(
            address=target,
            channels=width,
            taps=1,
            zero_point=self.lane.zero_point,
            low=self.lane.low,
            high=self.lane.high,
            rounding=self.lane.rounding,
            combine=self.combine,
            entries=self.entries(config),
            dims=(Dim(1, (0,)), Dim(1, (0,)), Dim(rows, (columns * width,)), Dim(columns, (width,))),
        )
        weights = WeightStream(base=0, blocks=1, groups=1, words=self.table_words(config), tables=True)
        return Descriptor(weights=weights, activations=activations, output=output)

    def lines(self, config: Config) -> tuple[int, tuple[int, int]]:
        """How the tensor is cut into equal lines: bytes of a line, and the number of lines as a product of two
        counts."""
        width = largest_divisor(self.size, min(config.cols, config.beat_bytes))
        columns = largest_divisor(self.size // width, LARGEST_COUNT)
        return width, (self.size // width // columns, columns)


def largest_divisor(number: int, limit: int) -> int:
    """The largest divisor of ``number`` that is not above ``limit``."""
    return next(divisor for divisor in range(min(number, limit), 0, -1) if number % divisor == 0)


def add(op: Add, a: Tensor, b: Tensor, y: Tensor, config: Config) -> LookUp:
    """Sums and differences."""
    if op.rounding == Rounding.FLOAT32:
        return _solved(op, a, b, y, config, _float32_sums(op, a, b, y))
    twice = 2 * max(a.scale, b.scale)
    left, right = (
        golden.rescale(
            (BYTES - tensor.zero_point) << golden.ADD_SHIFT,
            *golden.quantize_multiplier(tensor.scale / twice),
            rounding=op.rounding,
        )
        for tensor in (a, b)
    )
    scaling = golden.quantize_multiplier(twice / ((1 << golden.ADD_SHIFT) * y.scale))
    tables = _look_up(op, left, _sign(op) * right, Combine.ADD, scaling, y.zero_point, y)
    return _solved(op, a, b, y, config, [tables])


def _sign(op: Add) -> int:
    return -1 if isinstance(op, Subtract) else 1


def _float32_sums(op: Add, a: Tensor, b: Tensor, y: Tensor) -> Iterator[LookUp]:
    """Tables of the terms that float32 adds, so that the lane rounds their sums as float32 does; then of exact ones.
    Solving mends what their steps are too large for."""
    sign, unit, codes = _sign(op), float(np.float32(y.scale)), BYTES.astype(np.int8)
    if op.fused:
        numbers = a.quantization, b.quantization, y.quantization
        product, rest = golden.fused_terms(codes, codes, *numbers, sign=sign, base=op.base(y))
        yield from _stepped(op, product, rest.astype(np.float64), 1.0, -op.base(y), y)
    left, right = (golden.real_codes(codes, tensor.quantization).astype(np.float64) for tensor in (a, b))
    yield from _stepped(op, left, sign * right, 1 / unit, y.zero_point, y)
    exact = [np.asarray((BYTES - tensor.zero_point) * (tensor.scale / unit), np.float64) for tensor in (a, b)]
    yield from _stepped(op, exact[0], sign * exact[1], 1.0, y.zero_point, y)


def _stepped(
    op: Add, left: NDArray[np.float64], right: NDArray[np.float64], scale: float, zero_point: int, y: Tensor
) -> Iterator[LookUp]:
    """Tables of real numbers in steps of powers of two, the finest that 32 bits hold first; ``scale`` is that of their
    sums."""
    largest = max(float(np.abs(left).max() + np.abs(right).max()), 2.0**-100)
    finest = 31 - math.ceil(math.log2(largest * (1 + 2.0**-20)))
    for fraction in (finest - step for step in STEPS):
        multiplier, shift = golden.quantize_multiplier(math.ldexp(scale, -fraction))
        if multiplier:
            first, second = (np.rint(np.ldexp(term, fraction)).astype(np.int64) for term in (left, right))
            yield _look_up(op, first, second, Combine.ADD, (multiplier, shift), zero_point, y)


def multiply(op: Multiply, a: Tensor, b: Tensor, y: Tensor, config: Config) -> LookUp:
    """Products of two tensors."""
    left, right = BYTES - a.zero_point, BYTES - b.zero_point
    if op.rounding == Rounding.FLOAT32:
        return _solved(op, a, b, y, config, _float32_products(op, left, right, a, b, y))
    scaling = golden.quantize_multiplier(a.scale * b.scale / y.scale)
    return _solved(op, a, b, y, config, [_look_up(op, left, right, Combine.MULTIPLY, scaling, y.zero_point, y)])


def _float32_products(
    op: Multiply, left: NDArray[np.int64], right: NDArray[np.int64], a: Tensor, b: Tensor, y: Tensor
) -> Iterator[LookUp]:
    """Products, or twice as large ones, with scales near that in float32, the zero point in the lane or in the bias:
    float32 may round the sum with it."""
    factor = float(np.float32(a.scale) * np.float32(b.scale) / np.float32(y.scale))
    # Three roundings of real numbers depend on more than their product: few scales have tables then.
    for nudge in NUDGES if op.fused else NUDGES[:1]:
        for twice in (0, 1):
            multiplier, shift = golden.quantize_multiplier(factor / (1 + twice))
            if not 0 < multiplier + nudge < 1 << 31:
                continue
            for zero_point in dict.fromkeys((y.zero_point, 0, -op.base(y), y.zero_point ^ 1)):
                scaling = multiplier + nudge, shift
                yield _look_up(op, left << twice, right, Combine.MULTIPLY, scaling, zero_point, y)


def squared_difference(op: SquaredDifference, a: Tensor, b: Tensor, y: Tensor, config: Config) -> LookUp:
    """Squared differences of two tensors."""
    if not config.squares:
        raise CompileError(f"{op}: the device does not square differences; configure one with squares=1")
    (left, right), ratio = golden.scaled_difference(BYTES, BYTES, a.quantization, b.quantization, y.quantization)
    multiplier, shift = golden.quantize_multiplier(ratio)
    lane = Lane(
        multiplier=multiplier, shift=shift, rounding=Rounding.DOUBLE, zero_point=y.zero_point, low=-128, high=127
    )
    tables = LookUp(tables=np.array([left, -right]), combine=Combine.SQUARE, lane=lane, size=math.prod(y.shape[1:]))
    return _solved(op, a, b, y, config, [tables])


def table_product(op: TableProduct, a: Tensor, b: Tensor, y: Tensor, config: Config) -> LookUp:
    """One tensor times a table of another."""
    if op.loaded and not config.direct:
        raise CompileError(f"{op}: its table is on the device only with direct=1; configure that")
    left, right = BYTES - a.zero_point, op.table.astype(np.int64)[BYTES + 128]
    lane = Lane(
        multiplier=op.multiplier, shift=op.shift, rounding=Rounding.DOUBLE, zero_point=y.zero_point, low=-128, high=127
    )
    tables = LookUp(
        tables=np.array([left, right]), combine=Combine.MULTIPLY, lane=lane, size=math.prod(y.shape[1:]),
        operands=(Operand(Source.CODE, a.zero_point), Operand()) if config.direct else (Operand(), Operand()),
        stays=op.loaded,
    )  # fmt: skip
    return _checked(op, tables, config)


def table(op: Table, x: Tensor, y: Tensor, config: Config) -> LookUp:
    """Any function of one value."""
    return unary(op, op.table, x, config)


def unary(op: Op, results: Int8Array, x: Tensor, config: Config) -> LookUp:
    """Tables for an operator on one value, from its results for −128 to 127."""
    tables = LookUp(
        tables=np.array([results.astype(np.int64)[BYTES + 128], np.zeros(TABLE_ENTRIES, np.int64)]),
        combine=Combine.ADD,
        lane=Lane(multiplier=1 << 30, shift=1, rounding=Rounding.SINGLE, zero_point=0, low=-128, high=127),
        size=math.prod(x.shape[1:]),
        sources=(0, 0),
    )
    return _checked(op, tables, config)


def _look_up(
    op: Add | Multiply, left: NDArray[np.int64], right: NDArray[np.int64], combine: int, scaling: tuple[int, int],
    zero_point: int, y: Tensor,
) -> LookUp:  # fmt: skip
    lane = Lane(
        multiplier=scaling[0], shift=scaling[1], rounding=op.rounding, zero_point=zero_point, low=op.low, high=op.high
    )
    return LookUp(tables=np.array([left, right]), combine=combine, lane=lane, size=math.prod(y.shape[1:]))


def _check_device(op: Op, config: Config) -> None:
    """Raises :class:`~sateen.errors.CompileError` if the device has no tables."""
    if not config.tables:
        raise CompileError(
            f"{op}: it is looked up in tables, which take engine=pipelined, positions={TABLE_ENTRIES} and cols=4 "
            "or more"
        )


def _checked(op: Op, tables: LookUp, config: Config) -> LookUp:
    """``tables``, if the device can use them."""
    _check_device(op, config)
    if tables.lines(config)[1][0] > LARGEST_COUNT:
        raise CompileError(f"{op}: its {tables.size} elements are more than a descriptor can say")
    return tables


def _solved(
    op: Add | Multiply | SquaredDifference, a: Tensor, b: Tensor, y: Tensor, config: Config,
    candidates: Iterable[LookUp],
) -> LookUp:  # fmt: skip
    """The first of the candidates that gives the defined result for every pair of values, in float32 after solving for
    its tables or its bias."""
    _check_device(op, config)
    if a.shape[1:] != b.shape[1:]:
        raise CompileError(f"{op}: tensors of shapes {a.shape} and {b.shape}, which broadcast, have no kernel")
    # Of one tensor with itself, only equal bytes meet.
    left, right = (BYTES, BYTES) if op.a == op.b else np.meshgrid(BYTES, BYTES, indexing="ij")
    values = {op.a: left.astype(np.int8), op.b: right.astype(np.int8)}
    wanted = op.execute({op.a: a, op.b: b, op.output: y}, values)
    for candidate in candidates:
        tables = _checked(op, candidate, config)
        if tables.lane.rounding == Rounding.FLOAT32:
            tables = _mended(tables, wanted)
        if np.array_equal(tables.results(left, right), wanted):
            plain = _direct(tables) if config.direct else None
            return plain if plain and np.array_equal(plain.results(left, right), wanted) else tables
    raise CompileError(f"{op}: no tables of the device give its results in float32 for every pair of values")


def _direct(tables: LookUp) -> LookUp | None:
    """The same results from codes in place of tables, if there are any such."""
    if tables.combine == Combine.SQUARE:
        return None
    lines = [_line(table) for table in tables.tables]
    if None in lines:
        return None
    (one, first), (two, second) = (line for line in lines if line is not None)
    common = 0 if tables.combine == Combine.MULTIPLY else min(one, two)
    shifts, lane = (one - common, two - common), tables.lane
    if max(shifts) > LARGEST_SHIFT or lane.shift + common > LARGEST_LANE_SHIFT:
        return None
    return replace(
        tables,
        tables=tables.tables >> common,
        lane=replace(lane, shift=lane.shift + common),
        operands=(Operand(Source.CODE, first, shifts[0]), Operand(Source.CODE, second, shifts[1])),
    )


def _line(table: NDArray[np.int64]) -> tuple[int, int] | None:
    """A table of ``(code − zero point) · 2^shift`` as (shift, zero point)."""
    ordered = table[np.argsort(BYTES)]
    step = int(ordered[1] - ordered[0])
    if step <= 0 or step & step - 1 or (np.diff(ordered) != step).any() or ordered[0] % step:
        return None
    point = -128 - int(ordered[0]) // step
    return (step.bit_length() - 1, point) if -128 <= point <= 127 else None


def _mended(tables: LookUp, wanted: Int8Array) -> LookUp:
    """Tables near these, or these with a bias, whose results are those wanted: of all pairs [a, b], or of equal bytes.
    If there are none, the same tables."""
    (left, right), (least, most) = tables.tables, tables.lane.ranges(wanted)
    if tables.combine == Combine.MULTIPLY:
        bias = bias_of((least, most), left * right if wanted.ndim == 1 else np.outer(left, right))
        return tables if bias is None else replace(tables, bias=bias)
    if wanted.ndim == 1:
        return replace(tables, tables=np.array([np.clip(left + right, least, most) - right, right]))
    found = fitted((least, most), left, right)
    return tables if found is None else replace(tables, tables=np.array(found))
