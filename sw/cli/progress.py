"""What long work shows: on a terminal a line that changes, elsewhere a line every few seconds. Both go to stderr.

Commands open one of three: :func:`status` for work without an end that is known, :func:`progress` for counted work,
:func:`running` for inferences. Within each, what libraries say with :func:`sateen.progress.report` is shown, too.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

from sateen.cli.printing import printable
from sateen.progress import LEVEL
from sateen.runtime import LoadedModel

__all__ = ["elapsed", "progress", "running", "settings", "status", "terminal"]

terminal = Console(stderr=True, highlight=False, markup=False, emoji=False)


class Settings:
    """What the options of the command line set, for all commands."""

    quiet = False
    """Show nothing of progress."""


settings = Settings()

SECONDS = 5.0
"""Time between two lines where there is no terminal."""
POLL_SECONDS = 0.5


class Work(logging.Handler):
    """One piece of long work; a context manager, in whose context it is shown.

    Parameters
    ----------
    text
        What is done.
    total
        Number of its parts, if that is known.
    detail
        Called now and then, from another thread, for a text that tells more.
    """

    def __init__(self, text: str, total: int | None = None, detail: Callable[[], str] | None = None):
        super().__init__(LEVEL)
        self.title = self.text = text
        self.total, self.done, self.detail = total, 0, detail
        self._begin, self._ended = time.monotonic(), threading.Event()
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._thread = threading.Thread(target=self._show, daemon=True)

    def tell(self, text: str) -> None:
        """Says what is done now."""
        self.title = text
        self._set(text)

    def _set(self, text: str) -> None:
        self.text = text
        if self._bar is not None:
            self._bar.update(self._task, description=self._description())

    def report(self, done: int, total: int | None = None) -> None:
        """Says how many parts are done."""
        self.done, self.total = done, self.total if total is None else total
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=self.total)

    def emit(self, record: logging.LogRecord) -> None:
        """Shows what a library says of its progress."""
        if record.levelno == LEVEL:
            self._set(f"{self.title}: {record.getMessage()}")

    def __enter__(self) -> Work:
        logger = logging.getLogger("sateen")
        self._level = logger.level
        if settings.quiet:
            return self
        logger.addHandler(self)
        logger.setLevel(min(LEVEL, logger.getEffectiveLevel()))
        if terminal.is_terminal:
            columns: list[ProgressColumn] = [SpinnerColumn(), TextColumn("{task.description}", markup=False)]
            if self.total is not None:
                columns += [BarColumn(), TaskProgressColumn()]
            self._bar = Progress(*columns, TimeElapsedColumn(), console=terminal, transient=True)
            self._task = self._bar.add_task(self._description(), total=self.total)
            self._bar.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        logger = logging.getLogger("sateen")
        logger.removeHandler(self)
        logger.setLevel(self._level)
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._bar is not None:
            self._bar.stop()

    def _show(self) -> None:
        while not self._ended.wait(POLL_SECONDS if self._bar is not None else SECONDS):
            if self._bar is not None:
                self._bar.update(self._task, description=self._description())
            else:
                parts = [self._description()]
                if self.total is not None:
                    parts.append(f"{self.done} of {self.total}")
                parts.append(elapsed(time.monotonic() - self._begin))
                print(printable(f"sateen: {', '.join(parts)}"), file=sys.stderr, flush=True)

    def _description(self) -> str:
        detail = self.detail() if self.detail is not None else ""
        return printable(f"{self.text}: {detail}" if detail else self.text)


def elapsed(seconds: float) -> str:
    """A time, for people: ``75 s`` is ``1 min 15 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


@contextmanager
def status(text: str) -> Iterator[Callable[[str], None]]:
    """Shows work whose end is not known; yields a function that changes the text."""
    with Work(text) as work:
        yield work.tell


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int, int], None]]:
    """Shows counted work; yields a function to call with (done, total)."""
    with Work(label, total) as work:
        yield work.report


@contextmanager
def running(label: str, loaded: LoadedModel, total: int) -> Iterator[Callable[[int, int], None]]:
    """Shows ``total`` inferences of a model, with the layer, the share of the inference, and a simulation's cycles a
    second; yields the function that :meth:`~sateen.runtime.LoadedModel.run` calls."""
    with Work(label, total, _Rate(loaded)) as work:
        yield work.report


class _Rate:
    """Where an inference is, and how fast its simulation."""

    def __init__(self, loaded: LoadedModel):
        self.loaded = loaded
        self.before: tuple[float, int] | None = None

    def __call__(self) -> str:
        parts = []
        position = self.loaded.position
        if position is not None:
            parts.append(f"layer {position.layer} of {position.layers} ({position.name}), {position.share:.0%}")
        cycles = self.loaded.device.simulated_cycles
        if cycles is not None:
            now = time.monotonic(), cycles
            if self.before is not None and now[0] > self.before[0]:
                rate = (cycles - self.before[1]) / (now[0] - self.before[0])
                parts.append(f"{rate:,.0f} cycles/s")
            self.before = now
        return ", ".join(parts)
