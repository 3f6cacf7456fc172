"""Sateen: DNN inference accelerators from Python.

The public interface: :func:`compile` a network for a configuration, :func:`open` a device, load and run. Imports no
Amaranth.
"""

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
