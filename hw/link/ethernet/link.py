"""The link over Ethernet, between a PHY and the accelerator."""

from __future__ import annotations

from amaranth.hdl import DomainRenamer, Module
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import AsyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect

from sateen.hw.link.ethernet.frames import FRAME_BITS, GMII, RECEIVED, FrameReceiver, FrameSender
from sateen.hw.link.ethernet.packets import PacketReceiver, PacketSender
from sateen.hw.spec.ethernet import parse_address
from sateen.hw.stream.crossing import Crossing

__all__ = ["EthernetLink"]

BUFFER_BYTES = 2048
"""Of the buffers between the clocks, at least: a whole frame, since a frame on the line does not pause."""
LENGTHS = 5
"""Frames that wait for the line."""


class EthernetLink(wiring.Component):
    """Bytes of the link in datagrams (UDP) to and from port :data:`~sateen.hw.spec.ethernet.PORT`.

    Answers go to whoever sent the last datagram. Damaged and lost frames are the link's own matter: it repeats them.
    Needs the clock domain ``ethernet``, the PHY's, 125 MHz at gigabit; only full duplex.

    A byte a cycle of ``sync`` both ways, but for headers: at 100 MHz 97 MB/s to the device and 75 MB/s from it, in
    datagrams of 1,400 bytes. What arrives faster waits in a buffer, and is cut when it is full. The buffer holds two of
    the link's frames, which the host sends at once, or one whose bytes are all stuffed; a frame that were cut would be
    cut each time that it is sent again.

    Parameters
    ----------
    address : str
        The device's IPv4 address.
    frame_bytes : int
        Largest payload of the link's frames, a power of two.

    Members
    -------
    phy : Out
        A PHY's lines, see :data:`~sateen.hw.link.ethernet.frames.GMII`.
    i : In(stream)
        Bytes for the host.
    o : Out(stream)
        Bytes from the host.
    """

    def __init__(self, address: str, *, frame_bytes: int):
        self.address, self.waiting = parse_address(address), max(BUFFER_BYTES, 2 * frame_bytes)
        super().__init__({"phy": Out(GMII), "i": In(stream.Signature(8)), "o": Out(stream.Signature(8))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        into, out_of = FrameReceiver(), FrameSender()
        m.submodules.frame_receiver = DomainRenamer("ethernet")(into)
        m.submodules.frame_sender = DomainRenamer("ethernet")(out_of)
        m.submodules.receiver = receiver = PacketReceiver(self.address)
        m.submodules.sender = sender = PacketSender(self.address)
        m.submodules.incoming = incoming = Crossing(
            RECEIVED, depth=self.waiting, write_domain="ethernet", read_domain="sync"
        )
        m.submodules.outgoing = outgoing = Crossing(8, depth=BUFFER_BYTES, write_domain="sync", read_domain="ethernet")
        m.submodules.lengths = lengths = AsyncFIFOBuffered(
            width=FRAME_BITS, depth=LENGTHS, w_domain="sync", r_domain="ethernet"
        )
        connect(m, into.o, incoming.i)
        connect(m, incoming.o, receiver.i)
        connect(m, sender.o, outgoing.i)
        connect(m, outgoing.o, out_of.i)
        m.d.comb += [
            into.valid.eq(self.phy.rx_valid),
            into.error.eq(self.phy.rx_error),
            into.data.eq(self.phy.rx_data),
            lengths.w_data.eq(sender.length.payload),
            lengths.w_en.eq(sender.length.valid),
            sender.length.ready.eq(lengths.w_rdy),
            out_of.length.payload.eq(lengths.r_data),
            out_of.length.valid.eq(lengths.r_rdy),
            lengths.r_en.eq(out_of.length.ready),
            self.phy.tx_valid.eq(out_of.valid),
            self.phy.tx_data.eq(out_of.data),
            *(getattr(sender, name).eq(getattr(receiver, name)) for name in
              ("asked", "came", "echo", "echo_place", "echo_data")),
        ]  # fmt: skip
        connect(m, receiver.o, wiring.flipped(self.o))
        connect(m, wiring.flipped(self.i), sender.i)
        return m
