"""A monitor on a serial port or a pseudo-terminal, where runners find it."""

from __future__ import annotations

from collections.abc import Callable

import serial

from sateen.errors import DeviceError
from sateen.mlperf.monitor import Monitor
from sateen.runtime.terminal import terminal

__all__ = ["BAUD", "serve", "serve_terminal"]

BAUD = 115_200
"""Bits per second that runners expect."""
POLL_SECONDS = 0.2


def serve(monitor: Monitor, url: str, *, baud: int = BAUD) -> None:
    """Answers on a serial port, or any other URL that pyserial supports, until interrupted.

    Raises
    ------
    DeviceError
        If the port cannot be opened, or is lost.
    """
    try:
        port = serial.serial_for_url(url, baudrate=baud, timeout=POLL_SECONDS, exclusive=True)
    except (serial.SerialException, ValueError, OSError) as error:
        raise DeviceError(f"cannot open {url}: {error}; check the name and your permissions for the port") from error
    try:
        port.write(monitor.greeting())
        while True:
            if came := port.read(max(1, port.in_waiting)):
                for answer in monitor.feed(came):
                    port.write(answer)
    except (serial.SerialException, OSError) as error:
        raise DeviceError(f"the connection is lost: {error}; connect the port and start again") from error
    finally:
        port.close()


def serve_terminal(monitor: Monitor, ready: Callable[[str], None]) -> None:
    """Answers on a pseudo-terminal, which programs open like a serial port, until interrupted; ``ready`` is called with
    its name."""
    with terminal(ready) as line:
        while True:
            for answer in monitor.feed(line.receive()):
                line.send(answer)
