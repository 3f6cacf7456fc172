"""A simulated device that counts how many bits of its registers toggle while programs run."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sateen.hw.spec.config import Config
from sateen.sim.errors import SimulationError
from sateen.sim.verilated import ACTIVITY, BUFFER_BYTES, VerilatedDevice, build

__all__ = ["CountingDevice", "Register", "Toggles"]

TOP = "TOP.sateen"


@dataclass(frozen=True, kw_only=True)
class Register:
    """A register of the gateware. What block RAMs hold and their outputs are none."""

    module: str
    """The path of its module, as ``engine.tile.pe_0_1``; empty for the uppermost."""
    name: str
    """In the Verilog."""
    bits: int


@dataclass(frozen=True, kw_only=True)
class Toggles:
    """What was counted, a row for each descriptor that ran, in their order."""

    groups: tuple[str, ...]
    run: NDArray[np.int64]
    """[rows]: the program, counted from 0."""
    place: NDArray[np.int64]
    """[rows]: the descriptor's place in its program."""
    cycles: NDArray[np.int64]
    """[rows]: for how long it was under way."""
    bits: NDArray[np.int64]
    """[rows, groups]: how many bits of the group's registers toggled meanwhile."""


class CountingDevice(VerilatedDevice):
    """As :class:`~sateen.sim.verilated.VerilatedDevice`; it runs at about a third of the speed.

    Parameters
    ----------
    config : Config
        What to simulate.
    """

    def __init__(self, config: Config):
        super().__init__(config)
        library = self._library
        library.sateen_activity.restype = ctypes.c_void_p
        library.sateen_activity.argtypes = library.sateen_activity_free.argtypes = [ctypes.c_void_p]
        library.sateen_activity_size.restype = library.sateen_activity_spans.restype = ctypes.c_size_t
        library.sateen_activity_size.argtypes = library.sateen_activity_spans.argtypes = [ctypes.c_void_p]
        for name in ("scope", "name", "bits"):
            function = getattr(library, f"sateen_activity_{name}")
            function.restype = ctypes.c_uint32 if name == "bits" else ctypes.c_char_p
            function.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        library.sateen_activity_count.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
        library.sateen_activity_read.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        library.sateen_exchange_counted.restype = ctypes.c_size_t
        library.sateen_exchange_counted.argtypes = [
            ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t,
            ctypes.c_uint64,
        ]  # fmt: skip
        self._activity: int | None = library.sateen_activity(self._handle)
        size = library.sateen_activity_size(self._activity)
        if not size:
            self.close()
            raise SimulationError("the simulation does not tell its registers; please report it")
        self.registers: tuple[Register, ...] = tuple(self._register(index) for index in range(size))
        self._groups: tuple[str, ...] | None = None

    def _register(self, index: int) -> Register:
        library, activity = self._library, self._activity
        return Register(
            module=library.sateen_activity_scope(activity, index).decode().removeprefix(TOP).removeprefix("."),
            # Verilator keeps the marks around names that are no words.
            name=library.sateen_activity_name(activity, index).decode().strip().removeprefix("\\"),
            bits=library.sateen_activity_bits(activity, index),
        )

    def _build(self, config: Config, trace: bool) -> Path:
        return build(config, trace=trace, extra=ACTIVITY)

    def _exchange(self, handle: int, data: bytes, cycles: int) -> int:
        counted = self._library.sateen_exchange_counted
        return int(counted(handle, self._activity, data, len(data), self._buffer, BUFFER_BYTES, cycles))

    def count(self, group: Callable[[Register], str]) -> None:
        """Counts the toggles of the next programs.

        Parameters
        ----------
        group
            What a register is counted with.
        """
        self._open()
        names = [group(register) for register in self.registers]
        self._groups = tuple(dict.fromkeys(names))
        place = {name: index for index, name in enumerate(self._groups)}
        groups = np.array([place[name] for name in names], np.uint32)
        self._library.sateen_activity_count(self._activity, groups.ctypes.data, len(self._groups))

    def counted(self) -> Toggles:
        """Ends the count, and gives it.

        Raises
        ------
        SimulationError
            If none was begun.
        """
        if self._groups is None:
            raise SimulationError("nothing was counted; call count() before the run")
        groups: Sequence[str] = self._groups
        self._library.sateen_activity_count(self._activity, None, 0)
        rows = np.zeros((self._library.sateen_activity_spans(self._activity), 3 + len(groups)), np.int64)
        self._library.sateen_activity_read(self._activity, rows.ctypes.data)
        self._groups = None
        return Toggles(groups=tuple(groups), run=rows[:, 0], place=rows[:, 1], cycles=rows[:, 2], bits=rows[:, 3:])

    def _closing(self, handle: int) -> None:
        self._library.sateen_closing(ctypes.c_void_p(handle))

    def close(self) -> None:
        """See :meth:`~sateen.sim.verilated.VerilatedDevice.close`."""
        super().close()
        if self._activity and not self._handle:
            self._library.sateen_activity_free(self._activity)
            self._activity = None
