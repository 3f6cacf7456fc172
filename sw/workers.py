"""Work in other processes: of this machine, or by Dask on others, which needs the extra ``workers``."""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sateen.errors import SateenError
from sateen.extras import install_hint
from sateen.pool import Pool, WorkDied

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Workers", "WorkersError", "workers"]

Item = TypeVar("Item")
Result = TypeVar("Result")

CONNECT_SECONDS = 10.0
DEATHS = 3
"""Workers that may die on the same piece of work; after as many more it is given up."""


class WorkersError(SateenError):
    """There is no scheduler, or no worker that can do the work; the message says what to do."""


class Workers(Protocol):
    """Processes that do work. From :func:`workers`.

    What a worker was doing when it died is done again by another. What is finished is fetched at once, so that it is
    not done twice.
    """

    def run(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Calls a function for several items; the results in order, each as soon as it and those before are there.

        Whatever ends the iteration early cancels what has not begun.

        Parameters
        ----------
        function
            One that can be pickled. What it raises, is raised here.

        Raises
        ------
        WorkersError
            If work kills its workers again and again, or the scheduler goes away.
        """


class LocalWorkers:
    """Processes of this machine; see :class:`Workers`. What ends early, ends at once."""

    def __init__(self, pool: Pool):
        self._pool = pool

    def run(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """See :meth:`Workers.run`."""
        try:
            yield from self._pool.run(function, items)
        except WorkDied as error:
            raise WorkersError(f"{error}; look at what it takes, for example of memory") from error


class DaskWorkers:
    """Those of a scheduler; see :class:`Workers`."""

    def __init__(self, client: Client, name: str):
        self._client, self._name = client, name

    def run(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """See :meth:`Workers.run`."""
        from distributed import CancelledError, KilledWorker
        from distributed.comm import CommClosedError

        futures = [self._client.submit(function, item, pure=False) for item in items]
        place = {future.key: number for number, future in enumerate(futures)}
        came: queue.Queue[tuple[int, Any]] = queue.Queue()
        # Another thread fetches, however slowly the results are taken.
        threading.Thread(target=self._fetch, args=(futures, place, came), daemon=True).start()
        done: dict[int, Any] = {}
        try:
            for following in range(len(futures)):
                while following not in done:
                    number, result = came.get()
                    if isinstance(result, BaseException):
                        raise result
                    done[number] = result
                yield done.pop(following)
        except KilledWorker as error:
            raise WorkersError(
                f"{DEATHS + 1} workers died on the same work; look at what their logs say, for example of memory"
            ) from error
        except (CancelledError, CommClosedError, TimeoutError) as error:
            raise WorkersError(
                f"the scheduler {self._name} went away; start it again, and repeat the command"
            ) from error
        finally:
            with suppress(Exception):
                self._client.cancel(futures, force=True)

    def _fetch(self, futures: list[Any], place: dict[Any, int], came: queue.Queue[tuple[int, Any]]) -> None:
        """Fetches results as they come, or what ended the first work that failed."""
        from distributed import as_completed

        try:
            for future in as_completed(futures, loop=self._client.loop):
                came.put((place[future.key], future.result()))
                # It is here.
                future.release()
        except BaseException as error:
            came.put((-1, error))


@contextmanager
def workers(scheduler: str = "", *, count: int = 2, imports: Sequence[str] = ()) -> Iterator[Workers]:
    """Workers: those of a scheduler, or as many processes here.

    Parameters
    ----------
    scheduler
        Its address, as ``tcp://HOST:8786``; empty for processes of this machine.
    count
        How many processes to start here.
    imports
        Modules that the work of processes here needs: they import them while the caller goes on.

    Raises
    ------
    WorkersError
        If no scheduler answers, it has no worker, or a worker has other sources of Sateen.
    """
    if not scheduler:
        with Pool(count, imports=imports, deaths=DEATHS) as pool:
            yield LocalWorkers(pool)
        return
    try:
        import dask
        from distributed import Client
    except ImportError as error:
        raise WorkersError(f"working on other machines needs Dask ({error}); {install_hint('workers')}") from error
    # It says in errors what went wrong; its own log is for those who run a scheduler.
    for name in ("distributed", "tornado"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with dask.config.set({"distributed.scheduler.allowed-failures": DEATHS}):
        client = _connected(Client, scheduler)
        try:
            _check(client, scheduler)
            yield DaskWorkers(client, scheduler)
        finally:
            with suppress(Exception):
                client.close(timeout=2)


def _connected(client: Any, scheduler: str) -> Client:
    try:
        return client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise WorkersError(
            f"no scheduler answers at {scheduler}; start one with dask scheduler, and name its address as "
            "tcp://HOST:8786"
        ) from error


def _check(client: Client, scheduler: str) -> None:
    """Refuses workers that would compute something else."""
    try:
        client.wait_for_workers(1, timeout=CONNECT_SECONDS)
    except TimeoutError as error:
        raise WorkersError(
            f"the scheduler {scheduler} has no workers; start some with: dask worker {scheduler}"
        ) from error
    try:
        # The scheduler reads the work before it gives it to others.
        found = {"the scheduler": client.run_on_scheduler(fingerprint), **client.run(fingerprint)}
    except Exception as error:
        raise WorkersError(
            f"the scheduler {scheduler} or one of its workers has no Sateen ({error}); install it there"
        ) from error
    for address, theirs in found.items():
        if theirs != _own():
            raise WorkersError(f"{address} has another version of Sateen; install the one that is here")


def _own() -> str:
    return fingerprint()


@cache
def fingerprint() -> str:
    """Hash of Sateen's sources, the same for a checkout and an installed package."""
    digest = hashlib.sha256()
    for name, path in sorted(sources().items()):
        digest.update(name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def sources() -> dict[str, Path]:
    """Sateen's sources and the measurements that it estimates from, by their names in an installed package."""
    found: dict[str, Path] = {}
    # A checkout has these rooms beside the package, not in it.
    for room in ("", "hw", "sim", "fpga"):
        spec = find_spec(f"sateen.{room}".rstrip("."))
        for folder in spec.submodule_search_locations or () if spec is not None else ():
            for path in Path(folder).rglob("*"):
                if path.suffix in (".py", ".json"):
                    found[(room / path.relative_to(folder)).as_posix()] = path
    return found
