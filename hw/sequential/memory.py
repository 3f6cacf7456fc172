"""The memory of a sequential engine, for activations and weights."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, ClockSignal, Const, Instance, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from sateen.hw.memory import NO_COLLISIONS, last_read

__all__ = ["Bank", "BankedMemory"]

SPRAM_BYTES = 32768
"""Size of an iCE40 UltraPlus's single-port memory."""
DEEP = 4096
"""Least bytes of a bank that is made of one; smaller banks are block RAMs."""


class Bank(wiring.Component):
    """A memory of bytes with one port. Latency 1 cycle; a byte that was read stays until the next read.

    If the platform's ``sateen_technology`` is ``up5k``, a deep bank is an SB_SPRAM256KA, two bytes a word; all others
    are inferred.

    Parameters
    ----------
    depth : int
        Bytes, 2 or more.

    Members
    -------
    address : In
        Of a byte.
    read, write : In(1)
        At most one of them.
    w_data : In, r_data : Out
        The byte to write; the byte that was read, a cycle later.
    """

    def __init__(self, *, depth: int):
        if depth < 2:
            raise ValueError(f"depth must be 2 or more, not {depth!r}")
        self.depth = depth
        super().__init__(
            {"address": In(ceil_log2(depth)), "read": In(1), "write": In(1), "w_data": In(8), "r_data": Out(8)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if getattr(platform, "sateen_technology", None) == "up5k" and DEEP <= self.depth <= SPRAM_BYTES:
            self._spram(m)
            return m
        memory: Memory = Memory(shape=8, depth=self.depth, init=[], attrs=NO_COLLISIONS)
        m.submodules.memory = memory
        write = memory.write_port()
        m.d.comb += [write.addr.eq(self.address), write.data.eq(self.w_data), write.en.eq(self.write)]
        m.d.comb += self.r_data.eq(last_read(m, memory, self.address, enable=self.read))
        return m

    def _spram(self, m: Module) -> None:
        """The upper byte of a word has the odd address; its mask has a bit for each nibble."""
        word, upper, odd = Signal(16), self.address[0], Signal()
        with m.If(self.read):
            m.d.sync += odd.eq(upper)
        m.submodules.memory = Instance(
            "SB_SPRAM256KA",
            i_ADDRESS=Cat(self.address[1:], Const(0, 15 - len(self.address))),
            i_DATAIN=self.w_data.replicate(2),
            i_MASKWREN=Cat((~upper).replicate(2), upper.replicate(2)),
            i_WREN=self.write,
            i_CHIPSELECT=self.read | self.write,
            i_CLOCK=ClockSignal(),
            i_STANDBY=Const(0),
            i_SLEEP=Const(0),
            i_POWEROFF=Const(1),
            o_DATAOUT=word,
        )
        m.d.comb += self.r_data.eq(Mux(odd, word[8:], word[:8]))


class BankedMemory(wiring.Component):
    """Reads ``banks`` consecutive bytes, wherever they begin, or writes one byte in a cycle.

    Latency 1 cycle; a line that was read stays until the next access. Past the end, reads give anything.

    Parameters
    ----------
    banks : int
        Bytes of a line, a power of two, 2 or more.
    depth : int
        Bytes of a bank.

    Members
    -------
    address : In
        Of the first byte, which is in bank ``address % banks``.
    read, write : In(1)
        At most one of them.
    w_data : In
        The byte to write at ``address``.
    r_data : Out
        Lane ``k`` has the byte at ``address + k``.
    """

    def __init__(self, *, banks: int, depth: int):
        if banks < 2 or banks & (banks - 1):
            raise ValueError(f"banks must be a power of two of 2 or more, not {banks!r}")
        self.banks, self.depth = banks, depth
        line = data.ArrayLayout(8, banks)
        super().__init__(
            {
                "address": In(ceil_log2(banks * depth)),
                "read": In(1),
                "write": In(1),
                "w_data": In(8),
                "r_data": Out(line),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        select = ceil_log2(self.banks)
        start, row = self.address[:select], self.address[select:]
        following, first = Signal(len(row)), Signal(len(start))
        m.d.comb += following.eq(row + 1)
        with m.If(self.read):
            m.d.sync += first.eq(start)
        line = []
        for index in range(self.banks):
            m.submodules[f"bank_{index}"] = bank = Bank(depth=self.depth)
            m.d.comb += [
                bank.address.eq(Mux(start > index, following, row)),
                bank.read.eq(self.read),
                bank.write.eq(self.write & (start == index)),
                bank.w_data.eq(self.w_data),
            ]
            line.append(bank.r_data)
        for lane in range(self.banks):
            m.d.comb += self.r_data[lane].eq(
                Array(line[(lane + place) % self.banks] for place in range(self.banks))[first]
            )
        return m
