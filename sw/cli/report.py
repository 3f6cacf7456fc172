"""``sateen report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sateen.cli.inputs import INPUT, MeanOption, Preprocessing, ResizeOption, ScaleOption, load_inputs
from sateen.cli.output import opened, print_layers
from sateen.cli.printing import console
from sateen.cli.run import DEVICE, measured
from sateen.cli.sources import load_source
from sateen.errors import InputError, SateenError
from sateen.extras import install_hint
from sateen.files import atomic_write
from sateen.report.energy import EnergyRecord
from sateen.runtime import RunRecord

__all__ = ["report"]


def report(
    source: Annotated[
        Path,
        typer.Argument(metavar="MODEL|RUN.json", help="Model to run, or the record from sateen run --json."),
    ],
    input: Annotated[list[Path] | None, typer.Option("--input", "-i", help=INPUT)] = None,
    device: Annotated[str, typer.Option("--device", "-d", help=DEVICE)] = "sim:small",
    mean: MeanOption = None,
    scale: ScaleOption = None,
    resize: ResizeOption = False,
    energy: Annotated[
        Path | None, typer.Option(help="What sateen energy --json wrote of the same model, to show by layer.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The page to write.")] = Path("report.html"),
) -> None:
    """Writes a page of HTML that shows what a run took, layer by layer."""
    try:
        from sateen.report.page import page
    except ImportError as error:
        raise SateenError(f"reports need Jinja and Matplotlib ({error}); {install_hint('report')}") from error
    estimated = EnergyRecord.load(energy) if energy is not None else None
    if source.suffix == ".json":
        if input:
            raise InputError(f"{source} is the record of a finished run; leave --input out, or give a compiled model")
        record = RunRecord.load(source)
    else:
        if not input:
            raise InputError("a model is run on inputs; give them with --input X.npy")
        found = load_source(source)
        given = load_inputs(input, found.graph, Preprocessing(mean=mean, scale=scale, resize=resize))
        with opened(device) as opened_device:
            model = found.compiled(opened_device.config)
            _, _, record = measured(model, given.values, opened_device, device)
    if estimated is not None and [layer.name for layer in estimated.layers] != [layer.name for layer in record.layers]:
        raise InputError(f"{energy} is of another model, {estimated.model!r}, than this run; write it for this one")
    with atomic_write(output, "wb") as file:
        file.write(page(record, estimated).encode())
    print_layers(record)
    console.print(f"{output}: {record.model} on {record.device}")
