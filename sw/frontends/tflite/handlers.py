"""The handlers of all of TensorFlow Lite's operators, by theme."""

from __future__ import annotations

from sateen.frontends.tflite import arrange, operators, reductions, windows
from sateen.frontends.tflite.importer import Handler

__all__ = ["HANDLERS"]

HANDLERS: dict[str, Handler] = {
    **operators.HANDLERS,
    **arrange.HANDLERS,
    **reductions.HANDLERS,
    **windows.HANDLERS,
}
"""The handler of each kind of operator."""
