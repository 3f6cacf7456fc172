"""What commands share: tables, progress, files."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sateen.cli.printing import console
from sateen.cli.progress import progress, running, status
from sateen.cli.tables import Column, number, print_table
from sateen.compiler import Model
from sateen.errors import InputError
from sateen.graph import Graph
from sateen.hw.spec.config import Config
from sateen.hw.spec.sdram import find_chip
from sateen.kinds import describe
from sateen.runtime import Device, RunRecord
from sateen.runtime import open as open_device

__all__ = [
    "load_array", "load_arrays", "memory_text", "opened", "print_layers", "print_notes", "progress", "running",
    "status", "weights_text",
]  # fmt: skip

SHOWN = 6
"""Layers of which the same is said that are named."""


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


def load_arrays(path: Path, graph: Graph) -> dict[str, NDArray[Any]]:
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
        what = describe(path)
        text = (
            f"{path} is no NumPy file (.npy), but {what}" if "NumPy" not in what else f"{path} is a damaged NumPy file"
        )
        raise InputError(f"{text}; write it with numpy.save") from error


class Noted(Protocol):
    """A layer, and what should be said of it."""

    @property
    def name(self) -> str: ...
    @property
    def op(self) -> str: ...
    @property
    def note(self) -> str: ...


def memory_text(config: Config, moved: int, waited: int, cycles: int) -> str:
    """What SDRAM takes of an inference whose layers take ``cycles``: the bytes, and how long the array waits."""
    word = find_chip(config.sdram or "").data_bits // 8
    return (
        f"SDRAM: {moved:,} bytes move, {-(-moved // word):,} cycles at {word * config.clock_hz / 1e6:g} MB/s at least; "
        f"the array waits {waited:,} cycles, {waited / (cycles + waited):.0%} of an inference without the link"
    )


def weights_text(model: Model) -> str:
    """Where a model's weights and programs are while it runs."""
    if model.resident:
        return "resident"
    return f"{'copied from SDRAM' if model.config.sdram else 'sent'} in {len(model.segments)} segments"


def print_notes(layers: Sequence[Noted]) -> None:
    """Prints what should be said of layers, those of which the same is said together."""
    found: dict[str, list[str]] = {}
    for layer in layers:
        if layer.note:
            found.setdefault(layer.note, []).append(f"{layer.op} {layer.name!r}")
    for note, names in found.items():
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        console.print(f"{', '.join(names[:SHOWN])}{more}: {note}")


def print_layers(run: RunRecord) -> None:
    """Prints a table of the layers of a run, and what should be said of them."""
    columns = [Column("layer"), Column("op", rank=5), number("MACs", 4), number("cycles"), number("used", 1)]
    columns += [number(heading, rank=3) for heading in ("weights", "activ.", "accum.", "output")]
    rows = [
        [layer.name, layer.op, f"{layer.macs:,}", f"{layer.cycles:,}", f"{layer.utilization:.0%}"]
        + [f"{layer.stalls[cause]:,}" for cause in ("weights", "activations", "accumulators", "output")]
        for layer in run.layers
    ]
    print_table(columns, rows, total=["total", "", f"{run.macs:,}", f"{run.cycles:,}", f"{run.utilization:.0%}"])
    print_notes(run.layers)
