"""The handlers of TensorFlow Lite's resource variables, which streaming models keep their states in: VAR_HANDLE,
READ_VARIABLE and ASSIGN_VARIABLE, and CALL_ONCE, which sets them before the first inference."""

from __future__ import annotations

import numpy as np
import tflite

from sateen.frontends.tflite.file import RawModel, RawOperator
from sateen.frontends.tflite.importer import Handler, Importer
from sateen.frontends.tflite.moves import registers
from sateen.graph import Reshape, Tensor, require

__all__ = ["VARIABLES"]

VARIABLES: dict[str, Handler] = {}
"""The handler of each kind of operator."""
handles = registers(VARIABLES)


def _key(operator: RawOperator) -> tuple[str, str]:
    """What tells a variable from others."""
    options = operator.options(tflite.VarHandleOptions)
    return tuple((text or b"").decode("utf-8", "replace") for text in (options.Container, options.SharedName))  # type: ignore[return-value]


@handles("VAR_HANDLE")
def var_handle(importer: Importer, operator: RawOperator) -> None:
    """A variable's number, which is a constant."""
    number = importer.variables.setdefault(_key(operator), len(importer.variables))
    importer.constants[operator.outputs[0]] = np.asarray(number)


def _number(importer: Importer, operator: RawOperator) -> int:
    good = importer.batch == 1
    require(good, operator, f"it keeps a state, and the model has a batch of {importer.batch}; convert it with 1")
    number = importer.integer(operator, 0)
    require(number in importer.variables.values(), operator, "its first input is no variable's handle")
    return number


def _state(importer: Importer, like: Tensor, number: int) -> Tensor:
    """The state of a variable, which the first operator on it makes."""
    name = f"v{number}"
    if name not in importer.tensors:
        label = next(shared for (_, shared), each in importer.variables.items() if each == number)
        importer.tensors[name] = Tensor(
            name=name, shape=like.shape, scale=like.scale, zero_point=like.zero_point, dtype=like.dtype, label=label,
            unsigned=like.unsigned,
        )  # fmt: skip
        # Until something replaces it, which every state needs.
        importer.states[name] = ""
    return importer.tensors[name]


def _check(operator: RawOperator, state: Tensor, value: Tensor) -> None:
    alike = value.shape == state.shape and value.dtype == state.dtype and value.quantization == state.quantization
    require(
        alike and value.unsigned == state.unsigned, operator,
        f"{value} must have the shape, type, scale and zero point of the variable {state.label!r}, which are "
        f"{state.shape}, {state.dtype}, {state.scale:.6g} and {state.zero_point}",
    )  # fmt: skip


@handles("READ_VARIABLE")
def read_variable(importer: Importer, operator: RawOperator) -> None:
    """A variable's values: those of the item before, or what was assigned since."""
    number, y = _number(importer, operator), importer.tensor(operator.outputs[0])
    state = _state(importer, y, number)
    _check(operator, state, y)
    importer.add(operator, Reshape, input=importer.states[state.name] or state.name)


@handles("ASSIGN_VARIABLE")
def assign_variable(importer: Importer, operator: RawOperator) -> None:
    """New values of a variable."""
    number, x = _number(importer, operator), importer.input(operator, 1, "INT8", "UINT8", "INT16", "FLOAT32", "INT32")
    state = _state(importer, x, number)
    _check(operator, state, x)
    made = importer.between(operator, Reshape, x, f"{state.name}.next", state.shape)
    importer.states[state.name] = made.name


@handles("CALL_ONCE")
def call_once(importer: Importer, operator: RawOperator) -> None:
    """A graph that sets variables before the first inference: to zeros, as they are here anyway."""
    index = operator.options(tflite.CallOnceOptions).InitSubgraphIndex
    require(index in importer.model.called, operator, f"its graph {index} is not there; convert the model anew")
    called: RawModel = importer.model.called[index]
    for inner in called.operators:
        good = inner.kind in ("VAR_HANDLE", "ASSIGN_VARIABLE")
        require(good, operator, f"its graph computes with {inner}; convert the model with constants there")
        if inner.kind == "ASSIGN_VARIABLE":
            raw = called.tensors[inner.inputs[1]]
            zero = raw.zero_points[0] if raw.zero_points else 0
            good = raw.data is not None and bool((raw.data == zero).all())
            require(good, operator, f"it sets a variable to {raw}, which is not zero throughout; begin with zeros")
