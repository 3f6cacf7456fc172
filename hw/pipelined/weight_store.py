"""The weight store: block RAMs that give several words a cycle."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from sateen.hw.memory import BlockMemory
from sateen.hw.spec.config import Config, ceil_pow2
from sateen.hw.spec.timing import weight_store_latency
from sateen.hw.stream.delay import delayed, replicated

__all__ = ["WeightStore"]


class WeightStore(wiring.Component):
    """Words of ``cols`` bytes, of which ``weight_rows`` neighbours are read at once. One read and one write per cycle.

    The host sees ``lanes`` bytes at an address: each word takes ``cols`` of them, rounded up to a power of two, the
    last one ``cols``. ``columns`` lists those that belong to words.

    Members
    -------
    r_address : In, r_data : Out
        A read of ``lanes`` bytes: data ``latency`` cycles after the address, see
        :func:`sateen.hw.spec.timing.weight_store_latency`. Bytes between words are 0.
    w_address, w_data : In, w_enable : In(lanes)
        A write of the enabled bytes; a read from the next cycle on sees it. Bytes between words are lost.
    """

    def __init__(self, config: Config):
        self.cols, self.stride, self.words = config.cols, ceil_pow2(config.cols), config.weight_rows
        self.lanes = (self.words - 1) * self.stride + self.cols
        self.columns = [word * self.stride + column for word in range(self.words) for column in range(self.cols)]
        self.depth = config.weight_words // self.words
        self.latency = weight_store_latency(config)
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
        reads, writes, late = [self.r_address], [self.w_address], 0
        if self.words > 1:
            # Each word's memories have addresses of their own, a cycle later: they are spread over the chip.
            reads, writes = (
                replicated(m, platform, address, self.words, name=name)
                for name, address in (("read", self.r_address), ("write", self.w_address))
            )
            late = 1
        for word, (read, write) in enumerate(zip(reads, writes, strict=True)):
            m.submodules[f"word_{word}"] = memory = BlockMemory(lanes=self.cols, depth=self.depth)
            here = slice(word * self.stride, word * self.stride + self.cols)
            enable = delayed(m, self.w_enable[here], late, name=f"enable_{word}")
            m.d.comb += [memory.r_address.eq(read), memory.w_address.eq(write), memory.w_enable.eq(enable)]
            for column, lane in enumerate(range(here.start, here.stop)):
                m.d.comb += [
                    memory.w_data[column].eq(delayed(m, self.w_data[lane], late, name=f"w_data_{lane}")),
                    self.r_data[lane].eq(memory.r_data[column]),
                ]
        return m
