"""Transports to a device, as streams of bytes: a simulation in this process, a serial port, a TCP connection."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qs

from sateen.errors import DeviceError
from sateen.hw.spec.config import Config, parse_config

if TYPE_CHECKING:
    import serial

__all__ = ["SerialTransport", "SimulationTransport", "Transport", "alternatives", "open_transport"]

DEFAULT_BAUD = Config().baud
RATES = (DEFAULT_BAUD, 3_000_000, 2_000_000)
"""Rates of the boards' default configurations, tried in turn where no rate is given."""
FORMS = "sim:PRESET[,field=value…], serial:/dev/ttyUSB0[?baud=…] or tcp:HOST:PORT"


class Transport(Protocol):
    """A stream of bytes to and from a device."""

    bits_per_second: float
    """Rate of the line; infinite if the line is no limit."""

    def exchange(self, data: bytes, *, timeout: float) -> bytes:
        """Sends bytes, then returns received ones: at least one, or none if ``timeout`` seconds pass without any.

        Raises :class:`~sateen.errors.DeviceError` if the connection is lost.
        """

    def close(self) -> None:
        """Closes the connection."""


class SimulationTransport:
    """A simulated device in this process. Timeouts count the device's cycles."""

    bits_per_second = float("inf")

    def __init__(self, config: Config, *, trace: Path | None = None):
        from sateen.sim.verilated import VerilatedDevice

        self.device = VerilatedDevice(config, trace=trace)
        self._clock_hz = config.clock_hz

    def exchange(self, data: bytes, *, timeout: float) -> bytes:
        """See :class:`Transport`."""
        return self.device.exchange(data, max_cycles=len(data) + int(timeout * self._clock_hz))

    def close(self) -> None:
        """See :class:`Transport`."""
        self.device.close()


class SerialTransport:
    """A serial port, or any other URL that pyserial supports.

    Parameters
    ----------
    url : str
        For example ``/dev/ttyUSB0`` or ``socket://HOST:PORT``.
    baud : int
        Bits per second.
    """

    def __init__(self, url: str, *, baud: int = DEFAULT_BAUD):
        import serial

        self._error = serial.SerialException
        self.bits_per_second = float(baud)
        try:
            self._port: serial.SerialBase = serial.serial_for_url(url, baudrate=baud, timeout=0)
        except (serial.SerialException, ValueError, OSError) as error:
            raise DeviceError(
                f"cannot open {url}: {error}; check the name, the cable and your permissions for the port"
            ) from error

    def exchange(self, data: bytes, *, timeout: float) -> bytes:
        """See :class:`Transport`."""
        try:
            if data:
                self._port.write(data)
            self._port.timeout = timeout
            first = self._port.read(1)
            if not first:
                return b""
            self._port.timeout = 0
            return bytes(first) + bytes(self._port.read(max(1, self._port.in_waiting)))
        except (self._error, OSError) as error:
            raise DeviceError(f"the connection is lost: {error}; connect the device and open it again") from error

    def close(self) -> None:
        """See :class:`Transport`."""
        self._port.close()


def alternatives(name: str) -> list[str]:
    """The names to try for a device. A serial port without a rate may have any of :data:`RATES`."""
    kind, _, rest = name.partition(":")
    return (
        [f"{name}?baud={rate}" for rate in RATES]
        if kind == "serial" and rest and "?" not in rest and "://" not in rest
        else [name]
    )


def open_transport(name: str, *, trace: Path | str | None = None) -> Transport:
    """Opens the transport to the device that ``name`` names.

    Parameters
    ----------
    name
        ``sim:PRESET[,field=value…]``, ``serial:/dev/ttyUSB0[?baud=…]`` or ``tcp:HOST:PORT``.
    trace
        File for a waveform; simulations only.

    Raises
    ------
    DeviceError
        If ``name`` names no device, or the device cannot be opened.
    """
    kind, colon, rest = name.partition(":")
    if not colon or not rest or kind not in ("sim", "serial", "tcp"):
        raise DeviceError(f"{name!r} names no device; write {FORMS}")
    if trace is not None and kind != "sim":
        raise DeviceError(f"{name!r} is no simulation, so there is no waveform to write; leave the trace out")
    if kind == "sim":
        try:
            config = parse_config(rest)
        except ValueError as error:
            raise DeviceError(f"{name!r} names no device: {error}") from error
        return SimulationTransport(config, trace=None if trace is None else Path(trace))
    if kind == "tcp":
        host, _, port = rest.rpartition(":")
        if not host or not port.isdigit():
            raise DeviceError(f"{name!r} names no device; write tcp:HOST:PORT")
        transport = SerialTransport(f"socket://{host}:{port}")
        transport.bits_per_second = float("inf")
        return transport
    url, _, query = rest.partition("?")
    settings = parse_qs(query)
    baud = settings.pop("baud", [str(DEFAULT_BAUD)])[-1]
    if settings or not baud.isdigit() or int(baud) == 0:
        raise DeviceError(f"{name!r} names no device; write serial:/dev/ttyUSB0?baud=1000000")
    return SerialTransport(url, baud=int(baud))
