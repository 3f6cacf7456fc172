"""Transports to a device, as streams of bytes: a simulation in this process, a serial port, TCP, UDP.

To add one, write its class and a function that opens it, and register the function in :data:`TRANSPORTS`.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs

import serial

from sateen.errors import DeviceError, DeviceTakenError
from sateen.hw.spec.config import Config, parse_config
from sateen.hw.spec.ethernet import DATAGRAM_BYTES, PORT

__all__ = [
    "TRANSPORTS",
    "SerialTransport",
    "SimulationTransport",
    "TcpTransport",
    "Transport",
    "UdpTransport",
    "alternatives",
    "open_transport",
]

DEFAULT_BAUD = Config().baud
RATES = (DEFAULT_BAUD, 3_000_000, 2_000_000)
"""Rates of the boards' default configurations, tried in turn where no rate is given."""
CONNECT_SECONDS = 5.0
SEND_SECONDS = 0.1
"""Time to send, besides what the bytes take, however short the wait for an answer is: half a frame is none."""
FORMS = "sim:PRESET[,field=value…], serial:/dev/ttyUSB0[?baud=…], udp:HOST or tcp:HOST:PORT"
"""What :data:`TRANSPORTS` open, for messages."""


class Transport(Protocol):
    """A stream of bytes to and from a device."""

    bits_per_second: float
    """Rate of the line; infinite if the line is no limit."""
    clock_hz: float
    """The least clock of the device, where its own may not be what its configuration says; else infinite."""

    def now(self) -> float:
        """The time in seconds, from any origin."""

    def exchange(self, data: bytes, *, timeout: float) -> bytes:
        """Sends bytes, then returns received ones: at least one, or none if ``timeout`` seconds pass without any.
        Takes no longer than about twice the ``timeout``, or what sending takes.

        Raises :class:`~sateen.errors.DeviceError` if the connection is lost.
        """

    def close(self) -> None:
        """Closes the connection."""


class SimulationTransport:
    """A simulated device in this process. Timeouts count the device's cycles."""

    bits_per_second = float("inf")

    def __init__(self, config: Config, *, trace: Path | None = None):
        from sateen.sim.verilated import VerilatedDevice

        self.device: VerilatedDevice = VerilatedDevice(config, trace=trace)
        self.clock_hz = float(config.clock_hz)

    def now(self) -> float:
        """The device's cycles so far, in seconds."""
        return self.device.cycles / self.clock_hz

    def exchange(self, data: bytes, *, timeout: float) -> bytes:
        """See :class:`Transport`."""
        return self.device.exchange(data, max_cycles=len(data) + int(timeout * self.clock_hz))

    def close(self) -> None:
        """See :class:`Transport`."""
        self.device.close()


class ProbedTransport(SimulationTransport):
    """A simulated device that records its array, see :class:`sateen.sim.probed.ProbedDevice`."""

    def __init__(self, config: Config):
        from sateen.sim.probed import ProbedDevice

        self.device = ProbedDevice(config)
        self.clock_hz = float(config.clock_hz)


class CountingTransport(SimulationTransport):
    """A simulated device that counts toggles, see :class:`sateen.sim.counted.CountingDevice`."""

    def __init__(self, config: Config):
        from sateen.sim.counted import CountingDevice

        self.device: CountingDevice = CountingDevice(config)
        self.clock_hz = float(config.clock_hz)


class SerialTransport:
    """A serial port, or any other URL that pyserial supports. A port is locked: no other program can open it.

    Parameters
    ----------
    url : str
        For example ``/dev/ttyUSB0`` or ``socket://HOST:PORT``.
    baud : int
        Bits per second.
    """

    clock_hz = float("inf")

    def __init__(self, url: str, *, baud: int = DEFAULT_BAUD):
        self.bits_per_second = float(baud)
        try:
            self._port: serial.SerialBase = serial.serial_for_url(url, baudrate=baud, timeout=0, exclusive=True)
        except (serial.SerialException, ValueError, OSError) as error:
            if getattr(error, "errno", None) in (errno.EAGAIN, errno.EBUSY):
                raise DeviceTakenError(f"{url} is in use by another program; close that one first") from error
            raise DeviceError(
                f"cannot open {url}: {error}; check the name, the cable and your permissions for the port"
            ) from error

    def now(self) -> float:
        """A clock that only goes forwards."""
        return time.monotonic()

    def exchange(self, data: bytes, *, timeout: float) -> bytes:
        """See :class:`Transport`."""
        try:
            if data:
                self._port.write_timeout = max(timeout, SEND_SECONDS + 20 * len(data) / self.bits_per_second)
                self._port.write(data)
            self._port.timeout = timeout
            first = self._port.read(1)
            if not first:
                return b""
            self._port.timeout = 0
            return bytes(first) + bytes(self._port.read(max(1, self._port.in_waiting)))
        except serial.SerialTimeoutException:
            return b""
        except (serial.SerialException, OSError) as error:
            raise DeviceError(f"the connection is lost: {error}; connect the device and open it again") from error

    def close(self) -> None:
        """See :class:`Transport`."""
        self._port.close()


class TcpTransport:
    """A TCP connection. The line is no limit, but the device may be a simulation, on a busy machine.

    Parameters
    ----------
    host : str
        Name or address.
    port : int
        Number of the port.
    """

    bits_per_second = float("inf")
    clock_hz = 20_000.0

    def __init__(self, host: str, port: int):
        try:
            self._socket = socket.create_connection((host, port), timeout=CONNECT_SECONDS)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except (OSError, UnicodeError) as error:
            raise DeviceError(
                f"cannot open tcp:{host}:{port}: {_reason(error)}; check the name, and that a device is served there"
            ) from error

    def now(self) -> float:
        """A clock that only goes forwards."""
        return time.monotonic()

    def exchange(self, data: bytes, *, timeout: float) -> bytes:
        """See :class:`Transport`."""
        try:
            self._socket.settimeout(max(timeout, SEND_SECONDS))
            self._socket.sendall(data)
            self._socket.settimeout(timeout)
            came = self._socket.recv(1 << 16)
        except TimeoutError:
            return b""
        except OSError as error:
            raise DeviceError(
                f"the connection is lost: {error.strerror or error}; connect the device and open it again"
            ) from error
        if not came:
            raise DeviceError("the connection is lost: the other end has closed it; open the device again")
        return came

    def close(self) -> None:
        """See :class:`Transport`."""
        self._socket.close()


class UdpTransport:
    """Datagrams to and from a board with the Ethernet link. Lost ones are the link's to repeat.

    Parameters
    ----------
    host : str
        The device's address or name.
    port : int
        Number of the port.
    """

    bits_per_second = clock_hz = float("inf")

    def __init__(self, host: str, port: int = PORT):
        self.name = f"udp:{host}" if port == PORT else f"udp:{host}:{port}"
        try:
            # Whatever else has the name: boards have IPv4.
            found = socket.getaddrinfo(host, port, family=socket.AF_INET, type=socket.SOCK_DGRAM)
            family, kind, protocol, _, address = found[0]
            self._socket = socket.socket(family, kind, protocol)
            # From now on only the device's datagrams are received.
            self._socket.connect(address)
        except (OSError, UnicodeError) as error:
            raise DeviceError(f"cannot open {self.name}: {_reason(error)}; check the address") from error

    def now(self) -> float:
        """A clock that only goes forwards."""
        return time.monotonic()

    def exchange(self, data: bytes, *, timeout: float) -> bytes:
        """See :class:`Transport`."""
        try:
            self._socket.settimeout(max(timeout, SEND_SECONDS))
            for start in range(0, len(data), DATAGRAM_BYTES):
                self._socket.send(data[start : start + DATAGRAM_BYTES])
            left, deadline = timeout, self.now() + timeout
            while left > 0:
                self._socket.settimeout(left)
                if came := self._socket.recv(1 << 16):
                    return came
                # An empty datagram is no answer, and does not end the wait for one.
                left = deadline - self.now()
            return b""
        except TimeoutError:
            return b""
        except ConnectionRefusedError as error:
            raise DeviceError(
                f"{self.name} takes no datagrams there; check that the address is a board's with link=ethernet"
            ) from error
        except OSError as error:
            raise DeviceError(
                f"the connection is lost: {error.strerror or error}; connect the device and open it again"
            ) from error

    def close(self) -> None:
        """See :class:`Transport`."""
        self._socket.close()


def _reason(error: Exception) -> str:
    """Why a name could not be found or opened."""
    return str(getattr(error, "strerror", None) or error)


def open_simulation(rest: str, name: str, trace: Path | None) -> Transport:
    """A simulated device of the configuration ``rest``."""
    try:
        config = parse_config(rest)
    except ValueError as error:
        raise DeviceError(f"{name!r} names no device: {error}") from error
    return SimulationTransport(config, trace=trace)


def open_serial(rest: str, name: str, trace: Path | None) -> Transport:
    """A serial port, ``PORT[?baud=RATE]``."""
    _refuse_trace(name, trace)
    url, _, query = rest.partition("?")
    settings = parse_qs(query)
    baud = settings.pop("baud", [str(DEFAULT_BAUD)])[-1]
    if settings or not baud.isdecimal() or int(baud) == 0:
        raise DeviceError(f"{name!r} names no device; write serial:/dev/ttyUSB0?baud=1000000")
    return SerialTransport(url, baud=int(baud))


def open_tcp(rest: str, name: str, trace: Path | None) -> Transport:
    """A TCP connection to ``HOST:PORT``."""
    _refuse_trace(name, trace)
    host, _, port = rest.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise DeviceError(f"{name!r} names no device; write tcp:HOST:PORT")
    return TcpTransport(host, int(port))


def open_udp(rest: str, name: str, trace: Path | None) -> Transport:
    """A board on Ethernet, ``HOST[:PORT]``."""
    _refuse_trace(name, trace)
    host, colon, port = rest.partition(":")
    if not host or (colon and not (port.isdecimal() and 0 < int(port) < 1 << 16)):
        raise DeviceError(f"{name!r} names no device; write udp:HOST or udp:HOST:PORT")
    return UdpTransport(host, int(port) if colon else PORT)


def _refuse_trace(name: str, trace: Path | None) -> None:
    if trace is not None:
        raise DeviceError(f"{name!r} is no simulation, so there is no waveform to write; leave the trace out")


TRANSPORTS: dict[str, Callable[[str, str, Path | None], Transport]] = {
    "sim": open_simulation,
    "serial": open_serial,
    "tcp": open_tcp,
    "udp": open_udp,
}
"""What opens each kind of transport, by the word before the colon in a device's name.

Called with the text behind the colon, the whole name for error messages, and the file for a waveform or ``None``. It
raises :class:`~sateen.errors.DeviceError` if the name is wrong or the device cannot be opened.
"""


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
        ``sim:PRESET[,field=value…]``, ``serial:/dev/ttyUSB0[?baud=…]``, ``udp:HOST[:PORT]`` or ``tcp:HOST:PORT``.
    trace
        File for a waveform; simulations only.

    Raises
    ------
    DeviceError
        If ``name`` names no device, or the device cannot be opened.
    """
    kind, _, rest = name.partition(":")
    if not rest or kind not in TRANSPORTS:
        raise DeviceError(f"{name!r} names no device; write {FORMS}")
    return TRANSPORTS[kind](rest, name, None if trace is None else Path(trace))
