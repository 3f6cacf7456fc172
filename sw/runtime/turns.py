"""Turns of threads, which a fork of their process has none of."""

from __future__ import annotations

import os
import threading

from sateen.errors import DeviceError

__all__ = ["Turns"]


class Turns:
    """A lock that its thread may take again; a context manager.

    In a fork of the process that made it, the thread that holds it may be missing, and the device is the parent's: it
    is refused there.

    Raises
    ------
    DeviceError
        On entering, in a fork.
    """

    def __init__(self) -> None:
        self._lock, self._process = threading.RLock(), os.getpid()

    @property
    def here(self) -> bool:
        """Whether this is the process that made it."""
        return self._process == os.getpid()

    def __enter__(self) -> None:
        if not self.here:
            raise DeviceError("the device was opened before this process was forked; open it in this process")
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
