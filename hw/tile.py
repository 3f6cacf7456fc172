"""The tile: a weight-stationary systolic array."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from weft.hw.pe import create
from weft.hw.spec.pe import PE_KINDS

__all__ = ["Tile", "tag_shape"]


def tag_shape(position_bits: int) -> data.StructLayout:
    """What goes with a beat: its ``address`` in a half of the accumulators, ``first`` and ``last`` as they take it."""
    return data.StructLayout({"address": position_bits, "first": 1, "last": 1})


class Tile(wiring.Component):
    """Multiplies vectors of activations by a matrix of weights that stays in place while the next one comes in.

    One beat per cycle. Column 0's sum of a beat is out ``latency`` = ``rows + PE latency`` cycles after the beat is taken, column
    ``c``'s ``c`` cycles later. A matrix takes ``rows`` cycles to come in, during which the one before computes: matrices of ``rows``
    beats or more leave no bubble, those of fewer take ``rows`` cycles each. Model: ``beat @ weights``.

    How it works: words of weights flow down the columns, one row per cycle, and are captured in the row that they are for;
    activations flow to the right. Rows and columns are skewed by a cycle each, so that ``capture``, ``swap`` and activations are one
    diagonal wave, and what follows in the next cycle never overtakes it.

    Parameters
    ----------
    rows, cols : int
        Of PEs, 1 or more.
    pe : str
        Kind of PE.
    position_bits : int
        Width of the tag's address.
    multipliers : int or None
        PEs that may use hardware multipliers, by whole columns as far as they reach; None for all.

    Members
    -------
    weights : In(stream)
        Words of ``cols`` int8; ``rows`` of them a matrix, row 0 first. Taken while the next matrix is incomplete, and together
        with a beat that swaps.
    i : In(stream)
        Beats: ``data``, ``rows × group`` int8; ``swap``: this beat is the first with the next matrix, for which it waits; ``tag``.
    o : Out(stream), always ready
        ``sums`` and ``tag``; valid and tag are column 0's.
    """

    def __init__(self, *, rows: int, cols: int, pe: str = "mac", position_bits: int, multipliers: int | None = None):
        for name, value in (("rows", rows), ("cols", cols), ("position_bits", position_bits)):
            if value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value!r}")
        if pe not in PE_KINDS:
            raise ValueError(f"pe must be one of {', '.join(PE_KINDS)}, not {pe!r}")
        if multipliers is not None and not 0 <= multipliers <= rows * cols:
            raise ValueError(f"multipliers must be 0 to {rows * cols} (rows × cols), not {multipliers!r}")
        self.rows, self.cols, self.pe, self.kind = rows, cols, pe, PE_KINDS[pe]
        self.multipliers = rows * cols if multipliers is None else multipliers
        self.sum_bits = 16 + ceil_log2(rows * self.kind.group)
        self.latency = rows + self.kind.latency
        tag = tag_shape(position_bits)
        beat = data.ArrayLayout(signed(8), rows * self.kind.group)
        sums = data.ArrayLayout(signed(self.sum_bits), cols)
        super().__init__(
            {
                "weights": In(stream.Signature(data.ArrayLayout(signed(8), cols))),
                "i": In(stream.Signature(data.StructLayout({"data": beat, "swap": 1, "tag": tag}))),
                "o": Out(stream.Signature(data.StructLayout({"sums": sums, "tag": tag}), always_ready=True)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Words of the next matrix so far. A swap makes room in the same cycle.
        count, full = Signal(range(self.rows + 1)), Signal()
        beat, swap, word = Signal(), Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(full | ~self.i.payload.swap),
            beat.eq(self.i.valid & self.i.ready),
            swap.eq(beat & self.i.payload.swap),
            self.weights.ready.eq(~full | swap),
            word.eq(self.weights.valid & self.weights.ready),
        ]
        index, following = Signal.like(count), Signal.like(count)
        with m.If(~swap):
            m.d.comb += index.eq(count)
        m.d.comb += following.eq(index + word)
        m.d.sync += [count.eq(following), full.eq(following == self.rows)]

        pes = self._array(m)
        self._edges(m, pes, beat=beat, swap=swap, capture=[word & (index == row) for row in range(self.rows)])

        valid, tag = beat, self.i.payload.tag
        for stage in range(self.latency):
            valid, before = Signal(name=f"valid_{stage}"), valid
            m.d.sync += valid.eq(before)
            tag, arriving = Signal(tag.shape(), name=f"tag_{stage}"), tag
            m.d.sync += tag.eq(arriving)
        m.d.comb += [self.o.valid.eq(valid), self.o.payload.tag.eq(tag)]
        for column, pe in enumerate(pes[-1]):
            m.d.comb += self.o.payload.sums[column].eq(pe.sum_o)
        return m

    def _array(self, m: Module) -> list[list[wiring.Component]]:
        """The PEs, each wired to its neighbours."""
        pes: list[list[wiring.Component]] = []
        for row in range(self.rows):
            line: list[wiring.Component] = []
            for column in range(self.cols):
                multiplier = column * self.rows + row < self.multipliers
                pe = create(self.pe, sum_bits=self.sum_bits, multiplier=multiplier)
                m.submodules[f"pe_{row}_{column}"] = pe
                for name in ("activation", "swap", "capture") if column else ():
                    m.d.comb += getattr(pe, f"{name}_i").eq(getattr(line[-1], f"{name}_o"))
                for name in ("weight", "sum") if row else ():
                    m.d.comb += getattr(pe, f"{name}_i").eq(getattr(pes[-1][column], f"{name}_o"))
                line.append(pe)
            pes.append(line)
        return pes

    def _edges(
        self, m: Module, pes: list[list[wiring.Component]], *, beat: Signal, swap: Signal, capture: list
    ) -> None:
        """Skews what enters: row ``r`` and column ``c`` by 1 + their number of cycles."""
        group = self.kind.group
        for row, line in enumerate(pes):
            shape = data.StructLayout({"activation": line[0].activation_i.shape(), "swap": 1, "capture": 1})
            wave = Signal(shape, name=f"wave_{row}")
            for index in range(group):
                m.d.comb += wave.activation[index].eq(self.i.payload.data[row * group + index])
            m.d.comb += [wave.swap.eq(swap), wave.capture.eq(capture[row])]
            for stage in range(row + 1):
                wave, before = Signal(shape, name=f"wave_{row}_{stage}"), wave
                m.d.sync += wave.eq(before)
            for name in shape.members:
                m.d.comb += getattr(line[0], f"{name}_i").eq(wave[name])
        for column, pe in enumerate(pes[0]):
            weight = self.weights.payload[column]
            for stage in range(column + 1):
                weight, above = Signal(signed(8), name=f"weight_{column}_{stage}"), weight
                m.d.sync += weight.eq(above)
            m.d.comb += pe.weight_i.eq(weight)
