"""The weight unit: reads the weight store for the tile and for the channel parameters."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from sateen.hw.spec.descriptor import RESIDUAL_BIT, SAME_BIASES_BIT, SECTIONS, WAITS_BIT
from sateen.hw.spec.parameters import BIAS_BYTES, PARAMETER_BYTES, SCALE_BYTES, parameter_words
from sateen.hw.spec.pe import WEIGHT_SETTING_BITS
from sateen.hw.spec.residual import sum_words
from sateen.hw.spec.timing import OPERAND_SETTLE
from sateen.hw.stream.delay import FANOUT, delayed, replicated
from sateen.hw.stream.fetch import Fetch

__all__ = ["ChannelParameters", "WeightUnit", "parameter_word"]


def parameter_word(cols: int, weight_rows: int = 1) -> data.StructLayout:
    """``weight_rows`` bytes of each column's parameters, and whether they are the last of their group."""
    return data.StructLayout({"word": data.ArrayLayout(8, weight_rows * cols), "last": 1})


class ChannelParameters(wiring.Component):
    """Holds the parameters of the group of channels that is drained, while those of the next group arrive.

    Parameters
    ----------
    cols : int
        Channels of a group.
    channel : StructLayout
        One channel's parameters, :data:`PARAMETER_BYTES` bytes, first byte lowest.
    weight_rows : int
        Words that arrive at once.

    Members
    -------
    i : In(stream)
        Words of a group, ``weight_rows`` at a time, each with a byte of each column's parameters:
        :func:`~sateen.hw.spec.parameters.parameter_words`, or :data:`BIAS_BYTES` if the group has the same scales as
        the one before; the last are marked. Taken while the next group is incomplete.
    full : Out(1)
        The next group is complete.
    take : In(1)
        Makes the next group the current one, a cycle later. Once per group, only while ``full``, and not in the first
        cycle of that.
    o : Out
        The current group, from the second cycle after ``take``.
    """

    def __init__(self, *, cols: int, channel: data.StructLayout, weight_rows: int = 1):
        if channel.size > 8 * PARAMETER_BYTES:
            raise ValueError(f"channel must have at most {8 * PARAMETER_BYTES} bits, not {channel.size}")
        self.cols, self.channel, self.weight_rows = cols, channel, weight_rows
        super().__init__(
            {
                "i": In(stream.Signature(parameter_word(cols, weight_rows))),
                "full": Out(1),
                "take": In(1),
                "o": Out(data.ArrayLayout(channel, cols)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        count, wide = self.weight_rows, 8 * self.weight_rows
        reads, biases_end = Signal(range(parameter_words(count) // count + 1)), BIAS_BYTES // count
        biases, scales = (
            [Signal(8 * size, name=f"{name}_{c}", reset_less=True) for c in range(self.cols)]
            for name, size in (("bias", BIAS_BYTES), ("scale", SCALE_BYTES))
        )
        current = Signal.like(self.o, reset_less=True)
        taken, take = Signal(), Signal()
        m.d.comb += [self.i.ready.eq(~self.full), self.o.eq(current), taken.eq(self.i.valid & self.i.ready)]
        m.d.sync += take.eq(self.take)
        with m.If(taken):
            m.d.sync += [reads.eq(reads + 1), self.full.eq(self.i.payload.last)]
        with m.If(take):
            m.d.sync += [reads.eq(0), self.full.eq(0)]
        # Words arrive two cycles later, from registers of their own.
        copies = -(-self.cols // FANOUT)
        to_bias, to_scale = (
            replicated(m, platform, delayed(m, taken & which, name=f"{name}_before"), copies, name=name)
            for name, which in (("to_bias", reads < biases_end), ("to_scale", reads >= biases_end))
        )
        takes = replicated(m, platform, self.take, copies, name="take")
        for column, (bias, scale) in enumerate(zip(biases, scales, strict=True)):
            read = Cat(self.i.payload.word[word * self.cols + column] for word in range(count))
            arriving, copy = delayed(m, read, 2, name=f"{bias.name}_bytes"), column // FANOUT
            with m.If(to_bias[copy]):
                m.d.sync += bias.eq(Cat(bias, arriving)[wide:])
            with m.If(to_scale[copy]):
                m.d.sync += scale.eq(Cat(scale, arriving)[wide:])
            with m.If(takes[copy]):
                m.d.sync += current[column].eq(Cat(bias, scale))
        return m


class WeightUnit(wiring.Component):
    """Streams a descriptor's words of the weight store: for each group of channels its weights, then its parameters.

    ``weight_rows`` words per cycle, of tables one; full back-pressure. A descriptor begins as soon as its section is
    loaded, so that the first weights of a layer are prefetched while the layer before still computes.

    Parameters
    ----------
    cols : int
        Bytes of a word.
    address_bits : int
        Of the weight store's address.
    read_latency : int
        Of the weight store, cycles.
    setting_bits : int
        Width of the settings that the tile takes.
    weight_rows : int
        Words that are read at once, a power of two.
    waits : bool
        Descriptors may wait for all before them: their words are read ``OPERAND_SETTLE`` cycles after the last
        ``done``.
    repeats : bool
        A descriptor's groups may have the same biases, which are there once.
    direct : bool
        Descriptors may have parameters alone, of one group.
    residual : bool
        Words of a :class:`~sateen.hw.spec.residual.Sum` may stand before a descriptor's weights: they are read once.

    Members
    -------
    done : In(1)
        A descriptor's last result has been written. Only with ``waits``.
    load : In(stream)
        The words of the descriptor's weight section in order; taken while no request is left to make.
    address : Out, data : In
        To and from the weight store.
    reading : Out(1)
        ``address`` is in use this cycle.
    weights : Out(stream)
        To the tile: ``weight_rows`` words as ``word``, and the ``settings`` of their layer.
    tables : Out(stream)
        Words of tables, one by one, in place of the tile's.
    sums : Out(stream)
        Words of a Sum, one by one. Only with ``residual``.
    parameters : Out(stream)
        To :class:`ChannelParameters`.
    """

    def __init__(self, *, cols: int, address_bits: int, read_latency: int, setting_bits: int = 0, weight_rows: int = 1,
        waits: bool = False, repeats: bool = False, direct: bool = False, residual: bool = False,
    ):  # fmt: skip
        self.setting_bits, self.weight_rows, self.waits = setting_bits, weight_rows, waits
        self.repeats, self.direct, self.residual = repeats, direct, residual
        self.cols, self.address_bits, self.read_latency = cols, address_bits, read_latency
        super().__init__(
            {
                **({"done": In(1)} if waits else {}),
                "load": In(stream.Signature(32)),
                "address": Out(address_bits),
                "data": In(data.ArrayLayout(8, weight_rows * cols)),
                "reading": Out(1),
                "weights": Out(
                    stream.Signature(
                        data.StructLayout(
                            {"word": data.ArrayLayout(signed(8), weight_rows * cols), "settings": WEIGHT_SETTING_BITS}
                        )
                    )
                ),
                "tables": Out(stream.Signature(data.ArrayLayout(signed(8), cols))),
                **({"sums": Out(stream.Signature(data.ArrayLayout(signed(8), cols)))} if residual else {}),
                "parameters": Out(stream.Signature(parameter_word(cols, weight_rows))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.fetch = fetch = Fetch(
            address=self.address_bits,
            data_shape=self.data.shape(),
            tag=data.StructLayout(
                {
                    "weight": 1, "parameter": 1, "table": 1, **({"sum": 1} if self.residual else {}), "last": 1,
                    "settings": self.setting_bits,
                }
            ),
            latency=self.read_latency,
        )
        self._request(m, fetch)
        self._distribute(m, fetch)
        return m

    def _request(self, m: Module, fetch: Fetch) -> None:
        """Requests a descriptor's words, ``weight_rows`` at a time; all numbers of words count such reads."""
        low, reads = exact_log2(self.weight_rows), parameter_words(self.weight_rows) // self.weight_rows
        base, address = Signal(self.address_bits), Signal(self.address_bits)
        blocks, groups, groups_left = Signal(16), Signal(16), Signal(16)
        words, left, parameter = Signal(self.address_bits + 1), Signal(self.address_bits + 1), Signal()
        settings, tables, one_scale, not_first = Signal(self.setting_bits), Signal(), Signal(), Signal()
        running, index = Signal(), Signal(range(SECTIONS["weights"]))
        # Reads of words before the weights, and whether they are being made.
        head, in_head = sum_words(self.weight_rows) // self.weight_rows, Signal()
        # Biases that are read again for later groups, and where these go on.
        same_biases, biases, after = Signal(), Signal(self.address_bits), Signal(self.address_bits)

        word = self.load.payload
        m.d.comb += self.load.ready.eq(~running)
        with m.If(self.load.valid & self.load.ready):
            m.d.sync += index.eq(index + 1)
            with m.Switch(index):
                with m.Case(0):
                    m.d.sync += [base.eq(word[low:]), address.eq(word[low:])]
                with m.Case(1):
                    m.d.sync += [blocks.eq(word[:16]), groups.eq(word[16:]), groups_left.eq(word[16:])]
                with m.Case(2):
                    m.d.sync += [settings.eq(word), one_scale.eq(word[30]), tables.eq(word[31])]
                    if self.repeats:
                        m.d.sync += same_biases.eq(word[SAME_BIASES_BIT])
                with m.Default():
                    m.d.sync += [
                        words.eq(word[low:]),
                        left.eq(Mux(word == 0, reads, word[low:]) if self.direct else word[low:]),
                        parameter.eq(word == 0 if self.direct else 0),
                        not_first.eq(0),
                        running.eq(1),
                        index.eq(0),
                    ]
                    if self.residual:
                        m.d.sync += in_head.eq(word[RESIDUAL_BIT])
                        with m.If(word[RESIDUAL_BIT]):
                            m.d.sync += [left.eq(head), base.eq(base + head)]

        m.d.comb += [
            fetch.i.valid.eq(running & self._in_turn(m) if self.waits else running),
            fetch.i.payload.address.eq(address),
            fetch.i.payload.tag.weight.eq(~parameter & ~tables),
            fetch.i.payload.tag.parameter.eq(parameter),
            fetch.i.payload.tag.table.eq(~parameter & tables),
            fetch.i.payload.tag.last.eq(left == 1),
            fetch.i.payload.tag.settings.eq(settings),
            self.reading.eq(fetch.reading),
        ]
        if self.residual:
            m.d.comb += [
                fetch.i.payload.tag.weight.eq(~parameter & ~tables & ~in_head),
                fetch.i.payload.tag.sum.eq(in_head),
            ]
        with m.If(fetch.i.valid & fetch.i.ready):
            m.d.sync += [address.eq(address + 1), left.eq(left - 1)]
            with m.If(left == 1):
                m.d.sync += [parameter.eq(~parameter), left.eq(Mux(one_scale & not_first, BIAS_BYTES >> low, reads))]
                if self.repeats:
                    with m.If(same_biases & not_first):
                        m.d.sync += [address.eq(Mux(parameter, after, biases)), after.eq(address + 1)]
                    with m.Elif(~parameter):
                        m.d.sync += biases.eq(address + 1)
                with m.If(parameter):
                    m.d.sync += [left.eq(words), groups_left.eq(groups_left - 1), not_first.eq(groups_left != 1)]
                    with m.If(groups_left == 1):
                        m.d.sync += [groups_left.eq(groups), address.eq(base), blocks.eq(blocks - 1)]
                        with m.If(blocks == 1):
                            m.d.sync += running.eq(0)
                if self.residual:
                    with m.If(in_head):
                        m.d.sync += [in_head.eq(0), left.eq(words), parameter.eq(0)]

    def _in_turn(self, m: Module) -> Value:
        """Whether the loaded descriptor's words may be read: it does not wait, or all before it have ended, and what
        they wrote is there."""
        waits, index = Signal(), Signal(range(SECTIONS["weights"]))
        ahead, settling = Signal(3), Signal(range(OPERAND_SETTLE + 1))
        taken, loaded = Signal(), Signal()
        m.d.comb += [
            taken.eq(self.load.valid & self.load.ready),
            loaded.eq(taken & (index == SECTIONS["weights"] - 1)),
        ]
        # Those that are loaded and have not ended, this one included.
        m.d.sync += ahead.eq(ahead + loaded - self.done)
        with m.If(taken):
            m.d.sync += index.eq(Mux(loaded, 0, index + 1))
            with m.If(index == 2):
                m.d.sync += waits.eq(self.load.payload[WAITS_BIT])
        with m.If(self.done):
            m.d.sync += settling.eq(OPERAND_SETTLE)
        with m.Elif(settling != 0):
            m.d.sync += settling.eq(settling - 1)
        return ~waits | ((ahead <= 1) & (settling == 0))

    def _distribute(self, m: Module, fetch: Fetch) -> None:
        """Sends each word to its destination. The answer is from a register slice, since destinations lie far apart
        and say late in the cycle that they take a word."""
        answer, last_word = fetch.o.payload, Signal()
        m.d.comb += [
            self.address.eq(fetch.address),
            fetch.data.eq(self.data),
            self.weights.payload.word.eq(answer.data),
            self.weights.payload.settings.eq(answer.tag.settings),
            self.parameters.payload.word.eq(answer.data),
            self.parameters.payload.last.eq(answer.tag.last),
            self.weights.valid.eq(fetch.o.valid & answer.tag.weight),
            self.tables.payload.eq(self._table_word(m, answer.data, last_word)),
            self.tables.valid.eq(fetch.o.valid & answer.tag.table),
            self.parameters.valid.eq(fetch.o.valid & answer.tag.parameter),
        ]
        ready = {
            "weight": self.weights.ready, "parameter": self.parameters.ready, "table": self.tables.ready & last_word,
        }  # fmt: skip
        if self.residual:
            m.d.comb += [self.sums.payload.eq(self.tables.payload), self.sums.valid.eq(fetch.o.valid & answer.tag.sum)]
            ready["sum"] = self.sums.ready & last_word
        m.d.comb += fetch.o.ready.eq(Cat(answer.tag[name] & taken for name, taken in ready.items()).any())

    def _table_word(self, m: Module, read: data.View, last: Signal) -> Value:
        """The next of the words of a read, for a table or a sum; ``last`` is the last one."""
        m.d.comb += last.eq(1)
        if self.weight_rows == 1:
            return read.as_value()
        place = Signal(range(self.weight_rows))
        m.d.comb += last.eq(place == self.weight_rows - 1)
        taken = self.tables.valid & self.tables.ready
        if self.residual:
            taken |= self.sums.valid & self.sums.ready
        with m.If(taken):
            m.d.sync += place.eq(place + 1)
        return read.as_value().word_select(place, 8 * self.cols)
