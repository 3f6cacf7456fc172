"""The handlers of TensorFlow Lite's recurrent layers, SVDF and UNIDIRECTIONAL_SEQUENCE_LSTM, and of their states."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tflite

from sateen.frontends.tflite.file import RawOperator, RawTensor
from sateen.frontends.tflite.importer import Handler, Importer
from sateen.frontends.tflite.moves import registers
from sateen.frontends.tflite.numbers import scaling
from sateen.graph import (
    Array,
    Concatenate,
    DepthwiseConv2D,
    FileLayout,
    FullyConnected,
    LastStep,
    LstmCells,
    LstmHidden,
    Reshape,
    Slice,
    Tensor,
    TimeProduct,
    WideningProduct,
    require,
)

__all__ = ["RECURRENT"]

RECURRENT: dict[str, Handler] = {}
"""The handler of each kind of operator."""
handles = registers(RECURRENT)

PLACES = {
    1: "without weights of an input gate (CIFG)", 5: "without weights of an input gate (CIFG)",
    9: "with peephole weights", 10: "with peephole weights", 11: "with peephole weights",
    16: "with a projection", 17: "with a projection", 20: "with layer normalization", 21: "with layer normalization",
    22: "with layer normalization", 23: "with layer normalization",
}  # fmt: skip
"""What an LSTM is that has an input at a place, or lacks it at the first two."""
GATE_STEP = 2.0**-12
"""What the sums of an LSTM's gates count in."""
LARGEST_DIFFERENCE = 0.01
"""Of a bias's scale from that of the sums, relative."""


def _state(
    importer: Importer, operator: RawOperator, place: int, kind: str, shape: tuple[int, ...],
    layout: FileLayout | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The state at a place of an operator's inputs, and a new tensor for what replaces it."""
    raw = importer.raw(operator, place)
    require(raw.variable, operator, f"{raw} must be a variable, in which its state lives")
    require(raw.type == kind, operator, f"its state {raw} is {raw.type}, not {kind}; quantize the whole model to int8")
    size = math.prod(raw.shape)
    require(size == math.prod(shape), operator, f"its state {raw} of {raw.shape} must have {math.prod(shape)} values")
    require(f"t{raw.index}" not in importer.tensors, operator, f"{raw} is the state of another operator, too")
    scale, zero_point = importer.quantization(raw)
    file_shape = raw.shape if raw.shape[:1] == (1,) else (1, *raw.shape)
    plain = FileLayout(view=shape, axes=tuple(range(len(shape))), shape=file_shape)
    made = [
        Tensor(
            name=f"t{raw.index}{suffix}", shape=shape, scale=scale, zero_point=zero_point, dtype=kind.lower(),
            label=raw.label, file_layout=layout or (plain if file_shape != shape else None),
        )
        for suffix in ("", ".next")
    ]  # fmt: skip
    importer.tensors |= {tensor.name: tensor for tensor in made}
    importer.states[made[0].name] = made[1].name
    return made[0], made[1]


def _weights(importer: Importer, operator: RawOperator, place: int, kind: str, *shape: int) -> tuple[Array, float]:
    """Constant weights of a shape, and their only scale."""
    raw, values = importer.raw(operator, place), importer.constant(operator, place)
    require(raw.type == kind, operator, f"its weights {raw} are {raw.type}, not {kind}; quantize the model to int8")
    require(values.shape == shape, operator, f"its weights {raw} must be of {shape}, not {values.shape}")
    require(len(raw.scales) == 1, operator, f"its weights {raw} must have one scale, not {len(raw.scales)}")
    require(not any(raw.zero_points), operator, f"its weights {raw} have a zero point; quantize them symmetrically")
    return values, raw.scales[0]


def _bias(importer: Importer, operator: RawOperator, place: int, size: int, scale: float) -> Array:
    """A constant bias, whose scale must be that of the sums to which it is added; 0 if there is none."""
    if not importer.has(operator, place):
        return np.zeros(size, np.int32)
    raw, values = importer.raw(operator, place), importer.constant(operator, place)
    require(raw.type == "INT32", operator, f"its bias {raw} is {raw.type}, not INT32; quantize the model to int8")
    require(values.shape == (size,), operator, f"its bias {raw} must have {size} values, not {values.shape}")
    require(not any(raw.zero_points), operator, f"its bias {raw} has a zero point; quantize it symmetrically")
    stated = raw.scales[0] if len(raw.scales) == 1 else math.nan
    good = abs(stated - scale) <= LARGEST_DIFFERENCE * scale
    require(
        good, operator,
        f"its bias {raw} has the scale {stated:.6g}, not {scale:.6g}, that of its products; quantize the model anew",
    )  # fmt: skip
    return values


def _one_item(importer: Importer, operator: RawOperator) -> None:
    require(
        importer.batch == 1, operator,
        f"it keeps a state, and the model has a batch of {importer.batch}; convert it with a batch of 1",
    )  # fmt: skip


@handles("SVDF")
def svdf(importer: Importer, operator: RawOperator) -> None:
    """Filters of a few ranks, whose products with the last inputs are kept and weighted by their age."""
    options = operator.options(tflite.SVDFOptions)
    # Inputs that are quantized already are not quantized again.
    options.ignore("AsymmetricQuantizeInputs")
    _one_item(importer, operator)
    x, y, rank = importer.input(operator, 0, "INT8"), importer.tensor(operator.outputs[0]), options.Rank
    feature, time = importer.raw(operator, 1), importer.raw(operator, 2)
    good = len(feature.shape) == 2 and len(time.shape) == 2 and rank > 0 and feature.shape[0] % rank == 0
    require(good, operator, f"its weights of {feature.shape} and {time.shape} do not fit a rank of {rank}")
    (filters, inputs), steps, units = feature.shape, time.shape[1], feature.shape[0] // rank
    require(x.shape == (1, inputs), operator, f"its input must be [1, {inputs}], but {x} is {x.shape}")
    require(y.shape == (1, units), operator, f"its output must be [1, {units}], but {y} is {y.shape}")
    require(y.dtype == "int8" and not y.unsigned, operator, f"its output {y} must be int8; quantize the whole model")
    _check_activation(operator, options.FusedActivationFunction, y)
    kind = time.type
    require(kind in ("INT8", "INT16"), operator, f"its weights {time} are {kind}, not INT8 or INT16")
    layout = FileLayout(view=(1, steps, rank, units), axes=(0, 3, 2, 1), shape=(1, filters * steps))
    state, following = _state(importer, operator, 4, kind, (1, steps, rank, units), layout)
    by_rank = [unit * rank + place for place in range(rank) for unit in range(units)]
    weights, feature_scale = _weights(importer, operator, 1, "INT8", filters, inputs)
    ages, time_scale = _weights(importer, operator, 2, kind, filters, steps)
    factors = scaling(operator, x.scale * feature_scale / state.scale)
    _keep(importer, operator, state, following, _features(importer, operator, x, state, weights[by_rank], factors))
    bias = _bias(importer, operator, 3, units, state.scale * time_scale)
    factors = scaling(operator, state.scale * time_scale / y.scale)
    # [filters, steps] as [steps, rank, units].
    ages = np.ascontiguousarray(ages.reshape(units, rank, steps).transpose(2, 1, 0))
    if kind == "INT16":
        importer.add(
            operator, TimeProduct, input=following.name, weights=ages, bias=bias, multiplier=factors[0],
            shift=factors[1],
        )  # fmt: skip
    else:
        importer.add(
            operator, DepthwiseConv2D, any_shape=True, input=following.name, bias=bias, **_each(factors, units),
            weights=np.ascontiguousarray(ages.transpose(2, 0, 1)[..., None]),
        )  # fmt: skip


def _check_activation(operator: RawOperator, activation: int, y: Tensor) -> None:
    """The interpreters clamp an SVDF's results to all of their range, whatever the activation."""
    kinds = tflite.ActivationFunctionType
    good = activation == kinds.NONE or (activation == kinds.RELU and y.zero_point == -128)
    require(
        good, operator,
        f"its fused activation {activation} is not what the range of its output {y} gives, and the interpreters do not "
        "compute it; put it behind the operator",
    )  # fmt: skip


def _each(factors: tuple[int, int], count: int) -> dict[str, Any]:
    """Multiplier and shift of channels that share them."""
    return {"multiplier": np.full(count, factors[0], np.int32), "shift": np.full(count, factors[1], np.int8)}


def _features(
    importer: Importer, operator: RawOperator, x: Tensor, state: Tensor, weights: Array, factors: tuple[int, int]
) -> Tensor:
    """The newest entry of an SVDF's state, [1, 1, rank, units]."""
    name = f"{operator.kind.lower()}_{operator.index}_feature"
    made = importer.new_like(state, "feature", (1, len(weights)))
    if state.dtype == "int16":
        importer.ops.append(
            WideningProduct(
                name=name, input=x.name, output=made.name, weights=weights, multiplier=factors[0], shift=factors[1]
            )
        )
    else:
        importer.ops.append(
            FullyConnected(
                name=name, input=x.name, output=made.name, weights=weights, bias=np.zeros(len(weights), np.int32),
                **_each(factors, len(weights)),
            )
        )  # fmt: skip
    return importer.reshape(operator, made, "newest", (1, 1, *state.shape[2:]))


def _keep(importer: Importer, operator: RawOperator, state: Tensor, following: Tensor, newest: Tensor) -> None:
    """The state without its oldest entry, and with a new one."""
    name, steps = f"{operator.kind.lower()}_{operator.index}_state", state.shape[1]
    if steps == 1:
        importer.ops.append(Reshape(name=name, input=newest.name, output=following.name))
        return
    ranges = ((1, steps, 1), *((0, size, 1) for size in state.shape[2:]))
    shape = (1, steps - 1, *state.shape[2:])
    kept = importer.between(operator, Slice, state, "kept", shape, ranges=ranges)
    importer.ops.append(Concatenate(name=name, sources=(kept.name, newest.name), axis=1, output=following.name))


@handles("UNIDIRECTIONAL_SEQUENCE_LSTM")
def lstm(importer: Importer, operator: RawOperator) -> None:
    """An LSTM over the steps of a sequence; its states behind the last step are those before the next sequence."""
    options = operator.options(tflite.UnidirectionalSequenceLSTMOptions)
    # Inputs that are quantized already are not quantized again, and without a projection its clip clips nothing.
    options.ignore("AsymmetricQuantizeInputs", "ProjClip")
    for place, what in PLACES.items():
        wanted = place in (1, 5)
        good = importer.has(operator, place) == wanted
        require(good, operator, f"an LSTM {what} is not supported; convert the model with a plain one")
    _one_item(importer, operator)
    tanh = options.FusedActivationFunction == tflite.ActivationFunctionType.TANH
    require(tanh, operator, f"its activation must be TANH, not {options.FusedActivationFunction}")
    require(len(importer.raw(operator, 0).shape) == 3, operator, "its input must have 3 axes")
    sequence, y = _sequence(importer, operator, bool(options.TimeMajor)), importer.tensor(operator.outputs[0])
    raw = importer.raw(operator, 2)
    size, (_, steps, inputs) = raw.shape[0] if raw.shape else 0, sequence.shape
    cells_raw = importer.raw(operator, 19)
    hidden, next_hidden = _state(importer, operator, 18, "INT8", (1, size))
    cell, next_cell = _state(importer, operator, 19, "INT16", (1, size))
    good = y.quantization == hidden.quantization and y.dtype == "int8" and not y.unsigned
    require(good, operator, f"its output {y} and its state {hidden} must be int8 with the same scale and zero point")
    fields = {
        "input": sequence.name, "hidden": hidden.name,
        **_gates(importer, operator, sequence, hidden, inputs, size),
        "cell_clip": _clip(operator, cells_raw, cell, options.CellClip),
    }  # fmt: skip
    name = f"{operator.kind.lower()}_{operator.index}"
    cells = importer.new_like(cell, "steps", (1, steps, size))
    importer.ops.append(LstmCells(name=f"{name}_cells", cell=cell.name, output=cells.name, **fields))
    results = importer.new_like(hidden, "steps", (1, steps, size))
    importer.ops.append(LstmHidden(name=f"{name}_hidden", cell=cells.name, output=results.name, **fields))
    importer.add(operator, Reshape, input=results.name)
    for kind, every, following in (("hidden", results, next_hidden), ("cells", cells, next_cell)):
        importer.ops.append(LastStep(name=f"{name}_last_{kind}", input=every.name, output=following.name))


def _sequence(importer: Importer, operator: RawOperator, time_major: bool) -> Tensor:
    """The input as [1, steps, values]."""
    raw, x = importer.raw(operator, 0), importer.input(operator, 0, "INT8")
    batch, steps = (raw.shape[1], raw.shape[0]) if time_major else raw.shape[:2]
    require(batch == 1, operator, f"it keeps a state, and {raw} has a batch of {batch}; convert it with a batch of 1")
    return importer.reshape(operator, x, "sequence", (1, steps, raw.shape[2]))


def _clip(operator: RawOperator, raw: RawTensor, cell: Tensor, clip: float) -> int:
    """The largest magnitude of a cell's code; 0 for any."""
    require(math.isfinite(clip) and clip >= 0, operator, f"its cell_clip must be 0 or more, not {clip!r}")
    codes = int(min(clip / cell.scale, 32767.0))
    require(codes > 0 or clip == 0, operator, f"its cell_clip {clip} is less than a step of {raw}; convert it without")
    return codes


def _gates(
    importer: Importer, operator: RawOperator, x: Tensor, hidden: Tensor, inputs: int, size: int
) -> dict[str, Any]:
    """Weights, biases and scalings of the four gates."""
    sides: Sequence[tuple[int, int, Tensor]] = ((1, inputs, x), (5, size, hidden))
    read = [
        [_weights(importer, operator, first + gate, "INT8", size, depth) for gate in range(4)]
        for first, depth, _ in sides
    ]
    factors = [
        [scaling(operator, tensor.scale * read[side][gate][1] / GATE_STEP) for side, (_, _, tensor) in enumerate(sides)]
        for gate in range(4)
    ]
    for gate in range(4):
        require(importer.has(operator, 12 + gate), operator, f"its bias at input {12 + gate} is missing")
    biases = [_bias(importer, operator, 12 + gate, size, x.scale * read[0][gate][1]) for gate in range(4)]
    return {
        "input_weights": np.stack([values for values, _ in read[0]]),
        "recurrent_weights": np.stack([values for values, _ in read[1]]), "bias": np.stack(biases),
        "multiplier": np.array([[pair[0] for pair in pairs] for pairs in factors], np.int32),
        "shift": np.array([[pair[1] for pair in pairs] for pairs in factors], np.int8),
    }  # fmt: skip
