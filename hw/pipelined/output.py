"""The output unit: drains the accumulators through the post-processing lanes into the scratchpad."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from sateen.hw.pipelined.ahead import AHEAD
from sateen.hw.pipelined.lookup import Combiner
from sateen.hw.pipelined.nest import Nest
from sateen.hw.spec import descriptor
from sateen.hw.spec.descriptor import CHANNELS_DIM, COUNT_BITS, OUTPUT_DIMS, SECTIONS
from sateen.hw.stream.delay import FANOUT, delayed, delayed_item
from sateen.hw.stream.mux import indexed_mux
from sateen.hw.stream.view import view

__all__ = ["GroupWalk", "OutputUnit"]


class GroupWalk(wiring.Component):
    """Walks over the sums of one group of channels: window by window, ``lanes`` channels at a time, tap by tap.

    The first item is there in the cycle after ``begin``, the next one in the cycle after ``advance``.

    Parameters
    ----------
    cols, lanes : int
        Of the configuration.
    position_bits : int
        Width of an accumulator's position.

    Members
    -------
    channels : In
        Output channels from this group on, 1 or more; steady from ``begin`` to the group's end.
    taps : In
        Positions of a window, 1 or more; steady likewise.
    begin : In(1), start : In
        Begins a group, whose first sum is at ``start``.
    advance : In(1)
        Goes on to the next item.
    o : Out
        The item: ``position`` of its sums; ``lane_group``, the number of its lanes in the group, which begin at column
        ``offset``; ``mask`` of lanes that hold channels; whether it is the ``first`` and ``last`` tap of a window, and
        of the window's ``last_lanes``.
    """

    def __init__(self, *, cols: int, lanes: int, position_bits: int):
        self.cols, self.lanes = cols, lanes
        item = {
            "position": position_bits,
            "lane_group": range(max(2, -(-cols // lanes))),
            "offset": range(cols + lanes),
            "mask": lanes,
            "first": 1,
            "last": 1,
            "last_lanes": 1,
        }
        super().__init__(
            {
                "channels": In(16),
                "taps": In(16),
                "begin": In(1),
                "start": In(position_bits),
                "advance": In(1),
                "o": Out(data.StructLayout(item)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        o = self.o
        # The window's position, the taps from this one on, the channels from these lanes on.
        window, tap, left = Signal.like(o.position), Signal.like(self.taps), Signal.like(self.channels)
        # `last` and `last_lanes` hold the nest back: they are registers.
        one_tap, one_lane_group = Signal(), Signal()
        m.d.comb += [
            one_tap.eq(self.taps == 1),
            one_lane_group.eq((self.channels <= self.lanes) | (self.cols <= self.lanes)),
            o.first.eq(tap == self.taps),
            *(o.mask[lane].eq((left > lane) & (o.offset < self.cols - lane)) for lane in range(self.lanes)),
        ]
        to_first_tap = [tap.eq(self.taps), o.last.eq(one_tap)]
        to_first_lanes = [left.eq(self.channels), o.offset.eq(0), o.lane_group.eq(0), o.last_lanes.eq(one_lane_group)]
        with m.If(self.begin):
            m.d.sync += [o.position.eq(self.start), window.eq(self.start), *to_first_tap, *to_first_lanes]
        with m.If(self.advance):
            m.d.sync += [o.position.eq(o.position + 1), tap.eq(tap - 1), o.last.eq(tap == 2)]
            with m.If(o.last):
                m.d.sync += [o.position.eq(window), *to_first_tap]
                m.d.sync += [
                    left.eq(left - self.lanes),
                    o.offset.eq(o.offset + self.lanes),
                    o.lane_group.eq(o.lane_group + 1),
                    o.last_lanes.eq((left <= 2 * self.lanes) | (o.offset >= self.cols - 2 * self.lanes)),
                ]
                with m.If(o.last_lanes):
                    m.d.sync += [o.position.eq(o.position + 1), window.eq(o.position + 1), *to_first_lanes]
        return m


class OutputUnit(wiring.Component):
    """Walks over a descriptor's results, group by group of channels (:class:`GroupWalk`), and sends their sums and
    parameters to post-processing.

    Takes the words of the descriptor's output section and starts at once. Waits at each group of channels for its half
    of the accumulators and for its parameters; then sends one item per cycle, ``latency`` cycles after it reads the
    sums. Nothing holds the items back.

    With ``tables`` a descriptor may look up pairs of bytes instead (:class:`sateen.hw.spec.descriptor.Combine`): it
    waits for the tables, and at each position for a pair.

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
        The accumulators' memories can hold tables, too.
    products : bool
        Results may be bytes of the weight store.
    overlap : bool
        The activation unit runs ahead, see :class:`~sateen.hw.pipelined.ahead.ReadAhead`. Parts of the accumulators are
        then read in one order over all descriptors.

    Members
    -------
    load : In(stream)
        The section's words in order; taken while the unit is idle.
    loaded : Out(1)
        Pulses when the last word is taken.
    full : In(1)
        The next half of the accumulators is complete.
    drained : Out(1)
        Pulses when all of that half has been read; not for tables.
    position : Out, sums : In
        To and from the accumulators.
    look_up : Out(1)
        High from ``loaded`` to ``done`` of a descriptor that looks up: the accumulators' memories are for its tables.
        Only with ``tables``, like the following.
    tables_full : In(1)
        The tables are complete.
    pair : In(1), pair_taken : Out(1)
        There is a pair; it is no longer needed.
    second_entries : In
        From the accumulators, beside ``sums``.
    parameters_full : In(1), take : Out(1), channels : In
        Of :class:`sateen.hw.pipelined.weights.ChannelParameters`.
    settings : Out
        Of :class:`sateen.hw.pipelined.postprocess.PostProcess`, steady while values are in flight.
    to_weights : Out(1)
        High from ``loaded`` to ``done`` of a descriptor whose results are bytes of the weight store. Only with
        ``products``.
    o : Out(stream), always ready
        To post-processing. The tag has the result's byte ``address``, the ``mask`` of lanes that hold channels, and
        ``final``; with ``overlap`` also whether it is the last result of a ``part`` of the accumulators.
    done : In(1)
        The result tagged ``final`` has been written: the unit is idle from the next cycle.
    ahead : Out
        The descriptor's :attr:`sateen.hw.spec.descriptor.OutputStream.ahead`, from ``loaded`` to ``done``. Only with
        ``overlap``.
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
        products: bool = False,
        overlap: bool = False,
    ):
        self.cols, self.lanes, self.products = cols, lanes, products
        self.position_bits, self.address_bits, self.sum_latency = position_bits, address_bits, sum_latency
        self.channel, self.settings_shape, self.tables, self.overlap = channel, settings, tables, overlap
        self.latency = sum_latency + 1 + (Combiner.LATENCY if tables else 0)
        sums = data.ArrayLayout(signed(32), cols)
        for_tables = {
            "look_up": Out(1),
            "tables_full": In(1),
            "pair": In(1),
            "pair_taken": Out(1),
            "second_entries": In(sums),
        }
        self.tag = self.tag_shape(lanes=lanes, address_bits=address_bits, overlap=overlap)
        super().__init__(
            {
                "load": In(stream.Signature(32)),
                "loaded": Out(1),
                "full": In(1),
                "drained": Out(1),
                "position": Out(position_bits),
                "sums": In(sums),
                **(for_tables if tables else {}),
                **({"to_weights": Out(1)} if products else {}),
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
                **({"ahead": Out(AHEAD)} if overlap else {}),
            }
        )

    @staticmethod
    def tag_shape(*, lanes: int, address_bits: int, overlap: bool = False) -> data.StructLayout:
        """What accompanies a result through post-processing."""
        part = {"part": 1} if overlap else {}
        return data.StructLayout({"address": address_bits, "mask": lanes, "final": 1, **part})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.nest = nest = Nest(
            dims=len(OUTPUT_DIMS),
            coordinates={"address": self.address_bits},
            exits={"group": CHANNELS_DIM, "block": CHANNELS_DIM - 1},
        )
        m.submodules.walk = walk = GroupWalk(cols=self.cols, lanes=self.lanes, position_bits=self.position_bits)
        channels = Signal(16)
        self._load(m, nest, channels, walk.taps)
        opened = self._open_groups(m, nest, walk, channels)

        here, item = walk.o, nest.o.payload
        ready = ~self.look_up | self.pair if self.tables else Const(1)
        m.d.comb += [
            walk.advance.eq(opened & nest.o.valid & ready),
            nest.o.ready.eq(opened & here.last & here.last_lanes & ready),
            self.position.eq(here.position),
        ]
        if self.tables:
            m.d.comb += self.pair_taken.eq(walk.advance & here.last_lanes)

        control = view(
            data.StructLayout(
                {"valid": 1, "first": 1, "last": 1, "lane_group": here.lane_group.shape(), "tag": self.tag}
            )
        )
        m.d.comb += [
            control.valid.eq(walk.advance),
            control.first.eq(here.first),
            control.last.eq(here.last),
            control.lane_group.eq(here.lane_group),
            control.tag.address.eq(item.at.address + here.offset),
            control.tag.mask.eq(here.mask),
            control.tag.final.eq(item.last & here.last_lanes),
        ]
        if self.overlap:
            m.d.comb += control.tag.part.eq(self.drained & walk.advance)
        self._select(m, control)
        return m

    def _open_groups(self, m: Module, nest: Nest, walk: GroupWalk, channels: Signal) -> Signal:
        """Opens a group of channels when its half of the accumulators and its parameters are complete, and closes it
        with its last item. Returns whether one is open."""
        opened, opening, changing, part = Signal(), Signal(self.latency - 1), Signal(), Signal(2)
        full = Mux(self.look_up, self.tables_full, self.full) if self.tables else self.full
        m.d.comb += [
            walk.begin.eq(nest.o.valid & ~opened & full & self.parameters_full & ~changing),
            walk.start.eq((part[1] & self.settings.quarters) << (self.position_bits - 1)),
            # The parameters change behind the last sums of the group before, which may still be under way.
            self.take.eq(opening[-2]),
        ]
        m.d.sync += [opening.eq((opening << 1) | walk.begin), changing.eq(walk.begin | opening[:-1].any())]
        with m.If(self.loaded):
            m.d.sync += walk.channels.eq(channels)
            if not self.overlap:
                m.d.sync += part.eq(0)
        with m.If(walk.begin):
            # Lookups take no part.
            m.d.sync += [opened.eq(1), part.eq(part + ~self.look_up if self.overlap and self.tables else part + 1)]
        item_exit = nest.o.payload.exit
        with m.If(nest.o.valid & nest.o.ready & item_exit.group):
            m.d.comb += self.drained.eq(~self.look_up if self.tables else 1)
            m.d.sync += [opened.eq(0), walk.channels.eq(Mux(item_exit.block, channels, walk.channels - self.cols))]
        return opened

    def _select(self, m: Module, control: data.View) -> None:
        """Joins an item's control with its sums and parameters, those of the columns that its lanes have."""
        with_sums = delayed_item(m, control, self.sum_latency, name="with_sums")
        with_channels = delayed_item(m, with_sums, self.latency - 1 - self.sum_latency, name="with_channels")
        out = delayed_item(m, with_channels, name="out")
        o, combine = self.o.payload, self.settings.combine if self.tables else None
        m.d.comb += [self.o.valid.eq(out.valid), o.first.eq(out.first), o.last.eq(out.last), o.tag.eq(out.tag)]
        for lane in range(self.lanes):
            columns = [min(first + lane, self.cols - 1) for first in range(0, self.cols, self.lanes)]

            def pick(values: list[Value], at: data.View, name: str, columns: list[int] = columns) -> Signal:
                """The value of the lane's column, a cycle later."""
                return delayed(m, indexed_mux([values[c] for c in columns], at.lane_group), name=name)

            sums = pick(self.sums, with_sums, f"sum_{lane}")
            if self.tables:
                # Settings are there long before values.
                combine = delayed(m, combine, name=f"combine_{lane}") if lane % FANOUT == 0 else combine
                m.submodules[f"combiner_{lane}"] = combiner = Combiner()
                m.d.comb += [
                    combiner.combine.eq(combine),
                    combiner.a.eq(sums),
                    combiner.b.eq(pick(self.second_entries, with_sums, f"second_{lane}")),
                ]
                sums = combiner.o
            channels = [channel.as_value() for channel in self.channels]
            m.d.comb += [o.sums[lane].eq(sums), o.channels[lane].eq(pick(channels, with_channels, f"channel_{lane}"))]

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
        if self.products:
            self._direct(m, word, index)
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
                        if self.overlap:
                            m.d.sync += self.ahead[((index - 3) >> 1)[:2]].eq(word[COUNT_BITS:])
                    with m.Else():
                        m.d.comb += nest.dim.valid.eq(1)
            with m.If(index == words - 1):
                m.d.comb += self.loaded.eq(1)
                m.d.sync += [running.eq(1), index.eq(0), looks_up.eq(self.settings.combine != descriptor.Combine.NONE)]

    def _direct(self, m: Module, word: Value, index: Signal) -> None:
        """Where results go, from the third word on."""
        to_weights = Signal()
        with m.If(self.done):
            m.d.sync += self.to_weights.eq(0)
        with m.If(self.load.valid & self.load.ready & (index == 2)):
            m.d.sync += to_weights.eq(word[24 + descriptor.TO_WEIGHTS_BIT])
        with m.If(self.loaded):
            m.d.sync += self.to_weights.eq(to_weights)
