"""The complete accelerator: engine and link."""

from __future__ import annotations

from amaranth.hdl import DomainRenamer, Module, ResetSignal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect

from sateen.hw.bridge import SdramBridge
from sateen.hw.engines import create_engine
from sateen.hw.link.endpoint import Endpoint
from sateen.hw.link.uart import UART
from sateen.hw.sdram.pins import pins
from sateen.hw.spec.config import Config
from sateen.hw.spec.sdram import find_chip
from sateen.hw.stream.delay import reset_domains
from sateen.hw.watchdog import guard

__all__ = ["LINKS", "Accelerator"]

LINKS = ("uart", "bytes")


class Accelerator(wiring.Component):
    """The complete accelerator, with a serial port or a stream of bytes to the host.

    Parameters
    ----------
    config : Config
        What to build.
    link : str
        ``uart``: 8N1 at ``config.baud``; ``bytes``: streams, for simulation and for designs with another link.
    build : str
        The build's name in the device's identity; empty for the configuration's digest.

    Members
    -------
    rx : In(stream) of bytes, always ready
        From the host. With ``link="bytes"``.
    tx : Out(stream) of bytes
        To the host. With ``link="bytes"``.
    uart_rx : In(1), uart_tx : Out(1)
        Serial port, high when idle. With ``link="uart"``.
    busy : Out(1)
        A program runs.
    sdram : Out
        The pins of the configuration's SDRAM, if it has one, see :class:`sateen.hw.bridge.SdramBridge`.
    """

    def __init__(self, config: Config, *, link: str = "uart", build: str = ""):
        if link not in LINKS:
            raise ValueError(f"link must be one of {', '.join(LINKS)}, not {link!r}")
        if link == "uart" and config.link != "uart":
            raise ValueError(
                f"link={config.link} is for builds for boards; elsewhere choose link=uart, or streams of bytes "
                "(accelerator-bytes)"
            )
        self.config, self.link, self.build = config, link, build
        ports = {
            "uart": {"uart_rx": In(1), "uart_tx": Out(1)},
            "bytes": {"rx": In(stream.Signature(8, always_ready=True)), "tx": Out(stream.Signature(8))},
        }
        outside = {"sdram": Out(pins(find_chip(config.sdram)))} if config.sdram else {}
        super().__init__({**ports[link], "busy": Out(1), **outside})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        reset_domains(m, platform, ["link"], ResetSignal())
        endpoint = Endpoint(self.config, build=self.build)
        m.submodules.endpoint = DomainRenamer("link")(endpoint)
        m.submodules.engine = engine = create_engine(self.config)
        if self.config.sdram:
            self._outside(m, endpoint, engine)
        else:
            connect(m, endpoint.request, engine.request)
            connect(m, engine.response, endpoint.response)
        watchdog = guard(m, engine)
        connect(m, endpoint.run, watchdog.i)
        m.d.comb += [
            endpoint.busy.eq(engine.busy),
            endpoint.overtime.eq(watchdog.overtime),
            endpoint.place.eq(watchdog.late),
            watchdog.halt.eq(endpoint.halt),
            self.busy.eq(engine.busy),
        ]
        if self.link == "uart":
            uart = UART(clock_hz=self.config.clock_hz, baud=self.config.baud)
            m.submodules.uart = DomainRenamer("link")(uart)
            connect(m, uart.o, endpoint.rx)
            connect(m, endpoint.tx, uart.i)
            m.d.comb += [uart.rx.eq(self.uart_rx), self.uart_tx.eq(uart.tx)]
        else:
            connect(m, wiring.flipped(self.rx), endpoint.rx)
            connect(m, endpoint.tx, wiring.flipped(self.tx))
        return m

    def _outside(self, m: Module, endpoint: Endpoint, engine: wiring.Component) -> None:
        """SDRAM, between link and engine."""
        m.submodules.bridge = bridge = SdramBridge(self.config)
        connect(m, endpoint.request, bridge.i)
        connect(m, bridge.o, engine.request)
        connect(m, engine.response, bridge.answer)
        connect(m, bridge.response, endpoint.response)
        connect(m, endpoint.move, bridge.move)
        connect(m, bridge.pins, wiring.flipped(self.sdram))
        m.d.comb += [
            bridge.seek.eq(endpoint.seek),
            bridge.position.eq(endpoint.position),
            bridge.busy.eq(engine.busy),
        ]
