"""On-chip memories of fixed latency."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Mux, Signal, Value, ValueLike
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Member, Out
from amaranth.utils import ceil_log2

from sateen.hw.spec.timing import BLOCK_DEPTH, LUT_DEPTH, block_depths, block_memory_latency
from sateen.hw.stream.delay import FANOUT, delayed, replicated
from sateen.hw.stream.mux import indexed_mux, pipelined_mux

__all__ = ["NO_COLLISIONS", "Block", "BlockMemory", "Scratchpad", "last_read"]

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

    Members
    -------
    r_address : In, r_data : Out
        A read: data ``latency`` cycles after the address, see :func:`sateen.hw.spec.timing.block_memory_latency`.
    w_address, w_data : In, w_enable : In(lanes)
        A write of the enabled bytes; a read from the next cycle on sees it.
    """

    def __init__(self, *, lanes: int, depth: int, logic: bool = False):
        for name, value in (("lanes", lanes), ("depth", depth)):
            if value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value!r}")
        self.lanes, self.depth, self.logic = lanes, depth, logic
        self.latency = block_memory_latency(lanes=lanes, depth=depth)
        self.near = block_memory_latency(lanes=1, depth=depth)
        # What remains below deep blocks may be so shallow that four bytes fill a block RAM.
        last = block_depths(lanes=lanes, depth=depth)[-1]
        self.beside = FANOUT if depth > BLOCK_DEPTH and last <= BLOCK_DEPTH // FANOUT else NEAR
        super().__init__(_word_ports(lanes, depth))

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
        outputs = []
        for index, depth in enumerate(depths):
            memory = Block(lanes=self.lanes, depth=depth, level=index > 0, logic=self.logic)
            m.submodules[f"block_{index}"] = memory
            m.d.comb += [
                memory.r_address.eq(self.r_address[:offset_bits]),
                memory.w_address.eq(self.w_address[:offset_bits]),
                memory.w_data.eq(self.w_data),
                memory.w_enable.eq(Mux(written == index, self.w_enable, 0)),
            ]
            outputs.append(memory.r_data.as_value())
        block = delayed(m, block, BLOCK_LATENCY, name="chosen_block")
        m.d.comb += self.r_data.as_value().eq(pipelined_mux(m, outputs, block, name="chosen"))

    def _block(self, address: Value, depths: list[int]) -> Value:
        """The number of the block that has a word."""
        block = address[ceil_log2(BLOCK_DEPTH) :]
        if depths.count(BLOCK_DEPTH) >= len(depths) - 1:
            return block
        # The last two blocks divide what one would have.
        last = len(depths) - 1
        return Mux((block == last - 1) & address[ceil_log2(BLOCK_DEPTH) - 1], last, block)


def _word_ports(lanes: int, depth: int, lane_bits: int = 8) -> dict[str, Member]:
    """Ports of a memory of words."""
    word, address = data.ArrayLayout(lane_bits, lanes), max(1, ceil_log2(depth))
    return {
        "r_address": In(address),
        "r_data": Out(word),
        "w_address": In(address),
        "w_data": In(word),
        "w_enable": In(lanes),
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
    """

    def __init__(
        self, *, lanes: int, depth: int, whole: bool = False, lane_bits: int = 8, level: bool = False,
        logic: bool = False,
    ):  # fmt: skip
        self.lanes, self.depth, self.whole, self.lane_bits = lanes, depth, whole, lane_bits
        self.level, self.logic = level, logic
        super().__init__(_word_ports(lanes, depth, lane_bits))

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

    def _together(self) -> int:
        """Bytes of a word in one DP16KD of 2048, 1024 or 512 words; 0 if most of it would be empty, or if the memory is
        deeper."""
        if self.depth > BLOCK_DEPTH:
            return 0
        if (self.whole or self.level) and self.lanes == 4 and SHALLOW < self.depth <= ECP5_BITS // 36:
            return 4
        return 0 if self.depth <= ECP5_BITS // 36 else 2 if self.depth <= ECP5_BITS // 18 else 1

    def _ecp5(self, first: int, together: int) -> Instance:
        """The block RAM of ``together`` lanes: port A writes, port B reads; with four lanes, each word takes the data
        pins of both."""
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
            p_REGMODE_A="OUTREG" if together == 4 else "NOREG",
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


class Scratchpad(wiring.Component):
    """The activation memory: reads any ``banks`` consecutive bytes and writes any others in one cycle, wherever they
    begin.

    Each bank is a memory of bytes with an address of its own; byte ``a`` is in bank ``a % banks``. Reads and writes
    rotate bytes to and from their banks in pipelined steps. One read and one write per cycle. Past the end, reads give
    anything and writes do nothing.

    Parameters
    ----------
    banks : int
        Bytes of an access, a power of two, 2 or more.
    depth : int
        Bytes of a bank.
    logic : bool
        Banks of at most :data:`LUT_DEPTH` bytes are made of LUTs.

    Members
    -------
    r_address : In, r_data : Out
        A read: lane ``k`` has byte ``r_address + k``, ``read_latency`` cycles after the address.
    w_address, w_data : In, w_enable : In(banks)
        A write: lane ``k`` goes to byte ``w_address + k`` if enabled. A read from ``write_latency`` cycles later on
        sees it.
    """

    def __init__(self, *, banks: int, depth: int, logic: bool = False):
        if banks < 2 or banks & (banks - 1):
            raise ValueError(f"banks must be a power of two of 2 or more, not {banks!r}")
        if depth < 1:
            raise ValueError(f"depth must be 1 or more, not {depth!r}")
        self.banks, self.depth, self.logic = banks, depth, logic and depth <= LUT_DEPTH
        self.select = ceil_log2(banks)
        # Banks are spread over the chip: every few have address registers of their own.
        self.copies = -(-banks // FANOUT)
        # Rotations by up to 3 places a cycle: a 4:1 multiplexer per bit.
        self.steps = -(-self.select // 2)
        self.write_latency = self.steps
        self.bank_latency = block_memory_latency(lanes=1, depth=depth)
        self.read_latency = 2 + self.bank_latency + self.steps
        line = data.ArrayLayout(8, banks)
        address = ceil_log2(banks * depth)
        super().__init__(
            {
                "r_address": In(address),
                "r_data": Out(line),
                "w_address": In(address),
                "w_data": In(line),
                "w_enable": In(banks),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        banks = []
        for index in range(self.banks):
            m.submodules[f"bank_{index}"] = bank = BlockMemory(
                lanes=1, depth=self.depth, logic=self.logic
            )  # fmt: skip
            banks.append(bank)

        # Reading: lane k is in bank (start + k) % banks, so the line is rotated down by the start.
        for bank, address in zip(banks, self._bank_addresses(m, platform, self.r_address, name="r"), strict=True):
            m.d.comb += bank.r_address.eq(address)
        start = delayed(m, self.r_address[: self.select], 1 + self.bank_latency, name="r_start")
        starts = replicated(m, platform, start, self.copies, name="r_start")
        line = self._rotated(m, [bank.r_data[0] for bank in banks], starts, down=True, name="r_line")
        m.d.comb += Cat(self.r_data).eq(Cat(line))

        # Writing: each byte takes its enable along.
        starts = replicated(m, platform, self.w_address[: self.select], self.copies, name="w_start")
        items = [
            delayed(m, Cat(self.w_data[lane], self.w_enable[lane]), name=f"item_{lane}") for lane in range(self.banks)
        ]
        line = self._rotated(m, items, starts, down=False, name="w_line")
        addresses = self._bank_addresses(m, platform, self.w_address, name="w")
        for index, (bank, item) in enumerate(zip(banks, line, strict=True)):
            address = delayed(m, addresses[index], self.steps - 1, name=f"w_address_{index}")
            m.d.comb += [bank.w_address.eq(address), bank.w_data[0].eq(item[:8]), bank.w_enable.eq(item[8])]
        return m

    def _bank_addresses(self, m: Module, platform: object, address: Value, *, name: str) -> list[Signal]:
        """The row of each bank, two cycles later: banks before that of the first byte use the next row."""
        start, row = address[: self.select], address[self.select :]
        rows = replicated(m, platform, row, self.copies, name=f"{name}_row")
        nexts = replicated(m, platform, (row + 1)[: len(row)], self.copies, name=f"{name}_next")
        wraps = delayed(m, Cat(*(start > index for index in range(self.banks - 1)), Const(0, 1)), name=f"{name}_wraps")
        return [
            delayed(m, Mux(wraps[index], nexts[index // FANOUT], rows[index // FANOUT]), name=f"{name}_{index}")
            for index in range(self.banks)
        ]

    def _rotated(self, m: Module, line: list, starts: list[Signal], *, down: bool, name: str) -> list:
        """``line`` rotated by a number of places, by two bits of it per cycle; each :data:`FANOUT` bytes have registers
        of that number of their own."""
        for step in range(self.steps):
            unit = 1 << (2 * step)
            rotated = []
            for index in range(self.banks):
                places = starts[index // FANOUT][:2]
                sources = [
                    line[(index + (1 if down else -1) * place * unit) % self.banks] for place in range(1 << len(places))
                ]
                rotated.append(delayed(m, indexed_mux(sources, places), name=f"{name}_{step}_{index}"))
            line = rotated
            starts = [delayed(m, start[2:], name=f"{name}_start_{step}_{copy}") for copy, start in enumerate(starts)]
        return line
