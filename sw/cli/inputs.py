"""Inputs from files: NumPy arrays, pictures, sound and tables of numbers, one by one, several, or a folder of them."""

from __future__ import annotations

import csv
import math
import warnings
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from sateen.cli.output import load_arrays
from sateen.cli.printing import console
from sateen.errors import InputError, SateenWarning
from sateen.graph import Array, Graph, Tensor
from sateen.reference.inputs import IMAGES, picture, real_range

__all__ = ["INPUT", "Inputs", "MeanOption", "Preprocessing", "ResizeOption", "ScaleOption", "load_inputs"]

INPUT = (
    "Input: .npy, .npz by name, a picture, .wav or .csv, or a folder of them; may be given several times. Integers of "
    "NumPy files are codes, all else is real values."
)
TABLES = (".csv", ".tsv", ".txt")
SOUNDS = (".wav",)
ARRAYS = (".npy", ".npz")
CLIPPED = 0.01
"""Share of values outside the input's range from which on there is a warning."""
NATURAL = {
    "picture": {
        (0.0, 1.0): (0.0, 255.0),
        (-1.0, 1.0): (127.5, 127.5),
        (0.0, 255.0): (0.0, 1.0),
        (-128.0, 127.0): (128.0, 1.0),
    },
    "sound": {(-1.0, 1.0): (0.0, 1.0), (-32768.0, 32767.0): (0.0, 1 / 32768)},
}
"""Mean and scale of raw values, by the range of real values that a model's input takes."""
TOLERANCE = 0.05
"""Share of the range by which its ends may differ."""

MeanOption = Annotated[
    str | None,
    typer.Option("--mean", help="Values are (raw − mean) / scale; a number, or one for each channel as 124,116,104."),
]
ScaleOption = Annotated[
    str | None, typer.Option("--scale", help="See --mean. Raw pixels are 0 to 255, raw samples of sound −1 to 1.")
]
ResizeOption = Annotated[bool, typer.Option("--resize", help="Resize pictures to the model's size.")]


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How raw values become the model's: (raw − mean) / scale. ``None``: as the range of the model's input tells."""

    mean: str | None = None
    scale: str | None = None
    resize: bool = False

    def numbers(self, kind: str, graph: Graph, tensor: Tensor, path: Path) -> tuple[Array, Array]:
        """Mean and scale, each a number or one for each channel."""
        if self.mean is not None or self.scale is not None:
            mean, scale = _numbers("--mean", self.mean or "0"), _numbers("--scale", self.scale or "1")
            if not scale.all():
                raise InputError("--scale divides, so it cannot be 0")
            for option, found in (("--mean", mean), ("--scale", scale)):
                if found.size not in (1, tensor.shape[-1]):
                    raise InputError(f"{option} needs 1 number or {tensor.shape[-1]}, one for each channel")
            return mean, scale
        if kind == "table":
            return np.array(0.0), np.array(1.0)
        taken = real_range(graph, tensor)
        for ends, (offset, divisor) in NATURAL[kind].items():
            if taken and np.allclose(ends, taken, rtol=0, atol=TOLERANCE * (ends[1] - ends[0])):
                return np.array(offset), np.array(divisor)
        takes = f"values from {taken[0]:.4g} to {taken[1]:.4g}" if taken else "real values of any range"
        raise InputError(
            f"{path}: the model takes {takes}, which does not tell how a {kind} becomes its input; give --mean and "
            f"--scale as in training: values are (raw − mean) / scale"
        )


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """A batch of inputs."""

    values: dict[str, NDArray[Any]]
    """[N, …] in the layout and type of the model's file, by the inputs' names."""
    names: list[str]
    """Of each item: the file that it is from."""


def load_inputs(paths: Sequence[Path], graph: Graph, how: Preprocessing | None = None) -> Inputs:
    """A graph's inputs from files, and a line on what was done to each kind of file.

    Raises
    ------
    InputError
        If a file cannot be read or does not fit the model.
    """
    how, files = how or Preprocessing(), _files(paths)
    batches: list[dict[str, NDArray[Any]]] = []
    names: list[str] = []
    said: set[str] = set()
    for path in files:
        suffix = path.suffix.lower()
        kind = next((k for k, s in (("picture", IMAGES), ("sound", SOUNDS), ("table", TABLES)) if suffix in s), "")
        batch = _converted(kind, path, graph, how, said) if kind else load_arrays(path, graph)
        counts = {name: len(values) if values.ndim else 0 for name, values in batch.items()}
        batches.append(batch)
        names += [path.name] * max(counts.values(), default=0)
    return Inputs(values=batches[0] if len(batches) == 1 else _joined(batches, files), names=names)


def _files(paths: Sequence[Path]) -> list[Path]:
    """The paths, with folders replaced by what they hold."""
    known, files = (*ARRAYS, *IMAGES, *SOUNDS, *TABLES), []
    for path in paths:
        if path.is_dir():
            inside = sorted(each for each in path.iterdir() if each.suffix.lower() in known and each.is_file())
            if not inside:
                raise InputError(f"{path} holds no input; its files' names must end with {', '.join(known)}")
            files += inside
        else:
            files.append(path)
    return files


def _joined(batches: Sequence[dict[str, NDArray[Any]]], files: Sequence[Path]) -> dict[str, NDArray[Any]]:
    first = batches[0]
    for batch, path in zip(batches, files, strict=True):
        for name, values in first.items():
            if name not in batch or batch[name].shape[1:] != values.shape[1:] or batch[name].dtype != values.dtype:
                raise InputError(f"{path} has not the shape and type of {files[0]}, so they are no batch; run it alone")
    return {name: np.concatenate([batch[name] for batch in batches]) for name in first}


def _converted(kind: str, path: Path, graph: Graph, how: Preprocessing, said: set[str]) -> dict[str, NDArray[Any]]:
    """A picture, sound or table as real values, in the model's layout and type."""
    if len(graph.inputs) > 1:
        raise InputError(
            f"the model has {len(graph.inputs)} inputs; write {', '.join(graph.inputs)} by these names with numpy.savez"
        )
    tensor = graph.tensors[graph.inputs[0]]
    if tensor.dtype not in ("int8", "int16", "float32"):
        raise InputError(f"the model takes {tensor.dtype}; give a NumPy file in place of {path}")
    mean, scale = how.numbers(kind, graph, tensor, path)
    if kind == "picture":
        raw, what = picture(path, tensor, resize=how.resize), "pixels 0 to 255"
    elif kind == "sound":
        raw, what = _sound(path, tensor), "samples −1 to 1"
    else:
        raw, what = _table(path, tensor), "numbers of the table"
    real = ((raw - mean) / scale).astype(np.float32)
    done = f"values are ({what} − {_text(mean)}) / {_text(scale)}" if mean.any() or (scale != 1).any() else what
    sizes = "×".join(map(str, tensor.shape[1:]))
    line = f"{kind}s as {sizes} values: {done}"
    if kind == "table" and not (mean.any() or (scale != 1).any()):
        line = f"tables as {sizes} real values a row, taken as they are"
    if line not in said:
        said.add(line)
        console.print(
            line + (f"; codes are value / {tensor.scale:.6g} {tensor.zero_point:+d}" if _codes(tensor) else "")
        )
    _warn_of_clipping(path, real, graph, tensor)
    return {tensor.name: tensor.to_file(tensor.quantize(real) if _codes(tensor) else real)}


def _codes(tensor: Tensor) -> bool:
    return tensor.dtype != "float32"


def _warn_of_clipping(path: Path, real: Array, graph: Graph, tensor: Tensor) -> None:
    taken = real_range(graph, tensor)
    if taken is None:
        return
    step = (taken[1] - taken[0]) / 255
    share = float(np.mean((real < taken[0] - step) | (real > taken[1] + step)))
    if share > CLIPPED:
        warnings.warn(
            f"{path}: {share:.0%} of the values lie outside {taken[0]:.4g} to {taken[1]:.4g}, which the model takes, "
            f"and are clipped; see --mean and --scale",
            SateenWarning,
            stacklevel=2,
        )


def _sound(path: Path, tensor: Tensor) -> Array:
    """Samples from −1 to 1, [N, …] in the tensor's shape."""
    try:
        with wave.open(str(path), "rb") as file:
            channels, size, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise InputError(f"{path} is no WAV file of whole numbers ({error}); convert it to 16-bit PCM") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    octets = np.frombuffer(data[: len(data) // size * size], np.uint8).reshape(-1, size)
    # Samples of one byte are unsigned; all are moved to the upper bytes of 32 bits.
    wide = np.zeros((len(octets), 4), np.uint8)
    wide[:, 4 - size :] = octets ^ 0x80 if size == 1 else octets
    samples = wide.view("<i4").reshape(-1, channels) / 2.0**31
    shape = tensor.shape[1:]
    if sum(length > 1 for length in shape) > 1 + (channels > 1) or shape[-1] != channels != 1:
        sizes = "×".join(map(str, shape))
        raise InputError(
            f"{path} is sound of {channels} channels, and the model takes {sizes} values, which are no samples; "
            f"compute them as in training and give a NumPy file"
        )
    length = math.prod(shape) // channels
    if not len(samples) or len(samples) % length:
        raise InputError(
            f"{path} has {len(samples):,} samples at {rate:,} Hz; the model takes {length:,} an item, so give "
            f"that many or a multiple"
        )
    return samples.reshape(-1, *shape)


def _table(path: Path, tensor: Tensor) -> Array:
    """Rows of numbers, an item each, [N, …] in the tensor's shape; the first row may be a heading."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text; write a table as rows of numbers with commas between them") from error
    delimiter = next((mark for mark in ("\t", ";", ",") if mark in text), " ")
    rows = [[cell for cell in row if cell.strip()] for row in csv.reader(text.splitlines(), delimiter=delimiter)]
    rows = [row for row in rows if row]
    size = math.prod(tensor.shape[1:])
    items = []
    for number, row in enumerate(rows):
        try:
            values = [float(cell) for cell in row]
        except ValueError as error:
            if number == 0:
                continue
            raise InputError(f"{path}, row {number + 1}: {error}; write numbers only") from error
        if len(values) != size or not np.isfinite(values).all():
            raise InputError(
                f"{path}, row {number + 1} has {len(values):,} numbers; the model takes {size:,} finite ones an item"
                f" ({'×'.join(map(str, tensor.file_shape[1:]))})"
            )
        items.append(values)
    if not items:
        raise InputError(f"{path} has no row of numbers; the model takes {size:,} an item")
    table = np.array(items)
    # Rows are in the layout of the model's file.
    layout = tensor.file_layout
    return table.reshape(-1, *tensor.shape[1:]) if layout is None else layout.from_file(table, tensor.shape)


def _numbers(option: str, text: str) -> Array:
    try:
        found = np.array([float(each) for each in text.split(",")])
    except ValueError as error:
        raise InputError(f"{option} must be a number, or several with commas between them, not {text!r}") from error
    if not np.isfinite(found).all():
        raise InputError(f"{option} must be finite, not {text!r}")
    return found


def _text(numbers: Array) -> str:
    return ", ".join(f"{number:g}" for number in np.atleast_1d(numbers))
