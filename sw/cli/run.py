"""``sateen run`` and ``sateen serve``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from sateen.archive import save_arrays
from sateen.cli.output import load_inputs, opened, print_layers, running, status
from sateen.cli.printing import console, write_json
from sateen.compiler import Model
from sateen.errors import DifferenceError
from sateen.files import atomic_write
from sateen.graph import run as run_golden
from sateen.hw.spec.config import parse_config
from sateen.runtime import RunRecord
from sateen.runtime.resident import remember

__all__ = ["DEVICE", "INPUT", "measured", "run", "serve"]

DEVICE = "sim:PRESET[,field=value…], serial:/dev/ttyUSB0[?baud=…] or tcp:HOST:PORT."
INPUT = "Batch of inputs (.npy, or .npz for several by name): integers or real values."


def run(
    model_file: Annotated[Path, typer.Argument(metavar="MODEL", help="Compiled model (.sateen).")],
    input: Annotated[Path, typer.Option("--input", "-i", help=INPUT)],
    device: Annotated[str, typer.Option("--device", "-d", help=DEVICE)] = "sim:small",
    check: Annotated[bool, typer.Option("--check", help="Compare every layer with the golden model.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the outputs (.npy, or .npz for several).")
    ] = None,
    layers: Annotated[Path | None, typer.Option("--layers", help="Write every layer's integers (.npz).")] = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write the record of the run.")] = None,
    trace: Annotated[Path | None, typer.Option("--trace", help="Write a waveform (.fst); simulations only.")] = None,
) -> None:
    """Runs a model on a device."""
    model = Model.load(model_file)
    x = load_inputs(input, model.graph)
    y, tensors, record = measured(model, x, device, trace=trace, layers=check or layers is not None)
    if check:
        graph = model.graph
        golden = run_golden(
            graph, {name: graph.tensors[name].from_file(values) for name, values in x.items()}, layers=True
        )
        differ = [
            name for name in tensors if not np.array_equal(graph.tensors[name].from_file(tensors[name]), golden[name])
        ]
        record = replace(record, equal_to_golden=not differ)
    if output is not None and isinstance(y, dict):
        save_arrays(output, y)
    elif output is not None:
        with atomic_write(output, "wb") as file:
            np.save(file, y)
    if layers is not None:
        save_arrays(layers, tensors)
    if json is not None:
        write_json(json, record.document())
    print_layers(record)
    console.print(f"{record.inferences} inferences, {record.link_bytes:,} bytes over the link")
    if check:
        if differ:
            raise DifferenceError(
                f"{len(differ)} of {len(tensors)} tensors differ from the golden model, the first {differ[0]!r}"
            )
        console.print(f"all {len(tensors)} tensors equal the golden model")


def measured(
    model: Model, x: dict[str, NDArray[Any]], device: str, *, trace: Path | None = None, layers: bool = False
) -> tuple[Any, dict[str, NDArray[Any]], RunRecord]:
    """Runs a model on a device: its outputs, with ``layers`` all its tensors, and the record of the run."""
    with opened(device, trace=trace) as opened_device:
        loaded = opened_device.load(model)
        with running(f"running on {device}", loaded, len(next(iter(x.values())))) as report:
            y, tensors = loaded.run(x, layers=True, progress=report) if layers else (loaded.run(x, progress=report), {})
        assert loaded.profile is not None
        if opened_device.simulated_cycles is None:
            remember(model)
        return y, tensors, RunRecord.of(model, opened_device, device, loaded.profile)


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
