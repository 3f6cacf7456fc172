"""The runner's performance and accuracy modes, for a device in this process.

Performance: windows of inferences of one input each, and the median of their rates; the runner asks for five windows
of ten seconds. Accuracy: every file of the benchmark's set, the share of right classes or, for anomalies, the area
under the receiver's operating curve. Source: ``benchmark/runner`` of https://github.com/mlcommons/tiny.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sateen.errors import InputError
from sateen.files import read_bytes
from sateen.mlperf.subject import Subject

__all__ = ["LABELS", "Accuracy", "Sample", "Window", "accuracy", "area_under_curve", "dataset", "performance"]

LABELS = "y_labels.csv"
"""The file in a benchmark's folder that names the others: a line for each, with its file, the number of classes, its
class, and for anomaly detection the bytes of a window and from window to window."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A file of a benchmark's set."""

    path: Path
    label: int
    """Its class."""
    window: int | None = None
    """Bytes of an input, if the file holds several."""
    stride: int | None = None
    """Bytes from the beginning of an input to that of the next."""

    def inputs(self) -> list[bytes]:
        """The bytes of its inputs.

        Raises
        ------
        InputError
            If there is no such file, or it is shorter than an input.
        """
        try:
            data = read_bytes(self.path)
        except OSError as error:
            raise InputError(f"cannot read {self.path}: {error.strerror or error}") from error
        if self.window is None:
            return [data]
        found = [
            data[start : start + self.window]
            for start in range(0, len(data) - self.window + 1, self.stride or len(data))
        ]
        if not found:
            raise InputError(f"{self.path} has {len(data):,} bytes, fewer than the {self.window:,} of an input")
        return found


@dataclass(frozen=True, kw_only=True)
class Window:
    """Inferences whose time was taken as a whole."""

    inferences: int
    seconds: float
    rate: float
    """Inferences a second."""


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """How well a model does on a benchmark's set."""

    files: int
    correct: int | None
    """Files whose class was found; ``None`` for anomaly detection."""
    area: float | None
    """Area under the curve of true against false alarms, from 0 to 1; ``None`` for the others."""


def dataset(folder: Path) -> list[Sample]:
    """The files that a benchmark's folder lists.

    Raises
    ------
    InputError
        If the list is missing or is none; the message says where.
    """
    path = folder / LABELS
    try:
        lines = list(csv.reader(read_bytes(path).decode().splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {path}: {reason}; name the folder of one benchmark's data") from error
    samples = []
    for number, cells in enumerate(([cell.strip() for cell in line] for line in lines), 1):
        if not any(cells):
            continue
        if len(cells) not in (3, 5) or not all(cell.isdecimal() and int(cell) < 1 << 31 for cell in cells[1:]):
            raise InputError(f"{path}, line {number}, is not of the form file,classes,class[,bytes,stride]")
        window, stride = (int(cells[3]), int(cells[4])) if len(cells) == 5 else (None, None)
        if window is not None and not (window and stride):
            raise InputError(
                f"{path}, line {number}, has inputs of {window} bytes, {stride} apart; both must be above 0"
            )
        samples.append(Sample(path=folder / cells[0], label=int(cells[2]), window=window, stride=stride))
    if not samples:
        raise InputError(f"{path} lists no files")
    return samples


def performance(
    subject: Subject, inputs: Sequence[bytes], *, windows: int = 5, seconds: float | None = 10.0,
    count: int | None = None, progress: Callable[[int, int], None] | None = None,
) -> list[Window]:  # fmt: skip
    """Takes the time of windows of inferences.

    Parameters
    ----------
    subject
        What is measured.
    inputs
        The bytes of each window's input, in turn.
    windows
        How many windows.
    seconds
        The least length of a window by the subject's timer, if ``count`` is not given: from the rate of one inference
        follows how many a window has.
    count
        Inferences in each window.
    progress
        Called with the windows that are done, and how many there are.
    """
    measured = []
    for number in range(windows):
        subject.load(inputs[number % len(inputs)])
        if count is None:
            began = subject.now()
            subject.infer(1)
            single = max(subject.now() - began, 1e-9)
            count = int((seconds or 0.0) / single) + 1
        began = subject.now()
        subject.infer(count)
        took = subject.now() - began
        if seconds is not None and took < seconds:
            # The first inference was slower than those behind it.
            more = int((seconds - took) / max(took / count, 1e-9)) + 1
            subject.infer(more)
            took, ran = subject.now() - began, count + more
        else:
            ran = count
        measured.append(Window(inferences=ran, seconds=took, rate=ran / max(took, 1e-9)))
        if progress is not None:
            progress(number + 1, windows)
    return measured


def accuracy(
    subject: Subject, samples: Sequence[Sample], *, progress: Callable[[int, int], None] | None = None
) -> Accuracy:
    """Runs all files. A file of several inputs has the mean of their results."""
    found = []
    for number, sample in enumerate(samples):
        results = []
        for data in sample.inputs():
            subject.load(data)
            results.append(subject.results())
        found.append(np.mean(results, axis=0))
        if progress is not None:
            progress(number + 1, len(samples))
    labels = np.array([sample.label for sample in samples])
    if subject.benchmark.reconstructs:
        return Accuracy(files=len(samples), correct=None, area=area_under_curve(np.array(found)[:, 0], labels != 0))
    classes = np.array([int(np.argmax(values)) for values in found])
    return Accuracy(files=len(samples), correct=int(np.sum(classes == labels)), area=None)


def area_under_curve(scores: NDArray[np.float64], anomalous: NDArray[np.bool_]) -> float:
    """The share of pairs of an anomalous and a normal one in which the anomalous one has the higher score, where equal
    ones count a half: the area under the receiver's operating curve (Mann and Whitney's statistic).

    Raises
    ------
    InputError
        If there are none of either.
    """
    high, low = scores[anomalous], scores[~anomalous]
    if not len(high) or not len(low):
        raise InputError("the set has no anomalous or no normal files, so there is no curve")
    pairs = high[:, None] - low[None, :]
    return float((np.sum(pairs > 0) + np.sum(pairs == 0) / 2) / pairs.size)
