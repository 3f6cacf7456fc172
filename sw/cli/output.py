"""What commands share: tables, progress, files."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from sateen.cli.progress import progress, running, status
from sateen.errors import InputError
from sateen.files import atomic_write
from sateen.graph import Graph
from sateen.runtime import Device, RunRecord
from sateen.runtime import open as open_device

__all__ = [
    "console",
    "layer_table",
    "load_array",
    "load_inputs",
    "opened",
    "progress",
    "running",
    "status",
    "write_json",
]

console = Console(highlight=False, markup=False, emoji=False)
"""Prints texts as they are: brackets and colons in names of files, layers and tensors are not markup."""


@contextmanager
def opened(name: str, *, trace: Path | None = None) -> Iterator[Device]:
    """Opens a device, and shows how far it is, because building a simulation for the first time takes a while."""
    with status(f"opening {name}"):
        device = open_device(name, trace=trace)
    with device:
        yield device


def load_array(path: Path) -> NDArray[Any]:
    """A NumPy array from a file."""
    array = _load(path)
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path} holds several arrays; write the input alone with numpy.save")
    return array


def load_inputs(path: Path, graph: Graph) -> dict[str, NDArray[Any]]:
    """A graph's inputs from a file: one array, or several by name. Real values are quantized where the graph takes
    integers."""
    loaded = _load(path)
    if isinstance(loaded, np.ndarray):
        if len(graph.inputs) > 1:
            raise InputError(
                f"the model has {len(graph.inputs)} inputs; "
                f"write {', '.join(graph.inputs)} by these names with numpy.savez"
            )
        loaded = {graph.inputs[0]: loaded}
    result = {}
    for name, values in loaded.items():
        tensor = graph.tensors.get(name)
        if tensor is not None and np.issubdtype(values.dtype, np.floating):
            if tensor.dtype in ("int8", "int16"):
                codes = tensor.quantize(values).astype(np.int16) + (128 if tensor.unsigned else 0)
                values = codes.astype(np.uint8 if tensor.unsigned else tensor.dtype)
            else:
                values = values.astype(tensor.dtype)
        result[name] = values
    return result


def _load(path: Path) -> Any:
    try:
        loaded = np.load(path, allow_pickle=False)
        return loaded if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is no NumPy file (.npy); write it with numpy.save") from error


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Writes a document as JSON, to a file or for ``-`` to the standard output."""
    if str(path) == "-":
        print(json.dumps(document, indent=2))
        return
    with atomic_write(path) as file:
        json.dump(document, file, indent=2)
        file.write("\n")


def layer_table(run: RunRecord) -> Table:
    """A table of the layers of a run."""
    table = Table(title=None, box=None, pad_edge=False)
    table.add_column("layer")
    table.add_column("op")
    for heading in ("MACs", "cycles", "used", "weights", "activ.", "accum.", "output"):
        table.add_column(heading, justify="right")
    for layer in run.layers:
        table.add_row(
            layer.name, layer.op, f"{layer.macs:,}", f"{layer.cycles:,}", f"{layer.utilization:.0%}",
            *(f"{layer.stalls[cause]:,}" for cause in ("weights", "activations", "accumulators", "output")),
        )  # fmt: skip
    table.add_row("total", "", f"{run.macs:,}", f"{run.cycles:,}", f"{run.utilization:.0%}", style="bold")
    return table
