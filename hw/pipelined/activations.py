"""The activation unit: which bytes each beat of the tile takes."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from sateen.hw.pipelined.nest import Nest
from sateen.hw.spec.descriptor import (
    ACTIVATION_DIMS,
    CHANNELS_DIM,
    CHUNK_DIM,
    COUNT_BITS,
    DIM_WORDS,
    SECTIONS,
    X_DIM,
    Y_DIM,
)
from sateen.hw.spec.pe import BEAT_SETTING_BITS
from sateen.hw.stream.delay import delayed
from sateen.hw.stream.fetch import Fetch
from sateen.hw.stream.slice import RegisterSlice
from sateen.hw.stream.view import view
from sateen.hw.sums import tag_shape

__all__ = ["ActivationUnit", "Padding", "beat_shape"]

SLIDING = data.StructLayout({"first_y": 8, "first_x": 8, "step_y": 8, "step_x": 8})
"""The fields of :attr:`sateen.hw.spec.descriptor.Sliding.LAYOUT`."""


def beat_shape(lanes: int, position_bits: int) -> data.StructLayout:
    """A beat as the unit sends it: one for the tile, or one of ``pairs`` to be looked up; and whether it is the
    descriptor's last (``final``)."""
    values = data.ArrayLayout(signed(8), lanes)
    modes = {"slide": 1, "pairs": 1, "settings": BEAT_SETTING_BITS}
    return data.StructLayout({"data": values, "swap": 1, **modes, "tag": tag_shape(position_bits), "final": 1})


class Padding(wiring.Component):
    """Replaces the bytes of a beat that lie outside the input by the padding value.

    Byte ``lane`` stays if ``0 ≤ row < height`` and ``0 ≤ x + lane < width``. One beat per cycle, no back-pressure. The
    beat is out one cycle after ``data``, which comes ``latency`` cycles after ``row`` and ``x``.

    Parameters
    ----------
    lanes : int
        Bytes of a beat.
    bits : int
        Width of ``x``.
    latency : int
        Cycles from the coordinates to ``data``, 3 or more.

    Members
    -------
    row, x : In
        Coordinates of a beat.
    height, width, value : In
        Of the layer's input; steady while beats are under way.
    data : In
        The bytes of the scratchpad.
    o : Out
        The beat.
    """

    def __init__(self, *, lanes: int, bits: int, latency: int):
        if latency < 3:
            raise ValueError(f"latency must be 3 or more, not {latency!r}")
        self.lanes, self.bits, self.latency = lanes, bits, latency
        beat = data.ArrayLayout(signed(8), lanes)
        super().__init__(
            {
                "row": In(signed(16)),
                "x": In(signed(bits)),
                "height": In(16),
                "width": In(bits - 1),
                "value": In(signed(8)),
                "data": In(beat),
                "o": Out(beat),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Lanes from `low` to `high` - 1 are inside. Both are clamped to a few bits before any lane compares.
        from_left, from_right, inside = Signal(signed(self.bits + 1)), Signal(signed(self.bits + 1)), Signal()
        low, high = Signal(range(self.lanes + 1)), Signal(range(self.lanes + 1))
        mask = Signal(self.lanes)

        def clamp(value: Signal) -> Value:
            return Mux(value < 0, 0, Mux(value > self.lanes, self.lanes, value))

        m.d.sync += [
            from_left.eq(-self.x),
            from_right.eq(self.width - self.x),
            inside.eq(self.row.as_unsigned() < self.height),
            low.eq(clamp(from_left)),
            high.eq(Mux(inside, clamp(from_right), 0)),
        ]
        for lane in range(self.lanes):
            m.d.sync += mask[lane].eq((low <= lane) & (lane < high))
        mask = delayed(m, mask, self.latency - 3, name="mask")
        for lane in range(self.lanes):
            m.d.comb += self.o[lane].eq(delayed(m, Mux(mask[lane], self.data[lane], self.value), name=f"lane_{lane}"))
        return m


class ActivationUnit(wiring.Component):
    """Streams a descriptor's beats: im2col on the fly, straight from the scratchpad.

    Takes the words of the descriptor's activation section, waits for ``go``, then sends one beat per cycle, as long as
    the tile takes them and a half of the accumulators is free for their sums. The first beat is out ``9 + group +
    read_latency`` cycles after ``go``.

    Parameters
    ----------
    lanes : int
        Bytes of a line of the scratchpad that are used.
    group : int
        Lines of a beat, which are read one per cycle.
    address_bits : int
        Of the scratchpad's byte address.
    position_bits : int
        Of an accumulator's position.
    read_latency : int
        Of the scratchpad, cycles.

    Members
    -------
    load : In(stream)
        The section's words in order; taken while the unit is idle.
    go : In(1)
        Starts a loaded descriptor.
    drained : In(1)
        A half of the accumulators, or a quarter, has been drained.
    address : Out, data : In
        To and from the scratchpad.
    reading : Out(1)
        ``address`` is in use this cycle.
    o : Out(stream)
        Beats, see :func:`beat_shape`.
    starved : Out(1)
        The next beat waits for a free half of the accumulators.
    """

    def __init__(self, *, lanes: int, group: int = 1, address_bits: int, position_bits: int, read_latency: int):
        self.group = group
        self.lanes, self.address_bits, self.position_bits = lanes, address_bits, position_bits
        self.read_latency = read_latency
        super().__init__(
            {
                "load": In(stream.Signature(32)),
                "go": In(1),
                "drained": In(1),
                "address": Out(address_bits),
                "data": In(data.ArrayLayout(signed(8), lanes)),
                "reading": Out(1),
                "o": Out(stream.Signature(beat_shape(lanes * group, position_bits))),
                "starved": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self.address_bits + 2
        m.submodules.nest = nest = Nest(
            dims=len(ACTIVATION_DIMS),
            coordinates={"row": 16, "x": bits, "address": self.address_bits},
            entries={"opens": CHANNELS_DIM, "swap": CHUNK_DIM, "y": Y_DIM, "x": X_DIM},
        )
        # What accompanies a request and comes back with its bytes. The settings hold until the last beat is taken.
        beat = beat_shape(self.lanes, self.position_bits).members
        tag = data.StructLayout({name: beat[name] for name in ("swap", "tag", "final")})
        m.submodules.padding = padding = Padding(lanes=self.lanes, bits=bits, latency=1 + self.read_latency)
        m.submodules.fetch = fetch = Fetch(
            address=self.address_bits, data_shape=padding.o.shape(), tag=tag, latency=self.read_latency + 1
        )
        # A request up to the moment at which it is sent; `takes`: it needs a free half of the accumulators.
        m.submodules.requests = requests = RegisterSlice(
            data.StructLayout(
                {"row": signed(16), "x": signed(bits), "address": signed(self.address_bits), "tag": tag, "takes": 1}
            )
        )
        # The next descriptor is loaded when the beats of this one are out: they share the registers.
        settings, sliding, slides = Signal(BEAT_SETTING_BITS), view(SLIDING), Signal()
        pairs, quarters = Signal(), Signal()
        m.d.sync += slides.eq(sliding.step_y != 0)
        self._load(m, nest, padding, Cat(settings, quarters, pairs), sliding, idle=fetch.empty & ~requests.o.valid)
        keep = self._request(m, nest, requests.i, quarters=quarters, pairs=pairs)
        advance = requests.i.valid & requests.i.ready & nest.o.ready
        m.d.comb += keep.eq(~slides | self._sum_counts(m, nest.o.payload, sliding, advance=advance))
        self._send(m, requests.o, fetch, padding, quarters=quarters)

        answer = fetch.o.payload
        m.d.comb += [
            self.o.payload.swap.eq(answer.tag.swap),
            self.o.payload.settings.eq(settings),
            self.o.payload.slide.eq(slides),
            self.o.payload.pairs.eq(pairs),
            self.o.payload.tag.eq(answer.tag.tag),
            self.o.payload.final.eq(answer.tag.final),
        ]
        self._join(m, fetch)
        return m

    def _request(
        self, m: Module, nest: Nest, requests: wiring.PureInterface, *, quarters: Signal, pairs: Signal
    ) -> Signal:
        """Requests the lines of each item, and says where its sums go. Returns a signal for the caller to drive:
        whether those sums count."""
        item, request, keep = nest.o.payload, requests.payload, Signal()
        opens, swap, requested = item.entry.opens & ~pairs, item.entry.swap, Signal()
        line = self._lines(m, requested)
        # Parts of the accumulators are taken in the same order for each descriptor.
        part, position, reducing = Signal(2), Signal(self.position_bits), Signal()
        begin = (part[1] & quarters) << (self.position_bits - 1)
        m.d.comb += [
            requests.valid.eq(nest.o.valid),
            nest.o.ready.eq(requests.ready & line.last),
            requested.eq(requests.valid & requests.ready),
            request.row.eq(item.at.row),
            request.x.eq(item.at.x + line.offset),
            request.address.eq(item.at.address + line.offset),
            request.takes.eq(opens & line.first),
            request.tag.swap.eq(swap),
            request.tag.tag.address.eq(Mux(swap, begin, position)),
            request.tag.tag.first.eq(opens | (~swap & ~reducing)),
            request.tag.tag.last.eq(item.leave <= CHANNELS_DIM),
            request.tag.tag.keep.eq(keep),
            request.tag.final.eq(item.last),
        ]
        with m.If(self.go):
            m.d.sync += part.eq(0)
        with m.Elif(requested & line.last):
            m.d.sync += [
                part.eq(part + opens),
                position.eq(request.tag.tag.address + keep),
                reducing.eq(~request.tag.tag.first),
            ]
        return keep

    def _send(
        self, m: Module, requests: wiring.PureInterface, fetch: Fetch, padding: Padding, *, quarters: Signal
    ) -> None:
        """Makes requests while there is a place for their sums."""
        # A half of the accumulators, or a quarter, is taken by its first beat and released by `drained`. Pairs take
        # none.
        free, none_free, released = Signal(range(5)), Signal(), Signal()
        following, request = Signal.like(free), requests.payload
        m.d.comb += [
            following.eq(free + released - (fetch.i.valid & fetch.i.ready & request.takes)),
            self.starved.eq(requests.valid & request.takes & none_free),
            fetch.i.valid.eq(requests.valid & ~self.starved),
            requests.ready.eq(fetch.i.ready & ~self.starved),
            fetch.i.payload.address.eq(request.address),
            fetch.i.payload.tag.eq(request.tag),
            self.address.eq(fetch.address),
            self.reading.eq(fetch.reading),
            padding.row.eq(request.row),
            padding.x.eq(request.x),
            padding.data.eq(self.data),
            fetch.data.eq(padding.o),
        ]
        m.d.sync += [released.eq(self.drained), free.eq(following), none_free.eq(following == 0)]
        # All are free before a descriptor.
        with m.If(self.go):
            m.d.sync += [free.eq(Mux(quarters, 4, 2)), none_free.eq(0)]

    def _lines(self, m: Module, fired: Signal) -> data.View | data.Const:
        """Which line of its beat is requested, and how many bytes lie before it."""
        layout = data.StructLayout({"first": 1, "last": 1, "offset": range(max(2, self.lanes * self.group))})
        if self.group == 1:
            return layout.const({"first": 1, "last": 1, "offset": 0})
        line, index = view(layout, init={"first": 1}), Signal(range(self.group))
        with m.If(fired):
            m.d.sync += [
                index.eq(Mux(line.last, 0, index + 1)),
                line.first.eq(line.last),
                line.last.eq(index == self.group - 2),
                line.offset.eq(Mux(line.last, 0, line.offset + self.lanes)),
            ]
        return line

    def _join(self, m: Module, fetch: Fetch) -> None:
        """Joins the lines of a beat: those before the last wait here."""
        index = Signal(range(self.group))
        before = Signal(8 * self.lanes * (self.group - 1))
        last = index == self.group - 1
        m.d.comb += [
            self.o.valid.eq(fetch.o.valid & last),
            fetch.o.ready.eq(self.o.ready | ~last),
            self.o.payload.data.as_value().eq(Cat(before, fetch.o.payload.data)),
        ]
        if self.group > 1:
            with m.If(fetch.o.valid & fetch.o.ready):
                m.d.sync += index.eq(Mux(last, 0, index + 1))
                with m.If(~last):
                    m.d.sync += before.eq(Cat(before, fetch.o.payload.data)[8 * self.lanes :])

    def _sum_counts(self, m: Module, item: data.View, sliding: data.View, *, advance: Signal) -> Value:
        """Where windows slide, whether an item's sum counts: for each of the two counters, a register counts down to
        the next value that does, and looks ahead."""
        keeps = []
        entry = item.entry
        for name, outer, here in (("y", entry.swap, entry.y), ("x", entry.y, entry.x)):
            first, step = sliding[f"first_{name}"], sliding[f"step_{name}"]
            # What is left now, if the counter stays, and if it advances.
            left, stay, on = (
                Signal(8, name=f"left_{name}"),
                Signal(8, name=f"stay_{name}"),
                Signal(8, name=f"on_{name}"),
            )
            keep, stay_keep, on_keep = (
                Signal(name=f"keep_{name}"),
                Signal(name=f"stay_keep_{name}"),
                Signal(name=f"on_keep_{name}"),
            )
            with m.If(outer):
                m.d.comb += [left.eq(first), keep.eq(first == 0)]
            with m.Elif(here):
                m.d.comb += [left.eq(on), keep.eq(on_keep)]
            with m.Else():
                m.d.comb += [left.eq(stay), keep.eq(stay_keep)]
            with m.If(advance):
                m.d.sync += [stay.eq(left), stay_keep.eq(keep)]
                m.d.sync += [on.eq(Mux(keep, step, left) - 1), on_keep.eq(Mux(keep, step == 1, left == 1))]
            keeps.append(keep)
        return keeps[0] & keeps[1]

    def _load(self, m: Module, nest: Nest, padding: Padding, modes: Value, sliding: data.View, *, idle: Signal) -> None:
        """Takes the section's words apart: the head into registers, each counter's words into the nest."""
        words = SECTIONS["activations"]
        index, part, loaded = Signal(range(words + 1)), Signal(range(DIM_WORDS)), Signal()
        dim, count, row = Signal(range(len(ACTIVATION_DIMS))), Signal(COUNT_BITS), Signal(16)
        x = Signal.like(nest.origin.x)
        word = self.load.payload
        setting = nest.dim.payload
        m.d.comb += [
            self.load.ready.eq(~loaded & ~nest.busy & idle),
            setting.count.eq(count),
            setting.steps.row.eq(row),
            setting.steps.x.eq(x),
            nest.start.eq(self.go & loaded),
        ]
        # A counter is set a cycle after its last word, when its other words are still held.
        m.d.sync += [nest.dim.valid.eq(0), setting.index.eq(dim), setting.steps.address.eq(word)]
        with m.If(self.load.valid & self.load.ready):
            m.d.sync += index.eq(index + 1)
            with m.Switch(index):
                with m.Case(0):
                    m.d.sync += nest.origin.address.eq(word)
                with m.Case(1):
                    m.d.sync += [nest.origin.row.eq(word[:16]), padding.height.eq(word[16:])]
                with m.Case(2):
                    m.d.sync += nest.origin.x.eq(word)
                with m.Case(3):
                    m.d.sync += padding.width.eq(word)
                with m.Case(4):
                    m.d.sync += [padding.value.eq(word[:8]), modes.eq(word[8:])]
                with m.Case(5):
                    m.d.sync += [sliding.eq(word), part.eq(0), dim.eq(0)]
                with m.Default():
                    m.d.sync += part.eq(part + 1)
                    with m.Switch(part):
                        with m.Case(0):
                            m.d.sync += [count.eq(word[:COUNT_BITS]), row.eq(word[COUNT_BITS:])]
                        with m.Case(1):
                            m.d.sync += x.eq(word)
                        with m.Case(2):
                            m.d.sync += [nest.dim.valid.eq(1), part.eq(0), dim.eq(dim + 1)]
            with m.If(index == words - 1):
                m.d.sync += [loaded.eq(1), index.eq(0)]
        with m.If(nest.start):
            m.d.sync += loaded.eq(0)
