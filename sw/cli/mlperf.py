"""``sateen mlperf``."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import typer

from sateen.cli.output import opened, progress
from sateen.cli.printing import JsonFile, console, write_document
from sateen.cli.run import DEVICE
from sateen.cli.sources import MODEL, load_source
from sateen.cli.tables import number, print_table
from sateen.errors import InputError, SateenWarning
from sateen.mlperf import (
    BENCHMARKS,
    Accuracy,
    Benchmark,
    Monitor,
    Subject,
    Window,
    accuracy,
    dataset,
    performance,
    serve_terminal,
)
from sateen.mlperf.port import BAUD
from sateen.mlperf.port import serve as serve_on_port
from sateen.mlperf.runner import Sample
from sateen.mlperf.subject import Timer
from sateen.runtime import Device

__all__ = ["Measured", "mlperf"]

SECONDS = 10.0
"""The least length of a window that the rules ask for."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What ``sateen mlperf`` measured."""

    FORMAT: ClassVar[str] = "sateen.mlperf/1"

    benchmark: str
    model: str
    device: str
    """The name that it was opened by."""
    timer: str
    """``device``: the device's cycles at its clock, without the link. ``host``: this machine's clock, with the link."""
    clock_hz: int
    """The device's clock, as its configuration says."""
    resident: bool
    """Whether the weights stay in the device's memories; if not, they come over the link in each inference, or from the
    device's SDRAM."""
    uncounted: list[str]
    """Operators that the host computes, in time that the device does not count."""
    windows: list[Window]
    """Of the performance mode."""
    median: float | None
    """Of the windows' inferences a second; ``null`` without windows."""
    accuracy: Accuracy | None
    """Of the accuracy mode."""


def mlperf(
    model_file: Annotated[Path, typer.Argument(metavar="MODEL", help=MODEL)],
    benchmark: Annotated[
        str, typer.Argument(help=", ".join(f"{each.name} ({each.title})" for each in BENCHMARKS.values()) + ".")
    ],
    device: Annotated[str, typer.Option("--device", "-d", help=DEVICE)] = "sim:large",
    data: Annotated[
        Path | None, typer.Option(help="Folder of the benchmark's data, with y_labels.csv; else random inputs.")
    ] = None,
    accurate: Annotated[bool, typer.Option("--accuracy", help="Run all of the data, and tell the accuracy.")] = False,
    windows: Annotated[int, typer.Option(min=1, help="Windows whose median is told.")] = 5,
    count: Annotated[
        int | None,
        typer.Option(min=1, help="Inferences a window; by default those of 10 s, and 1 of a simulation."),
    ] = None,
    timer: Annotated[
        str | None,
        typer.Option(help="device: its cycles at its clock, the default of a simulation; host: this machine's clock."),
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Answer the benchmark's own runner, on a pseudo-terminal or --port.")
    ] = False,
    port: Annotated[str | None, typer.Option(help="Serial port to answer on, with --serve.")] = None,
    json: JsonFile = None,
) -> None:
    """Measures a model as MLPerf Tiny does: the median rate of five windows, or the accuracy on the benchmark's data.

    With --serve, the runner of MLPerf Tiny or EEMBC's measures: the device answers its commands.
    """
    chosen = _benchmark(benchmark)
    _check_options(data, accurate=accurate, serve=serve, port=port, json=json)
    source, samples = load_source(model_file), [] if data is None else dataset(data)
    with opened(device) as opened_device:
        simulated = opened_device.simulated_cycles is not None
        model = source.compiled(opened_device.config)
        with warnings.catch_warnings():
            # What the host runs was said when the model was compiled.
            warnings.simplefilter("ignore", SateenWarning)
            loaded = opened_device.load(model)
        subject = Subject(loaded, chosen, _timer(timer, simulated=simulated))
        if (values := int(np.prod(subject.source.shape[1:]))) != chosen.values:
            warnings.warn(
                f"an input of {chosen.name} has {chosen.values:,} values, and the model's has {values:,}: what is "
                "measured is no figure of this benchmark",
                SateenWarning, stacklevel=2,
            )  # fmt: skip
        if serve:
            _serve(subject, port)
            return
        if accurate:
            with progress(f"running {len(samples):,} files on {device}", len(samples)) as report:
                measured = _measured(subject, device, found=accuracy(subject, samples, progress=report))
        else:
            seconds, each = (SECONDS, count) if not (simulated or count) else (None, count or 1)
            inputs = _inputs(samples, subject)
            with progress(f"running {windows} windows on {device}", windows) as report:
                ran = performance(subject, inputs, windows=windows, seconds=seconds, count=each, progress=report)
            measured = _measured(subject, device, ran=ran)
    write_document(json, measured)
    _print(measured, opened_device)


def _measured(
    subject: Subject, device: str, *, ran: list[Window] | None = None, found: Accuracy | None = None
) -> Measured:
    model, config = subject.loaded.model, subject.loaded.device.config
    return Measured(
        benchmark=subject.benchmark.name, model=model.graph.name, device=device, timer=subject.timer,
        clock_hz=config.clock_hz, resident=model.resident, uncounted=subject.uncounted, windows=ran or [],
        median=float(np.median([window.rate for window in ran])) if ran else None, accuracy=found,
    )  # fmt: skip


def _benchmark(name: str) -> Benchmark:
    if name not in BENCHMARKS:
        raise InputError(f"{name!r} is no benchmark; there are {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]


def _check_options(data: Path | None, *, accurate: bool, serve: bool, port: str | None, json: Path | None) -> None:
    if accurate and data is None:
        raise InputError("--accuracy needs the benchmark's data; name its folder with --data")
    if port is not None and not serve:
        raise InputError("--port is where the runner's commands come; give --serve, too")
    if serve and (accurate or data is not None or json is not None):
        raise InputError("with --serve the runner measures; leave out --accuracy, --data and --json")


def _timer(given: str | None, *, simulated: bool) -> Timer:
    if given == "host":
        return "host"
    if given not in (None, "device"):
        raise InputError(f"--timer is device or host, not {given!r}")
    return "device" if given or simulated else "host"


def _inputs(samples: list[Sample], subject: Subject) -> list[bytes]:
    """The first input of each file; else random ones."""
    if samples:
        return [sample.inputs()[0] for sample in samples[:100]]
    rng, size = np.random.default_rng(0), subject.benchmark.size(subject.source)
    if subject.benchmark.sent == "floats":
        return [subject.source.dequantize(rng.integers(-128, 128, size // 4)).astype("<f4").tobytes()]
    return [rng.integers(0, 256, size, np.uint8).tobytes()]


def _serve(subject: Subject, port: str | None) -> None:
    monitor = Monitor(subject)
    told = f"{subject.benchmark.name}, timed by the {subject.timer}; Ctrl-C ends it"
    if port is not None:
        console.print(f"answering on {port} at {BAUD:,} baud: {told}")
        serve_on_port(monitor, port)
        return
    serve_terminal(monitor, lambda name: console.print(f"answering on {name}: {told}"))


def _print(measured: Measured, device: Device) -> None:
    if measured.windows:
        columns = [number("window"), number("inferences"), number("seconds"), number("inferences/s")]
        rows = [
            [str(place), f"{window.inferences:,}", f"{window.seconds:.6g}", f"{window.rate:,.1f}"]
            for place, window in enumerate(measured.windows, 1)
        ]
        print_table(columns, rows)
        console.print(f"median {measured.median:,.1f} inferences/s")
    if (found := measured.accuracy) is not None:
        console.print(
            f"{found.correct:,} of {found.files:,} files right, {found.correct / found.files:.1%}"
            if found.correct is not None
            else f"{found.files:,} files, area under the curve {found.area:.3f}"
        )
    how = {
        "device": f"time: the device's cycles at {device.config.clock_hz / 1e6:g} MHz, without the link",
        "host": "time: this machine's clock, with the link",
    }[measured.timer]
    source = "from SDRAM" if device.config.sdram else "over the link"
    streamed = "" if measured.resident else f"; the weights come {source} in each inference"
    if measured.uncounted:
        how += f" and what the host computes ({', '.join(measured.uncounted)})"
    console.print(f"{how}{streamed}; no official result of MLPerf")
