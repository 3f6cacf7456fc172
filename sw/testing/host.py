"""The host in a bench: the real driver, as coroutines, over the device's byte streams or any other transport.

The driver blocks while it waits, so it runs in a thread, and the simulation passes meanwhile.
"""

from __future__ import annotations

from typing import Any

import cocotb
from cocotb.task import bridge, resume
from cocotb.triggers import ClockCycles

from sateen.compiler import Model
from sateen.hw.spec.identity import Identity
from sateen.hw.spec.wire import FLAG
from sateen.runtime import Device, LoadedModel
from sateen.runtime.link import Link
from sateen.testing.checks import check_layers
from sateen.testing.streams import StreamSink, StreamSource

__all__ = ["ByteTransport", "Host"]

PATIENCE_CYCLES = 1_000_000
FRAME_GAP_CYCLES = 16


class ByteTransport:
    """A :class:`sateen.runtime.transport.Transport` over two streams of bytes, as ``sateen verilog --part
    accelerator-bytes`` has them.

    Parameters
    ----------
    source : StreamSource
        Sends to the device.
    sink : StreamSink
        Takes from the device.
    patience_cycles : int
        After as many cycles without an answer it is lost: more than the longest program takes.
    """

    bits_per_second = clock_hz = float("inf")

    def __init__(self, source: StreamSource, sink: StreamSink, *, patience_cycles: int = PATIENCE_CYCLES):
        self.source, self.sink, self.patience_cycles = source, sink, patience_cycles
        self.received = bytearray()
        self.exchange = resume(self._exchange)
        cocotb.start_soon(self._listen())

    def now(self) -> float:
        """Time stands still: :attr:`patience_cycles` end an exchange, not the driver's deadlines."""
        return 0.0

    def close(self) -> None:
        """Nothing to do."""

    async def _exchange(self, data: bytes, *, timeout: float) -> bytes:
        await self.source.send(data)
        waited = 0
        while not self._complete() and waited < self.patience_cycles:
            await ClockCycles(self.sink.clock, FRAME_GAP_CYCLES)
            waited += FRAME_GAP_CYCLES
        came = bytes(self.received)
        self.received.clear()
        return came

    def _complete(self) -> bool:
        """Whether a frame has come: it begins and ends with a flag."""
        return len(self.received) > 1 and self.received[-1] == FLAG

    async def _listen(self) -> None:
        while True:
            self.received += bytes(await self.sink.cycle())


class Host:
    """The driver of :mod:`sateen.runtime`, as coroutines for a cocotb test.

        host = Host(UartTransport(dut.uart_rx, dut.uart_tx, bit_ns=1e9 / baud))
        await host.connect()
        await host.load(sateen.compile("model.tflite", "tiny"))
        y = await host.check(x)

    Parameters
    ----------
    link
        A transport (:class:`ByteTransport`, :class:`~sateen.testing.UartTransport`,
        :class:`~sateen.testing.SerialBridge`), or what replaces the link: :class:`~sateen.testing.axi.AxiLink`.
    """

    def __init__(self, link: Any):
        self.link: Any = link if hasattr(link, "transaction") else Link(link)
        self.device: Device | None = None
        """The device, once it is connected."""
        self.loaded: LoadedModel | None = None
        """The model that was loaded last."""

    async def connect(self) -> Identity:
        """Begins a session with the device, and returns what it says of itself.

        Raises
        ------
        LinkError
            If nothing answers.
        DeviceError
            If the answer is not from a device that this driver supports.
        """
        self.device = await bridge(Device)(self.link)
        return self.device.identity

    async def load(self, model: Model) -> None:
        """Sends a compiled model's weights and program, after :meth:`connect` if that was not done.

        Raises
        ------
        ConfigMismatch
            If it was compiled for another configuration.
        """
        if self.device is None:
            await self.connect()
        assert self.device is not None
        self.loaded = await bridge(self.device.load)(model)

    async def run(self, x: Any) -> Any:
        """The outputs of the model that was loaded last for the inputs ``x``, as
        :meth:`sateen.runtime.LoadedModel.run` takes and returns them."""
        return await bridge(self._model().run)(x)

    async def check(self, x: Any) -> Any:
        """As :meth:`run`; every layer's result is read back and compared with the golden model.

        Raises
        ------
        AssertionError
            With the first layer that differs.
        """
        return await bridge(check_layers)(self._model(), x)

    def _model(self) -> LoadedModel:
        if self.loaded is None:
            raise RuntimeError("no model is loaded; await host.load(model) first")
        return self.loaded
