"""The handlers of TensorFlow Lite's functions of one value that are tables of the device."""

from __future__ import annotations

from collections.abc import Callable

import tflite

from sateen.frontends.tflite.file import RawOperator
from sateen.frontends.tflite.importer import Handler, Importer
from sateen.frontends.tflite.moves import registers
from sateen.graph import GraphError, Int8Array, Table, require
from sateen.sim import golden

__all__ = ["HANDLERS"]

HANDLERS: dict[str, Handler] = {}
handles = registers(HANDLERS)

FUNCTIONS: dict[str, Callable[..., Int8Array]] = {
    "ABS": golden.absolute_table,
    "ELU": golden.elu_table,
    "EXP": golden.exponential_table,
    "GELU": golden.gelu_table,
    "LOG": golden.logarithm_table,
    "NEG": golden.negative_table,
    "RSQRT": golden.inverse_root_table,
    "SQRT": golden.root_table,
}
"""By kind of operator, what makes its table. Called with the quantizations of input and output, and with options."""


@handles(*FUNCTIONS)
def function(importer: Importer, operator: RawOperator) -> None:
    """A function of one value."""
    x, y = importer.input(operator, 0), importer.tensor(operator.outputs[0])
    known = operator.kind == "GELU" or not x.unsigned
    require(known, operator, "TensorFlow Lite has no such operator for UINT8; quantize the model to int8")
    options = {}
    if operator.kind == "GELU":
        options["approximate"] = bool(operator.table is not None and operator.options(tflite.GeluOptions).Approximate)
    try:
        values = FUNCTIONS[operator.kind](x.quantization, y.quantization, **options)
    except ValueError as error:
        raise GraphError(f"{operator}: its scales do not fit together ({error}); quantize the model anew") from None
    importer.add(operator, Table, input=x.name, table=values, function=operator.kind.lower())
