"""Amaranth's streams at the ports of a device under test: source, sink and monitor, with random pauses.

A stream ``i`` of a component has the ports ``i__payload``, ``i__valid`` and, unless it is always ready, ``i__ready``. A
transfer happens at each rising edge of the clock at which ``valid`` and ``ready`` are both 1. The random numbers are
cocotb's, so that a seed repeats them.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from amaranth.lib import data
from amaranth.lib import enum as amaranth_enum
from cocotb.triggers import RisingEdge

__all__ = ["StreamMonitor", "StreamSink", "StreamSource", "plain", "receive", "send"]


class Stream:
    """One stream's ports.

    Parameters
    ----------
    dut
        The device under test; its clock is ``dut.clk``, unless ``clock`` is given.
    port : str
        The stream's name: its ports begin with it and ``__``.
    layout : amaranth.lib.data.Layout, optional
        Of the payload. With it, items are dictionaries, lists and integers, else integers.
    pause : float
        Probability of a pause before each transfer, as often as chance has it: 0 for none, below 1.
    names : dict, optional
        Ports of other names than these: ``{"payload": "tdata", "valid": "tvalid", "ready": "tready"}``.
    clock
        The handle of the clock.
    """

    def __init__(
        self, dut: Any, port: str = "", *, layout: data.Layout | None = None, pause: float = 0.0,
        names: dict[str, str] | None = None, clock: Any = None,
    ):  # fmt: skip
        if not 0 <= pause < 1:
            raise ValueError(f"pause must be a probability of 0 or more and less than 1, not {pause!r}")
        found = {part: (names or {}).get(part, f"{port}__{part}") for part in ("payload", "valid", "ready")}
        self.layout, self.pause = layout, pause
        self.clock = dut.clk if clock is None else clock
        self.payload, self.valid = getattr(dut, found["payload"], None), getattr(dut, found["valid"])
        self.ready = getattr(dut, found["ready"], None)

    def encode(self, item: Any) -> int:
        """An item as the payload's bits."""
        return int(item) if self.layout is None else _bits(self.layout, item)

    def decode(self) -> Any:
        """The payload as an item."""
        bits = int(self.payload.value) if self.payload is not None else 0
        return bits if self.layout is None else plain(self.layout.from_bits(bits))


class StreamSource(Stream):
    """Drives an input stream. See :class:`Stream` for the parameters."""

    async def send(self, items: Iterable[Any]) -> None:
        """Sends items in order; returns after the last one's transfer. ``valid`` stays 1 until its transfer."""
        for item in items:
            while random.random() < self.pause:
                self.valid.value = 0
                await RisingEdge(self.clock)
            self.valid.value = 1
            if self.payload is not None:
                self.payload.value = self.encode(item)
            await RisingEdge(self.clock)
            while self.ready is not None and not self.ready.value:
                # Nothing happens in the cycles between.
                await RisingEdge(self.ready)
                await RisingEdge(self.clock)
        self.valid.value = 0


class StreamSink(Stream):
    """Takes from an output stream. See :class:`Stream` for the parameters."""

    async def receive(self, count: int) -> list[Any]:
        """The next ``count`` items. ``ready`` is 0 afterwards."""
        items: list[Any] = []
        while len(items) < count:
            items += await self.cycle()
            if not self.pause and not self.valid.value and len(items) < count:
                # Nothing happens in the cycles between.
                await RisingEdge(self.valid)
        if self.ready is not None:
            self.ready.value = 0
        return items

    async def cycle(self) -> list[Any]:
        """What comes in the next cycle: an item or none. ``ready`` stays as it is."""
        take = random.random() >= self.pause
        if self.ready is not None:
            self.ready.value = take
        await RisingEdge(self.clock)
        return [self.decode()] if self.valid.value and (take or self.ready is None) else []


class StreamMonitor(Stream):
    """Watches a stream without driving it: keeps every item in :attr:`items`, and holds the stream to its rules.

    Start it with ``cocotb.start_soon(monitor.watch())``. See :class:`Stream` for the parameters; ``pause`` has no use.
    """

    def __init__(self, dut: Any, port: str = "", **settings: Any):
        super().__init__(dut, port, **settings)
        self.items: list[Any] = []
        """The items transferred so far."""

    async def watch(self) -> None:
        """Watches until it is cancelled.

        Raises
        ------
        AssertionError
            If ``valid`` falls, or the payload changes, before the transfer.
        """
        waiting: int | None = None
        while True:
            await RisingEdge(self.clock)
            valid = bool(self.valid.value)
            bits = int(self.payload.value) if valid and self.payload is not None else 0
            assert valid or waiting is None, f"valid fell before item {len(self.items)} was taken"
            assert waiting is None or bits == waiting, f"item {len(self.items)} changed before it was taken"
            taken = valid and (self.ready is None or bool(self.ready.value))
            if taken:
                self.items.append(self.decode())
            waiting = bits if valid and not taken else None


async def send(
    dut: Any, port: str, items: Iterable[Any], *, layout: data.Layout | None = None, pause: float = 0.0
) -> None:
    """Sends items to the input stream ``port``: :meth:`StreamSource.send` in one line."""
    await StreamSource(dut, port, layout=layout, pause=pause).send(items)


async def receive(
    dut: Any, port: str, count: int, *, layout: data.Layout | None = None, pause: float = 0.0
) -> list[Any]:
    """The next ``count`` items of the output stream ``port``: :meth:`StreamSink.receive` in one line."""
    return await StreamSink(dut, port, layout=layout, pause=pause).receive(count)


def _bits(layout: Any, item: Any) -> int:
    """Amaranth's stubs do not know a layout's constants."""
    return int(layout.const(item).as_bits())


def plain(value: Any) -> Any:
    """A constant of a layout as dictionaries, lists and integers."""
    if isinstance(value, amaranth_enum.Enum):
        return int(value.value)
    if not isinstance(value, data.Const):
        return int(value) if isinstance(value, int) else value
    layout: Any = value.shape()
    if isinstance(layout, data.ArrayLayout):
        return [plain(value[index]) for index in range(layout.length)]
    return {name: plain(value[name]) for name, _ in layout}
