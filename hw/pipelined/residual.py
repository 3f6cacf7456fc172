"""The unit of residual sums: a tensor is added to a convolution's results on their way to the scratchpad."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from sateen.hw.memory import Block, last_read
from sateen.hw.requantize import CHANNEL, SETTINGS, Requantize
from sateen.hw.spec.config import ceil_pow2
from sateen.hw.spec.parameters import TABLE_ENTRIES
from sateen.hw.spec.residual import LANE_WORDS, LEAST_COLS, RESIDUAL_UNIT, sum_words
from sateen.hw.stream.delay import FANOUT, delayed, delayed_item, replicated
from sateen.hw.stream.view import view

__all__ = ["ResidualUnit"]

SUM_TIME = 4
"""Cycles from a result's arrival to the sum of its entries: a register of bytes, the tables and the sum's register."""


class ResidualUnit(wiring.Component):
    """Adds residual bytes to results as a :class:`~sateen.hw.spec.residual.Sum` says, ``per_cycle`` of an item's
    ``lanes`` at a time; results of other descriptors pass in the same cycle.

    An item comes every ``pace`` = ``lanes // per_cycle`` cycles at most, and leaves ``latency`` cycles later. Before
    it comes, the unit reads the line of its residual bytes. It holds one Sum. The next one's words are taken when the
    descriptor that uses this one has ended.

    Parameters
    ----------
    cols : int
        Bytes of a weight word, 8 or more.
    lanes, per_cycle : int
        Results of an item, and those that are added in a cycle: a divisor of half the ``lanes``.
    weight_rows : int
        Words of weights that are read at once.
    tag : StructLayout
        What accompanies results: ``address`` and others.
    address_bits : int
        Of the scratchpad's address.
    item_latency : int
        Cycles from an item that is announced to its results.
    line_latency : int
        Cycles from ``address`` to ``line``.
    spare : int
        Cycles by which results come later: so that no line is read in the cycle in which results of the same descriptor
        leave, if its items come in cycles that are a multiple of ``pace`` apart.
    float_rounding : bool
        As that of :class:`~sateen.hw.requantize.Requantize`.

    Members
    -------
    words : In(stream)
        The words of a Sum: :func:`~sateen.hw.spec.residual.sum_words`. They come before the first item that needs them.
    on : In(1), offset : In
        The descriptor has residual bytes, which stand so many :data:`~sateen.hw.spec.residual.RESIDUAL_UNIT` behind
        its results. Steady while its items are under way, and two cycles before and after.
    done : In(1)
        Pulses when the descriptor's last result is written, at the latest in the last cycle of ``on``.
    coming : In
        An item is announced: ``valid`` and its ``address``.
    reading : Out(1), address : Out
        Where the line begins that is read in this cycle.
    line : In
        Bytes of the line.
    i : In(stream), o : Out(stream), always ready
        ``data`` per lane, and ``tag``.
    """

    def __init__(
        self, *, cols: int, lanes: int, per_cycle: int, weight_rows: int, tag: data.StructLayout, address_bits: int,
        item_latency: int, line_latency: int, spare: int = 0, float_rounding: bool = True,
    ):  # fmt: skip
        if cols < LEAST_COLS:
            raise ValueError(f"cols must be {LEAST_COLS} or more, not {cols!r}")
        if per_cycle < 1 or lanes % (2 * per_cycle):
            raise ValueError(f"per_cycle must be a divisor of half the {lanes} lanes, not {per_cycle!r}")
        if line_latency >= item_latency:
            raise ValueError(f"line_latency must be less than item_latency={item_latency}, not {line_latency!r}")
        self.cols, self.lanes, self.per_cycle, self.weight_rows = cols, lanes, per_cycle, weight_rows
        self.tag, self.address_bits, self.spare, self.float_rounding = tag, address_bits, spare, float_rounding
        self.item_latency, self.line_latency = item_latency, line_latency
        self.pace = lanes // per_cycle
        self.latency = SUM_TIME + spare + Requantize.LATENCY + self.pace
        if (line_latency + self.latency) % self.pace == 0:
            raise ValueError(f"spare must not be {spare!r}: lines would be read when results are written")
        bytes_ = data.ArrayLayout(signed(8), lanes)
        result = data.StructLayout({"data": bytes_, "tag": tag})
        super().__init__(
            {
                "words": In(stream.Signature(data.ArrayLayout(signed(8), cols))),
                "on": In(1), "offset": In(signed(16)), "done": In(1),
                "coming": In(data.StructLayout({"valid": 1, "address": address_bits})),
                "reading": Out(1), "address": Out(address_bits), "line": In(bytes_),
                "i": In(stream.Signature(result, always_ready=True)),
                "o": Out(stream.Signature(result, always_ready=True)),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lane_words = Signal(8 * LEAST_COLS * LANE_WORDS, name="lane", reset_less=True)
        # :data:`sateen.hw.spec.residual.LANE`.
        channel = data.View(CHANNEL, lane_words[: CHANNEL.size])
        settings = data.View(SETTINGS, lane_words[CHANNEL.size :][: SETTINGS.size])
        tables = self._tables(m, self._take(m, lane_words))
        self._read_lines(m)

        # Bytes of an item move down, those of a cycle at once. Lanes are spread over the chip: every few have registers
        # of their own that say so.
        wide, copies = 8 * self.per_cycle, -(-self.lanes // FANOUT)
        cycles = Signal(range(self.pace))
        m.d.sync += cycles.eq(Mux(self.i.valid, self.pace - 1, cycles - (cycles != 0)))
        moves = replicated(m, platform, self.i.valid | (cycles > 1), copies, name="moves")
        columns = [Signal(8 * self.lanes, name=name, reset_less=True) for name in ("results", "residual")]
        for column, arriving in zip(columns, (self.i.payload.data, self.line), strict=True):
            for lane in range(self.lanes):
                above = (column >> wide)[8 * lane : 8 * lane + 8]
                m.d.sync += column[8 * lane : 8 * lane + 8].eq(Mux(moves[lane // FANOUT], above, arriving[lane]))
        rescaled = []
        for lane, pair in enumerate(tables):
            for table, column in zip(pair, columns, strict=True):
                byte = delayed(m, column[8 * lane : 8 * lane + 8], self.spare, name=f"byte_{lane}")
                m.d.comb += table.r_address.eq(byte)
            entries = [table.r_data.as_value().as_signed() for table in pair]
            total = Signal(signed(32), name=f"sum_{lane}", reset_less=True)
            m.d.sync += total.eq(entries[0] + entries[1])
            m.submodules[f"lane_{lane}"] = requantize = Requantize(float_rounding=self.float_rounding)
            m.d.comb += [requantize.i.eq(total), requantize.channel.eq(channel), requantize.settings.eq(settings)]
            rescaled.append(requantize.o)
        line = Signal(8 * self.lanes, reset_less=True)
        m.d.sync += line.eq(Cat(line[wide:], *rescaled))
        self._leave(m, platform, line)
        return m

    def _take(self, m: Module, lane: Signal) -> data.View:
        """Takes the words of a Sum, those behind the tables as ``lane``; returns the write of an entry of each
        table."""
        count, full = Signal(range(sum_words(self.weight_rows))), Signal()
        entry = view(data.StructLayout({"enable": 1, "index": range(TABLE_ENTRIES), "entries": 64}), name="entry")
        word, taken = self.words.payload.as_value(), self.words.valid & self.words.ready
        m.d.comb += self.words.ready.eq(~full)
        m.d.sync += [
            entry.enable.eq(taken & (count < TABLE_ENTRIES)), entry.index.eq(count), entry.entries.eq(word),
        ]  # fmt: skip
        with m.If(taken):
            last = count == sum_words(self.weight_rows) - 1
            m.d.sync += [count.eq(Mux(last, 0, count + 1)), full.eq(last)]
            for place in range(LANE_WORDS):
                with m.If(count == TABLE_ENTRIES + place):
                    m.d.sync += lane.word_select(place, 8 * LEAST_COLS).eq(word)
        with m.If(self.done & self.on):
            m.d.sync += full.eq(0)
        return entry

    def _tables(self, m: Module, entry: data.View) -> list[list[Block]]:
        """For each of the results of a cycle, the two tables."""
        lanes = []
        for lane in range(self.per_cycle):
            pair = []
            for table in range(2):
                m.submodules[f"table_{lane}_{table}"] = block = Block(lanes=4, depth=TABLE_ENTRIES, whole=True)
                m.d.comb += [
                    block.w_address.eq(entry.index),
                    block.w_data.as_value().eq(entry.entries.word_select(table, 32)),
                    block.w_enable.eq(entry.enable.replicate(4)),
                ]
                pair.append(block)
            lanes.append(pair)
        return lanes

    def _read_lines(self, m: Module) -> None:
        """Asks for an item's line so that it comes with the results."""
        item = view(data.StructLayout({"valid": 1, "address": self.address_bits}), name="item")
        m.d.comb += [
            item.valid.eq(self.coming.valid & self.on),
            item.address.eq(self.coming.address + self.offset * RESIDUAL_UNIT),
        ]
        item = delayed_item(m, item, self.item_latency - self.line_latency, name="asked")
        m.d.comb += [self.reading.eq(item.valid), self.address.eq(item.address)]

    def _leave(self, m: Module, platform: object, line: Signal) -> None:
        """The results of an item with their tag, which waits in a memory; those of other descriptors as they come."""
        depth = ceil_pow2(-(-self.latency // self.pace) + 1)
        tags: Memory = Memory(shape=Value.cast(self.i.payload.tag).shape(), depth=depth, init=[])
        m.submodules.tags = tags
        port, arrives = tags.write_port(), self.i.valid & self.on
        leaves, places = delayed(m, arrives, self.latency - 1, name="leaves", reset=True), []
        for name, moves in (("arriving", arrives), ("leaving", leaves)):
            place = Signal(range(depth), name=name)
            m.d.sync += place.eq(place + moves)
            places.append(place)
        m.d.comb += [port.addr.eq(places[0]), port.en.eq(arrives), port.data.eq(self.i.payload.tag)]
        tag = last_read(m, tags, places[1], enable=leaves)
        # `on` changes long before results and long after them.
        on = replicated(m, platform, self.on, -(-self.lanes // FANOUT), name="on")
        m.d.comb += [
            self.o.valid.eq(Mux(self.on, delayed(m, leaves, name="left", reset=True), self.i.valid)),
            self.o.payload.tag.as_value().eq(Mux(self.on, tag, Value.cast(self.i.payload.tag))),
        ]
        for lane, (passing, result) in enumerate(zip(self.i.payload.data, self.o.payload.data, strict=True)):
            m.d.comb += result.eq(Mux(on[lane // FANOUT], line.word_select(lane, 8), passing))
