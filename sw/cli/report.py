"""``sateen report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sateen.cli.output import load_inputs, print_layers
from sateen.cli.printing import console
from sateen.cli.run import DEVICE, INPUT, measured
from sateen.compiler import Model
from sateen.errors import InputError, SateenError
from sateen.extras import install_hint
from sateen.files import atomic_write
from sateen.runtime import RunRecord

__all__ = ["report"]


def report(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL|RUN.json", help="Compiled model (.sateen) to run, or the record from sateen run --json."
        ),
    ],
    input: Annotated[Path | None, typer.Option("--input", "-i", help=INPUT)] = None,
    device: Annotated[str, typer.Option("--device", "-d", help=DEVICE)] = "sim:small",
    output: Annotated[Path, typer.Option("--output", "-o", help="The page to write.")] = Path("report.html"),
) -> None:
    """Writes a page of HTML that shows what a run took, layer by layer."""
    try:
        from sateen.report.page import page
    except ImportError as error:
        raise SateenError(f"reports need Jinja and Matplotlib ({error}); {install_hint('report')}") from error
    if source.suffix == ".json":
        if input is not None:
            raise InputError(f"{source} is the record of a finished run; leave --input out, or give a compiled model")
        record = RunRecord.load(source)
    else:
        model = Model.load(source)
        if input is None:
            raise InputError("a model is run on inputs; give them with --input X.npy")
        _, _, record = measured(model, load_inputs(input, model.graph), device)
    with atomic_write(output, "wb") as file:
        file.write(page(record).encode())
    print_layers(record)
    console.print(f"{output}: {record.model} on {record.device}")
