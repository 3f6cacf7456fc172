"""``sateen verilog`` and ``sateen compile``."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated

import typer

from sateen.cli.inspect import entry
from sateen.cli.outlook import print_outlook
from sateen.cli.output import load_array, status, weights_text
from sateen.cli.printing import JsonFile, console, write_document
from sateen.compiler import Model
from sateen.compiler import compile as compile_model
from sateen.errors import SateenError
from sateen.extras import install_hint
from sateen.files import atomic_write
from sateen.hw.spec.config import parse_config

__all__ = ["compile", "verilog"]


def verilog(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
    preset: Annotated[str, typer.Option(help="PRESET[,field=value…], as small,rows=8,cols=16.")] = "small",
    part: Annotated[
        str, typer.Option(help="accelerator (with a serial port), accelerator-bytes, tile, …")
    ] = "accelerator",
    name: Annotated[
        str,
        typer.Option(help="Of the top module, with which the names of all others begin; several need different ones."),
    ] = "",
    widths: Annotated[
        str | None, typer.Option(help="For the part bitserial-multiplier: bits of its factors, as 8x8 or 12x4.")
    ] = None,
) -> None:
    """Writes the accelerator, or a part of it, as Verilog."""
    config = parse_config(preset)
    try:
        from sateen.hw import export
    except ImportError as error:
        raise SateenError(f"writing Verilog needs Amaranth ({error}); {install_hint('sim')}") from error
    if part not in export.PARTS:
        raise SateenError(f"{part!r} is no part; there are {', '.join(export.PARTS)}")
    options = {}
    if widths is not None:
        if part != "bitserial-multiplier":
            raise SateenError("--widths belongs to --part bitserial-multiplier; leave it out, or choose that part")
        a, cross, b = widths.partition("x")
        if not (cross and a.isdecimal() and b.isdecimal()):
            raise SateenError(f"--widths {widths!r} is not of the form AxB, as 8x8")
        options["widths"] = int(a), int(b)
    if not name:
        name = "sateen" if part.startswith("accelerator") else f"sateen_{part.replace('-', '_')}"
    with status(f"generating {part} of {preset}"):
        header = f"Sateen {part}, generated from {preset} (configuration {config.digest}).\nApache-2.0."
        text = export.verilog(export.PARTS[part](config, **options), name=name, header=header)
    with atomic_write(output) as file:
        file.write(text)
    console.print(f"{output}: module {name}, {text.count(chr(10)):,} lines; its ports are described at the top")


def compile(
    source: Annotated[
        Path, typer.Argument(help="A quantized model (.tflite, .onnx, .pt2) or graph, or a float one (also .npz).")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The compiled model; by default SOURCE with the suffix .sateen."),
    ] = None,
    config: Annotated[str, typer.Option(help="Configuration to compile for: PRESET[,field=value…].")] = "small",
    calibration: Annotated[Path | None, typer.Option(help="For a float model: a batch of its inputs (.npy).")] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Refuse layers that the device cannot run, instead of running them on the host."),
    ] = False,
    json: JsonFile = None,
    combine: Annotated[
        str, typer.Option(help="Pack sparse layers where that pays (auto) or never (off); for combine=2 to 16.")
    ] = "auto",
) -> None:
    """Compiles a network for a configuration."""
    output = source.with_suffix(".sateen") if output is None else output
    batch = None if calibration is None else load_array(calibration)
    with status(f"compiling {source}"):
        model = compile_model(source, config, calibration=batch, strict=strict, combine=combine)
        model.save(output)
    where = weights_text(model)
    cycles = sum(layer.predicted.cycles for layer in model.layers)
    host = f", {len(model.fallbacks)} more on the host" if model.fallbacks else ""
    console.print(
        f"{output}: {len(model.layers)} layer{'s'[: len(model.layers) != 1]}{host}, {model.macs:,} MACs, {where}, "
        f"about {cycles:,} cycles an inference"
    )
    if model.config.combine > 1 and combine == "auto":
        with (
            status("compiling without combined columns, to compare"),
            warnings.catch_warnings(action="ignore"),
        ):
            dense = compile_model(model.graph, config, combine="off")
        _print_combining(model, cycles, sum(layer.predicted.cycles for layer in dense.layers))
    found = entry(model, output)
    write_document(json, found)
    print_outlook(model, found.outlook)


def _print_combining(model: Model, cycles: int, dense_cycles: int) -> None:
    """Prints what combined columns gain, layer by layer, and why other layers stay as they are."""
    total = model.combining
    console.print(
        f"columns combined: {total.tiles:,} tiles of weights and {cycles:,} cycles, "
        f"{total.dense_tiles:,} and {dense_cycles:,} without"
    )
    for layer in model.layers:
        packed = layer.combining
        if packed.tiles < packed.dense_tiles:
            share, order = f"{packed.density:.0%} of their cells used", f"; {packed.order}" if packed.order else ""
            console.print(f"  {layer.name}: {packed.tiles:,} tiles instead of {packed.dense_tiles:,}, {share}{order}")
        elif packed.reason:
            console.print(f"  {layer.name}: as it is; {packed.reason}")
