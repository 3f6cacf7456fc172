"""States of the endpoint in which bytes move from and to SDRAM, and lists of operations begin there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data

from sateen.hw.link.listed import Listed
from sateen.hw.link.payload import Payload
from sateen.hw.spec.wire import Op, OpHeader, Space, Status

if TYPE_CHECKING:
    from sateen.hw.link.endpoint import Endpoint

__all__ = ["OP_HEADER", "WRITABLE", "begin_move", "fail", "move"]

OP_HEADER = data.StructLayout({"op": 8, "space": 8, "length": 16, "address": 32})
WRITABLE = (Space.SCRATCHPAD, Space.WEIGHTS, Space.PROGRAM)


def fail(m: Module, status: Signal, reason: Status) -> None:
    """In a state: the rest of the frame is skipped, for this reason."""
    m.d.sync += status.eq(reason)
    m.next = "skip"


def begin_move(m: Module, op: data.View, listed: Listed, *, status: Signal) -> None:
    """In the state ``begin``: what is moved, and to or from where in SDRAM; and lists of whole operations, which
    call no others."""
    with m.Case(Op.SEEK):
        m.next = "seek"
    with m.Case(Op.CALL):
        m.next = "call"
        with m.If(listed.active | (op.length % OpHeader.LAYOUT.size != 0)):
            fail(m, status, Status.BAD_OP)
    for kind, spaces in ((Op.COPY, (*WRITABLE, Space.CHECK)), (Op.STORE, (*WRITABLE, Space.COUNTERS))):
        with m.Case(kind):
            m.next = "move"
            with m.If(~Cat(op.space == space for space in spaces).any()):
                fail(m, status, Status.BAD_SPACE)


def move(m: Module, endpoint: Endpoint, op: data.View, payload: Payload, listed: Listed, *, count: Signal) -> None:
    """The states that move bytes from and to SDRAM, or begin a list; they end in ``header``."""
    m.d.comb += [
        listed.place.eq(op.address),
        listed.length.eq(op.length),
        listed.i.valid.eq(endpoint.response.valid),
        listed.i.payload.eq(endpoint.response.payload),
        endpoint.position.eq(op.address),
        endpoint.move.payload.store.eq((op.op == Op.STORE) | (op.op == Op.WRITE)),
        endpoint.move.payload.space.eq(op.space),
        endpoint.move.payload.address.eq(op.address),
        endpoint.move.payload.length.eq(op.length),
    ]
    with m.State("seek"):
        m.d.comb += endpoint.seek.eq(1)
        m.next = "header"
    with m.State("call"):
        m.d.comb += listed.start.eq(1)
        m.next = "header"
    with m.State("move"):
        m.d.comb += endpoint.move.valid.eq(1)
        with m.If(endpoint.move.ready):
            m.next = "header"
    with m.State("write outside"):
        m.d.comb += [
            endpoint.move.valid.eq(1),
            endpoint.request.payload.write.eq(1),
            endpoint.request.payload.data.eq(payload.o.payload),
            endpoint.request.valid.eq(payload.o.valid & (count >= 0)),
            payload.o.ready.eq(endpoint.request.ready & (count >= 0)),
        ]
        with m.If(endpoint.request.valid & endpoint.request.ready):
            m.d.sync += count.eq(count - 1)
        with m.If(endpoint.move.ready):
            m.next = "header"
