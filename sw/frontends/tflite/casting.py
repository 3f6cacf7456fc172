"""The handler of TensorFlow Lite's CAST, whatever the types."""

from __future__ import annotations

import tflite

from sateen.frontends.tflite.file import RawOperator
from sateen.frontends.tflite.importer import QUANTIZED, UNQUANTIZED, Handler, Importer
from sateen.frontends.tflite.moves import registers
from sateen.graph import Cast, Dequantize, require

__all__ = ["CASTS"]

CASTS: dict[str, Handler] = {}
handles = registers(CASTS)


@handles("CAST")
def cast(importer: Importer, operator: RawOperator) -> None:
    """The same values in another type: the code 3 becomes 3.0, whatever scale it has."""
    if operator.table is not None:
        # Input and output have their types themselves.
        operator.options(tflite.CastOptions).ignore("InDataType", "OutDataType")
    x, y = importer.input(operator, 0, *QUANTIZED, "INT16", *UNQUANTIZED), importer.tensor(operator.outputs[0])
    out = importer.model.tensors[operator.outputs[0]].type
    if x.dtype == "float32":
        # What lies beyond such a type differs among interpreters and processors.
        require(out in ("FLOAT32", "INT32", "BOOL"), operator, f"it makes {out} of real numbers; use QUANTIZE or INT32")
    if x.dtype == "int8" and y.dtype == "float32" and x.quantization == (1.0, -x.base):
        # Real numbers of which the device may compute what follows.
        importer.add(operator, Dequantize, input=x.name)
    else:
        importer.add(operator, Cast, input=x.name)
