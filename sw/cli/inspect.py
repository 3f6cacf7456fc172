"""``sateen info`` and ``sateen doctor``."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from sateen.cli.output import console
from sateen.compiler import Model
from sateen.files import atomic_write
from sateen.sim.tools import TOOLS

__all__ = ["doctor", "info"]


def info(model_file: Annotated[Path, typer.Argument(metavar="MODEL", help="Compiled model (.sateen).")]) -> None:
    """Shows what a compiled model holds and needs."""
    model = Model.load(model_file)
    config = model.config
    console.print(f"{model.graph.name}: {len(model.layers)} layers, {model.macs:,} MACs")
    layout = ", ".join(f"{name} {value}" for name, value in config.layout.items())
    console.print(f"compiled for {layout}")
    where = "resident" if model.resident else f"streamed in {len(model.segments)} segments"
    if model.tiled:
        where += f", {model.tiled} layers row by row"
    console.print(
        f"weights {model.weight_words * config.weight_word_bytes:,} of {config.weight_bytes:,} bytes, {where}; "
        f"scratchpad {model.scratchpad_bytes:,} of {config.scratchpad_bytes:,} bytes"
    )
    if config.combine > 1:
        total = model.combining
        console.print(
            f"columns combined: {total.tiles:,} tiles of weights, {total.dense_tiles:,} without; "
            f"{total.density:.0%} of cells used"
        )
    table = Table(box=None, pad_edge=False)
    for heading in ("layer", "op", "output", "MACs", "descriptors", "predicted cycles", "scratchpad"):
        table.add_column(heading, justify="left" if heading in ("layer", "op", "output") else "right")
    for layer in model.layers:
        shape = "×".join(map(str, model.graph.tensors[layer.output].shape[1:]))
        table.add_row(
            layer.name, layer.op, f"{layer.output} {shape}", f"{layer.macs:,}", str(sum(p.count for p in layer.parts)),
            f"{layer.predicted.cycles:,}", f"{layer.memory_bytes:,}",
        )  # fmt: skip
    console.print(table)
    host = [step for step in model.steps if step.host]
    if host:
        kinds = {op.name: type(op).__name__ for op in model.graph.ops}
        console.print("on the host:")
        for step in host:
            console.print(f"  {kinds[step.host]} {step.host!r}{step.reason and f': {step.reason}'}")


def doctor(
    udev: Annotated[
        bool, typer.Option("--udev", help="Write Linux's rules that let you use boards on USB, instead.")
    ] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File for the rules.")] = None,
) -> None:
    """Lists the tools that are found, and how to install those that are missing."""
    if udev:
        _write_rules(output)
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("tool", "version", "for", "install with"):
        table.add_column(heading, no_wrap=heading in ("tool", "install with"))
    console.print(f"Python {platform.python_version()} on {platform.system()} {platform.machine()}")
    for tool in TOOLS:
        version = tool.version()
        table.add_row(tool.name, version or "missing", tool.purpose, "" if version else tool.install)
    console.print(table)
    console.print("pip commands are for a checkout of Sateen.")


def _write_rules(output: Path | None) -> None:
    from sateen.fpga.boards import BOARDS
    from sateen.fpga.usb import rules

    text = rules(BOARDS)
    if output is None:
        typer.echo(text, nl=False)
        return
    with atomic_write(output) as file:
        file.write(text)
    console.print(f"{output}: what to do with it stands at its top")
