"""Exit codes: what a script learns from a command's end."""

from __future__ import annotations

from enum import IntEnum

from sateen.errors import DeviceError, DifferenceError, InternalError, LinkError
from sateen.fpga.tools import ClockMissed
from sateen.sim.errors import SimulationError

__all__ = ["ExitCode", "exit_code"]


class ExitCode(IntEnum):
    """Every exit code. ``docs/command-line.md`` lists them for users."""

    OK = 0
    """It is done."""
    ERROR = 1
    """A file, an option's value or the machine keeps it from being done; the message says what to do."""
    USAGE = 2
    """The command line has an unknown command or option, or lacks one."""
    DIFFERENT = 3
    """Results differ from those of the golden model or the reference interpreter."""
    DEVICE = 4
    """The device cannot be opened, is taken, does not answer or is another than the model's."""
    CLOCK = 5
    """A build misses its clock; its files are written."""
    INTERNAL = 70
    """A mistake of Sateen; please report it."""
    INTERRUPTED = 130
    """Ended by Ctrl-C; by another signal, 128 and its number."""


def exit_code(error: BaseException) -> ExitCode:
    """The code with which a command ends after an error that has a message of its own."""
    if isinstance(error, DifferenceError):
        return ExitCode.DIFFERENT
    if isinstance(error, (DeviceError, LinkError)) and not isinstance(error, SimulationError):
        return ExitCode.DEVICE
    if isinstance(error, ClockMissed):
        return ExitCode.CLOCK
    return ExitCode.INTERNAL if isinstance(error, InternalError) else ExitCode.ERROR
