"""``sateen demo``: handwritten digits, classified by the hardware."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from sateen.cli.documents import Demo
from sateen.cli.output import opened, print_layers, running
from sateen.cli.printing import JsonFile, console, write_document
from sateen.compiler import compile
from sateen.errors import DifferenceError, SateenError
from sateen.extras import install_hint
from sateen.graph import run as run_golden
from sateen.runtime import RunRecord

__all__ = ["demo"]

SHOWN = 8
SHADES = " ░▒▓█"


def demo(
    device: Annotated[str, typer.Option("--device", "-d", help="Device to run on.")] = "sim:small",
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=497, help="Digits to classify.")] = 100,
    json: JsonFile = None,
    trace: Annotated[Path | None, typer.Option("--trace", help="Write a waveform (.fst); simulations only.")] = None,
) -> None:
    """Classifies handwritten digits with a small CNN, and compares each result with the golden model."""
    try:
        from sateen.digits import load_data, load_network

        train_x, _, test_x, test_y = load_data()
    except ImportError as error:
        raise SateenError(f"the demonstration needs scikit-learn's digits ({error}); {install_hint('demo')}") from error
    images, labels = test_x[:count], test_y[:count]
    with opened(device, trace=trace) as opened_device:
        model = compile(load_network(), opened_device.config, calibration=train_x)
        loaded = opened_device.load(model)
        name = model.graph.inputs[0]
        x = model.graph.tensors[name].quantize(images)
        simulation = getattr(opened_device.link.transport, "device", None)
        cycles = simulation.cycles if simulation else 0
        begin = time.perf_counter()
        with running(f"classifying on {device}", loaded, count) as report:
            logits = loaded.run(x, progress=report)
        seconds = time.perf_counter() - begin
        simulated = (simulation.cycles - cycles) if simulation else 0
        # The first digits again, layer by layer.
        _, layers = loaded.run(x[:SHOWN], layers=True)
        loaded.run(x[:1])
        profile = loaded.profile
        assert profile is not None
        golden = run_golden(model.graph, x, layers=True)
        equal = bool(np.array_equal(logits, golden[model.graph.outputs[0]])) and all(
            np.array_equal(values, golden[tensor][: len(values)]) for tensor, values in layers.items()
        )
        accuracy = float(np.mean(logits.argmax(axis=1) == labels))
        record = RunRecord.of(model, opened_device, device, profile, equal)
    _draw(images[:SHOWN], logits[:SHOWN].argmax(axis=1), labels[:SHOWN])
    console.print(f"\n{count} digits that the network was not trained on, on {device}:")
    console.print(f"  accuracy        {accuracy:.1%}")
    console.print(f"  golden model    {'every result equal, bit for bit' if equal else 'DIFFERENT'}")
    console.print(f"  cycles          {profile.cycles:,} an image, {profile.link_bytes:,} bytes over the link")
    if simulated:
        console.print(
            f"  simulation      {simulated / seconds:,.0f} cycles a second, {count / seconds:.0f} images a second"
        )
    console.print()
    print_layers(record)
    if json is not None:
        fields = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
        write_document(json, Demo(**{**fields, "inferences": count}, accuracy=accuracy))
    if not equal:
        raise DifferenceError("the device's results differ from the golden model's")


def _draw(images: NDArray[np.float32], answers: NDArray[np.integer], labels: NDArray[np.integer]) -> None:
    """Draws digits side by side, as many as fit the terminal's width, with the device's answers."""
    fit = max(1, min(len(images), (console.width + 2) // 18))
    shades = np.array(list(SHADES))
    levels = np.clip(images[..., 0] / max(float(images.max()), 1e-9) * (len(SHADES) - 0.01), 0, len(SHADES) - 1).astype(
        int
    )
    for row in range(levels.shape[1]):
        console.print("  ".join("".join(np.repeat(shades[image[row]], 2)) for image in levels[:fit]))
    captions = (
        f"{answer}" + ("" if answer == label else f" (is {label})")
        for answer, label in zip(answers, labels, strict=True)
    )
    console.print("  ".join(f"{caption:^16}" for caption, _ in zip(captions, range(fit), strict=False)))
