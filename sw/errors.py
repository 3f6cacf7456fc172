"""Errors of the host side, one class per layer. Each message says what happened and what to do next."""

__all__ = [
    "CompileError",
    "ConfigMismatch",
    "DeviceError",
    "DeviceTakenError",
    "DifferenceError",
    "InputError",
    "InternalError",
    "LinkError",
    "ModelFileError",
    "OvertimeError",
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


class DifferenceError(SateenError):
    """Results differ from those of the golden model or the reference interpreter."""


class InternalError(SateenError):
    """Sateen contradicts itself, which is a mistake in it; the message asks to report it."""


class DeviceError(SateenError):
    """A device cannot be opened, or refused a request."""


class DeviceTakenError(DeviceError):
    """Somebody else uses the device, or has begun a session with it."""


class OvertimeError(DeviceError):
    """A program ran for longer than it may, and the device ended it."""

    def __init__(self, message: str, *, place: int):
        super().__init__(message)
        self.place = place
        """The place in the run, from 0, of the descriptor that ran."""


class ConfigMismatch(DeviceError):
    """A model was compiled for a device of another layout."""


class LinkError(SateenError):
    """A device did not answer, or its answer was not understood."""


class SateenWarning(UserWarning):
    """A model runs, but part of it on the host, or with constants that had to be rounded."""
