"""On-chip memories of fixed latency."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Mux, Signal, Value, ValueLike
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Member, Out
from amaranth.utils import ceil_log2

from sateen.hw.spec.timing import BLOCK_DEPTH, block_depths, block_memory_latency
from sateen.hw.stream.delay import FANOUT, delayed, replicated
from sateen.hw.stream.mux import pipelined_mux

__all__ = ["NO_COLLISIONS", "Block", "BlockMemory", "last_read"]

BLOCK_LATENCY = 2
"""Cycles of a block RAM and its output register."""
SHALLOW = 128
"""Most words of a memory that is too small for a block RAM."""
NEAR = 2
"""Memory lanes that one address register drives: a deep memory has many block RAMs a lane."""
ECP5_BITS = 18432
"""Bits of a block RAM; bytes leave every ninth unused."""


NO_COLLISIONS: dict[str, Any] = {"no_rw_check": 1}
"""Attributes of a memory none of whose :func:`last_read` words is written in the cycle of the read: synthesis adds no
logic for such collisions."""

IN_LUTS: dict[str, Any] = {"ram_style": "distributed"}
"""Attributes of a memory that synthesis makes of LUTs, though it fills half of a block RAM."""


def last_read(m: Module, memory: Memory, address: ValueLike, *, enable: ValueLike = 1) -> Signal:
    """The word at ``address`` when ``enable`` was last set, from the next cycle on: a block RAM's read port."""
    port = memory.read_port(domain="comb")
    word = Signal(memory.shape, reset_less=True)
    m.d.comb += port.addr.eq(address)
    with m.If(enable):
        m.d.sync += word.eq(port.data)
    return word


class BlockMemory(wiring.Component):
    """A memory of words of ``lanes`` bytes, from block RAMs whose outputs are registered before any logic.

    One read and one write per cycle. A read of the word that is written in the same cycle gives anything. Past the end,
    reads give anything, and writes do nothing or reach words of the last block. With more than four lanes, reads and
    writes reach the first four a cycle late, and each further four a cycle later than the four before; each two lanes
    have registers of their own, or each four if that saves block RAMs.

    Parameters
    ----------
    lanes : int
        Bytes of a word, 1 or more.
    depth : int
        Words, 1 or more.
    logic : bool
        It is made of LUTs that are memories.
    reads_back : bool
        The port that writes reads, too. Of a single byte only.

    Members
    -------
    r_address : In, r_data : Out
        A read: data ``latency`` cycles after the address, see :func:`sateen.hw.spec.timing.block_memory_latency`.
    w_address, w_data : In, w_enable : In(lanes)
        A write of the enabled bytes; a read from the next cycle on sees it.
    back_data : Out
        The word at ``w_address``, ``latency`` cycles after a cycle in which nothing is written; else anything. Only
        with ``reads_back``.
    """

    def __init__(self, *, lanes: int, depth: int, logic: bool = False, reads_back: bool = False):
        for name, value in (("lanes", lanes), ("depth", depth)):
            if value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value!r}")
        if reads_back and lanes > 1:
            raise ValueError(f"lanes must be 1 where words are read back, not {lanes!r}")
        self.lanes, self.depth, self.logic, self.reads_back = lanes, depth, logic, reads_back
        self.latency = block_memory_latency(lanes=lanes, depth=depth)
        self.near = block_memory_latency(lanes=1, depth=depth)
        # What remains below deep blocks may be so shallow that four bytes fill a block RAM.
        last = block_depths(lanes=lanes, depth=depth)[-1]
        self.beside = FANOUT if depth > BLOCK_DEPTH and last <= BLOCK_DEPTH // FANOUT else NEAR
        super().__init__(_word_ports(lanes, depth, reads_back=reads_back))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.lanes <= FANOUT:
            self._choose(m)
            return m
        write: Value = Cat(self.w_address, self.w_data)
        read, enable = self.r_address, self.w_enable
        for first in range(0, self.lanes, FANOUT):
            starts = range(first, min(first + FANOUT, self.lanes), self.beside)
            reads, writes, enables = (
                replicated(m, platform, value, len(starts), name=f"{name}_{first}")
                for name, value in (("read", read), ("write", write), ("enable", enable))
            )
            read, write, enable = reads[0], writes[0], enables[0]
            late = self.latency - self.near - 1 - first // FANOUT
            for copy, start in enumerate(starts):
                lanes = slice(start, min(start + self.beside, first + FANOUT, self.lanes))
                m.submodules[f"lanes_{start}"] = group = BlockMemory(
                    lanes=lanes.stop - start, depth=self.depth, logic=self.logic
                )  # fmt: skip
                address, words = writes[copy][: len(self.w_address)], writes[copy][len(self.w_address) :]
                m.d.comb += [
                    group.r_address.eq(reads[copy]),
                    group.w_address.eq(address),
                    group.w_data.eq(words[8 * lanes.start : 8 * lanes.stop]),
                    group.w_enable.eq(enables[copy][lanes]),
                ]
                for lane in range(lanes.start, lanes.stop):
                    m.d.comb += self.r_data[lane].eq(delayed(m, group.r_data[lane - start], late, name=f"lane_{lane}"))
        return m

    def _choose(self, m: Module) -> None:
        """Blocks, of which the upper address bits select one."""
        offset_bits = min(len(self.r_address), ceil_log2(BLOCK_DEPTH))
        depths = block_depths(lanes=self.lanes, depth=self.depth)
        block, written = (self._block(address, depths) for address in (self.r_address, self.w_address))
        outputs, backs = [], []
        for index, depth in enumerate(depths):
            memory = Block(
                lanes=self.lanes, depth=depth, level=index > 0, logic=self.logic, reads_back=self.reads_back
            )  # fmt: skip
            m.submodules[f"block_{index}"] = memory
            m.d.comb += [
                memory.r_address.eq(self.r_address[:offset_bits]),
                memory.w_address.eq(self.w_address[:offset_bits]),
                memory.w_data.eq(self.w_data),
                memory.w_enable.eq(Mux(written == index, self.w_enable, 0)),
            ]
            outputs.append(memory.r_data.as_value())
            if self.reads_back:
                backs.append(memory.back_data.as_value())
        block = delayed(m, block, BLOCK_LATENCY, name="chosen_block")
        m.d.comb += self.r_data.as_value().eq(pipelined_mux(m, outputs, block, name="chosen"))
        if self.reads_back:
            written = delayed(m, written, BLOCK_LATENCY, name="written_block")
            m.d.comb += self.back_data.as_value().eq(pipelined_mux(m, backs, written, name="back"))

    def _block(self, address: Value, depths: list[int]) -> Value:
        """The number of the block that has a word."""
        block = address[ceil_log2(BLOCK_DEPTH) :]
        if depths.count(BLOCK_DEPTH) >= len(depths) - 1:
            return block
        # The last two blocks divide what one would have.
        last = len(depths) - 1
        return Mux((block == last - 1) & address[ceil_log2(BLOCK_DEPTH) - 1], last, block)


def _word_ports(lanes: int, depth: int, lane_bits: int = 8, *, reads_back: bool = False) -> dict[str, Member]:
    """Ports of a memory of words."""
    word, address = data.ArrayLayout(lane_bits, lanes), max(1, ceil_log2(depth))
    return {
        "r_address": In(address),
        "r_data": Out(word),
        "w_address": In(address),
        "w_data": In(word),
        "w_enable": In(lanes),
        **({"back_data": Out(word)} if reads_back else {}),
    }


class Block(wiring.Component):
    """A memory as deep as one block RAM, or deeper; latency :data:`BLOCK_LATENCY`. Ports as :class:`BlockMemory`'s.

    If the platform's ``sateen_technology`` is ``ecp5``, it instantiates DP16KD, whose output registers Yosys leaves
    unused. Shallow memories, those deeper than :data:`BLOCK_DEPTH`, and all others are inferred.

    Parameters
    ----------
    lanes : int
        Bytes of a word.
    depth : int
        Words.
    whole : bool
        ``w_enable`` is the same for all bytes.
    lane_bits : int
        8, or 9 where ``whole``: then a byte has all bits that a block RAM has for it.
    level : bool
        It is one of the blocks of a deeper memory, below the first.
    logic : bool
        It is made of LUTs that are memories.
    reads_back : bool
        The port that writes reads, too: ``back_data`` as :class:`BlockMemory`'s. A DP16KD has that port anyway; where
        the memory is inferred, and in LUTs, synthesis may double it. Words have fewer than four bytes.
    """

    def __init__(
        self, *, lanes: int, depth: int, whole: bool = False, lane_bits: int = 8, level: bool = False,
        logic: bool = False, reads_back: bool = False,
    ):  # fmt: skip
        self.lanes, self.depth, self.whole, self.lane_bits = lanes, depth, whole, lane_bits
        self.level, self.logic, self.reads_back = level, logic, reads_back
        super().__init__(_word_ports(lanes, depth, lane_bits, reads_back=reads_back))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.logic:
            self._from_logic(m, platform)
            return m
        together = self._together()
        if getattr(platform, "sateen_technology", None) == "ecp5" and together:
            for lane in range(0, self.lanes, together):
                m.submodules[f"ram_{lane}"] = self._ecp5(lane, together)
            return m
        bits = self.lane_bits * self.lanes
        memory: Memory = Memory(shape=bits, depth=self.depth, init=[])
        m.submodules.memory = memory
        write, read = memory.write_port(granularity=bits if self.whole else 8), memory.read_port()
        m.d.comb += [
            read.addr.eq(self.r_address),
            read.en.eq(1),
            write.addr.eq(self.w_address),
            write.data.eq(self.w_data),
            write.en.eq(self.w_enable),
        ]
        m.d.comb += self.r_data.as_value().eq(delayed(m, read.data, name="output"))
        if self.reads_back:
            back = memory.read_port()
            m.d.comb += [back.addr.eq(self.w_address), back.en.eq(~self.w_enable.any())]
            m.d.comb += self.back_data.as_value().eq(delayed(m, back.data, name="back"))
        return m

    def _from_logic(self, m: Module, platform: object) -> None:
        """Addresses are registered, for each byte apart, since each 16 words have LUTs of their own; the words are read
        without a clock."""
        reads = replicated(m, platform, self.r_address, self.lanes, name="read")
        writes = replicated(m, platform, Cat(self.w_enable, self.w_address), self.lanes, name="write")
        for lane, (address, write) in enumerate(zip(reads, writes, strict=True)):
            memory: Memory = Memory(shape=self.lane_bits, depth=self.depth, init=[], attrs=IN_LUTS)
            m.submodules[f"memory_{lane}"] = memory
            port, read = memory.write_port(), memory.read_port(domain="comb")
            m.d.comb += [
                read.addr.eq(address),
                port.addr.eq(write[self.lanes :]),
                port.en.eq(write[lane]),
                port.data.eq(delayed(m, self.w_data[lane], name=f"data_{lane}")),
                self.r_data[lane].eq(delayed(m, read.data, name=f"output_{lane}")),
            ]
            if self.reads_back:
                back = memory.read_port(domain="comb")
                m.d.comb += back.addr.eq(write[self.lanes :])
                m.d.comb += self.back_data[lane].eq(delayed(m, back.data, name=f"back_{lane}"))

    def _together(self) -> int:
        """Bytes of a word in one DP16KD of 2048, 1024 or 512 words; 0 if most of it would be empty, or if the memory is
        deeper."""
        if self.depth > BLOCK_DEPTH:
            return 0
        if (self.whole or self.level) and self.lanes == 4 and SHALLOW < self.depth <= ECP5_BITS // 36:
            return 4
        # An inferred memory may be doubled where it is read back.
        least = SHALLOW if self.reads_back else ECP5_BITS // 36
        return 0 if self.depth <= least else 2 if self.depth <= ECP5_BITS // 18 else 1

    def _ecp5(self, first: int, together: int) -> Instance:
        """The block RAM of ``together`` lanes: port A writes, and reads back, port B reads; with four lanes, each word
        takes the data pins of both."""
        lanes = range(first, min(self.lanes, first + together))
        enable = Cat(self.w_enable[lane] for lane in lanes)
        # A word of 9, 18 or 36 bits leaves the lowest address bits unused; for wide words, some of them enable bytes.
        low = {1: 3, 2: 4, 4: 5}[together]
        a = Cat(Const(0, low) if together == 1 else Cat(enable, Const(0, low - len(enable))), self.w_address)
        b = Cat(Const(0, low), self.r_address)
        data_in, unused = Cat(Cat(self.w_data[lane], Const(0, 1))[:9] for lane in lanes), Signal(36)
        out = [
            self.r_data[first + lane][bit] if bit < self.lane_bits and first + lane in lanes else unused[9 * lane + bit]
            for lane in range(4)
            for bit in range(9)
        ]
        if self.reads_back:
            for lane in lanes:
                start = 18 + 9 * (lane - first)
                out[start : start + self.lane_bits] = self.back_data[lane]
        pins: dict[str, object] = {}
        for bit in range(14):
            pins |= {
                f"i_ADA{bit}": a[bit] if bit < len(a) else Const(0),
                f"i_ADB{bit}": b[bit] if bit < len(b) else Const(0),
            }
        for bit in range(36):
            pins[f"i_DI{'AB'[bit // 18]}{bit % 18}"] = data_in[bit] if bit < len(data_in) else Const(0)
            pins[f"o_DO{'AB'[bit // 18 ^ (together < 4)]}{bit % 18}"] = out[bit]
        for port in "AB":
            pins |= {
                f"i_CLK{port}": ClockSignal(),
                f"i_CE{port}": Const(1),
                f"i_OCE{port}": Const(1),
                f"i_RST{port}": Const(0),
            }
            pins |= {f"i_CS{port}{bit}": Const(0) for bit in range(3)}
        width = 9 * together
        return Instance(
            "DP16KD",
            **pins,
            i_WEA=enable.any(),
            i_WEB=Const(0),
            p_DATA_WIDTH_A=width,
            p_DATA_WIDTH_B=width,
            p_REGMODE_A="OUTREG" if together == 4 or self.reads_back else "NOREG",
            p_REGMODE_B="OUTREG",
            p_RESETMODE="SYNC",
            p_ASYNC_RESET_RELEASE="SYNC",
            p_CSDECODE_A="0b000",
            p_CSDECODE_B="0b000",
            p_CLKAMUX="CLKA",
            p_CLKBMUX="CLKB",
            p_WRITEMODE_A="NORMAL",
            p_WRITEMODE_B="NORMAL",
            p_GSR="DISABLED",
        )
