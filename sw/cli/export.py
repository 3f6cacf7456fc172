"""``sateen export-c``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from sateen.cli.printing import console
from sateen.compiler import Model
from sateen.embedded import export
from sateen.errors import SateenError
from sateen.files import atomic_write

__all__ = ["export_c"]


def export_c(
    model_file: Annotated[Path, typer.Argument(metavar="MODEL", help="Compiled model (.sateen).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write the C files to.")] = Path("."),
    name: Annotated[
        str, typer.Option(help="What the model's files and names begin with; by default the file's name.")
    ] = "",
    device_part: Annotated[
        bool,
        typer.Option(
            "--device-part", help="Leave out operators of the host before the device's first layer and after its last."
        ),
    ] = False,
) -> None:
    """Writes a compiled model and a driver for it as C99, for hosts without Python."""
    model = Model.load(model_file)
    name = name or re.sub(r"\W", "_", model_file.stem, flags=re.ASCII)
    files = export(model, name, device_part=device_part)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SateenError(f"cannot make the folder {output}: {error.strerror or error}") from error
    for file, text in files.items():
        with atomic_write(output / file) as stream:
            stream.write(text)
    held = sum(len(each.weights) * model.config.weight_word_bytes + each.program.nbytes for each in model.segments)
    console.print(f"{', '.join(str(output / file) for file in files)}: {name}_model, {held:,} bytes of constants")
    if device_part:
        left = [step.host for step in model.steps if step.host]
        console.print(f"left to you: {', '.join(left) or 'nothing'}")
