"""What an item of the output unit takes along: sums and parameters of its columns, lane by lane."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data

from sateen.hw.pipelined.lookup import Combiner
from sateen.hw.pipelined.softmax import SCALE
from sateen.hw.spec.combining import OPERAND_BITS, Source
from sateen.hw.stream.delay import FANOUT, delayed, delayed_item
from sateen.hw.stream.mux import indexed_mux
from sateen.hw.stream.view import view

if TYPE_CHECKING:
    from sateen.hw.pipelined.output import OutputUnit

__all__ = ["Selection"]


class Selection:
    """The part of an :class:`~sateen.hw.pipelined.output.OutputUnit` that makes its stream of items."""

    def __init__(self, m: Module, unit: OutputUnit):
        self.m, self.unit = m, unit

    def join(self, control: data.View) -> None:
        """Joins an item's control with its sums and parameters, those of the columns that its lanes have."""
        m, u, has = self.m, self.unit, self.unit.features
        with_sums = delayed_item(m, control, u.sum_latency, name="with_sums")
        with_channels = delayed_item(m, with_sums, u.latency - 1 - u.sum_latency, name="with_channels")
        out = delayed_item(m, with_channels, name="out")
        if has.softmax:
            m.d.comb += [u.row.eq(out.row), u.scales.ready.eq(with_channels.row.begins)]
        if has.softmax == 2:
            item = delayed_item(m, with_sums, name="with_entries")
            m.d.comb += [getattr(u.entries, part).eq(getattr(item, part)) for part in ("valid", "row")]
            m.d.comb += u.entries.mask.eq(item.tag.mask)
        o, combine = u.o.payload, u.settings.combine if has.tables else None
        entries = [self._entries(control, table) for table in range(2)] if has.direct else None
        scale: data.View | None = None
        m.d.comb += [u.o.valid.eq(out.valid), o.first.eq(out.first), o.last.eq(out.last), o.tag.eq(out.tag)]
        for lane in range(u.lanes):
            columns = [min(first + lane, u.cols - 1) for first in range(0, u.cols, u.lanes)]

            def pick(values: list[Value], at: data.View, name: str, columns: list[int] = columns) -> Signal:
                """The value of the lane's column, a cycle later."""
                return delayed(m, indexed_mux([values[c] for c in columns], at.lane_group), name=name)

            def entry(
                values: list[Value], table: int, name: str, lane: int = lane, columns: list[int] = columns
            ) -> Signal:
                """The lane's sum, or entry of a table, or code in its place, a cycle later."""
                picked = indexed_mux([values[c] for c in columns], with_sums.lane_group)
                return delayed(m, picked if entries is None else entries[table](lane, picked), name=name)

            sums = entry(u.sums, 0, f"sum_{lane}")
            if has.tables:
                # Settings are there long before values.
                combine = delayed(m, combine, name=f"combine_{lane}") if lane % FANOUT == 0 else combine
                m.submodules[f"combiner_{lane}"] = combiner = Combiner(squares=has.squares)
                m.d.comb += [
                    combiner.combine.eq(combine),
                    combiner.a.eq(sums),
                    combiner.b.eq(entry(u.second_entries, 1, f"second_{lane}")),
                ]
                if has.softmax == 2:
                    m.d.comb += [u.entries.first[lane].eq(combiner.a), u.entries.second[lane].eq(combiner.b)]
                sums = combiner.o
            channels = [channel.as_value() for channel in u.channels]
            picked: Value = pick(channels, with_channels, f"channel_{lane}")
            if has.softmax or has.norms:
                scale = self._scale(lane) if lane % FANOUT == 0 or scale is None else scale
                picked = self._scaled(picked, scale, lane)
            m.d.comb += [o.sums[lane].eq(sums), o.channels[lane].eq(picked)]

    def _scale(self, lane: int) -> data.View:
        """A row's scale, or that of what is normalized; else zero."""
        m, u = self.m, self.unit
        scale = view(SCALE, name=f"scale_{lane}")
        if u.features.softmax:
            with m.If(u.scales.ready):
                m.d.sync += scale.eq(u.scales.payload)
            with m.If(~u.softmax):
                m.d.sync += scale.eq(Mux(u.normalized, u.norm, 0) if u.features.norms else 0)
        else:
            m.d.sync += scale.eq(Mux(u.normalized, u.norm, 0))
        return scale

    def _scaled(self, picked: Value, scale: data.View, lane: int) -> Value:
        """A channel's parameters with a scale: their own multiplier is zero then, in a softmax their shift, too."""
        m, u = self.m, self.unit
        channel = view(u.channel, name=f"scaled_{lane}")
        if not u.features.norms:
            m.d.comb += [channel.multiplier.eq(scale.multiplier), channel.shift.eq(scale.shift)]
            return picked | channel.as_value()
        given = data.View(u.channel, picked)
        m.d.comb += [
            channel.bias.eq(given.bias),
            channel.multiplier.eq(given.multiplier | scale.multiplier),
            channel.shift.eq(given.shift + scale.shift),
        ]
        return channel.as_value()

    def _entries(self, control: data.View, table: int) -> Callable[[int, Value], Value]:
        """Of an operand: what takes a lane's entry of a table, with the sums, and gives what is combined."""
        m, u = self.m, self.unit
        layout = data.StructLayout(OPERAND_BITS)
        operand = data.View(layout, u.operands[16 * table :][: layout.size])
        zero_point, shift, source = operand.zero_point.as_signed(), operand.shift, operand.source
        taken, none = Signal(name=f"taken_{table}"), Signal(name=f"none_{table}")
        m.d.sync += [taken.eq(u.look_up & (source != Source.TABLE)), none.eq(source == Source.NONE)]

        def chosen(lane: int, entry: Value) -> Value:
            """What is combined in a lane."""
            columns = [min(first + lane, u.cols - 1) for first in range(0, u.cols, u.lanes)]
            name = f"code_{table}_{lane}"
            code = indexed_mux([u.codes[table][column] for column in columns], control.lane_group)
            code = delayed(m, code, name=name).as_signed()
            code = delayed(m, Mux(none, 0, code - zero_point), name=f"{name}_less_zero_point")
            shifted = delayed(m, (code << shift).as_signed(), u.sum_latency - 2, name=f"{name}_shifted")
            return Mux(taken, shifted, entry).as_signed()

        return chosen
