"""The activation memory, which is read and written in lines of bytes that begin anywhere."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from sateen.hw.memory import BlockMemory
from sateen.hw.spec.timing import LUT_DEPTH, block_memory_latency
from sateen.hw.stream.delay import FANOUT, delayed, replicated
from sateen.hw.stream.mux import indexed_mux

__all__ = ["Scratchpad"]


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
    reads_back : bool
        The port that writes reads, too.

    Members
    -------
    r_address : In, r_data : Out
        A read: lane ``k`` has byte ``r_address + k``, ``read_latency`` cycles after the address.
    w_address, w_data : In, w_enable : In(banks)
        A write: lane ``k`` goes to byte ``w_address + k`` if enabled. A read from ``write_latency`` cycles later on
        sees it.
    back_data : Out
        A second read, in a cycle in which nothing is written: lane ``k`` has byte ``w_address + k``, ``back_latency``
        cycles after the address, with all writes of earlier cycles. Only with ``reads_back``.
    """

    def __init__(self, *, banks: int, depth: int, logic: bool = False, reads_back: bool = False):
        if banks < 2 or banks & (banks - 1):
            raise ValueError(f"banks must be a power of two of 2 or more, not {banks!r}")
        if depth < 1:
            raise ValueError(f"depth must be 1 or more, not {depth!r}")
        self.banks, self.depth, self.logic = banks, depth, logic and depth <= LUT_DEPTH
        self.reads_back = reads_back
        self.select = ceil_log2(banks)
        # Banks are spread over the chip: every few have address registers of their own.
        self.copies = -(-banks // FANOUT)
        # Rotations by up to 3 places a cycle: a 4:1 multiplexer per bit.
        self.steps = -(-self.select // 2)
        self.write_latency = self.steps
        self.bank_latency = block_memory_latency(lanes=1, depth=depth)
        self.read_latency = 2 + self.bank_latency + self.steps
        self.back_latency = self.write_latency + 1 + self.bank_latency + self.steps
        line = data.ArrayLayout(8, banks)
        address = ceil_log2(banks * depth)
        super().__init__(
            {
                "r_address": In(address),
                "r_data": Out(line),
                "w_address": In(address),
                "w_data": In(line),
                "w_enable": In(banks),
                **({"back_data": Out(line)} if reads_back else {}),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        banks = []
        for index in range(self.banks):
            m.submodules[f"bank_{index}"] = bank = BlockMemory(
                lanes=1, depth=self.depth, logic=self.logic, reads_back=self.reads_back
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
        if self.reads_back:
            # As reading, from the address that writing has.
            start = delayed(m, self.w_address[: self.select], self.steps + self.bank_latency, name="back_start")
            starts = replicated(m, platform, start, self.copies, name="back_start")
            line = self._rotated(m, [bank.back_data[0] for bank in banks], starts, down=True, name="back_line")
            m.d.comb += Cat(self.back_data).eq(Cat(line))
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
