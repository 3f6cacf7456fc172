"""The handlers of all of TensorFlow Lite's operators, by theme."""

from __future__ import annotations

from collections.abc import Mapping

from sateen.frontends.tflite import arrange, functions, operators, pairs, products, reductions, windows
from sateen.frontends.tflite.casting import CASTS
from sateen.frontends.tflite.importer import Handler
from sateen.frontends.tflite.moves import MOVES
from sateen.frontends.tflite.real import REAL
from sateen.frontends.tflite.real_layers import REAL_LAYERS
from sateen.frontends.tflite.recurrent import RECURRENT
from sateen.frontends.tflite.variables import VARIABLES
from sateen.frontends.tflite.wide import WIDE

__all__ = ["BY_TYPE", "HANDLERS"]

HANDLERS: dict[str, Handler] = {
    **operators.HANDLERS,
    **arrange.HANDLERS,
    **functions.HANDLERS,
    **pairs.HANDLERS,
    **pairs.LOGIC,
    **products.HANDLERS,
    **reductions.HANDLERS,
    **RECURRENT,
    **VARIABLES,
    **windows.HANDLERS,
    **CASTS,
}
"""The handler of each kind of operator on codes of 8 bits."""
MOVED = {kind: MOVES[kind] for kind in MOVES if kind != "PADV2"} | arrange.HANDLERS
"""The handlers of operators that move values of any type."""
BY_TYPE: Mapping[str, Mapping[str, Handler]] = {
    "INT8": HANDLERS,
    "FLOAT32": {**MOVED, **VARIABLES, **REAL, **REAL_LAYERS, **products.REAL_PRODUCTS, **pairs.LOGIC, **CASTS},
    "INT16": {**MOVED, **VARIABLES, **WIDE, **CASTS},
    "INT32": {**{kind: MOVES[kind] for kind in ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")}, **CASTS},
}
"""The handlers of operators, by the type that they compute with: codes of 8 or 16 bits, real numbers, or
positions."""
