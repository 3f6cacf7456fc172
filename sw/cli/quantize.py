"""``sateen quantize``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sateen.cli.output import console, load_array, status
from sateen.quantize import quantize_file

__all__ = ["quantize"]


def quantize(
    source: Annotated[Path, typer.Argument(help="A float model (.onnx) or network (.npz).")],
    calibration: Annotated[Path, typer.Option("--calibration", "-c", help="A batch of its inputs (.npy).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The quantized graph, for sateen compile.")],
) -> None:
    """Quantizes a float model to int8 with calibration data."""
    with status(f"quantizing {source} …"):
        graph = quantize_file(source, load_array(calibration))
        graph.save(output)
    console.print(f"{output}: {len(graph.ops)} operators, {sum(graph.macs.values()):,} MACs")
