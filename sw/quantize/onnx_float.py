"""Float ONNX models, with what the reference evaluator computes for calibration data."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sateen.files import read_source
from sateen.frontends.onnx import graph, guarded, parse, records
from sateen.graph import Array, require
from sateen.quantize.float_model import FloatModel, Progress, ignore
from sateen.quantize.unrolling import unrolled

__all__ = ["float_model"]

QUANTIZED = ("Quant", "IntQuant", "DequantizeLinear", "QLinear", "QGemm")
"""How the names of quantized models' operators begin."""
DYNAMIC = ("DynamicQuantize", "MatMulInteger", "ConvInteger")
"""As :data:`QUANTIZED`, for models that measure the ranges of activations while they run."""


def float_model(
    source: bytes | str | os.PathLike[str], calibration: ArrayLike, *, name: str = "", progress: Progress = ignore
) -> FloatModel:
    """A float ONNX model with its calibration data.

    Parameters
    ----------
    calibration
        Representative values [N, …] of the model's only input, in its layout.
    progress
        Called with (items done, items) whenever the model runs on the data.

    Raises
    ------
    OSError
        If the file cannot be read.
    CompileError
        If the ``onnx`` package is missing.
    GraphError
        If the file is damaged or is quantized already, or the calibration data does not fit it.
    """
    data, name = read_source(source, name)
    onnx, model = parse(data, None if isinstance(source, bytes) else Path(source).parent)
    # Names that are no UTF-8 come as bytes.
    with guarded("file", "it is damaged"):
        _check_float(model)
    batch = np.asarray(calibration, np.float32)
    with guarded("file", "its recurrent layers cannot be unrolled"):
        whole = unrolled(onnx, model, batch.shape[1:])
    model = whole.model
    read = records(onnx, model)
    count = len(read.inputs)
    require(count == 1, "file", f"it has {count} inputs; only models of one can be quantized here")
    (entry,) = read.inputs
    require(len(batch) > 0, "calibration", "it holds no item; give one or more")
    return FloatModel(
        name=name or "model",
        model=read,
        trace=lambda: _traced(model, entry, batch, {*read.constants}, progress),
        graph=lambda quantized: graph(quantized, name or "model"),
        item_shape=batch.shape[1:],
        shared=whole.shared,
        factors=whole.factors,
    )


def _traced(
    model: Any, entry: str, batch: Array, constants: set[str], progress: Progress
) -> Iterator[Mapping[str, Array]]:
    """Every real tensor, item by item."""
    from onnx.reference import ReferenceEvaluator

    with guarded("file", "it cannot be run"):
        evaluator = ReferenceEvaluator(model)
    for place, item in enumerate(batch):
        with guarded("calibration", "the model does not run on it", "give inputs in its layout"):
            with np.errstate(all="ignore"):  # What is not finite is found by its value.
                results = dict(evaluator.run(None, {entry: item[None]}, intermediate=True))
        yield {
            name: values
            for name, values in results.items()
            if name not in constants and isinstance(values, np.ndarray) and values.dtype == np.float32
        }
        progress(place + 1, len(batch))


def _check_float(model: Any) -> None:
    """Raises :class:`GraphError` if a model has operators on integers that stand for real numbers."""
    for node in model.graph.node:
        who = f"operator {node.name!r} ({node.op_type})"
        require(
            not node.op_type.startswith(DYNAMIC),
            who,
            "the model is quantized dynamically; quantize the float model from which it was made",
        )
        require(
            not node.op_type.startswith(QUANTIZED),
            who,
            "the model is quantized already; compile it as it is, without calibration data",
        )
