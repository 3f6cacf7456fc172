"""``sateen info`` and ``sateen doctor``."""

from __future__ import annotations

import platform
import re
from pathlib import Path
from typing import Annotated

import typer

from sateen.cli.documents import Doctor, HostEntry, LayerEntry, ModelEntry, ToolEntry
from sateen.cli.outlook import print_outlook
from sateen.cli.output import print_notes, status, weights_text
from sateen.cli.printing import JsonFile, console, warned, write_document
from sateen.cli.sources import CONFIG, load_model
from sateen.cli.tables import Column, number, print_table
from sateen.compiler import Model, notes
from sateen.files import atomic_write
from sateen.report.outlook import outlook
from sateen.sim.tools import TOOLS

__all__ = ["doctor", "entry", "info"]


def info(
    model_file: Annotated[
        Path, typer.Argument(metavar="MODEL", help="Compiled model (.sateen), or a quantized one, which is compiled.")
    ],
    config: Annotated[str, typer.Option(help=CONFIG)] = "small",
    json: JsonFile = None,
) -> None:
    """Shows what a compiled model holds and needs, how long it takes, and what would help."""
    model = load_model(model_file, config)
    found = entry(model, model_file)
    write_document(json, found)
    _print_summary(model)
    columns = [Column("layer"), Column("op", rank=3), Column("output", rank=5), number("MACs", 2)]
    columns += [number("descriptors", 6), number("predicted cycles"), number("scratchpad", 4)]
    rows = [
        [
            layer.name, layer.op, f"{layer.output} {'×'.join(map(str, layer.shape))}", f"{layer.macs:,}",
            str(layer.descriptors), f"{layer.predicted_cycles:,}", f"{layer.memory_bytes:,}",
        ]
        for layer in found.layers
    ]  # fmt: skip
    print_table(columns, rows)
    print_notes(found.layers)
    if found.host:
        console.print("on the host:")
        for host in found.host:
            console.print(f"  {host.op} {host.name!r}{host.reason and f': {host.reason}'}")
    console.print()
    print_outlook(model, found.outlook)


def _print_summary(model: Model) -> None:
    config = model.config
    console.print(f"{model.graph.name}: {len(model.layers)} layer{'s'[: len(model.layers) != 1]}, {model.macs:,} MACs")
    layout = ", ".join(f"{name} {value}" for name, value in config.layout.items())
    console.print(f"compiled for {config.text}: {layout}")
    where = weights_text(model)
    if model.tiled:
        where += f", {model.tiled} layer{'s'[: model.tiled != 1]} row by row"
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


def entry(model: Model, path: Path) -> ModelEntry:
    """A model, as programs read it. Compiles it for other configurations, to compare."""
    with status("trying other configurations"):
        expected = outlook(model)
    said = notes(model)
    config, kinds = model.config, {op.name: type(op).__name__ for op in model.graph.ops}
    return ModelEntry(
        file=str(path),
        model=model.graph.name,
        config=config.to_dict(),
        macs=model.macs,
        cycles=sum(layer.predicted.cycles for layer in model.layers),
        resident=model.resident,
        segments=len(model.segments),
        weight_bytes=model.weight_words * config.weight_word_bytes,
        weight_bytes_available=config.weight_bytes,
        scratchpad_bytes=model.scratchpad_bytes,
        scratchpad_bytes_available=config.scratchpad_bytes,
        tiled_layers=model.tiled,
        layers=[
            LayerEntry(
                name=layer.name,
                op=layer.op,
                output=layer.output,
                shape=list(model.graph.tensors[layer.output].shape[1:]),
                macs=layer.macs,
                descriptors=sum(part.count for part in layer.parts),
                predicted_cycles=layer.predicted.cycles,
                memory_bytes=layer.memory_bytes,
                note=said.get(layer.name, ""),
            )
            for layer in model.layers
        ],
        host=[HostEntry(name=s.host, op=kinds[s.host], reason=s.reason) for s in model.steps if s.host],
        warnings=list(warned),
        outlook=expected,
    )


def doctor(
    udev: Annotated[
        bool, typer.Option("--udev", help="Write Linux's rules that let you use boards on USB, instead.")
    ] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File for the rules.")] = None,
    json: JsonFile = None,
) -> None:
    """Lists the tools that are found, and how to install those that are missing."""
    if udev:
        _write_rules(output)
        return
    tools = [
        ToolEntry(name=tool.name, version=tool.version(), purpose=tool.purpose, install=tool.install) for tool in TOOLS
    ]
    found = Doctor(python=platform.python_version(), system=platform.system(), machine=platform.machine(), tools=tools)
    write_document(json, found)
    console.print(f"Python {found.python} on {found.system} {found.machine}")
    columns = [Column("tool"), Column("version", rank=1), Column("for", rank=2)]
    columns += [Column("install with", rank=3, fold=True)]
    rows = [[tool.name, _short(tool.version), tool.purpose, "" if tool.version else tool.install] for tool in tools]
    print_table(columns, rows)
    console.print("pip commands are for a checkout of Sateen.")


def _short(version: str | None) -> str:
    """The number in what a program says of its version."""
    found = re.search(r"\d+(\.[\w+-]+)+", version or "")
    return found.group() if found else version or "missing"


def _write_rules(output: Path | None) -> None:
    from sateen.fpga.boards import BOARDS
    from sateen.fpga.usb import rules

    text = rules(BOARDS)
    if output is None:
        console.print(text, end="")
        return
    with atomic_write(output) as file:
        file.write(text)
    console.print(f"{output}: what to do with it stands at its top")
