"""What the importer checks of each operator, and finds out about its types, before and behind its handler."""

from __future__ import annotations

from collections.abc import Container

from sateen.frontends.tflite.file import STATES, RawModel, RawOperator, RawTensor
from sateen.frontends.tflite.versions import newest
from sateen.graph import require

__all__ = ["QUANTIZED", "TYPES", "check_consumed", "check_known", "check_types", "computes_with", "unscaled"]

QUANTIZED = {"INT8": 0, "UINT8": 128}
"""Types of quantized tensors, and the offset that makes their values int8."""
MOVING = frozenset({
    "ARG_MAX", "ARG_MIN", "BATCH_TO_SPACE_ND", "BROADCAST_TO", "CAST", "CONCATENATION", "DEPTH_TO_SPACE", "EXPAND_DIMS",
    "GATHER", "GATHER_ND", "PACK", "PAD", "PADV2", "RESHAPE", "RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2", "SLICE",
    "SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH", "SPLIT", "SPLIT_V", "SQUEEZE", "STRIDED_SLICE", "TILE", "TRANSPOSE",
    "UNPACK",
})  # fmt: skip
"""Kinds of operators for which codes need no scale."""
WITHOUT_OUTPUT = ("ASSIGN_VARIABLE", "CALL_ONCE")
"""Kinds of operators that have no result."""
CONVERSIONS = ("QUANTIZE", "DEQUANTIZE", "CAST")
"""Kinds of operators whose input and output have different types."""
TYPES = {
    "INT8": ("INT8", "UINT8"), "INT16": ("INT16",), "FLOAT32": ("FLOAT32",), "INT32": ("INT32", "INT64"),
}  # fmt: skip
"""Types of the tensors that operators read, by what they compute with."""


def check_known(operator: RawOperator, kinds: Container[str]) -> None:
    """Checks an operator's kind and version."""
    kind = f"the custom operator {operator.custom!r}" if operator.kind == "CUSTOM" else operator.kind
    known = operator.kind in kinds
    require(known, operator, f"{kind} is not supported; convert the model without it, or split it off")
    require(
        operator.version <= newest(operator.kind),
        operator,
        f"its version {operator.version} is newer than version {newest(operator.kind)}, the newest that is known "
        "here; convert the model with an older converter",
    )
    good = len(operator.outputs) > 0 or operator.kind in WITHOUT_OUTPUT
    require(good, operator, "it has no output; convert the model anew")


def computes_with(model: RawModel, constants: Container[int], operator: RawOperator) -> str:
    """The type that an operator computes with: FLOAT32 or INT16 if a tensor is of that, INT32 if all are positions,
    else INT8, which stands for codes of 8 bits."""
    if operator.kind in ("QUANTIZE", "DEQUANTIZE"):
        return "INT8"
    types = {raw.type for raw in _activations(model, constants, operator)}
    for wide in ("FLOAT32", "INT16"):
        if wide in types:
            return wide
    return "INT32" if types and types <= {"INT32", "INT64"} else "INT8"


def _activations(model: RawModel, constants: Container[int], operator: RawOperator) -> list[RawTensor]:
    """The tensors of an operator that are neither constants nor its states."""
    states = STATES.get(operator.kind, ())
    indexes = [index for place, index in enumerate(operator.inputs) if place not in states]
    return [
        model.tensors[index] for index in (*indexes, *operator.outputs) if index >= 0 and index not in constants
    ]  # fmt: skip


def check_types(model: RawModel, constants: Container[int], operator: RawOperator) -> None:
    """Checks that an operator does not mix types of codes: only those that convert do."""
    if operator.kind in CONVERSIONS:
        return
    codes = (*QUANTIZED, "INT16")
    types = {raw.type for raw in _activations(model, constants, operator) if raw.type in codes}
    require(len(types) <= 1, operator, f"it mixes {' and '.join(sorted(types))}; quantize the whole model to int8")


def check_consumed(operator: RawOperator) -> None:
    """Checks that no option and no input of an operator was left out."""
    unread = {} if operator.table is None else operator.table.unread()
    fields = ", ".join(f"{name} = {value}" for name, value in unread.items())
    require(not unread, operator, f"its options {fields} are not supported; convert the model without them")
    for place, index in enumerate(operator.inputs):
        require(
            index < 0 or place in operator.used, operator, f"its input {place} is not supported; convert it without"
        )


def unscaled(model: RawModel) -> dict[int, tuple[float, int]]:
    """Scale and zero point of each tensor of codes that has none in the file and needs none, because its codes are
    only moved: those of a tensor from which or to which they move, or else 1 and 0."""
    touching: dict[int, list[RawOperator]] = {}
    for operator in model.operators:
        for index in {*operator.inputs, *operator.outputs} - {-1}:
            touching.setdefault(index, []).append(operator)
    wanted = {
        raw.index
        for raw in model.tensors
        if raw.type in (*QUANTIZED, "INT16")
        and not raw.scales
        and all(operator.kind in MOVING for operator in touching.get(raw.index, ()))
    }
    found: dict[int, tuple[float, int]] = {}
    for moves in ([*model.operators, *reversed(model.operators)],) * (2 if wanted else 0):
        for operator in moves:
            tensors = [model.tensors[index] for index in (*operator.inputs, *operator.outputs) if index >= 0]
            known = [(raw.scales[0], raw.zero_points[0]) for raw in tensors if raw.scales and raw.zero_points]
            known += [found[raw.index] for raw in tensors if raw.index in found]
            if known:
                found |= {raw.index: known[0] for raw in tensors if raw.index in wanted and raw.index not in found}
    return {index: found.get(index, (1.0, 0)) for index in wanted}
