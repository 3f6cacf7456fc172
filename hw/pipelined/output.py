"""The output unit: drains the accumulators through the post-processing lanes into the scratchpad."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from sateen.hw.pipelined.ahead import AHEAD
from sateen.hw.pipelined.cells import NUMBERS
from sateen.hw.pipelined.features import Features
from sateen.hw.pipelined.lookup import Combiner, pair_shape
from sateen.hw.pipelined.nest import Nest
from sateen.hw.pipelined.section import Section
from sateen.hw.pipelined.selection import Selection
from sateen.hw.pipelined.shares import entries_shape
from sateen.hw.pipelined.softmax import ROW, SCALE, Passes
from sateen.hw.pipelined.walk import GroupWalk
from sateen.hw.spec.nests import CHANNELS_DIM, OUTPUT_DIMS
from sateen.hw.spec.timing import ADD_CYCLES, DIVIDE_CYCLES
from sateen.hw.stream.delay import delayed
from sateen.hw.stream.view import view

__all__ = ["OutputUnit"]


class OutputUnit(wiring.Component):
    """Walks over a descriptor's results, group by group of channels (:class:`GroupWalk`), and sends their sums and
    parameters to post-processing.

    Takes the words of the descriptor's output section and starts at once. Waits at each group of channels for its half
    of the accumulators and for its parameters; then sends one item per cycle, ``latency`` cycles after it reads the
    sums. Nothing holds the items back.

    With ``tables`` a descriptor may look up pairs of bytes instead (:class:`sateen.hw.spec.combining.Combine`): it
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
    settings : StructLayout
        Of post-processing.
    features : Features
        What results may be besides sums of products.

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
    codes : In
        The pair. Only with ``direct``, like the following.
    loads : Out(1)
        :attr:`sateen.hw.spec.combining.Entries.loads`, while ``look_up`` is high.
    parameters_full : In(1), take : Out(1), channels : In
        Of :class:`sateen.hw.pipelined.weights.ChannelParameters`.
    settings : Out
        Of :class:`sateen.hw.pipelined.postprocess.PostProcess`, steady while values are in flight.
    to_weights : Out(1)
        High from ``loaded`` to ``done`` of a descriptor whose results are bytes of the weight store. Only with
        ``products``.
    softmax : Out(1)
        High from ``loaded`` to ``done`` of a softmax. Only with ``softmax``, like the following.
    row : Out
        Whether ``o.payload`` has entries to be added up, which are not for post-processing, and the last ones of a row.
    scales : In(stream)
        Each row's scale, to be taken from the first entries that it scales on. Without one, results wait.
    shared : Out(1)
        High from ``loaded`` to ``done`` of a softmax of float32. Only with ``softmax`` = 2, like the following.
    entries : Out
        Of :class:`sateen.hw.pipelined.shares.Shares`, in which an item takes its time.
    total : In(1)
        There is a row's sum; results wait for one, and take it.
    norm : In
        The scale of what is normalized, from the first read of a sum on. Only with ``norms``, like the following.
    normalized : Out(1)
        High from ``loaded`` to ``done`` of a descriptor whose results are normalized.
    recurrent : Out(1)
        High from ``loaded`` to ``done`` of a descriptor of a recurrent layer. Only with ``recurrent``, like the
        following.
    numbers, origin : Out
        Its numbers, and the address of its first result.
    offered : Out(1), mask : Out(lanes), taken : In(1)
        Of :class:`~sateen.hw.pipelined.cells.Cells`. An item that is taken does not become valid.
    normalizes : Out(1)
        High from ``loaded`` to ``done`` of a descriptor whose rows are normalized before they are looked up. Only with
        ``layer_norm``.
    residual : Out(1), offset : Out
        High from ``loaded`` to ``done`` of a descriptor with residual bytes, and
        :attr:`sateen.hw.spec.descriptor.OutputStream.residual`. The times of its items are multiples of
        ``residual_pace`` apart. Only with ``residual_pace``.
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
        features: Features,
    ):
        self.cols, self.lanes, self.sum_latency, self.features = cols, lanes, sum_latency, features
        self.position_bits, self.address_bits = position_bits, address_bits
        self.channel, self.settings_shape = channel, settings
        self.latency = sum_latency + 1 + (Combiner.LATENCY if features.tables else 0)
        self.tag = self.tag_shape(lanes=lanes, address_bits=address_bits, overlap=features.overlap)
        self.sums_shape = data.ArrayLayout(signed(32), cols)
        item = {
            "sums": data.ArrayLayout(signed(32), lanes), "channels": data.ArrayLayout(channel, lanes), "first": 1,
            "last": 1, "tag": self.tag,
        }  # fmt: skip
        super().__init__(
            {
                "load": In(stream.Signature(32)),
                "loaded": Out(1),
                "full": In(1),
                "drained": Out(1),
                "position": Out(position_bits),
                "sums": In(self.sums_shape),
                **self._of_features(),
                "parameters_full": In(1),
                "take": Out(1),
                "channels": In(data.ArrayLayout(channel, cols)),
                "settings": Out(settings),
                "o": Out(stream.Signature(data.StructLayout(item), always_ready=True)),
                "done": In(1),
                **({"ahead": Out(AHEAD)} if features.overlap else {}),
            }
        )

        self.operands = Signal(32)
        """:class:`sateen.hw.spec.combining.Entries`."""

    def _of_features(self) -> dict[str, wiring.Member]:
        """Members that only some units have."""
        cols, lanes, has = self.cols, self.lanes, self.features
        members: dict[str, wiring.Member] = {}
        if has.tables:
            members |= {"look_up": Out(1), "tables_full": In(1), "pair": In(1), "pair_taken": Out(1)}
            members |= {"second_entries": In(self.sums_shape)}
        if has.products:
            members |= {"to_weights": Out(1)}
        if has.softmax:
            members |= {"softmax": Out(1), "row": Out(ROW), "scales": In(stream.Signature(SCALE))}
        if has.softmax == 2:
            members |= {"shared": Out(1), "entries": Out(entries_shape(lanes)), "total": In(1)}
        if has.direct:
            members |= {"codes": In(pair_shape(cols)), "loads": Out(1)}
        if has.norms:
            members |= {"norm": In(SCALE), "normalized": Out(1)}
        if has.recurrent:
            members |= {"recurrent": Out(1), "numbers": Out(NUMBERS), "origin": Out(self.address_bits)}
            members |= {"offered": Out(1), "mask": Out(lanes), "taken": In(1)}
        if has.layer_norm:
            members |= {"normalizes": Out(1)}
        if has.residual_pace:
            members |= {"residual": Out(1), "offset": Out(signed(16))}
        return members

    @staticmethod
    def tag_shape(*, lanes: int, address_bits: int, overlap: bool = False) -> data.StructLayout:
        """What accompanies a result through post-processing."""
        part = {"part": 1} if overlap else {}
        return data.StructLayout({"address": address_bits, "mask": lanes, "final": 1, **part})

    def elaborate(self, platform: object) -> Module:
        m, has = Module(), self.features
        m.submodules.nest = nest = Nest(
            dims=len(OUTPUT_DIMS),
            coordinates={"address": self.address_bits},
            exits={"group": CHANNELS_DIM, "block": CHANNELS_DIM - 1},
        )
        m.submodules.walk = walk = GroupWalk(cols=self.cols, lanes=self.lanes, position_bits=self.position_bits)
        channels = Signal(16)
        Section(m, self).take(nest, channels, walk.taps)
        passes = self._passes(m, walk, channels) if has.softmax else None
        opened = self._open_groups(m, nest, walk, channels, passes)

        here, item = walk.o, nest.o.payload
        ready: Value = ~self.look_up | self.pair if has.tables else Const(1)
        if passes is not None:
            ready &= passes.ready
        if has.recurrent:
            ready &= ~self.recurrent | self.taken
            m.d.comb += [self.offered.eq(opened & nest.o.valid), self.mask.eq(here.mask)]
        if has.residual_pace:
            ready &= self._turn(m)
        m.d.comb += [
            walk.advance.eq(opened & nest.o.valid & ready),
            nest.o.ready.eq(opened & here.last & here.last_lanes & ready),
            self.position.eq(here.position),
        ]
        if has.tables:
            m.d.comb += self.pair_taken.eq(walk.advance & here.last_lanes)

        control = view(
            data.StructLayout(
                {
                    "valid": 1, "first": 1, "last": 1, "lane_group": here.lane_group.shape(), "tag": self.tag,
                    **({"row": ROW} if has.softmax else {}),
                }
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
        if has.recurrent:
            m.d.comb += control.valid.eq(walk.advance & ~self.recurrent)
        if has.overlap:
            # Steady for recurrent layers.
            part = here.last & here.last_lanes & item.exit.group if has.recurrent else self.drained & walk.advance
            m.d.comb += control.tag.part.eq(part)
        if passes is not None:
            others = ~self.softmax & ~self.recurrent if has.recurrent else ~self.softmax
            m.d.comb += control.valid.eq(walk.advance & (passes.writes | others))
            m.d.comb += control.row.eq(passes.row)
        Selection(m, self).join(control)
        return m

    def _turn(self, m: Module) -> Signal:
        """Whether an item may be sent now: with residual bytes, only one in ``residual_pace`` cycles from ``loaded``
        on."""
        count, turn = Signal(range(self.features.residual_pace)), Signal()
        m.d.sync += [
            count.eq(Mux(self.loaded | (count == self.features.residual_pace - 1), 0, count + 1)),
            turn.eq(~self.residual | (count == 0)),
        ]
        return turn

    def _passes(self, m: Module, walk: GroupWalk, channels: Signal) -> Passes:
        """A softmax's passes over rows."""
        paces = (ADD_CYCLES * self.lanes, DIVIDE_CYCLES) if self.features.softmax == 2 else None
        m.submodules.passes = passes = Passes(cols=self.cols, paces=paces)
        scale, taken = self.scales.valid, self.scales.ready
        if paces:
            m.d.comb += passes.slow.eq(self.shared)
            scale, taken = Mux(self.shared, self.total, scale), Mux(self.shared, self.entries.row.begins, taken)
        m.d.comb += [
            passes.on.eq(self.softmax),
            passes.length.eq(channels),
            passes.begin.eq(walk.begin),
            passes.advance.eq(walk.advance),
            passes.ends.eq(walk.advance & walk.o.last_lanes),
            passes.last_lanes.eq(walk.o.last_lanes),
            passes.scale.eq(scale),
            passes.taken.eq(taken),
        ]
        return passes

    def _open_groups(
        self, m: Module, nest: Nest, walk: GroupWalk, channels: Signal, passes: Passes | None
    ) -> Signal:
        """Opens a group of channels when its half of the accumulators and its parameters are complete, and closes it
        with its last item. Returns whether one is open."""
        has = self.features
        opened, opening, changing, part = Signal(), Signal(self.latency - 1), Signal(), Signal(2)
        # Long before the first item; the section's last word comes late in its cycle.
        begins = delayed(m, self.loaded, name="begins", reset=True)
        of_group = Signal(16) if has.softmax else walk.channels
        full = Mux(self.look_up, self.tables_full, self.full) if has.tables else self.full
        m.d.comb += [
            walk.begin.eq(nest.o.valid & ~opened & full & self.parameters_full & ~changing),
            walk.start.eq((part[1] & self.settings.quarters) << (self.position_bits - 1)),
            # The parameters change behind the last sums of the group before, which may still be under way.
            self.take.eq(opening[-2]),
        ]
        m.d.sync += [opening.eq((opening << 1) | walk.begin), changing.eq(walk.begin | opening[:-1].any())]
        with m.If(begins):
            m.d.sync += of_group.eq(channels)
            if not has.overlap:
                m.d.sync += part.eq(0)
        with m.If(walk.begin):
            # Lookups take no part.
            m.d.sync += [opened.eq(1), part.eq(part + ~self.look_up if has.overlap and has.tables else part + 1)]
        item_exit = nest.o.payload.exit
        with m.If(nest.o.valid & nest.o.ready & item_exit.group):
            m.d.comb += self.drained.eq(~self.look_up if has.tables else 1)
            m.d.sync += [opened.eq(0), of_group.eq(Mux(item_exit.block, channels, of_group - self.cols))]
        if passes is not None:
            m.d.comb += walk.channels.eq(Mux(self.softmax, passes.channels, of_group))
        return opened
