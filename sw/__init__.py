"""Weft: DNN inference accelerators from Python.

The user's face: :func:`compile` a network for a configuration, :func:`open` a device, load and run. Imports no Amaranth.
"""

from weft.compiler import compile
from weft.device import Device, LoadedModel, open
from weft.errors import CompileError, ConfigMismatch, DeviceError, InputError, LinkError, ModelFileError, WeftError, WeftWarning
from weft.hw.spec.config import Config
from weft.model import Model

__all__ = [
    "CompileError", "Config", "ConfigMismatch", "Device", "DeviceError", "InputError", "LinkError", "LoadedModel", "Model",
    "ModelFileError", "WeftError", "WeftWarning", "compile", "open",
]  # fmt: skip
