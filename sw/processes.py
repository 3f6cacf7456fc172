"""Programs that are called: they end with the work that called them, and tell how far they are."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

__all__ = ["Finished", "concurrently", "end_all", "end_descendants", "run"]

POLL_SECONDS = 0.5
GRACE_SECONDS = 2.0
"""How long a program that is to end may clean up."""
TAIL_BYTES = 1 << 14
"""Bytes from the end of what a program prints that are looked at while it works."""

Item = TypeVar("Item")
Result = TypeVar("Result")

_running: set[subprocess.Popen[bytes]] = set()
_turn = threading.Lock()


class Finished:
    """A program that has ended.

    Attributes
    ----------
    returncode : int
        Zero if it succeeded, negative if a signal ended it.
    stdout, stderr : str
        What it printed.
    """

    def __init__(self, returncode: int, stdout: str, stderr: str):
        self.returncode, self.stdout, self.stderr = returncode, stdout, stderr


def run(
    command: Sequence[str | os.PathLike[str]],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
    watch: Callable[[str], None] | None = None,
    timeout: float | None = None,
) -> Finished:
    """Runs a program in a process group and with a temporary folder of its own. Whatever ends this function early, an
    interrupt for example, ends the whole group. The folder is removed in any case.

    Parameters
    ----------
    command
        The program and its arguments.
    cwd, env
        Its folder and environment; by default, this process's.
    log
        A file that it writes while it works; by default, what it prints.
    watch
        Called about twice a second with the end of ``log``.
    timeout
        Seconds after which it is ended.

    Raises
    ------
    OSError
        If it cannot be started.
    subprocess.TimeoutExpired
        If it has not ended in time.
    """
    with (
        tempfile.TemporaryDirectory(prefix="sateen-") as folder,
        tempfile.TemporaryFile() as stdout,
        tempfile.TemporaryFile() as stderr,
    ):
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**(os.environ if env is None else env), "TMPDIR": folder},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        with _turn:
            _running.add(process)
        try:
            left = timeout
            while True:
                try:
                    process.wait(POLL_SECONDS if left is None else min(POLL_SECONDS, left))
                    break
                except subprocess.TimeoutExpired:
                    if left is not None and (left := left - POLL_SECONDS) <= 0:
                        raise subprocess.TimeoutExpired(command, timeout or 0) from None
                if watch is not None:
                    watch(_tail(log) if log else _printed(stdout.fileno()))
        except BaseException:
            _end(process)
            raise
        finally:
            with _turn:
                _running.discard(process)
        return Finished(process.returncode, _whole(stdout.fileno()), _whole(stderr.fileno()))


def concurrently(function: Callable[[Item], Result], items: Sequence[Item], jobs: int) -> list[Result]:
    """Calls a function that runs programs for several items, ``jobs`` at a time; the results in order. If one fails, or
    this thread is interrupted, the programs of all others end, too."""
    with ThreadPoolExecutor(max(1, min(jobs, len(items)))) as pool:
        futures: list[Future[Result]] = [pool.submit(function, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            # One may be between two programs.
            while wait(futures, timeout=0.1).not_done:
                end_all()
            raise


def end_all() -> None:
    """Ends every program that :func:`run` runs now."""
    with _turn:
        processes = list(_running)
    for process in processes:
        _signal(process, signal.SIGKILL)


def end_descendants() -> None:
    """Asks all programs to end that this process has called in whatever way, and those that they have called. On Linux;
    elsewhere they are not known."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The program's name, in brackets, may hold spaces.
            parent = int(status.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        children.setdefault(parent, []).append(int(status.parent.name))
    asked = [os.getpid()]
    for process in asked:
        asked += children.get(process, [])
    for process in asked[1:]:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process, signal.SIGTERM)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a program and all that it has started, first kindly."""
    _signal(process, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_SECONDS)
    _signal(process, signal.SIGKILL)
    process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    # The group has the number of the program that it began with, and may outlive it.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return _printed(file.fileno())
    except OSError:
        return ""


def _printed(file: int) -> str:
    size = os.fstat(file).st_size
    return os.pread(file, TAIL_BYTES, max(0, size - TAIL_BYTES)).decode(errors="replace")


def _whole(file: int) -> str:
    return os.pread(file, os.fstat(file).st_size, 0).decode(errors="replace")
