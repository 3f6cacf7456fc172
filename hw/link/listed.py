"""Operations that lie in SDRAM: a list that a CALL has begun."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

__all__ = ["PIECE_BYTES", "Listed"]

PIECE_BYTES = 64
"""Bytes of a list that are read at a time: to begin takes as long as about 20 bytes."""


class Listed(wiring.Component):
    """Gives the bytes of a list, a piece after the other: whoever uses it reads each when the one before is used up.

    A byte a cycle, latency 1 cycle.

    Parameters
    ----------
    length_bits : int
        Of a list's bytes.

    Members
    -------
    start : In(1), place : In(32), length : In
        Begins a list of ``length`` bytes at byte ``place`` of the SDRAM, none if ``length`` is 0; none is active.
    clear : In(1)
        Ends the list, if there is one; no byte is under way.
    active : Out(1)
        There are bytes of the list that have not been taken.
    used_up : Out(1)
        Those of them that have been read have been taken.
    begin : In(1)
        With ``active`` and ``used_up``: the next piece is read, ``piece`` bytes from ``position`` on.
    position : Out(32), piece : Out
        See ``begin``.
    coming : Out(1)
        Bytes of the piece have not come yet.
    i : In(stream), always ready
        While ``coming``: the piece's bytes, in order.
    o : Out(stream)
        The list's bytes.
    """

    def __init__(self, *, length_bits: int):
        self.length_bits = length_bits
        super().__init__(
            {
                "start": In(1),
                "place": In(32),
                "length": In(length_bits),
                "clear": In(1),
                "active": Out(1),
                "used_up": Out(1),
                "begin": In(1),
                "position": Out(32),
                "piece": Out(range(PIECE_BYTES + 1)),
                "coming": Out(1),
                "i": In(stream.Signature(8, always_ready=True)),
                "o": Out(stream.Signature(8)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        memory: Memory = Memory(shape=8, depth=PIECE_BYTES, init=[])
        m.submodules.memory = memory
        write, read = memory.write_port(), memory.read_port(domain="comb")
        # Bytes that are still to be taken, less one, so that the sign is the flag; and of the piece, those that are
        # still to come, that have come, and that have been taken.
        left = Signal(signed(self.length_bits + 1), init=-1)
        due, came, taken = (Signal(range(PIECE_BYTES + 1), name=name) for name in ("due", "came", "taken"))
        m.d.comb += [
            self.active.eq(left >= 0),
            self.used_up.eq(taken == came),
            self.piece.eq(Mux(left >= PIECE_BYTES - 1, PIECE_BYTES, left + 1)),
            self.coming.eq(due != 0),
            write.addr.eq(came[: exact_log2(PIECE_BYTES)]),
            write.data.eq(self.i.payload),
            write.en.eq(self.i.valid & self.coming),
            read.addr.eq(taken[: exact_log2(PIECE_BYTES)]),
            self.o.valid.eq(~self.used_up),
            self.o.payload.eq(read.data),
        ]
        with m.If(write.en):
            m.d.sync += [came.eq(came + 1), due.eq(due - 1)]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [taken.eq(taken + 1), left.eq(left - 1)]
        with m.If(self.begin):
            m.d.sync += [
                came.eq(0),
                taken.eq(0),
                due.eq(self.piece),
                # Behind a shorter piece there is none.
                self.position.eq(self.position + PIECE_BYTES),
            ]
        with m.If(self.start):
            m.d.sync += [self.position.eq(self.place), left.eq(self.length - 1), came.eq(0), taken.eq(0)]
        with m.If(self.clear):
            m.d.sync += [left.eq(-1), due.eq(0)]
        return m
