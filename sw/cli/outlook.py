"""Prints what to expect of a model: whether it fits, what bounds it, how long it takes, what would help."""

from __future__ import annotations

from sateen.cli.output import memory_text
from sateen.cli.printing import console
from sateen.cli.tables import Column, number, print_table
from sateen.compiler import Model
from sateen.report.outlook import Outlook, Timing

__all__ = ["print_outlook"]

SHARES = 3
"""Causes that are named."""
LINKS = {"usb": "USB", "ethernet": "Ethernet"}
"""Lines that are no serial port, by the link's name."""


def print_outlook(model: Model, found: Outlook) -> None:
    """Prints the answers, all by the cycle model and the link's rate."""
    if not model.layers:
        console.print("no layer runs on the device: the host computes everything")
        return
    timing = found.timing
    console.print(f"fits: {_fit(model, timing)}")
    shares = ", ".join(f"{share.cause} {share.share:.0%}" for share in found.bound[:SHARES])
    console.print(f"the array's cycles: {shares}")
    array = f"{timing.cycles:,} cycles take {_ms(timing.compute_ms)} at {timing.clock_hz / 1e6:g} MHz"
    link = LINKS.get(model.config.link)
    port = f"{timing.link_bytes:,} bytes on {link or 'the serial port'} {_ms(timing.link_ms)}"
    port += "" if link else f" at {timing.baud:,} baud"
    times = {"the array": timing.compute_ms, "SDRAM": timing.memory_ms, link or "the serial port": timing.link_ms}
    bound = max(times, key=lambda name: times[name])
    memory = f"waiting for SDRAM {_ms(timing.memory_ms)}, " if timing.memory_bytes else ""
    console.print(f"bound by {bound}: {array}, {memory}{port}")
    if timing.memory_bytes:
        console.print(memory_text(model.config, timing.memory_bytes, timing.memory_cycles, timing.cycles))
    for change in found.changes:
        console.print(
            f"{change.config} would take {_ms(change.compute_ms + change.memory_ms + change.link_ms)}, "
            f"{change.factor:.1f} times less: {change.cycles:,} cycles, {change.link_bytes:,} bytes"
        )
    if not found.changes:
        console.print("no other preset, and neither weight_rows nor combine, would take less time")
    console.print()
    print_table(
        [
            Column("board"), Column("default configuration", rank=5), number("clock", 4), number("cycles", 2),
            number("array"), number("SDRAM", 3), number("serial port"), Column("weights", rank=3),
            Column("this file", rank=1),
        ],
        [_row(each) for each in found.boards],
        title="one inference: the array by the cycle model, waiting for SDRAM, the bytes on the serial port:",
    )  # fmt: skip


def _fit(model: Model, timing: Timing) -> str:
    if model.resident:
        text = "weights and program stay on the device"
    else:
        how = "copied from SDRAM" if model.config.sdram else "sent"
        text = f"weights and program are too large to stay on the device, and are {how} for each inference"
    return text + (f"; the host runs {timing.host_layers} of its layers" if timing.host_layers else "")


def _row(timing: Timing) -> list[str]:
    host = f", {timing.host_layers} on the host" if timing.host_layers else ""
    return [
        timing.board, timing.config.partition(",")[0] + (",…" if "," in timing.config else ""),
        f"{timing.clock_hz / 1e6:g} MHz", f"{timing.cycles:,}", _ms(timing.compute_ms),
        _ms(timing.memory_ms) if timing.memory_bytes else "–", _ms(timing.link_ms),
        ("resident" if timing.resident else "from SDRAM" if timing.memory_bytes else "sent") + host,
        "runs" if timing.matches else "compile for it",
    ]  # fmt: skip


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:,.0f} ms" if milliseconds >= 100 else f"{milliseconds:.3g} ms"
