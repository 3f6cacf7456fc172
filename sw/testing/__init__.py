"""Parts for cocotb benches of the accelerator, its units, and designs that contain it.

In: Verilog under a simulator, at any of its interfaces. Out: a comparison with the golden model. A test drives streams
(``streams.py``), or plays the host with the real driver over bytes, UART pins or AXI (``host.py``, ``uart.py``,
``axi.py``). ``simulators.py`` and ``simulation.py`` build and run. The benches of Sateen's own units stand in
``benches``; ``sateen cocotb`` runs them. Read ``host.py`` first.

``sateen.testing.axi`` is imported by itself: it needs cocotbext-axi.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sateen.extras import install_hint

try:
    import cocotb  # noqa: F401
except ImportError as error:
    raise ImportError(f"sateen.testing needs cocotb, which is not installed; {install_hint('cocotb')}") from error

from sateen.testing.dut import parameters, reset, watchdog
from sateen.testing.streams import StreamMonitor, StreamSink, StreamSource, plain, receive, send

if TYPE_CHECKING:
    from sateen.testing.bench import Bench, cells, to_verilog
    from sateen.testing.checks import check_layers, check_tensors, golden
    from sateen.testing.host import ByteTransport, Host
    from sateen.testing.simulation import Outcome, TestOutcome, simulate
    from sateen.testing.simulators import SIMULATORS, build, runner
    from sateen.testing.uart import SerialBridge, UartTransport, receive_byte, transmit_byte
    from sateen.testing.usb import UsbHost, UsbTransport

__all__ = [
    "SIMULATORS", "Bench", "ByteTransport", "Host", "Outcome", "SerialBridge", "StreamMonitor", "StreamSink",
    "StreamSource", "TestOutcome", "UartTransport", "UsbHost", "UsbTransport", "build", "cells", "check_layers",
    "check_tensors", "golden", "parameters", "plain", "receive", "receive_byte", "reset", "runner", "send", "simulate",
    "to_verilog", "transmit_byte", "watchdog",
]  # fmt: skip

PLACES = {
    "bench": ("Bench", "cells", "to_verilog"),
    "checks": ("check_layers", "check_tensors", "golden"),
    "ethernet": ("EthernetHost", "UdpTransport"),
    "host": ("ByteTransport", "Host"),
    "simulation": ("Outcome", "TestOutcome", "simulate"),
    "simulators": ("SIMULATORS", "build", "runner"),
    "uart": ("SerialBridge", "UartTransport", "receive_byte", "transmit_byte"),
    "ulpi": ("UlpiHost",),
    "usb": ("UsbHost", "UsbTransport"),
}
"""By module, what is imported when it is first used: the compiler and its front ends take longer to load than most
benches to run, and few need them."""


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        for module, names in PLACES.items():
            if name in names:
                value = getattr(import_module(f"{__name__}.{module}"), name)
                globals()[name] = value
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
