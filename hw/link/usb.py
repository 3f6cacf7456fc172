"""A serial port on USB, at full speed without a PHY or at high speed with one: CDC-ACM, in luna-usb's gateware."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from amaranth.hdl import Elaboratable, Fragment, Module, Mux, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.fifo import AsyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect

from sateen.errors import SateenError
from sateen.extras import install_hint
from sateen.hw.spec.usb import MAKER, PRODUCT, TITLE, VENDOR
from sateen.hw.spec.wire import FLAG
from sateen.hw.stream.slice import RegisterSlice

__all__ = ["ULPI_PINS", "USB_PINS", "UsbSerial"]

USB_PINS = wiring.Signature({"dp_i": In(1), "dn_i": In(1), "dp_o": Out(1), "dn_o": Out(1), "oe": Out(1)})
"""The lines D+ and D−, seen from the device: what comes, and what it puts on them while ``oe``."""
ULPI_PINS = wiring.Signature(
    {
        "data_i": In(8), "data_o": Out(8), "data_oe": Out(1), "dir": In(1), "nxt": In(1),
        "stp": Out(1), "rst": Out(1),
    }
)  # fmt: skip
"""The lines of a PHY (ULPI, revision 1.1), seen from the device."""


PACKET_BYTES, HIGH_SPEED_PACKET_BYTES = 64, 512
"""Of a bulk endpoint at full and at high speed."""
BUFFER_BYTES = 17
"""Of the buffers between the clocks: what arrives meanwhile, at a byte a cycle of 12 or 60 MHz."""
RESET_CYCLES = 36
"""Both lines low for as long are a reset of the bus: 3 µs, of at least 2.5 (USB 2.0, 7.1.7.5)."""
START_CYCLES = 90_000
"""Of the PHY's clock: luna waits 1 ms for the PHY, and then sets it."""
USB_HZ, WAIT_CYCLES = 12_000_000, 1
"""luna's clock, and how long it waits after a packet before it answers. By itself it waits for 2 cycles, the least that
USB allows, besides its ways from and to the lines, which take 12. Without any wait, control transfers fail."""
IDLE_CYCLES = 16
"""Silence of the device after which a packet goes out that is not full."""


class UsbSerial(wiring.Component):
    """A device of the class CDC-ACM, which any computer takes for a serial port; its rate means nothing.

    At full speed in both directions up to 19 packets of 64 bytes a millisecond. Answers begin within 14 bits after the
    host's packet; USB wants 6.5 at the device, which luna's gateware for the lines does not reach, and hosts wait for
    16 to 18. Needs the clock domains ``usb_io``, 48 MHz, and ``usb``, 12 MHz from the same PLL, with an edge at every
    fourth edge of that.

    At high speed up to 13 packets of 512 bytes in each of a millisecond's 8 parts. Needs the clock domain ``usb``, the
    PHY's 60 MHz. Hosts without high speed do not take it.

    The host's driver asks for two packets at a time and waits until they are full or a shorter one comes. What is sent
    therefore ends in a packet that is not full, to which a FLAG or two are added: between frames they mean nothing.

    A reset of the bus resets the endpoints, with the toggles of their packets: luna's own leaves those as they are, and
    a host that begins anew would lose a packet.

    Parameters
    ----------
    high_speed : bool
        With a PHY.

    Members
    -------
    pins : Out
        The lines, see :data:`USB_PINS`, or those of the PHY, :data:`ULPI_PINS`.
    i : In(stream)
        Bytes for the host.
    o : Out(stream)
        Bytes from the host.
    """

    def __init__(self, *, high_speed: bool = False):
        self.high_speed = high_speed
        self.packet_bytes = HIGH_SPEED_PACKET_BYTES if high_speed else PACKET_BYTES
        super().__init__(
            {
                "pins": Out(ULPI_PINS if high_speed else USB_PINS),
                "i": In(stream.Signature(8)),
                "o": Out(stream.Signature(8)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        try:
            from luna.gateware.usb.devices.acm import USBSerialDevice
        except ImportError as error:
            raise SateenError(f"link=usb needs luna-usb ({error}); {install_hint('fpga')}") from error
        texts = {"idVendor": VENDOR, "idProduct": PRODUCT, "manufacturer_string": MAKER, "product_string": TITLE}
        if self.high_speed:
            device = _high_speed_device()(bus=self._phy(m), max_packet_size=self.packet_bytes, **texts)
            m.submodules.device = device
        else:
            bus = self._bus(m)
            device = USBSerialDevice(bus=bus, max_packet_size=self.packet_bytes, **texts)
            m.submodules.device = ResetInserter({"usb": self._reset(m, bus)})(_Prompt(device))
        m.d.comb += device.connect.eq(1)
        m.submodules.incoming = incoming = AsyncFIFOBuffered(
            width=8, depth=BUFFER_BYTES, w_domain="usb", r_domain="sync"
        )
        m.submodules.outgoing = outgoing = AsyncFIFOBuffered(
            width=8, depth=BUFFER_BYTES, w_domain="sync", r_domain="usb"
        )
        # Whether there is room is known late.
        m.submodules.sending = sending = RegisterSlice(8)
        connect(m, wiring.flipped(self.i), sending.i)
        m.d.comb += [
            incoming.w_data.eq(device.rx.payload),
            incoming.w_en.eq(device.rx.valid),
            device.rx.ready.eq(incoming.w_rdy),
            self.o.payload.eq(incoming.r_data),
            self.o.valid.eq(incoming.r_rdy),
            incoming.r_en.eq(self.o.ready),
            outgoing.w_data.eq(sending.o.payload),
            outgoing.w_en.eq(sending.o.valid),
            sending.o.ready.eq(outgoing.w_rdy),
        ]
        self._pack(m, outgoing, device.tx)
        return m

    def _bus(self, m: Module) -> SimpleNamespace:
        """The lines as luna takes them. Its gateware also reads them unsynchronized, so they are before."""
        dp, dn = (
            SimpleNamespace(**{part: Signal(name=f"{name}_{part}") for part in ("i", "o", "oe")})
            for name in ("dp", "dn")
        )
        m.submodules.dp_synchronizer = FFSynchronizer(self.pins.dp_i, dp.i, init=1, o_domain="usb_io")
        m.submodules.dn_synchronizer = FFSynchronizer(self.pins.dn_i, dn.i, o_domain="usb_io")
        m.d.comb += [self.pins.dp_o.eq(dp.o), self.pins.dn_o.eq(dn.o), self.pins.oe.eq(dp.oe)]
        return SimpleNamespace(d_p=dp, d_n=dn)

    def _phy(self, m: Module) -> SimpleNamespace:
        """The PHY's lines as luna takes them. It gives us the clock."""
        pins = self.pins
        lines = {
            "data": {"i": pins.data_i, "o": pins.data_o, "oe": pins.data_oe}, "clk": {"o": Signal(name="unused_clock")},
            "dir": {"i": pins.dir}, "nxt": {"i": pins.nxt}, "stp": {"o": pins.stp}, "rst": {"o": pins.rst},
        }  # fmt: skip
        return SimpleNamespace(**{name: SimpleNamespace(**parts) for name, parts in lines.items()})

    def _reset(self, m: Module, bus: SimpleNamespace) -> Signal:
        """High while the host resets the bus."""
        low, reset = Signal(range(RESET_CYCLES + 1)), Signal()
        with m.If(bus.d_p.i | bus.d_n.i):
            m.d.usb += low.eq(0)
        with m.Elif(~reset):
            m.d.usb += low.eq(low + 1)
        m.d.comb += reset.eq(low == RESET_CYCLES)
        return reset

    def _pack(self, m: Module, source: AsyncFIFOBuffered, sink: Any) -> None:
        """Sends bytes, and ends the last packet after silence, with a FLAG that does not fill it."""
        place, silence, open_ended = Signal(range(self.packet_bytes)), Signal(range(IDLE_CYCLES + 1)), Signal()
        ending = Signal()
        m.d.comb += [
            ending.eq(open_ended & ~source.r_rdy & (silence == IDLE_CYCLES)),
            sink.valid.eq(source.r_rdy | ending),
            sink.payload.eq(Mux(source.r_rdy, source.r_data, FLAG)),
            sink.last.eq(ending & (place != self.packet_bytes - 1)),
            source.r_en.eq(sink.ready),
        ]
        with m.If(source.r_rdy):
            m.d.usb += silence.eq(0)
        with m.Elif(silence != IDLE_CYCLES):
            m.d.usb += silence.eq(silence + 1)
        with m.If(sink.valid & sink.ready):
            m.d.usb += [place.eq(place + 1), open_ended.eq(1)]
            with m.If(sink.last):
                m.d.usb += [place.eq(0), open_ended.eq(0)]


class _Prompt(Elaboratable):
    """A device of luna's for the lines, which waits for :data:`WAIT_CYCLES` before it answers: luna has no other way to
    say that than the table of its timers, which all of the process share."""

    def __init__(self, device: Any):
        self.device = device

    def elaborate(self, platform: object) -> Any:
        from luna.gateware.usb.usb2.packet import USBInterpacketTimer

        waits = USBInterpacketTimer._FS_RX_TO_TX_DELAY
        kept = dict(waits)
        waits[USB_HZ] = (WAIT_CYCLES, kept[USB_HZ][1])
        try:
            return Fragment.get(self.device, platform)
        finally:
            waits.update(kept)


def _high_speed_device() -> Any:
    """luna's serial device, whose endpoints a reset of the bus resets. The part that finds the bus's speed goes on."""
    from luna.gateware.usb.devices.acm import ACMRequestHandlers, USBSerialDevice
    from luna.gateware.usb.usb2.device import USBDevice
    from luna.gateware.usb.usb2.endpoints.stream import USBStreamInEndpoint, USBStreamOutEndpoint
    from luna.gateware.usb.usb2.request import StallOnlyRequestHandler
    from usb_protocol.types import USBRequestType

    class HighSpeedDevice(USBSerialDevice):
        """A serial device (CDC-ACM) behind a ULPI PHY, in the clock domain ``usb``. Ports are those of
        ``USBSerialDevice``: ``rx`` and ``tx`` are luna's streams of bytes, up to one a cycle; ``connect`` pulls the
        lines up."""

        def elaborate(self, platform: object) -> Module:
            m = Module()
            m.submodules.usb = usb = USBDevice(bus=self._bus)
            control = usb.add_standard_control_endpoint(self.create_descriptors())
            control.add_request_handler(ACMRequestHandlers())
            others = (USBRequestType.VENDOR, USBRequestType.RESERVED)
            control.add_request_handler(
                StallOnlyRequestHandler(lambda setup: (setup.type == others[0]) | (setup.type == others[1]))
            )
            size, status, bulk = self._max_packet_size, self._STATUS_ENDPOINT_NUMBER, self._DATA_ENDPOINT_NUMBER
            notices = USBStreamInEndpoint(endpoint_number=status, max_packet_size=size)
            incoming = USBStreamOutEndpoint(endpoint_number=bulk, max_packet_size=size)
            outgoing = USBStreamInEndpoint(endpoint_number=bulk, max_packet_size=size)
            for endpoint in (notices, incoming, outgoing):
                usb.add_endpoint(ResetInserter({"usb": usb.reset_detected})(endpoint))
            # While luna waits for the PHY, the lines are low, which is no reset: an answer to it and the first write to
            # the PHY would wait for each other.
            waited = Signal(range(START_CYCLES + 1))
            with m.If(waited != START_CYCLES):
                m.d.usb += waited.eq(waited + 1)
            m.d.comb += [
                usb.full_speed_only.eq(waited != START_CYCLES),
                outgoing.stream.stream_eq(self.tx),
                self.rx.stream_eq(incoming.stream),
                usb.connect.eq(self.connect),
            ]
            return m

    return HighSpeedDevice
