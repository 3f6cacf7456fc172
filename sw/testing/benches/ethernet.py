"""The link over Ethernet at its PHY's lines, and a board's whole design there: real frames, and the real driver."""

from __future__ import annotations

import random

import cocotb
from cocotb.triggers import Timer, with_timeout
from cocotb.utils import get_sim_time
from scapy.layers.inet import ICMP, IP, UDP, IPOption_NOP
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw

from sateen.fpga.top import System
from sateen.hw.link.ethernet.link import EthernetLink
from sateen.hw.link.ethernet.packets import ECHO_BYTES
from sateen.hw.spec.config import parse_config
from sateen.hw.spec.ethernet import ADDRESS, DATAGRAM_BYTES, PORT
from sateen.testing.bench import Bench
from sateen.testing.benches.board import BUILD, infer
from sateen.testing.dut import parameters, reset
from sateen.testing.ethernet import CLOCK_NS, HOST, HOST_MAC, EthernetHost, UdpTransport, datagram, start_clock
from sateen.testing.streams import StreamSink, StreamSource

GOAL = 40_000_000
"""Bytes a second that each direction carries."""


def ethernet(*, address=ADDRESS, frame_bytes=1024):
    return EthernetLink(address, frame_bytes=frame_bytes)


async def begin(dut, *, prefix="phy__", patience_ms=2, clock_ns=CLOCK_NS):
    """Resets the device; the host at the other end of the cable."""
    await reset(dut, patience_ms=patience_ms)
    start_clock(dut, clock_ns)
    # Both together, so that what the domains knew of each other goes, too.
    dut.rst.value, dut.ethernet_rst.value = 1, 1
    await Timer(200, "ns")
    dut.rst.value = 0
    host = EthernetHost(dut, prefix, address=parameters().get("address", ADDRESS))
    await Timer(1, "us")
    dut.ethernet_rst.value = 0
    await Timer(1, "us")
    return host


def rate(count, began):
    return count / ((get_sim_time("ps") - began) * 1e-12)


@cocotb.test()
async def carries_bytes(dut):
    """Both ways, datagrams of all lengths at the ends; says how many bytes a second."""
    host = await begin(dut)
    sink, source = StreamSink(dut, "o"), StreamSource(dut, "i")
    sent = b""
    taken = cocotb.start_soon(sink.receive(sum(lengths := [1, 17, 18, 19, 2, DATAGRAM_BYTES, 64])))
    for length in lengths:
        data = random.randbytes(length)
        sent += data
        await host.send(host.packet(data))
    assert bytes(await taken) == sent

    for length in (1, 18, 60, DATAGRAM_BYTES - 1, DATAGRAM_BYTES):
        data = random.randbytes(length)
        await source.send(data)
        assert datagram(await host.receive()) == data

    many = random.randbytes(6 * DATAGRAM_BYTES)
    taken, began = cocotb.start_soon(sink.receive(len(many))), get_sim_time("ps")
    for start in range(0, len(many), DATAGRAM_BYTES):
        await host.send(host.packet(many[start : start + DATAGRAM_BYTES]))
    assert bytes(await taken) == many
    there = rate(len(many), began)
    cocotb.start_soon(source.send(many))
    came, began = b"", get_sim_time("ps")
    while len(came) < len(many):
        came += datagram(await host.receive())
    assert came == many
    back = rate(len(many), began)
    dut._log.info(f"bytes a second to the device {there:,.0f}, from it {back:,.0f}")
    assert min(there, back) >= GOAL


@cocotb.test()
async def is_found(dut):
    """It answers who has its address, and echoes, also between datagrams."""
    host = await begin(dut)
    source = StreamSource(dut, "i")
    await host.send(host.packet(b"x"))
    assert await StreamSink(dut, "o").receive(1) == [ord("x")]
    for target, wanted in ((host.address, True), ("192.168.1.49", False)):
        for to in ("ff:ff:ff:ff:ff:ff", host.mac):
            await host.send(Ether(dst=to, src=HOST_MAC) / ARP(op=1, hwsrc=HOST_MAC, psrc=HOST, pdst=target))
            frame = await host.receive(us=20)
            assert (frame is not None) == wanted
            if frame:
                answer = Ether(frame)
                assert (answer.dst, answer.src) == (HOST_MAC, host.mac)
                fields = ("op", "hwsrc", "psrc", "hwdst", "pdst")
                wanted_fields = (2, host.mac, host.address, HOST_MAC, HOST)
                assert tuple(getattr(answer[ARP], name) for name in fields) == wanted_fields
    for length in (0, 1, 56, ECHO_BYTES, ECHO_BYTES + 1):
        text = random.randbytes(length)
        echo = Ether(dst=host.mac, src=HOST_MAC) / IP(src=HOST, dst=host.address) / ICMP(id=7, seq=length) / text
        await host.send(echo)
        cocotb.start_soon(source.send(b"yz"))
        frames = [Ether(frame) for frame in [await host.receive(us=60), await host.receive(us=60)] if frame]
        assert [bytes(each[UDP].payload)[:2] for each in frames if UDP in each] == [b"yz"]
        answers = [each for each in frames if ICMP in each]
        assert len(answers) == (length <= ECHO_BYTES)
        for answer in answers:
            assert (answer.dst, answer[IP].src, answer[IP].dst) == (HOST_MAC, host.address, HOST)
            assert (answer[ICMP].type, answer[ICMP].id, answer[ICMP].seq) == (0, 7, length)
            body = bytes(answer[ICMP])[: answer[IP].len - 20]
            assert body[8:] == text
            for layer in (IP, ICMP):
                given = answer[layer].chksum
                del answer[layer].chksum
                again = Ether(bytes(answer)[: 14 + answer[IP].len])
                assert again[layer].chksum == given


@cocotb.test()
async def echoes_whole(dut):
    """Of echoes that come while another one is answered, some have no answer, and none a wrong one."""
    host = await begin(dut)
    answered = 0
    for pause_ns in range(3000, 12001, 1500):
        texts = [random.randbytes(ECHO_BYTES) for _ in range(3)]
        for number, text in enumerate(texts):
            echo = Ether(dst=host.mac, src=HOST_MAC) / IP(src=HOST, dst=host.address) / ICMP(seq=number) / text
            await host.send(echo)
            await Timer(pause_ns, "ns")
        while frame := await host.receive(us=20):
            answer = Ether(frame)[ICMP]
            assert bytes(answer)[8 : 8 + ECHO_BYTES] == texts[answer.seq], f"{pause_ns} ns, number {answer.seq}"
            answered += 1
    assert 7 <= answered < 21


def strangers(host):
    """Frames that are not for the link, by what is wrong with them."""
    good = host.packet(b"wrong")

    def changed_of(packet, layer, **fields):
        packet = packet.copy()
        for name, value in fields.items():
            setattr(packet[layer], name, value)
        return packet

    def changed(layer, **fields):
        return changed_of(good, layer, **fields)

    yield "another host's", changed(Ether, dst="02:5a:c0:a8:01:33")
    yield "broadcast", changed(Ether, dst="ff:ff:ff:ff:ff:ff")
    yield "another address", changed(IP, dst="192.168.1.51")
    yield "another port", changed(UDP, dport=PORT + 1)
    yield "TCP", changed(IP, proto=6)
    yield "version 6", changed(IP, version=6)
    yield "options", changed(IP, options=[IPOption_NOP()] * 4)
    yield "first fragment", changed(IP, flags="MF")
    yield "later fragment", changed(IP, frag=1)
    yield "late fragment", changed(IP, frag=0x1F00)
    yield "header's checksum", changed(IP, chksum=0x1234)
    yield "length of the datagram", changed(UDP, len=12)
    yield "length below a header", changed(UDP, len=7)
    yield "length of IP", changed(IP, len=2000)
    yield "short length of IP", changed(IP, len=27)
    yield "VLAN", Ether(dst=host.mac, src=HOST_MAC) / Dot1Q(vlan=1) / IP(bytes(good[IP]))
    yield "type", changed(Ether, type=0x86DD)
    yield "answer of ARP", Ether(dst=host.mac, src=HOST_MAC) / ARP(op=2, hwsrc=HOST_MAC, psrc=HOST, pdst=ADDRESS)
    echo = Ether(dst=host.mac, src=HOST_MAC) / IP(src=HOST, dst=host.address) / ICMP()
    yield "an echo whose header's checksum is wrong", changed_of(echo, IP, chksum=0x1234)
    yield "an echo that is longer than its frame", changed_of(echo / (b"e" * 30), IP, len=20 + 8 + 34)
    yield "an echo for another", changed_of(echo, IP, dst="192.168.1.51")
    yield "answer to an echo", Ether(dst=host.mac, src=HOST_MAC) / IP(src=HOST, dst=host.address) / ICMP(type=0)
    yield "nothing", b""
    yield "noise", Raw(random.randbytes(200))


@cocotb.test()
async def takes_its_own(dut):
    """Nothing comes of frames for others, of fragments, options, lengths that disagree; what follows is right."""
    host = await begin(dut)
    sink, source = StreamSink(dut, "o"), StreamSource(dut, "i")
    # Before anybody has asked, there is nobody to answer.
    await source.send(b"lost")
    assert await host.receive(us=10) is None
    for number, (name, frame) in enumerate(strangers(host)):
        dut._log.info(name)
        await host.send(frame)
        data = bytes([number, 1, 2])
        await host.send(host.packet(data))
        assert bytes(await sink.receive(3)) == data, name
        assert await host.receive(us=2) is None, name
    # An answer goes to the last one that asked.
    await host.send(host.packet(b"a", source=1234))
    await sink.receive(1)
    await source.send(b"b")
    assert Ether(await host.receive())[UDP].dport == 1234
    # A damaged frame's bytes are the link's to refuse. What it says of its sender does not count.
    await host.send(host.packet(b"c"))
    await host.send(host.packet(b"d", source=99), damage=35 * 8)
    await host.send(host.packet(b"e", source=98), damage=60 * 8)
    await host.send(host.packet(b"f", source=97), error=62)
    await host.send(host.packet(b"-", source=96), error=20)
    assert bytes(await sink.receive(4)) == b"cdef"
    await source.send(b"g")
    assert datagram(await host.receive()) == b"g"


@cocotb.test()
async def survives_the_line(dut):
    """Cut, short and endless frames, preambles without a frame, frames without a gap, a reader that stands still."""
    host = await begin(dut)
    sink = StreamSink(dut, "o")
    whole = bytes(host.packet(b"q" * 100))
    for data in (b"", bytes([0x55] * 30), bytes([0x55, 0xD5]), bytes([0xD5]), bytes([0x55] * 7 + [0xD5]) + whole[:20],
                 random.randbytes(80), bytes([0x55] * 7 + [0xD5]) + random.randbytes(5000)):  # fmt: skip
        dut._log.info(f"{len(data)} bytes")
        # What is longer than a frame takes a while to pass.
        await host.raw(data, gap=12 + len(data))
        await host.send(host.packet(b"ok"))
        assert bytes(await sink.receive(2)) == b"ok"
    # Ends where a rule has just been broken: what follows is not held to it.
    broken = dict(strangers(host))
    for name in ("another host's", "header's checksum", "length of the datagram"):
        for length in (10, 40, 44):
            await host.raw(bytes([0x55] * 7 + [0xD5]) + bytes(broken[name])[:length])
            await host.send(host.packet(b"ok"))
            assert bytes(await sink.receive(2)) == b"ok", f"{name}, {length}"
    # Nobody takes: frames are cut where the buffer is full. Afterwards all is well.
    for _ in range(4):
        await host.send(host.packet(bytes(DATAGRAM_BYTES)))
    found = await sink.receive(DATAGRAM_BYTES)
    await Timer(10, "us")
    for number in range(3):
        await host.send(host.packet(bytes([number] * 3)))
    while found[-9:] != [0, 0, 0, 1, 1, 1, 2, 2, 2]:
        found += await sink.receive(1)
    assert len(found) < 4 * DATAGRAM_BYTES


@cocotb.test()
async def takes_frames(dut):
    """The link's longest frame with every byte stuffed, on a line that is four times as fast as the device, arrives."""
    host = await begin(dut, clock_ns=CLOCK_NS // 4)
    sink, data = StreamSink(dut, "o"), random.randbytes(2 * parameters()["frame_bytes"] + 40)
    taken = cocotb.start_soon(sink.receive(len(data)))
    for start in range(0, len(data), DATAGRAM_BYTES):
        await host.send(host.packet(data[start : start + DATAGRAM_BYTES]))
    assert bytes(await with_timeout(taken, 200, "us")) == data


def system(*, config="micro,link=ethernet"):
    return System(parse_config(config), build=BUILD)


@cocotb.test()
async def runs_a_network(dut):
    """The driver's frames in datagrams, to outputs that equal the golden model's."""
    link = await infer(UdpTransport(await begin(dut, patience_ms=50)), parse_config(parameters()["config"]))
    assert not link.retransmissions


BENCHES = [
    Bench(
        name="ethernet",
        title="the link over Ethernet: real frames, ARP and echo, whatever else the line brings",
        create=ethernet,
        only=("carries_bytes", "is_found", "echoes_whole", "takes_its_own", "survives_the_line",
              "takes_frames"),
    ),
    Bench(
        name="ethernet-board",
        title="a board's design at its PHY's lines: the driver runs a network in datagrams",
        create=system,
        only=("runs_a_network",),
    ),
]
