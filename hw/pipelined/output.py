"""The output unit: drains the accumulators through the post-processing lanes into the scratchpad."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from sateen.hw.pipelined.lookup import Combiner
from sateen.hw.pipelined.nest import Nest
from sateen.hw.spec import descriptor
from sateen.hw.spec.descriptor import CHANNELS_DIM, OUTPUT_DIMS, SECTIONS
from sateen.hw.stream.delay import TOGETHER, delayed, delayed_item
from sateen.hw.stream.mux import one_of

__all__ = ["OutputUnit"]


class OutputUnit(wiring.Component):
    """Walks over a descriptor's results: position, ``lanes`` channels at a time, tap.

    Takes the words of the descriptor's output section and starts at once. Waits at each group of channels for its half
    of the accumulators and for its parameters; then sends one item to post-processing per cycle, ``latency`` cycles
    after reading the sums. Nothing holds it back on the way.

    With ``tables`` a descriptor may look up pairs of bytes instead (:class:`sateen.hw.spec.descriptor.Combine`): it
    waits for the tables, and for a pair at each position.

    Parameters
    ----------
    cols, lanes : int
        Of the configuration.
    position_bits, address_bits : int
        Widths of an accumulator's position and of the scratchpad's byte address.
    sum_latency : int
        Of the accumulators, cycles from ``position`` to ``sums``.
    channel : StructLayout
        One channel's parameters.
    tables : bool
        The accumulators' memories hold tables, too.

    Members
    -------
    load : In(stream)
        The section's words in order; taken while the unit is idle.
    loaded : Out(1)
        Pulses when the last word is taken.
    full : In(1)
        The next half of the accumulators is complete.
    drained : Out(1)
        Pulses when all of that half has been read; not of tables.
    position : Out, sums : In
        To and from the accumulators.
    look_up : Out(1)
        From ``loaded`` to ``done`` of a descriptor that looks up, the tables are its own; only with ``tables``, like
        the following.
    tables_full : In(1)
        They are complete.
    pair : In(1), pair_taken : Out(1)
        There is a pair; it is not needed any more.
    seconds : In
        From the accumulators, beside ``sums``.
    parameters_full : In(1), take : Out(1), channels : In
        Of :class:`sateen.hw.pipelined.weights.ChannelParameters`.
    settings : Out
        Of :class:`sateen.hw.pipelined.post.PostProcess`, steady while values are in flight.
    o : Out(stream), always ready
        To post-processing. The tag has the result's byte ``address``, the ``mask`` of lanes that hold channels, and
        ``final``.
    done : In(1)
        The result tagged ``final`` has been written: the unit is idle from the next cycle.
    """

    def __init__(
        self,
        *,
        cols: int,
        lanes: int,
        position_bits: int,
        address_bits: int,
        sum_latency: int,
        channel: data.StructLayout,
        settings: data.StructLayout,
        tables: bool = False,
    ):
        self.cols, self.lanes = cols, lanes
        self.position_bits, self.address_bits, self.sum_latency = position_bits, address_bits, sum_latency
        self.channel, self.settings_shape, self.tables = channel, settings, tables
        self.latency = sum_latency + 1 + (Combiner.LATENCY if tables else 0)
        sums = data.ArrayLayout(signed(32), cols)
        looking = {"look_up": Out(1), "tables_full": In(1), "pair": In(1), "pair_taken": Out(1), "seconds": In(sums)}
        self.tag = self.tag_shape(lanes=lanes, address_bits=address_bits)
        super().__init__(
            {
                "load": In(stream.Signature(32)),
                "loaded": Out(1),
                "full": In(1),
                "drained": Out(1),
                "position": Out(position_bits),
                "sums": In(sums),
                **(looking if tables else {}),
                "parameters_full": In(1),
                "take": Out(1),
                "channels": In(data.ArrayLayout(channel, cols)),
                "settings": Out(settings),
                "o": Out(
                    stream.Signature(
                        data.StructLayout(
                            {
                                "sums": data.ArrayLayout(signed(32), lanes),
                                "channels": data.ArrayLayout(channel, lanes),
                                "first": 1,
                                "last": 1,
                                "tag": self.tag,
                            }
                        ),
                        always_ready=True,
                    )
                ),
                "done": In(1),
            }
        )

    @staticmethod
    def tag_shape(*, lanes: int, address_bits: int) -> data.StructLayout:
        """What goes with a result through post-processing."""
        return data.StructLayout({"address": address_bits, "mask": lanes, "final": 1})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.nest = nest = Nest(
            dims=len(OUTPUT_DIMS),
            coordinates={"address": self.address_bits},
            exits={"group": CHANNELS_DIM, "block": CHANNELS_DIM - 1},
        )
        channels, taps = Signal(16), Signal(16)
        self._load(m, nest, channels, taps)
        item = nest.o.payload

        # `group_left` counts the channels from this group of columns on, `left` from this group of lanes on.
        opened, opening, changing = Signal(), Signal(self.latency - 1), Signal()
        group_left, left, offset = Signal(16), Signal(16), Signal(range(self.cols + self.lanes))
        window, position, tap = Signal(self.position_bits), Signal(self.position_bits), Signal(16)
        part = Signal(2)
        begin = (part[1] & self.settings.quarters) << (self.position_bits - 1)
        lane_group = Signal(range(max(2, -(-self.cols // self.lanes))))
        open_now, advance = Signal(), Signal()
        # Known a cycle ahead: they hold the nest back.
        last_tap, last_lanes, one_tap, one_lane_group = Signal(), Signal(), Signal(), Signal()
        full, there, sums = self.full, Const(1), Const(1)
        if self.tables:
            full, there, sums = Mux(self.look_up, self.tables_full, self.full), ~self.look_up | self.pair, ~self.look_up
        m.d.comb += [
            open_now.eq(nest.o.valid & ~opened & full & self.parameters_full & ~changing),
            one_tap.eq(taps == 1),
            one_lane_group.eq((group_left <= self.lanes) | (self.cols <= self.lanes)),
            advance.eq(opened & nest.o.valid & there),
            nest.o.ready.eq(opened & last_tap & last_lanes & there),
            self.position.eq(position),
        ]
        if self.tables:
            m.d.comb += self.pair_taken.eq(advance & last_lanes)
        # The parameters change over behind the last sums of the group before, which may still be on their way.
        m.d.sync += [opening.eq((opening << 1) | open_now), changing.eq(open_now | opening[:-1].any())]
        m.d.comb += self.take.eq(opening[-2])
        with m.If(self.loaded):
            m.d.sync += [group_left.eq(channels), part.eq(0)]
        with m.If(open_now):
            m.d.sync += [
                opened.eq(1),
                left.eq(group_left),
                position.eq(begin),
                window.eq(begin),
                offset.eq(0),
                lane_group.eq(0),
            ]
            m.d.sync += part.eq(part + 1)
            m.d.sync += [tap.eq(taps), last_tap.eq(one_tap), last_lanes.eq(one_lane_group)]
        with m.If(advance):
            m.d.sync += [position.eq(position + 1), tap.eq(tap - 1), last_tap.eq(tap == 2)]
            with m.If(last_tap):
                m.d.sync += [position.eq(window), tap.eq(taps), last_tap.eq(one_tap)]
                m.d.sync += [left.eq(left - self.lanes), offset.eq(offset + self.lanes), lane_group.eq(lane_group + 1)]
                m.d.sync += last_lanes.eq((left <= 2 * self.lanes) | (offset >= self.cols - 2 * self.lanes))
                with m.If(last_lanes):
                    m.d.sync += [position.eq(position + 1), window.eq(position + 1)]
                    m.d.sync += [left.eq(group_left), offset.eq(0), lane_group.eq(0), last_lanes.eq(one_lane_group)]
                    with m.If(item.exit.group):
                        m.d.comb += self.drained.eq(sums)
                        m.d.sync += opened.eq(0)
                        m.d.sync += group_left.eq(group_left - self.cols)
                        with m.If(item.exit.block):
                            m.d.sync += group_left.eq(channels)

        control = Signal(
            data.StructLayout({"valid": 1, "first": 1, "last": 1, "lane_group": lane_group.shape(), "tag": self.tag})
        )
        m.d.comb += [
            control.valid.eq(advance),
            control.first.eq(tap == taps),
            control.last.eq(last_tap),
            control.lane_group.eq(lane_group),
            control.tag.address.eq(item.at.address + offset),
            control.tag.final.eq(item.last & last_lanes),
        ]
        for lane in range(self.lanes):
            m.d.comb += control.tag.mask[lane].eq((left > lane) & (offset < self.cols - lane))
        self._select(m, control)
        return m

    def _select(self, m: Module, control: data.View) -> None:
        """Joins the control of an item with its sums and picks its lanes' columns."""
        control = delayed_item(m, control, self.sum_latency, name="control")
        late = delayed_item(m, control, self.latency - 1 - self.sum_latency, name="late")
        after = delayed_item(m, late, name="after")
        groups = range(0, self.cols, self.lanes)
        o, combine = self.o.payload, self.settings.combine if self.tables else None
        m.d.comb += [self.o.valid.eq(after.valid), o.first.eq(after.first), o.last.eq(after.last), o.tag.eq(after.tag)]
        for lane in range(self.lanes):
            columns = [min(first + lane, self.cols - 1) for first in groups]
            sums = delayed(m, one_of([self.sums[c] for c in columns], control.lane_group), name=f"sum_{lane}")
            if self.tables:
                seconds = delayed(
                    m, one_of([self.seconds[c] for c in columns], control.lane_group), name=f"second_{lane}"
                )
                # Settings are there long before values.
                combine = delayed(m, combine, name=f"combine_{lane}") if lane % TOGETHER == 0 else combine
                m.submodules[f"combiner_{lane}"] = combiner = Combiner()
                m.d.comb += [combiner.combine.eq(combine), combiner.a.eq(sums), combiner.b.eq(seconds)]
                sums = combiner.o
            channel = one_of([self.channels[c].as_value() for c in columns], late.lane_group)
            m.d.comb += [o.sums[lane].eq(sums), o.channels[lane].eq(delayed(m, channel, name=f"channel_{lane}"))]

    def _load(self, m: Module, nest: Nest, channels: Signal, taps: Signal) -> None:
        """Takes the section's words apart: the head into registers, each counter's words into the nest."""
        words = SECTIONS["output"]
        index, running, count = Signal(range(words)), Signal(), Signal(16)
        word = self.load.payload
        m.d.comb += [
            self.load.ready.eq(~running),
            nest.dim.payload.index.eq((index - 4) >> 1),
            nest.dim.payload.count.eq(count),
            nest.dim.payload.steps.address.eq(word),
            nest.start.eq(self.loaded),
        ]
        looks_up = self.look_up if self.tables else Signal()
        with m.If(self.done):
            m.d.sync += [running.eq(0), looks_up.eq(0)]
        with m.If(self.load.valid & self.load.ready):
            m.d.sync += index.eq(index + 1)
            with m.Switch(index):
                with m.Case(0):
                    m.d.sync += nest.origin.address.eq(word)
                with m.Case(1):
                    m.d.sync += [channels.eq(word[:16]), taps.eq(word[16:])]
                with m.Case(2):
                    m.d.sync += self.settings.eq(word)
                with m.Default():
                    with m.If(index[0]):
                        m.d.sync += count.eq(word)
                    with m.Else():
                        m.d.comb += nest.dim.valid.eq(1)
            with m.If(index == words - 1):
                m.d.comb += self.loaded.eq(1)
                m.d.sync += [running.eq(1), index.eq(0), looks_up.eq(self.settings.combine != descriptor.Combine.NONE)]
