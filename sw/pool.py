"""Processes of this machine that call a function for several items.

They begin as copies of one process that has imported what the work needs, while the caller goes on: two are there no
later than one would be.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self, TypeVar

__all__ = ["Pool", "WorkDied"]

Item = TypeVar("Item")
Result = TypeVar("Result")

END_SECONDS = 5.0
"""How long a process that is to end may take."""


class WorkDied(Exception):
    """Processes died on the same item again and again."""


class Pool:
    """Processes that do work; a context manager. They begin when it is made, and are there soon after.

    Parameters
    ----------
    count : int
        How many.
    imports : sequence of str
        Modules that the work needs. What is imported once in this process stays.
    deaths : int
        Processes that may die on the same item; after one more it is given up.
    """

    def __init__(self, count: int, *, imports: Sequence[str] = (), deaths: int = 3):
        methods = multiprocessing.get_all_start_methods()
        # Typeshed knows no Process of a context.
        self._context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        if "forkserver" in methods:
            self._context.set_forkserver_preload([__name__, *imports])
        self.deaths = deaths
        self._workers = [self._started() for _ in range(count)]

    def _started(self) -> _Worker:
        here, there = self._context.Pipe()
        # What it was told of its surroundings may be of a time when these were others.
        process = self._context.Process(target=_serve, args=(there, dict(os.environ)), daemon=True)
        process.start()
        there.close()
        return _Worker(process, here)

    def run(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Calls a function for several items; the results in order, each as soon as it and those before are there.
        Whatever ends the iteration early, ends what has begun.

        What a process was doing when it died, another does again.

        Parameters
        ----------
        function
            One that can be pickled. What it raises, is raised here.

        Raises
        ------
        WorkDied
            If too many processes died on an item.
        """
        call = pickle.dumps(function)
        left = deque(enumerate(items))
        died = [0] * len(items)
        done: dict[int, Any] = {}
        finished = False
        try:
            for following in range(len(items)):
                while following not in done:
                    self._give(call, left)
                    self._take(left, died, done)
                result, error = done.pop(following)
                if error is not None:
                    raise error
                yield result
            finished = True
        finally:
            if not finished:
                self._restart()

    def _give(self, call: bytes, left: deque[tuple[int, Any]]) -> None:
        """Lets every process have something to do."""
        for worker in self._workers:
            if left and worker.has is None:
                worker.has = left.popleft()
                # One that died is seen when it is read.
                with suppress(OSError):
                    worker.give(call)

    def _take(self, left: deque[tuple[int, Any]], died: list[int], done: dict[int, Any]) -> None:
        """Waits for results of one process or more, or for the end of one."""
        ready = wait([worker.connection for worker in self._workers])
        for place, worker in enumerate(self._workers):
            if worker.connection not in ready:
                continue
            try:
                result = pickle.loads(worker.connection.recv_bytes())
            except (EOFError, OSError):
                if worker.has is not None:
                    number, _ = worker.has
                    left.appendleft(worker.has)
                    died[number] += 1
                    if died[number] > self.deaths:
                        raise WorkDied(f"{died[number]} workers died on the same work") from None
                worker.end()
                self._workers[place] = self._started()
                continue
            assert worker.has is not None
            done[worker.has[0]], worker.has = result, None

    def _restart(self) -> None:
        """Ends what has begun."""
        for place, worker in enumerate(self._workers):
            if worker.has is not None:
                worker.end()
                self._workers[place] = self._started()

    def close(self) -> None:
        """Ends the processes."""
        for worker in self._workers:
            worker.end()
        self._workers = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class _Worker:
    """A process, and what it has to do: the item's number and the item."""

    def __init__(self, process: Any, connection: Connection):
        self.process, self.connection = process, connection
        self.has: tuple[int, Any] | None = None
        self._knows = b""

    def give(self, call: bytes) -> None:
        """Sends its item; the function only if it is another than before."""
        assert self.has is not None
        self.connection.send((None if call == self._knows else call, self.has[1]))
        self._knows = call

    def end(self) -> None:
        """Ends it, first kindly: it ends the programs that it has called."""
        self.connection.close()
        self.process.terminate()
        self.process.join(END_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _serve(connection: Connection, environment: dict[str, str]) -> None:
    """A process: does what comes, until it is ended."""
    os.environ.clear()
    os.environ.update(environment)
    # An interrupt is for the process that gives the work, which then ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    function: Callable[[Any], Any] | None = None
    while True:
        try:
            call, item = connection.recv()
        except (EOFError, OSError):
            return
        try:
            if call is not None:
                function = pickle.loads(call)
            assert function is not None
            answer = pickle.dumps((function(item), None))
        except Exception as error:
            answer = _sendable(error)
        try:
            connection.send_bytes(answer)
        except OSError:
            return


def _sendable(error: Exception) -> bytes:
    """What says that an error was raised; of one that another process could not read, the text."""
    try:
        data = pickle.dumps((None, error))
        pickle.loads(data)
        return data
    except Exception:
        return pickle.dumps((None, RuntimeError(f"{type(error).__name__}: {error}")))
