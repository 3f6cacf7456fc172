"""``sateen load``."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Annotated

import typer

from sateen.cli.output import opened, progress
from sateen.cli.printing import console
from sateen.cli.run import DEVICE
from sateen.cli.sources import MODEL, load_source
from sateen.errors import InputError, SateenWarning

__all__ = ["load"]


def load(
    model_file: Annotated[Path, typer.Argument(metavar="MODEL", help=MODEL)],
    device: Annotated[str, typer.Option("--device", "-d", help=DEVICE)],
) -> None:
    """Loads a model into a device's SDRAM, where it stays until the power is off. Runs then send inputs only."""
    source = load_source(model_file)
    with opened(device) as opened_device:
        shelf = opened_device.shelf
        if shelf is None:
            raise InputError(
                f"{device} has no SDRAM: its configuration is {opened_device.config.text}; build one with sdram=CHIP, "
                f"or let sateen run send the model"
            )
        model = source.compiled(opened_device.config)
        begin = time.monotonic()
        # The first report says of how many bytes.
        with warnings.catch_warnings(), progress(f"loading {model_file}", 1) as report:
            warnings.simplefilter("ignore", SateenWarning)
            opened_device.load(model, progress=report)
        seconds = time.monotonic() - begin
        entry, sent, entries = shelf.load(model), shelf.sent, shelf.entries
    if sent:
        console.print(f"{entry.size:,} bytes loaded and checked in {seconds:.2f} s")
    else:
        console.print(f"the device has the model already; its {entry.size:,} bytes were checked")
    used = sum(each.size for each in entries)
    console.print(f"models in SDRAM: {len(entries)}, {used:,} of {shelf.chip.capacity:,} bytes")
