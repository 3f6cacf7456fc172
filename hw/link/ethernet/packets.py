"""Packets of the internet protocols, as far as the link has a use for them: UDP (RFC 768) over IPv4 (RFC 791), ARP (RFC
826), by which others find the device, and ICMP's echo (RFC 792), by which they see that it is there.

Not taken are fragments, IP headers with options, and frames with a VLAN's tag. UDP's checksum is neither sent nor
looked at: frames of the link have a better one.
"""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect

from sateen.hw.link.ethernet.frames import FRAME_BITS, RECEIVED
from sateen.hw.memory import NO_COLLISIONS
from sateen.hw.spec.ethernet import DATAGRAM_BYTES, PORT, ethernet_address
from sateen.hw.stream.fetch import Fetch
from sateen.hw.stream.slice import RegisterSlice
from sateen.hw.stream.view import view

__all__ = ["ECHO_BYTES", "PacketReceiver", "PacketSender"]

HEAD_BYTES = 42
"""Of Ethernet, IP and UDP; or of Ethernet, IP and ICMP; or a whole frame of ARP."""
IP_AT, IP_BYTES, PROTOCOL_AT = 14, 20, 34
"""Where IP's header begins, how long it is, and where what it carries begins."""
ECHO_BYTES = 1024
"""Most bytes that an echo gives back; requests for more have no answer."""
IDLE_CYCLES = 32
"""Silence of the device after which a datagram goes out that is not full."""
BANK = 2048
"""Bytes of a buffer for a datagram."""
IP, ARP = b"\x08\x00", b"\x08\x06"
ICMP, UDP = 1, 17
KINDS = ("arp", "echo", "udp")
ASKED = data.StructLayout(
    {"mac": 48, "ip": 32, "port": 16, "rest": 48, "length": FRAME_BITS, **dict.fromkeys(KINDS, 1)}
)
"""The header of a frame that has come, each field as its bytes came, the first one lowest. ``rest`` are its last six
bytes; ``length`` the number of those behind it; of the kinds, at most one is set."""


def _expected(address: bytes) -> dict[str, dict[int, tuple[int, int]]]:
    """Of each kind, what bytes of the header must be, by their place: a mask and a value."""

    def exactly(place: int, bytes_: bytes) -> dict[int, tuple[int, int]]:
        return {place + offset: (0xFF, value) for offset, value in enumerate(bytes_)}

    # Version 4, five words, no fragment, this device.
    ip = {14: (0xFF, 0x45), 20: (0xBF, 0), 21: (0xFF, 0), **exactly(12, IP), **exactly(30, address)}
    return {
        "arp": exactly(12, ARP) | exactly(14, bytes([0, 1, *IP, 6, 4, 0, 1])) | exactly(38, address),
        "echo": ip | {23: (0xFF, ICMP)} | exactly(PROTOCOL_AT, bytes([8, 0])),
        "udp": ip | {23: (0xFF, UDP)} | exactly(PROTOCOL_AT + 2, PORT.to_bytes(2, "big")),
    }


class PacketReceiver(wiring.Component):
    """Takes frames apart. One byte per cycle; the bytes of a datagram are passed on as they come, before the frame's
    check sequence: frames of the link have one of their own.

    Parameters
    ----------
    address : bytes
        The device's, four bytes.

    Members
    -------
    i : In(stream)
        Frames, :data:`~sateen.hw.link.ethernet.frames.RECEIVED`.
    o : Out(stream)
        The bytes of datagrams for the link.
    asked : Out, came : Out(1)
        The header of a good frame, in the cycle of ``came``.
    echo : Out, echo_place : Out, echo_data : Out(8)
        Bytes of an echo as they come, whatever becomes of the frame.
    """

    def __init__(self, address: bytes):
        self.address = address
        super().__init__(
            {
                "i": In(stream.Signature(RECEIVED)),
                "o": Out(stream.Signature(8)),
                "asked": Out(ASKED, init=dict.fromkeys(KINDS, 1)),  # type: ignore[call-arg]
                "came": Out(1),
                "echo": Out(1),
                "echo_place": Out(range(ECHO_BYTES)),
                "echo_data": Out(8),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        byte, asked = self.i.payload.data, self.asked
        place, left, taken = Signal(range(HEAD_BYTES + 1)), Signal(FRAME_BITS + 1), Signal()
        body, end = Signal(), Signal()
        m.d.comb += [
            body.eq(self.i.valid & ~self.i.payload.end & (place == HEAD_BYTES) & (left != 0)),
            end.eq(taken & self.i.payload.end),
            self.o.payload.eq(byte),
            self.o.valid.eq(body & asked.udp),
            self.i.ready.eq(~self.o.valid | self.o.ready),
            taken.eq(self.i.valid & self.i.ready),
            self.echo.eq(body & asked.echo),
            self.echo_place.eq(asked.length - left),
            self.echo_data.eq(byte),
            self.came.eq(end & byte[0] & (place == HEAD_BYTES) & (left == 0)),
        ]
        with m.If(end):
            m.d.sync += [place.eq(0), *(asked[kind].eq(1) for kind in KINDS)]
        with m.Elif(taken):
            with m.If(place != HEAD_BYTES):
                m.d.sync += place.eq(place + 1)
                self._capture(m, place, byte)
            with m.Elif(left != 0):
                m.d.sync += left.eq(left - 1)
        self._refuse(m, place, byte, taken=taken & ~self.i.payload.end, left=left)
        return m

    def _capture(self, m: Module, place: Signal, byte: Value) -> None:
        """Keeps fields of the header as they pass."""
        asked = self.asked
        for name, first, count in (("mac", 6, 6), ("port", PROTOCOL_AT, 2), ("rest", 36, 6)):
            field = getattr(asked, name)
            with m.If((place >= first) & (place < first + count)):
                m.d.sync += field.eq(Cat(field[8:], byte))
        # The sender's address stands elsewhere in each kind. Until the type is known, both are taken.
        with m.If(Mux(asked.arp, (place >= 28) & (place < 32), (place >= 26) & (place < 30))):
            m.d.sync += asked.ip.eq(Cat(asked.ip[8:], byte))

    def _refuse(self, m: Module, place: Signal, byte: Value, *, taken: Value, left: Signal) -> None:
        """Rules out kinds that the frame cannot be, and finds the number of bytes behind the header. Only bytes do: an
        end has the next frame's kinds open again."""
        asked = self.asked
        for kind, bytes_ in _expected(self.address).items():
            for at, (mask, value) in bytes_.items():
                with m.If(taken & (place == at) & ((byte & mask) != value)):
                    m.d.sync += asked[kind].eq(0)
        own, all_ = Signal(init=1), Signal(init=1)
        with m.If(self.i.valid & self.i.payload.end):
            m.d.sync += [own.eq(1), all_.eq(1)]
        for at, value in enumerate(ethernet_address(self.address)):
            with m.If(taken & (place == at)):
                m.d.sync += [own.eq(own & (byte == value)), all_.eq(all_ & (byte == 0xFF))]
        with m.If(taken & (place == 6)):
            with m.If(~own):
                m.d.sync += [asked.udp.eq(0), asked.echo.eq(0)]
            with m.If(~own & ~all_):
                m.d.sync += asked.arp.eq(0)
        # The sum of IP's words, ones' complement, is all ones; lengths agree.
        total, length, datagram = Signal(20), Signal(16), Signal(16)
        with m.If(place == 0):
            m.d.sync += total.eq(0)
        with m.If(taken & (place >= IP_AT) & (place < IP_AT + IP_BYTES)):
            m.d.sync += total.eq(total + Mux(place[0], byte, byte << 8))
        with m.If(taken & ((place == 16) | (place == 17))):
            m.d.sync += length.eq(Cat(byte, length[:8]))
        with m.If(taken & ((place == 38) | (place == 39))):
            m.d.sync += datagram.eq(Cat(byte, datagram[:8]))
        with m.If(taken & (place == 36)):
            with m.If((total[:16] + total[16:] != 0xFFFF) | (length < IP_BYTES + 8) | (length > 1500)):
                m.d.sync += [asked.udp.eq(0), asked.echo.eq(0)]
            with m.If(length > IP_BYTES + 8 + ECHO_BYTES):
                m.d.sync += asked.echo.eq(0)
            m.d.sync += [left.eq(Mux(asked.arp, 0, length - IP_BYTES - 8)), asked.length.eq(length - IP_BYTES - 8)]
        with m.If(taken & (place == 40) & (datagram != length - IP_BYTES)):
            m.d.sync += asked.udp.eq(0)


class PacketSender(wiring.Component):
    """Makes frames: datagrams of the link's bytes for whoever sent the last one, and answers to ARP and to echoes.

    Datagrams have up to :data:`~sateen.hw.spec.ethernet.DATAGRAM_BYTES`; one goes out when it is full, or after
    :data:`IDLE_CYCLES` without a byte. While it does, the next is filled: a byte a cycle. Before the first datagram has
    come, what the link sends is dropped. A request that comes while another one waits for its answer has none.

    Parameters
    ----------
    address : bytes
        The device's, four bytes.

    Members
    -------
    i : In(stream)
        Bytes of the link.
    asked : In, came : In(1), echo : In, echo_place : In, echo_data : In(8)
        From :class:`PacketReceiver`.
    o : Out(stream)
        A frame's bytes, without its check sequence.
    length : Out(stream)
        Their number, behind the last of them.
    """

    def __init__(self, address: bytes):
        self.address = address
        super().__init__(
            {
                "i": In(stream.Signature(8)),
                "asked": In(ASKED),
                "came": In(1),
                "echo": In(1),
                "echo_place": In(range(ECHO_BYTES)),
                "echo_data": In(8),
                "o": Out(stream.Signature(8)),
                "length": Out(stream.Signature(FRAME_BITS)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        answer, waiting, peer, known, echoes = self._keep_asked(m)
        bank, full, counts, datagrams = self._collect(m)
        # To whom the frame goes, the bytes behind its header, and those of them that are still to be sent, less one.
        to, answering, place = view(ASKED), Signal(), Signal(range(HEAD_BYTES))
        total, behind, left = Signal(20), Signal(FRAME_BITS), Signal(signed(FRAME_BITS + 1))
        length, fetching = Signal(FRAME_BITS), Signal()
        fetch = self._fetch(m, echoes, datagrams, bank=bank, answering=answering, behind=behind, on=fetching)
        head = Array(self._head(m, to, behind, total))
        # What chooses a byte is far from the buffer behind.
        m.submodules.sending = sending = RegisterSlice(8)
        connect(m, sending.o, wiring.flipped(self.o))
        m.d.comb += self.length.payload.eq(length)
        with m.FSM():
            with m.State("idle"):
                m.d.sync += [place.eq(0), answering.eq(waiting), to.eq(peer)]
                with m.If(waiting):
                    m.d.sync += to.eq(answer)
                m.d.sync += behind.eq(Mux(waiting, Mux(answer.arp, 0, answer.length), counts[bank]))
                with m.If(waiting | (full[bank] & known)):
                    m.next = "sum"
                with m.Elif(full[bank]):
                    m.d.sync += [full[bank].eq(0), bank.eq(~bank)]
            with m.State("sum"):
                # IP's checksum: everything, then the carries, which may carry once more.
                m.d.sync += [place.eq(place + 1), total.eq(total[:16] + total[16:])]
                m.d.sync += [left.eq(behind - 1), length.eq(HEAD_BYTES + behind)]
                with m.If(place == 0):
                    m.d.sync += total.eq(self._header_sum(to) + behind)
                with m.If(place == 3):
                    m.d.sync += [place.eq(0), fetching.eq(1)]
                    m.next = "head"
            with m.State("head"):
                m.d.comb += [sending.i.valid.eq(1), sending.i.payload.eq(head[place])]
                with m.If(sending.i.ready):
                    m.d.sync += place.eq(place + 1)
                    with m.If(place == HEAD_BYTES - 1):
                        m.next = "body"
            with m.State("body"):
                m.d.comb += [
                    sending.i.valid.eq(fetch.o.valid),
                    sending.i.payload.eq(fetch.o.payload.data),
                    fetch.o.ready.eq(sending.i.ready),
                ]
                m.d.sync += left.eq(left - (fetch.o.valid & sending.i.ready))
                with m.If(left < 0):
                    m.next = "length"
            with m.State("length"):
                # The last byte has left the slice by the time that the other clock knows of it.
                m.d.comb += self.length.valid.eq(1)
                m.d.sync += fetching.eq(0)
                with m.If(self.length.ready):
                    with m.If(answering):
                        m.d.sync += waiting.eq(0)
                    with m.Else():
                        m.d.sync += [full[bank].eq(0), bank.eq(~bank)]
                    m.next = "idle"
        return m

    def _keep_asked(self, m: Module) -> tuple[data.View, Signal, data.View, Signal, Memory]:
        """Returns the request that waits for its answer and whether one does, to whom datagrams go and whether that is
        known, and the memory of an echo's bytes."""
        answer, waiting, missed = view(ASKED), Signal(), Signal()
        peer, known = view(ASKED), Signal()
        with m.If(self.echo & waiting):
            m.d.sync += missed.eq(1)
        with m.If(self.came):
            m.d.sync += missed.eq(0)
            with m.If(self.asked.udp):
                m.d.sync += [peer.eq(self.asked), known.eq(1)]
            with m.Elif(~waiting & (self.asked.arp | (self.asked.echo & ~missed))):
                m.d.sync += [answer.eq(self.asked), waiting.eq(1)]
        echoes: Memory = Memory(shape=8, depth=ECHO_BYTES, init=[], attrs=NO_COLLISIONS)
        m.submodules.echoes = echoes
        write = echoes.write_port()
        m.d.comb += [
            write.addr.eq(self.echo_place),
            write.data.eq(self.echo_data),
            write.en.eq(self.echo & ~waiting),
        ]
        return answer, waiting, peer, known, echoes

    def _collect(self, m: Module) -> tuple[Signal, Array, Array, Memory]:
        """Fills two buffers in turn. Returns which one is sent next, which are full, their lengths and their memory."""
        memory: Memory = Memory(shape=8, depth=2 * BANK, init=[], attrs=NO_COLLISIONS)
        m.submodules.datagrams = memory
        filling, sending = Signal(), Signal()
        full, counts = (Array(Signal(width, name=f"{name}_{at}") for at in range(2)) for name, width in
                        (("full", 1), ("count", FRAME_BITS)))  # fmt: skip
        count, silence = Signal(FRAME_BITS), Signal(range(IDLE_CYCLES + 1))
        write, taken, ending = memory.write_port(), Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(~full[filling] & (count != DATAGRAM_BYTES)),
            taken.eq(self.i.valid & self.i.ready),
            ending.eq(~full[filling] & ((count == DATAGRAM_BYTES) | (silence == IDLE_CYCLES))),
            write.addr.eq(Cat(count, filling)),
            write.data.eq(self.i.payload),
            write.en.eq(taken),
        ]
        with m.If(taken):
            m.d.sync += [count.eq(count + 1), silence.eq(0)]
        with m.Elif((count != 0) & (silence != IDLE_CYCLES)):
            m.d.sync += silence.eq(silence + 1)
        with m.If(ending & ~taken):
            m.d.sync += [full[filling].eq(1), counts[filling].eq(count), filling.eq(~filling)]
            m.d.sync += [count.eq(0), silence.eq(0)]
        return sending, full, counts, memory

    def _fetch(
        self, m: Module, echoes: Memory, datagrams: Memory, *, bank: Signal, answering: Signal, behind: Signal,
        on: Signal,
    ) -> Fetch:  # fmt: skip
        """The bytes behind the header, requested while it is sent."""
        m.submodules.fetch = fetch = Fetch(address=FRAME_BITS, data_shape=8, tag=data.StructLayout({}), latency=2)
        echo, datagram = echoes.read_port(), datagrams.read_port()
        requested, byte = Signal(FRAME_BITS), Signal(8)
        m.d.comb += [
            echo.addr.eq(fetch.address),
            datagram.addr.eq(Cat(fetch.address, bank)),
            fetch.data.eq(byte),
            fetch.i.payload.address.eq(requested),
            fetch.i.valid.eq(on & (requested != behind)),
        ]
        m.d.sync += byte.eq(Mux(answering, echo.data, datagram.data))
        with m.If(~on):
            m.d.sync += requested.eq(0)
        with m.Elif(fetch.i.valid & fetch.i.ready):
            m.d.sync += requested.eq(requested + 1)
        return fetch

    def _header_sum(self, to: data.View) -> Value:
        """The sum of the words of IP's header, but for the length's share of what is behind."""
        own = self.address
        words = 0x4500 + 0x4000 + 0x4000 + int.from_bytes(own[:2], "big") + int.from_bytes(own[2:], "big")
        words += IP_BYTES + 8
        high, low = Cat(to.ip[8:16], to.ip[:8]), Cat(to.ip[24:32], to.ip[16:24])
        return Const(words, 20) + Mux(to.udp, UDP, ICMP) + high + low

    def _head(self, m: Module, to: data.View, behind: Signal, total: Signal) -> list[Value]:
        """The header's bytes."""

        def constant(bytes_: bytes) -> list[Value]:
            return [Const(value, 8) for value in bytes_]

        def word(value: Value, name: str) -> list[Value]:
            # It does not change while a frame is sent.
            signal = Signal(16, name=name)
            m.d.sync += signal.eq(value)
            return [signal[8:], signal[:8]]

        def came(value: Value) -> list[Value]:
            return [value[at : at + 8] for at in range(0, len(value), 8)]

        own, address, mac, ip, rest = ethernet_address(self.address), self.address, *map(came, (to.mac, to.ip, to.rest))
        # An answer's type is 8 less, so that its checksum is as much more, in ones' complement.
        check = Cat(rest[1], rest[0]) + 0x0800
        arp = [*constant(bytes([0, 1, *IP, 6, 4, 0, 2]) + own + address), *mac, *ip]
        internet = [
            *constant(bytes([0x45, 0])),
            *word(IP_BYTES + 8 + behind, "length_of_all"),
            *constant(bytes([0, 0, 0x40, 0, 64])),
            Mux(to.udp, UDP, ICMP),
            *word(~total[:16], "checksum"),
            *constant(address),
            *ip,
        ]
        echo = [*constant(bytes(2)), *word(check[:16] + check[16], "echo_checksum"), *rest[2:]]
        udp = [*constant(PORT.to_bytes(2, "big")), *came(to.port), *word(8 + behind, "datagram"), *constant(bytes(2))]
        internet += [Mux(to.udp, one, other) for one, other in zip(udp, echo, strict=True)]
        kinds = zip([*constant(ARP), *arp], [*constant(IP), *internet], strict=True)
        return [*mac, *constant(own), *(Mux(to.arp, one, other) for one, other in kinds)]
