"""Sateen: DNN inference accelerators from Python.

The public interface: :func:`compile` a network for a configuration, :func:`open` a device, load and run. Imports no
Amaranth. What stands here is imported when it is first used, so that a command can be interrupted from its first moment
on (:mod:`sateen.cli`).
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sateen.compiler import Model, compile
    from sateen.errors import (
        CompileError,
        ConfigMismatch,
        DeviceError,
        DeviceTakenError,
        InputError,
        LinkError,
        ModelFileError,
        OvertimeError,
        SateenError,
        SateenWarning,
    )
    from sateen.hw.spec.config import Config
    from sateen.runtime import Device, LoadedModel, open

__all__ = [
    "CompileError",
    "Config",
    "ConfigMismatch",
    "Device",
    "DeviceError",
    "DeviceTakenError",
    "InputError",
    "LinkError",
    "LoadedModel",
    "Model",
    "ModelFileError",
    "OvertimeError",
    "SateenError",
    "SateenWarning",
    "compile",
    "open",
]

ERRORS = "sateen.errors"
PLACES = {
    "Config": "sateen.hw.spec.config",
    "Device": "sateen.runtime",
    "LoadedModel": "sateen.runtime",
    "Model": "sateen.compiler",
    "compile": "sateen.compiler",
    "open": "sateen.runtime",
}
"""Where names come from that are no errors."""


if not TYPE_CHECKING:
    # Type checkers see the imports above, and that there is nothing else.
    def __getattr__(name: str) -> Any:
        if name in __all__:
            value = getattr(import_module(PLACES.get(name, ERRORS)), name)
            globals()[name] = value
            return value
        if not name.startswith("_") and find_spec(f"{__name__}.{name}"):
            return import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
