"""TensorFlow Lite files of recurrent layers, for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from tflite_models import ModelBuilder

__all__ = ["lstm_model", "recurrent_files", "svdf_model", "variable_model"]


def svdf_model(
    rng: np.random.Generator, kind: str = "INT16", *, inputs=8, units=6, rank=2, steps=5, loud=1.0, activation=0,
    point=None, bias=True, state: dict[str, Any] | None = None, **fields,
) -> tuple[ModelBuilder, list[int], list[int]]:  # fmt: skip
    """A file of an SVDF with a state of a type, its input and its output.

    Parameters
    ----------
    loud
        By how much states and results are larger than what fills their codes, about.
    """
    b, filters = ModelBuilder(), units * rank
    x = b.tensor((1, inputs), scale=0.05, zero_point=int(rng.integers(-128, 128)))
    feature = b.constant(rng.integers(-127, 128, (filters, inputs)), "INT8", scale=0.01)
    most = 127 if kind == "INT8" else 32767
    state_scale = float(np.float32(0.05 * 0.01 * 73 * 100 * np.sqrt(inputs) * 2 / most / loud))
    time_scale = 0.02 if kind == "INT8" else 0.02 / 256
    time = b.constant(rng.integers(-most, most + 1, (filters, steps)), kind, scale=time_scale)
    sums = state_scale * time_scale * (most / 2) ** 2 * np.sqrt(rank * steps)
    values = rng.integers(-1000, 1000, units) * (1 if kind == "INT8" else 256)
    places = [x, feature, time, b.constant(values, "INT32", scale=state_scale * time_scale) if bias else -1]
    point = int(rng.integers(-128, 128)) if point is None else point
    zero = int(rng.integers(-20, 20)) if kind == "INT8" else 0
    more = {"scale": state_scale, "zero_point": zero, "IsVariable": True, **(state or {})}
    places.append(b.tensor((1, filters * steps), kind, **more))
    y = b.tensor((1, units), scale=float(np.float32(sums / 60 / loud)), zero_point=point)
    b.op("SVDF", places, [y], "SVDFOptions", **{"Rank": rank, "FusedActivationFunction": activation, **fields})
    return b, [x], [y]


def lstm_model(
    rng: np.random.Generator, *, inputs=5, cells=7, steps=4, power=-11, loud=1.0, clip=0.0, time_major=False,
    changed: dict[int, int] | None = None, intermediates: bool = False, hidden_scale=1 / 128, **fields,
) -> tuple[ModelBuilder, list[int], list[int]]:  # fmt: skip
    """A file of an LSTM, its input and its output.

    Parameters
    ----------
    power
        The cells count in two to this power.
    loud
        By how much the gates' sums are larger than usual.
    changed
        Inputs of the operator by their places, in place of what stands there.
    intermediates
        Whether the operator names tensors that layer normalization would use, as converters have it.
    """
    b = ModelBuilder()
    shape, out = ((steps, 1, inputs), (steps, 1, cells)) if time_major else ((1, steps, inputs), (1, steps, cells))
    x_scale, hidden_point = 0.02, int(rng.integers(-30, 30))
    x = b.tensor(shape, scale=x_scale, zero_point=int(rng.integers(-128, 128)))
    places = [x, *[-1] * 23]
    scales = [float(np.float32(loud * rng.uniform(0.004, 0.02))) for _ in range(8)]
    for place in range(8):
        size = (cells, inputs if place < 4 else cells)
        places[1 + place] = b.constant(rng.integers(-127, 128, size), "INT8", scale=scales[place])
    for gate in range(4):
        bias = rng.integers(-3000, 3000, cells)
        places[12 + gate] = b.constant(bias, "INT32", scale=float(np.float32(x_scale) * np.float32(scales[gate])))
    numbers = {"scale": hidden_scale, "zero_point": hidden_point}
    places[18] = b.tensor((1, cells), IsVariable=True, **numbers)
    places[19] = b.tensor((1, cells), "INT16", scale=2.0**power, IsVariable=True)
    extra = b.constant(rng.integers(-99, 99, cells), "INT16", scale=0.01)
    for place, index in (changed or {}).items():
        places[place] = extra if index == -2 else index
    y = b.tensor(out, **numbers)
    more = {"Intermediates": [b.tensor((0,), "INT16", scale=0.001) for _ in range(5)]} if intermediates else {}
    options = {"FusedActivationFunction": 4, "CellClip": clip, "TimeMajor": time_major, **fields}
    b.op("UNIDIRECTIONAL_SEQUENCE_LSTM", places, [y], "UnidirectionalSequenceLSTMOptions", more=more, **options)
    return b, [x], [y]


def variable_model(
    type="INT8", *, begin: Any = None, frames=4, depth=3, channels=5, names=("ring", "ring"), point=9,
) -> tuple[ModelBuilder, list[int], list[int], ModelBuilder | None]:  # fmt: skip
    """A file of a convolution over the last frames of a stream, which a resource variable keeps.

    Parameters
    ----------
    begin
        What the variable is set to once; ``None``: the file does not set it.
    names
        Of the variable where it is read, and where it is assigned.

    Returns
    -------
    The builder, input and output, and the graph that is called once.
    """
    rng, b = np.random.default_rng(7), ModelBuilder()
    numbers = {"scale": 0.05, "zero_point": point} if type == "INT8" else {"scale": 0.001} if type == "INT16" else {}

    def tensor(*shape: int) -> int:
        return b.tensor((1, *shape), type, **numbers)

    once = None
    if begin is not None:
        b.op("CALL_ONCE", [], [], "CallOnceOptions", InitSubgraphIndex=1)
        once = ModelBuilder()
        handle = once.tensor((), "RESOURCE")
        once.op("VAR_HANDLE", [], [handle], "VarHandleOptions", Container="", SharedName=names[0])
        data = np.full((1, frames - 1, 1, channels), begin)
        once.op("ASSIGN_VARIABLE", [handle, once.constant(data, type, **numbers)], [], "AssignVariableOptions")
    x, kept, joined, following = (
        tensor(1, 1, channels), tensor(frames - 1, 1, channels), tensor(frames, 1, channels),
        tensor(frames - 1, 1, channels),
    )  # fmt: skip
    handles = [b.tensor((), "RESOURCE") for _ in names]
    for handle, name in zip(handles, names, strict=True):
        b.op("VAR_HANDLE", [], [handle], "VarHandleOptions", Container="", SharedName=name)
    b.op("READ_VARIABLE", [handles[0]], [kept], "ReadVariableOptions")
    b.op("CONCATENATION", [kept, x], [joined], "ConcatenationOptions", Axis=1)
    ends = [b.constant(each) for each in ([0, 1, 0, 0], [1, frames, 1, channels], [1, 1, 1, 1])]
    b.op("STRIDED_SLICE", [joined, *ends], [following], "StridedSliceOptions")
    b.op("ASSIGN_VARIABLE", [handles[1], following], [], "AssignVariableOptions")
    if type != "INT8":
        y = tensor(frames * channels)
        b.op("RESHAPE", [joined, b.constant([1, frames * channels])], [y], "ReshapeOptions")
        return b, [x], [y], once
    w = b.constant(rng.integers(-127, 128, (depth, frames, 1, channels)), "INT8", scale=0.01)
    y = b.tensor((1, 1, 1, depth), scale=0.2, zero_point=-3)
    bias = b.constant(rng.integers(-999, 999, depth), "INT32", scale=0.0005)
    window = {"StrideH": 1, "StrideW": 1, "DilationHFactor": 1, "DilationWFactor": 1, "Padding": 1}
    b.op("CONV_2D", [joined, w, bias], [y], "Conv2DOptions", **window)
    return b, [x], [y], once


def recurrent_files() -> list[tuple[ModelBuilder, list[int], list[int]]]:
    """A file of each recurrent layer, its inputs and its outputs."""
    rng = np.random.default_rng(5)
    narrow = svdf_model(rng, "INT8", state={"zero_point": 0})
    return [svdf_model(rng), narrow, lstm_model(rng), variable_model()[:3]]
