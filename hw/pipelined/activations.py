"""The activation unit: which bytes each beat of the tile takes."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from sateen.hw.pipelined.ahead import AHEAD, ReadAhead
from sateen.hw.pipelined.nest import Nest
from sateen.hw.pipelined.padding import Padding
from sateen.hw.spec.descriptor import DIM_WORDS, SECTIONS
from sateen.hw.spec.nests import ACTIVATION_DIMS, CHANNELS_DIM, CHUNK_DIM, COUNT_BITS, X_DIM, Y_DIM
from sateen.hw.spec.pe import BEAT_SETTING_BITS
from sateen.hw.stream.fetch import Fetch
from sateen.hw.stream.slice import RegisterSlice
from sateen.hw.stream.view import view
from sateen.hw.sums import tag_shape

__all__ = ["ActivationUnit", "beat_shape"]

SLIDING = data.StructLayout({"first_y": 8, "first_x": 8, "step_y": 8, "step_x": 8})
"""The fields of :attr:`sateen.hw.spec.descriptor.Sliding.LAYOUT`."""


def beat_shape(lanes: int, position_bits: int, *, in_place: bool = False) -> data.StructLayout:
    """A beat as the unit sends it: one for the tile, or one of ``pairs`` to be looked up; and whether it is the
    descriptor's last (``final``). With ``in_place`` as :func:`~sateen.hw.sums.tag_shape`."""
    values = data.ArrayLayout(signed(8), lanes)
    modes = {"slide": 1, "pairs": 1, "settings": BEAT_SETTING_BITS}
    tag = tag_shape(position_bits, in_place=in_place)
    return data.StructLayout({"data": values, "swap": 1, **modes, "tag": tag, "final": 1})


class ActivationUnit(wiring.Component):
    """Streams a descriptor's beats: im2col on the fly, straight from the scratchpad.

    Takes the words of the descriptor's activation section, waits for ``go``, then sends one beat per cycle, as long as
    the tile takes them and a half of the accumulators is free for their sums. The first beat is out ``9 + group +
    read_latency`` cycles after ``go``.

    With ``overlap`` the next section is taken while beats are made, and its beats follow these without ``go``: its
    first line is asked for 5 cycles or more after the last of these, as far ahead of the results of the descriptor
    before as that says (:class:`~sateen.hw.pipelined.ahead.ReadAhead`). Parts of the accumulators are then taken in one
    order over all descriptors: the last but one lies in the same memory as the next, whether they are halves or
    quarters. ``pairs`` must not run ahead.

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
    read_latency, write_latency : int
        Of the scratchpad, cycles.
    overlap : bool
        Descriptors may overlap.

    Members
    -------
    load : In(stream)
        The section's words in order; taken while the unit is idle, with ``overlap`` while no section waits.
    go : In(1)
        Starts a loaded descriptor; not with ``overlap``.
    running, written, done, ahead : In
        Of the output unit, only with ``overlap``, see :class:`~sateen.hw.pipelined.ahead.ReadAhead`.
    behind : Out(1)
        The next line waits for results of the descriptor before; only with ``overlap``.
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

    def __init__(
        self, *, lanes: int, group: int = 1, address_bits: int, position_bits: int, read_latency: int,
        write_latency: int = 2, overlap: bool = False,
    ):  # fmt: skip
        self.group, self.write_latency, self.overlap = group, write_latency, overlap
        self.lanes, self.address_bits, self.position_bits = lanes, address_bits, position_bits
        self.read_latency = read_latency
        follows = {"running": In(1), "written": In(1), "done": In(1), "ahead": In(AHEAD), "behind": Out(1)}
        super().__init__(
            {
                "load": In(stream.Signature(32)),
                **(follows if overlap else {"go": In(1)}),
                "drained": In(1),
                "address": Out(address_bits),
                "data": In(data.ArrayLayout(signed(8), lanes)),
                "reading": Out(1),
                "o": Out(stream.Signature(beat_shape(lanes * group, position_bits, in_place=overlap))),
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
            staged=self.overlap,
        )
        # What accompanies a request and comes back with its bytes. The settings hold until the last beat is taken, or
        # accompany the request, too.
        beat = beat_shape(self.lanes, self.position_bits, in_place=self.overlap).members
        modes = ("settings", "slide", "pairs")
        follow = modes if self.overlap else ()
        tag = data.StructLayout({name: beat[name] for name in ("swap", "tag", "final", *follow)})
        m.submodules.padding = padding = Padding(
            lanes=self.lanes, bits=bits, latency=1 + self.read_latency, follows=self.overlap
        )
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
        idle = ~requests.o.valid if self.overlap else fetch.empty & ~requests.o.valid
        self._load(m, nest, padding, Cat(settings, quarters, pairs), sliding, idle=idle)
        keep = self._request(m, nest, requests.i, quarters=quarters, pairs=pairs)
        advance = requests.i.valid & requests.i.ready & nest.o.ready
        m.d.comb += keep.eq(~slides | self._sum_counts(m, nest.o.payload, sliding, advance=advance))
        allowed, most = self._run_ahead(m, nest, requests.o, quarters) if self.overlap else (Const(1), Const(0))
        self._send(m, requests.o, fetch, padding, quarters=quarters, allowed=allowed, most=most)

        answer = fetch.o.payload
        m.d.comb += self.o.payload.swap.eq(answer.tag.swap)
        for name, value in zip(modes, (settings, slides, pairs), strict=True):
            if self.overlap:
                m.d.comb += requests.i.payload.tag[name].eq(value)
            m.d.comb += self.o.payload[name].eq(answer.tag[name] if self.overlap else value)
        m.d.comb += [
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
        high = part[1]
        if self.overlap:
            # Further tiles of weights for the same part.
            here = Signal()
            high = Mux(opens, part[1], here)
            with m.If(requests.valid & requests.ready):
                m.d.sync += here.eq(high)
            m.d.comb += request.tag.tag.stay.eq(quarters & ~opens)
        begin = (high & quarters) << (self.position_bits - 1)
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
        follow = [
            part.eq(part + opens),
            position.eq(request.tag.tag.address + keep),
            reducing.eq(~request.tag.tag.first),
        ]
        if self.overlap:
            with m.If(requested & line.last):
                m.d.sync += follow
            return keep
        with m.If(self.go):
            m.d.sync += part.eq(0)
        with m.Elif(requested & line.last):
            m.d.sync += follow
        return keep

    def _run_ahead(
        self, m: Module, nest: Nest, requests: wiring.PureInterface, quarters: Signal
    ) -> tuple[Signal, Value]:
        """Whether the next request may be made, as far as results of the descriptor before are concerned; and how many
        parts of the accumulators may be in use."""
        m.submodules.read_ahead = read_ahead = ReadAhead(write_latency=self.write_latency)
        fired = requests.valid & requests.ready
        m.d.comb += [
            read_ahead.start.eq(nest.start),
            read_ahead.opens.eq(fired & requests.payload.takes),
            read_ahead.fired.eq(fired),
            *(getattr(read_ahead, name).eq(getattr(self, name)) for name in ("running", "written", "done", "ahead")),
            self.behind.eq(requests.valid & ~read_ahead.allowed),
        ]
        # Quarters of this descriptor must not meet halves of the one before.
        halves_before = Signal()
        with m.If(nest.start):
            m.d.sync += halves_before.eq(~quarters)
        return read_ahead.allowed, Mux(quarters & ~(read_ahead.behind & halves_before), 4, 2)

    def _send(
        self, m: Module, requests: wiring.PureInterface, fetch: Fetch, padding: Padding, *, quarters: Signal,
        allowed: Value, most: Value,
    ) -> None:  # fmt: skip
        """Makes requests while there is a place for their sums and they are ``allowed``. With ``overlap`` at ``most``
        so many parts of the accumulators are in use."""
        # A half of the accumulators, or a quarter, is taken by its first beat and released by `drained`. Pairs take
        # none.
        used, none_free, released = Signal(range(5)), Signal(), Signal()
        following, request = Signal.like(used), requests.payload
        takes = fetch.i.valid & fetch.i.ready & request.takes
        goes = ~self.starved & allowed if self.overlap else ~self.starved
        m.d.comb += [
            following.eq(used + takes - released if self.overlap else used + released - takes),
            self.starved.eq(requests.valid & request.takes & none_free),
            fetch.i.valid.eq(requests.valid & goes),
            requests.ready.eq(fetch.i.ready & goes),
            fetch.i.payload.address.eq(request.address),
            fetch.i.payload.tag.eq(request.tag),
            self.address.eq(fetch.address),
            self.reading.eq(fetch.reading),
            padding.row.eq(request.row),
            padding.x.eq(request.x),
            padding.data.eq(self.data),
            fetch.data.eq(padding.o),
        ]
        m.d.sync += [released.eq(self.drained), used.eq(following)]
        if self.overlap:
            m.d.sync += none_free.eq(following >= most)
            return
        m.d.sync += none_free.eq(following == 0)
        # All are free before a descriptor.
        with m.If(self.go):
            m.d.sync += [used.eq(Mux(quarters, 4, 2)), none_free.eq(0)]

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
        """Takes the section's words apart: the head into registers, each counter's words into the nest. With
        ``overlap``, the head waits in registers of its own until the walk begins."""
        words = SECTIONS["activations"]
        index, part, loaded = Signal(range(words + 1)), Signal(range(DIM_WORDS)), Signal()
        dim, count, row = Signal(range(len(ACTIVATION_DIMS))), Signal(COUNT_BITS), Signal(16)
        x = Signal.like(nest.origin.x)
        word = self.load.payload
        setting = nest.dim.payload
        m.d.comb += [
            self.load.ready.eq(~loaded if self.overlap else ~loaded & ~nest.busy & idle),
            setting.count.eq(count),
            setting.steps.row.eq(row),
            setting.steps.x.eq(x),
            nest.start.eq(loaded & ~nest.dim.valid & ~nest.busy & idle if self.overlap else self.go & loaded),
        ]
        head: dict[str, Any] = {name: getattr(padding, name) for name in ("height", "width", "value")}
        head |= {"modes": modes, "sliding": sliding}
        if self.overlap:
            head = {name: self._staged(m, target, nest.start, name=name) for name, target in head.items()}
        # A counter is set a cycle after its last word, when its other words are still held.
        m.d.sync += [nest.dim.valid.eq(0), setting.index.eq(dim), setting.steps.address.eq(word)]
        with m.If(self.load.valid & self.load.ready):
            m.d.sync += index.eq(index + 1)
            with m.Switch(index):
                with m.Case(0):
                    m.d.sync += nest.origin.address.eq(word)
                with m.Case(1):
                    m.d.sync += [nest.origin.row.eq(word[:16]), head["height"].eq(word[16:])]
                with m.Case(2):
                    m.d.sync += nest.origin.x.eq(word)
                with m.Case(3):
                    m.d.sync += head["width"].eq(word)
                with m.Case(4):
                    m.d.sync += [head["value"].eq(word[:8]), head["modes"].eq(word[8:])]
                with m.Case(5):
                    m.d.sync += [head["sliding"].eq(word), part.eq(0), dim.eq(0)]
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

    def _staged(self, m: Module, target: Any, start: Value, *, name: str) -> Signal:
        """A register that ``target`` takes over with ``start``."""
        staged = Signal(len(Value.cast(target)), name=f"staged_{name}", reset_less=True)
        with m.If(start):
            m.d.sync += target.eq(staged)
        return staged
