"""``sateen quantize``."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from sateen.cli.output import load_array, opened, progress, running, status
from sateen.cli.printing import JsonFile, console, write_document
from sateen.cli.tables import Column, number, print_table
from sateen.compiler import compile as compile_model
from sateen.errors import InputError
from sateen.graph import Array
from sateen.quantize import Assessment, Calibration, Quantized, assess, quantize_source
from sateen.quantize.ranges import METHODS

__all__ = ["Quantization", "quantize"]

Method = StrEnum("Method", {name: name for name in METHODS})  # type: ignore[misc]
WHOLE = Method("max")


@dataclass(frozen=True, kw_only=True)
class NoiseEntry:
    """A layer's result, as codes beside float."""

    layer: str
    operator: str
    snr: float | None
    """Signal to noise in dB with the noise of all layers before; ``null`` without noise or without a signal."""
    own: float | None
    """Signal to noise in dB of the float result in this tensor's codes; ``null`` as above."""
    suggestion: str


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """What ``sateen quantize`` found that quantization costs."""

    FORMAT: ClassVar[str] = "sateen.quantize/1"

    layers: list[NoiseEntry]
    items: int
    """Items of data that the noise was measured on."""
    accuracy: dict[str, float]
    """Share of right answers: of ``float``, ``int8`` (golden model), and of a device by its name; empty without
    labels."""


def quantize(
    source: Annotated[Path, typer.Argument(help="A float model (.onnx, .pt2) or network (.npz).")],
    calibration: Annotated[Path, typer.Option("--calibration", "-c", help="A batch of its inputs (.npy).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The quantized graph, for sateen compile.")],
    method: Annotated[
        Method, typer.Option(help="Ranges of activations: whole, without outliers, or of least square error.")
    ] = WHOLE,
    percentile: Annotated[
        float, typer.Option(min=50, max=100, help="Percent of the values that --method percentile covers.")
    ] = 99.99,
    equalize: Annotated[
        bool, typer.Option("--equalize", help="Scale channels between two layers to one range (networks with ReLU).")
    ] = False,
    correct_bias: Annotated[
        bool, typer.Option("--correct-bias", help="Let biases make up for the mean error of rounded weights.")
    ] = False,
    keep_float: Annotated[
        list[str] | None, typer.Option("--float", help="A layer that the host computes with real weights; repeatable.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="The class of each calibration item (.npy): counts right answers.")
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", "-d", help="With --labels: a device that answers, too, as sim:small.")
    ] = None,
    items: Annotated[
        int, typer.Option(min=1, help="Calibration items to measure noise on; with --labels all are used.")
    ] = 32,
    json: JsonFile = None,
) -> None:
    """Quantizes a float model to int8 with calibration data, and says what that costs."""
    if device is not None and labels is None:
        raise InputError("--device needs --labels: its answers are counted")
    ranges = Calibration(
        method=method.value,
        percentile=percentile,
        equalize=equalize,
        correct_bias=correct_bias,
        keep_float=tuple(keep_float or ()),
    )
    batch = load_array(calibration)
    truth = None if labels is None else load_array(labels)
    if truth is not None and len(truth) != len(batch):
        raise InputError(f"{labels} has {len(truth)} labels for the {len(batch)} items of {calibration}")
    with progress(f"calibrating {source}", len(batch)) as report:
        quantized = quantize_source(source, batch, ranges, progress=report)
    quantized.graph.save(output)
    count = None if truth is not None else min(items, len(batch))
    with progress("measuring noise", count or len(batch)) as report:
        found = assess(quantized, labels=truth, items=count, progress=report)
    if device is not None and truth is not None:
        found = _with_device(found, quantized, batch, truth, device)
    write_document(json, _document(found))
    _print(found)
    graph = quantized.graph
    console.print(f"{output}: {len(graph.ops)} operator{'s'[: len(graph.ops) != 1]}, {sum(graph.macs.values()):,} MACs")


def _with_device(found: Assessment, quantized: Quantized, batch: Array, truth: Array, device: str) -> Assessment:
    graph = quantized.graph
    entry = graph.tensors[graph.inputs[0]]
    with opened(device) as opened_device:
        with status("compiling"):
            loaded = opened_device.load(compile_model(graph, opened_device.config))
        x = batch.astype("float32") if entry.dtype == "float32" else entry.quantize(batch)
        with running(f"running on {device}", loaded, len(batch)) as report:
            answers = loaded.run(x, progress=report)
    right = (answers.reshape(len(batch), -1).argmax(axis=1) == truth.reshape(-1)).mean()
    return Assessment(layers=found.layers, items=found.items, accuracy={**found.accuracy, device: float(right)})


def _print(found: Assessment) -> None:
    columns = [Column("layer"), Column("op", rank=2), number("SNR dB"), number("own", 1)]
    columns += [Column("suggestion", rank=3, fold=True)]
    rows = [
        [layer.layer, layer.operator, _number(layer.snr), _number(layer.own), layer.suggestion]
        for layer in found.layers
    ]
    print_table(columns, rows)
    console.print(
        "SNR: signal to noise with the noise of all layers before; own: of float values in this layer's codes"
    )
    if found.accuracy:
        shares = ", ".join(f"{name} {share:.2%}" for name, share in found.accuracy.items())
        console.print(f"right answers of {found.items}: {shares}")


def _number(value: float) -> str:
    return "exact" if math.isinf(value) else "-" if math.isnan(value) else f"{value:.1f}"


def _document(found: Assessment) -> Quantization:
    """For JSON, which has no infinity and no NaN."""
    layers = [asdict(layer) for layer in found.layers]
    for layer in layers:
        layer |= {name: layer[name] if math.isfinite(layer[name]) else None for name in ("snr", "own")}
    entries = [NoiseEntry(**layer) for layer in layers]
    return Quantization(layers=entries, items=found.items, accuracy=dict(found.accuracy))
