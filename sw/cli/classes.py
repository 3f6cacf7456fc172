"""Classes of outputs by name, with probabilities where the model has any."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sateen.cli.printing import console
from sateen.errors import InputError
from sateen.graph import Graph, Op

__all__ = ["load_labels", "print_classes"]

TOP = 5
SHOWN = 20
"""Items of a batch that are shown."""
MOVES = ("Reshape", "Dequantize", "Quantize")
"""Operators behind a softmax that leave its values as they are."""


def load_labels(path: Path) -> list[str]:
    """Names of classes from a text, one a line; empty lines at the end do not count."""
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text; write the name of a class in each line") from error
    if not lines:
        raise InputError(f"{path} is empty; write the name of a class in each line")
    return [line.strip() for line in lines]


def print_classes(graph: Graph, outputs: Any, labels: Sequence[str], names: Sequence[str]) -> None:
    """Prints the likeliest classes of each item.

    Parameters
    ----------
    outputs
        [N, classes], in the layout and type of the model's file.
    names
        Of the items.
    """
    if isinstance(outputs, dict):
        raise InputError(f"--labels needs a model of one output; this one has {', '.join(outputs)}")
    scores = outputs.reshape(len(outputs), -1)
    if scores.shape[1] != len(labels):
        raise InputError(f"the model has {scores.shape[1]:,} classes, and there are {len(labels):,} labels")
    values, what = _probabilities(graph, scores)
    for place, (name, row) in enumerate(zip(names, values, strict=True)):
        if place == SHOWN:
            console.print(f"… and {len(values) - SHOWN} more; --output writes all")
            break
        best = np.argsort(-row, kind="stable")[:TOP]
        shown = (f"{labels[each]} {row[each]:.1%}" if what else f"{labels[each]} {row[each]:g}" for each in best)
        console.print(f"{name}: {', '.join(shown)}")
    console.print(what or "numbers are the model's codes, which have no scale")


def _probabilities(graph: Graph, scores: NDArray[Any]) -> tuple[NDArray[Any], str]:
    """Probabilities and where they come from, or the scores as they are if these have no scale."""
    tensor = graph.tensors[graph.outputs[0]]
    if tensor.dtype in ("int8", "int16"):
        if tensor.quantization == (1.0, 0):
            return scores, ""
        real = tensor.dequantize(scores.astype(np.int32) - tensor.base).astype(np.float64)
    elif tensor.dtype == "float32":
        real = scores.astype(np.float64)
    else:
        return scores, ""
    last = type(_maker(graph)).__name__
    if last == "Softmax":
        return real, "probabilities are the model's"
    if last == "LogSoftmax":
        return np.exp(real), "probabilities are the model's"
    powers = np.exp(real - real.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True), "probabilities are the softmax of the model's outputs"


def _maker(graph: Graph) -> Op | None:
    """The operator that makes the output's values."""
    makers = {op.output: op for op in graph.ops}
    op = makers.get(graph.outputs[0])
    while op is not None and type(op).__name__ in MOVES:
        op = makers.get(op.inputs[0])
    return op
