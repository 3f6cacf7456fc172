"""The table of boards, from their descriptions."""

from __future__ import annotations

from sateen.fpga.boards import BOARDS


def table() -> str:
    """Each board's name, part, default configuration, clock, serial port and lights."""
    lines = ["| `--board` | board | configuration | clock | serial port | lights |", "|---|---|---|---:|---|---|"]
    for name, board in BOARDS.items():
        port = f"{board.baud / 1e6:g} Mbaud, {board.bridge.title}"
        if board.serial_pins:
            port += f" ({', '.join(board.serial_pins)})"
        lights = ", ".join(f"`{resource} {number}`" for resource, number in board.leds)
        clock = f"{board.run_hz / 1e6:g} MHz"
        lines.append(f"| `{name}` | {board.title} | `{board.config}` | {clock} | {port} | {lights} |")
    return "\n".join(lines)
