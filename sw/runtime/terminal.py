"""Pseudo-terminals, which programs open like serial ports."""

from __future__ import annotations

import errno
import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Terminal", "terminal"]

ABSENT_SECONDS = 0.05
"""Time between two looks for a program that opens the pseudo-terminal."""


class Terminal:
    """The end of a pseudo-terminal that is not the port. What is sent or awaited while nobody has the port open is
    lost."""

    def __init__(self, line: int):
        self._line = line

    def receive(self, seconds: float | None = None) -> bytes:
        """Bytes that came; none if ``seconds`` pass without any, or nobody has the port open."""
        with self._absence():
            here, _, _ = select.select([self._line], [], [], seconds)
            return os.read(self._line, 1 << 16) if here else b""
        return b""

    def send(self, data: bytes) -> None:
        """Sends bytes."""
        with self._absence():
            os.write(self._line, data)

    @contextmanager
    def _absence(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            # Nobody has the port open.
            time.sleep(ABSENT_SECONDS)


@contextmanager
def terminal(ready: Callable[[str], None]) -> Iterator[Terminal]:
    """A pseudo-terminal; ``ready`` is called with its name."""
    import pty
    import tty

    line, port = pty.openpty()
    try:
        tty.setraw(port)
        name = os.ttyname(port)
        # Only its users hold the port, so that they see each other.
        os.close(port)
        ready(name)
        yield Terminal(line)
    finally:
        os.close(line)
