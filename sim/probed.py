"""A simulated device that records signals of its array while programs run."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sateen.hw.spec.config import Config
from sateen.sim.errors import SimulationError
from sateen.sim.verilated import BUFFER_BYTES, PROBE, VerilatedDevice, build

__all__ = ["ProbedDevice", "Recording"]

TOP = "TOP.sateen"
STATE = (
    ("engine.tile", "busy"),
    ("engine.tile", "waiting"),
    ("watchdog", "place"),
    ("engine.causes", "starved"),
)
"""Signals besides those of the PEs; the last is the pipelined engine's alone."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What was recorded of one run, a row for each cycle in which a program ran."""

    activations: NDArray[np.int8]
    """[cycles, rows, cols]: the lowest byte of what enters each PE from the left: an activation, or bits of some."""
    busy: NDArray[np.bool_]
    """The tile takes a beat."""
    waiting: NDArray[np.bool_]
    """A beat waits for its weights."""
    starved: NDArray[np.bool_]
    """The next beat waits for free accumulators."""
    place: NDArray[np.uint8]
    """The descriptor under way."""
    whole: bool
    """The record has all cycles; else it is full."""


class ProbedDevice(VerilatedDevice):
    """As :class:`~sateen.sim.verilated.VerilatedDevice`; it runs at about a third of the speed while it records.

    Parameters
    ----------
    config : Config
        What to simulate.
    """

    def __init__(self, config: Config):
        super().__init__(config)
        self._config = config
        library = self._library
        library.sateen_probe.restype = ctypes.c_void_p
        library.sateen_probe_free.argtypes = [ctypes.c_void_p]
        library.sateen_watch.restype = ctypes.c_bool
        library.sateen_watch.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p]
        library.sateen_record.restype = ctypes.c_size_t
        library.sateen_record.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
        library.sateen_exchange_recorded.restype = ctypes.c_size_t
        library.sateen_exchange_recorded.argtypes = [
            ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t,
            ctypes.c_uint64,
        ]  # fmt: skip
        self._probe: int | None = library.sateen_probe()
        self._record: NDArray[np.uint8] | None = None
        pes = [(f"engine.tile.pe_{row}_{column}", "activation_i")
               for row in range(config.rows) for column in range(config.cols)]  # fmt: skip
        self._state = STATE if config.engine == "pipelined" else STATE[:3]
        self._signals = len(pes) + len(self._state)
        for scope, name in (*pes, *self._state):
            if not library.sateen_watch(self._handle, self._probe, f"{TOP}.{scope}".encode(), name.encode()):
                self.close()
                raise SimulationError(f"the simulation has no signal {scope}.{name}; please report it")

    def _build(self, config: Config, trace: bool) -> Path:
        return build(config, trace=trace, extra=PROBE)

    def _exchange(self, handle: int, data: bytes, cycles: int) -> int:
        if self._record is None:
            return super()._exchange(handle, data, cycles)
        recorded = self._library.sateen_exchange_recorded
        return int(recorded(handle, self._probe, data, len(data), self._buffer, BUFFER_BYTES, cycles))

    def record(self, cycles: int) -> None:
        """Records the next programs, ``cycles`` at most."""
        self._open()
        self._record = np.zeros((cycles, self._signals), np.uint8)
        self._library.sateen_record(self._probe, self._record.ctypes.data, cycles)

    def recorded(self) -> Recording:
        """Ends the record, and gives it.

        Raises
        ------
        SimulationError
            If none was begun.
        """
        if self._record is None:
            raise SimulationError("nothing was recorded; call record() before the run")
        rows, cols, all_rows = self._config.rows, self._config.cols, self._record
        count = self._library.sateen_record(self._probe, None, 0)
        self._record, taken = None, all_rows[:count]
        states = taken[:, rows * cols :]
        return Recording(
            activations=taken[:, : rows * cols].reshape(-1, rows, cols).view(np.int8),
            busy=states[:, 0] > 0,
            waiting=states[:, 1] > 0,
            place=states[:, 2],
            starved=states[:, 3] > 0 if len(self._state) > 3 else np.zeros(count, bool),
            whole=count < len(all_rows),
        )

    def _closing(self, handle: int) -> None:
        self._library.sateen_closing(ctypes.c_void_p(handle))

    def close(self) -> None:
        """See :meth:`~sateen.sim.verilated.VerilatedDevice.close`."""
        super().close()
        if self._probe and not self._handle:
            self._library.sateen_probe_free(self._probe)
            self._probe = None
