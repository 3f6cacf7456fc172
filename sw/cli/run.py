"""``sateen run`` and ``sateen serve``."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from sateen.archive import save_arrays
from sateen.cli.classes import load_labels, print_classes
from sateen.cli.inputs import INPUT, MeanOption, Preprocessing, ResizeOption, ScaleOption, load_inputs
from sateen.cli.output import memory_text, opened, print_layers, running, status
from sateen.cli.printing import JsonFile, console, write_document
from sateen.cli.sources import MODEL, load_source
from sateen.compiler import Model
from sateen.errors import DifferenceError, SateenWarning
from sateen.files import atomic_write
from sateen.graph import run as run_golden
from sateen.hw.spec.config import Config, parse_config
from sateen.runtime import Device, RunRecord
from sateen.runtime.resident import remember

__all__ = ["DEVICE", "measured", "run", "serve"]

DEVICE = "sim:PRESET[,field=value…], serial:/dev/ttyUSB0[?baud=…], udp:HOST or tcp:HOST:PORT."


def run(
    model_file: Annotated[Path, typer.Argument(metavar="MODEL", help=MODEL)],
    input: Annotated[list[Path], typer.Option("--input", "-i", help=INPUT)],
    device: Annotated[str, typer.Option("--device", "-d", help=DEVICE)] = "sim:small",
    check: Annotated[bool, typer.Option("--check", help="Compare every layer with the golden model.")] = False,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="Names of the classes, one a line: shows the likeliest.")
    ] = None,
    mean: MeanOption = None,
    scale: ScaleOption = None,
    resize: ResizeOption = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the outputs (.npy, or .npz for several).")
    ] = None,
    layers: Annotated[Path | None, typer.Option("--layers", help="Write every layer's integers (.npz).")] = None,
    json: JsonFile = None,
    trace: Annotated[Path | None, typer.Option("--trace", help="Write a waveform (.fst); simulations only.")] = None,
) -> None:
    """Runs a model on a device. A model that is not compiled yet is compiled for the device first."""
    classes = None if labels is None else load_labels(labels)
    source = load_source(model_file)
    # Files are read before the device is opened, which may take minutes.
    given = load_inputs(input, source.graph, Preprocessing(mean=mean, scale=scale, resize=resize))
    with opened(device, trace=trace) as opened_device:
        model = source.compiled(opened_device.config)
        y, tensors, record = measured(model, given.values, opened_device, device, layers=check or layers is not None)
        copied = opened_device.shelf.copied if opened_device.shelf else 0
    differ = _differing(model, given.values, tensors) if check else []
    if check:
        record = replace(record, equal_to_golden=not differ)
    _write(y, tensors, output, layers)
    write_document(json, record)
    if classes is not None:
        print_classes(model.graph, y, classes, _item_names(given.names))
    print_layers(record)
    console.print(_summary(model, record, copied))
    if record.memory_bytes:
        text = memory_text(Config.from_dict(record.config), record.memory_bytes, record.memory_cycles, record.cycles)
        console.print(f"{text}; {record.predicted_memory_cycles:,} by the model")
    if differ:
        raise DifferenceError(
            f"{len(differ)} of {len(tensors)} tensors differ from the golden model, the first {differ[0]!r}"
        )
    if check:
        console.print(f"all {len(tensors)} tensors equal the golden model")


def _differing(model: Model, x: dict[str, NDArray[Any]], tensors: dict[str, NDArray[Any]]) -> list[str]:
    """Tensors that differ from the golden model's."""
    graph = model.graph
    golden = run_golden(graph, {name: graph.tensors[name].from_file(values) for name, values in x.items()}, layers=True)
    return [name for name in tensors if not np.array_equal(graph.tensors[name].from_file(tensors[name]), golden[name])]


def _write(y: Any, tensors: dict[str, NDArray[Any]], output: Path | None, layers: Path | None) -> None:
    if output is not None and isinstance(y, dict):
        save_arrays(output, y)
    elif output is not None:
        with atomic_write(output, "wb") as file:
            np.save(file, y)
    if layers is not None:
        save_arrays(layers, tensors)


def _item_names(names: list[str]) -> list[str]:
    """The files' names; numbered where a file holds several items."""
    counts = Counter(names)
    seen: Counter[str] = Counter()
    numbered = []
    for name in names:
        seen[name] += 1
        numbered.append(f"{name} {seen[name]}" if counts[name] > 1 else name)
    return numbered


def _summary(model: Model, record: RunRecord, copied: int) -> str:
    many = "s" if record.inferences != 1 else ""
    text = f"{record.inferences} inference{many}, {record.link_bytes:,} bytes over the link"
    text += f", {copied:,} copied from SDRAM" if copied else ""
    if not (host := len(model.fallbacks)):
        return text
    return f"{text}; the host ran {host} layer{'s' if host > 1 else ''} (sateen info says why)"


def measured(
    model: Model, x: dict[str, NDArray[Any]], device: Device, name: str, *, layers: bool = False
) -> tuple[Any, dict[str, NDArray[Any]], RunRecord]:
    """Runs a model on a device that was opened by ``name``: its outputs, with ``layers`` all its tensors, and the
    record of the run.

    With ``layers``, the device stops after each layer, which takes more cycles. The last item is run once more without
    stops, so that the record's cycles are those of any other run; of a model with states all items, which are a stream.
    """
    with warnings.catch_warnings():
        # What the host runs was said when the model was compiled, and is said at the end.
        warnings.simplefilter("ignore", SateenWarning)
        loaded = device.load(model)
    with running(f"running on {name}", loaded, len(next(iter(x.values())))) as report:
        y, tensors = loaded.run(x, layers=True, progress=report) if layers else (loaded.run(x, progress=report), {})
    profile = loaded.profile
    assert profile is not None
    if layers and profile.inferences:
        loaded.reset()
        first = 0 if loaded.states else -1
        again = loaded.run({key: values[first:] for key, values in _batched(model, x).items()})
        _compare_last(y, again)
        profile = replace(loaded.profile or profile, inferences=profile.inferences, link_bytes=profile.link_bytes)
    if device.simulated_cycles is None:
        remember(model)
    return y, tensors, RunRecord.of(model, device, name, profile)


def _batched(model: Model, x: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Inputs with an axis of items, also where a single item came without."""
    graph = model.graph
    return {
        name: values if values.ndim == len(graph.tensors[name].file_shape) else values[None]
        for name, values in x.items()
    }


def _compare_last(y: Any, again: Any) -> None:
    """Holds a run without stops against the one with stops."""
    pairs = [(y[name], again[name]) for name in y] if isinstance(y, dict) else [(y, again)]
    if not all(np.array_equal(first[-1:], second[-1:]) for first, second in pairs):
        raise DifferenceError("the outputs without stops differ from those with a stop after each layer")


def serve(
    config: Annotated[str, typer.Argument(help="PRESET[,field=value…].")] = "small",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="TCP port.")] = 7355,
    terminal: Annotated[
        bool, typer.Option("--pty", help="On a pseudo-terminal, which opens like a serial port.")
    ] = False,
) -> None:
    """Offers a simulated device on a TCP port, or like a serial port, as if it were a board."""
    from sateen.runtime import serve as serve_forever
    from sateen.runtime.serve import serve_terminal
    from sateen.sim.verilated import build

    parsed = parse_config(config)
    with status(f"opening sim:{config}"):
        build(parsed)
    if terminal:
        serve_terminal(
            parsed,
            lambda name: console.print(f"serving {config}; connect with --device serial:{name}"),
        )
        return
    console.print(f"serving {config}; connect with --device tcp:{host}:{port} or serial:socket://{host}:{port}")
    serve_forever(parsed, host=host, port=port)
