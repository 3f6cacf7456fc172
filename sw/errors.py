"""Errors of the host side, one class per layer. Each message says what happened and what to do next."""

__all__ = [
    "CompileError",
    "ConfigMismatch",
    "DeviceError",
    "InputError",
    "InternalError",
    "LinkError",
    "ModelFileError",
    "SateenError",
    "SateenWarning",
]


class SateenError(Exception):
    """Any error of Sateen's host side."""


class CompileError(SateenError):
    """A network cannot be compiled for a configuration."""


class ModelFileError(SateenError):
    """A file is not a compiled model, or is damaged."""


class InputError(SateenError, ValueError):
    """An input does not have the shape or type that the model takes."""


class InternalError(SateenError):
    """Sateen contradicts itself, which is a mistake in it; the message asks to report it."""


class DeviceError(SateenError):
    """A device cannot be opened, or refused a request."""


class ConfigMismatch(DeviceError):
    """A model was compiled for a device of another layout."""


class LinkError(SateenError):
    """A device did not answer, or its answer was not understood."""


class SateenWarning(UserWarning):
    """A model runs, but part of it on the host, or with constants that had to be rounded."""
