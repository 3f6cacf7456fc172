"""The weight store: block RAMs that give one word a cycle, or several."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from sateen.hw.memory import Block, BlockMemory
from sateen.hw.spec.config import Config, ceil_pow2
from sateen.hw.spec.timing import BLOCK_DEPTH, FANOUT, packed_memory_latency, weight_store_latency
from sateen.hw.stream.delay import delayed, replicated
from sateen.hw.stream.mux import pipelined_mux

__all__ = ["PackedMemory", "WeightStore"]

LANE_BITS = 9
"""Bits side by side in a block RAM of 2048 words."""
CHUNK = 4
"""Lanes that one address register drives; as many bits are side by side in a block RAM of 512 words."""


class PackedMemory(wiring.Component):
    """A memory of wide words, which are written whole, so that each ninth bit of the block RAMs is in use.

    One read and one write per cycle, as :class:`~sateen.hw.memory.BlockMemory` has them.

    Parameters
    ----------
    bits : int
        Of a word.
    depth : int
        Words.
    lanes : int
        Bytes after which a word begins again at the left of the tile, above which its blocks are placed.

    Members
    -------
    r_address : In, r_data : Out
        A read: data ``latency`` cycles after the address, see
        :func:`sateen.hw.spec.timing.packed_memory_latency`.
    w_address, w_enable : In, w_data : In
        A write: ``w_data`` two cycles after the others.
    """

    def __init__(self, *, bits: int, depth: int, lanes: int):
        self.bits, self.depth, self.lanes = bits, depth, lanes
        self.latency = packed_memory_latency(depth)
        address = max(1, ceil_log2(depth))
        super().__init__(
            {
                "r_address": In(address),
                "r_data": Out(bits),
                "w_address": In(address),
                "w_enable": In(1),
                "w_data": In(bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        starts = range(0, self.bits, CHUNK * LANE_BITS)
        reads = self._distributed(m, platform, self.r_address, len(starts), name="read")
        writes = self._distributed(m, platform, Cat(self.w_enable, self.w_address), len(starts), name="write")
        for index, start in enumerate(starts):
            here = slice(start, min(self.bits, start + CHUNK * LANE_BITS))
            lane = start // 8 % self.lanes
            read = self._chunk(m, f"lane_{lane}_chunk_{index}", reads[index], writes[index], self.w_data[here])
            m.d.comb += self.r_data[here].eq(read)
        return m

    def _distributed(self, m: Module, platform: object, value: Value, copies: int, *, name: str) -> list[Signal]:
        """``value`` for each chunk, two cycles later: they are spread over the chip."""
        near = replicated(m, platform, value, -(-copies // FANOUT), name=f"{name}_near")
        far: list[Signal] = []
        for index, source in enumerate(near):
            count = min(FANOUT, copies - len(far))
            far += replicated(m, platform, source, count, name=f"{name}_far_{index}")
        return far

    def _chunk(self, m: Module, name: str, address: Value, write: Value, word: Value) -> Value:
        """Some bits of all words, and what was read of them."""
        offset_bits = min(len(address), ceil_log2(BLOCK_DEPTH))
        outputs: list[Value] = []
        for level, first in enumerate(range(0, self.depth, BLOCK_DEPTH)):
            depth = min(BLOCK_DEPTH, self.depth - first)
            lanes = CHUNK if depth <= BLOCK_DEPTH // CHUNK else -(-len(word) // LANE_BITS)
            memory = Block(lanes=lanes, depth=depth, whole=True, lane_bits=LANE_BITS)
            m.submodules[f"{name}_block_{level}"] = memory
            enable = write[0] & (write[1 + offset_bits :] == level)
            m.d.comb += [
                memory.r_address.eq(address[:offset_bits]),
                memory.w_address.eq(write[1 : 1 + offset_bits]),
                memory.w_data.as_value().eq(word),
                memory.w_enable.eq(enable.replicate(lanes)),
            ]
            outputs.append(memory.r_data.as_value()[: len(word)])
        chosen = delayed(m, address[offset_bits:], 2, name=f"{name}_level")
        return pipelined_mux(m, outputs, chosen, name=f"{name}_chosen")


class WeightStore(wiring.Component):
    """Words of ``cols`` bytes, of which ``weight_rows`` neighbours are read at once. One read and one write per cycle.

    The host sees ``lanes`` bytes at an address: each word takes ``cols`` of them, rounded up to a power of two, the
    last one ``cols``. ``columns`` lists those that belong to words. Where several words are read at once, they are
    also written at once, when their last byte is written; the others wait until then. Only where results become words
    (``products``) is each byte written by itself.

    Members
    -------
    r_address : In, r_data : Out
        A read of ``lanes`` bytes: data ``latency`` cycles after the address, see
        :func:`sateen.hw.spec.timing.weight_store_latency`. Bytes between words are 0.
    w_address, w_data : In, w_enable : In(lanes)
        A write of the enabled bytes. Reads from a few cycles later on see it; where several words are written at once,
        only after their last byte. Bytes between words are lost.
    """

    def __init__(self, config: Config):
        self.cols, self.stride, self.words = config.cols, ceil_pow2(config.cols), config.weight_rows
        self.lanes = (self.words - 1) * self.stride + self.cols
        self.columns = [word * self.stride + column for word in range(self.words) for column in range(self.cols)]
        self.depth = config.weight_words // self.words
        self.packed, self.latency = config.weights_packed, weight_store_latency(config)
        address = max(1, ceil_log2(self.depth))
        super().__init__(
            {
                "r_address": In(address),
                "r_data": Out(data.ArrayLayout(8, self.lanes)),
                "w_address": In(address),
                "w_data": In(data.ArrayLayout(8, self.lanes)),
                "w_enable": In(self.lanes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.packed:
            self._packed(m)
            return m
        m.submodules.memory = memory = BlockMemory(lanes=len(self.columns), depth=self.depth)
        m.d.comb += [memory.r_address.eq(self.r_address), memory.w_address.eq(self.w_address)]
        # A column's bytes are side by side, as columns are in the array.
        for place, lane in enumerate(sorted(self.columns, key=lambda lane: lane % self.stride)):
            m.d.comb += [
                memory.w_data[place].eq(self.w_data[lane]),
                memory.w_enable[place].eq(self.w_enable[lane]),
                self.r_data[lane].eq(memory.r_data[place]),
            ]
        return m

    def _packed(self, m: Module) -> None:
        """All words of an address are one of the memory's."""
        m.submodules.memory = memory = PackedMemory(bits=8 * len(self.columns), depth=self.depth, lanes=self.cols)
        m.d.comb += [
            memory.r_address.eq(self.r_address),
            memory.w_address.eq(self.w_address),
            memory.w_enable.eq(self.w_enable[-1]),
        ]
        for place, lane in enumerate(self.columns):
            here, byte = slice(8 * place, 8 * place + 8), Signal(8, name=f"byte_{lane}", reset_less=True)
            arriving = delayed(m, self.w_data[lane], name=f"w_data_{lane}")
            with m.If(delayed(m, self.w_enable[lane], name=f"enable_{lane}")):
                m.d.sync += byte.eq(arriving)
            m.d.comb += [memory.w_data[here].eq(byte), self.r_data[lane].eq(memory.r_data[here])]
