"""Options of commands whose work other processes may do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from sateen.errors import InputError

__all__ = ["SchedulerOption", "spread"]

SchedulerOption = Annotated[
    str, typer.Option(metavar="ADDRESS", help="Dask scheduler whose workers do it, as tcp://HOST:8786.")
]


@contextmanager
def spread(scheduler: str, jobs: int, imports: Sequence[str] = ()) -> Iterator[Any]:
    """What calls a function for items in other processes, see :meth:`sateen.workers.Workers.run`: those of a scheduler,
    or several here, of which ``imports`` are modules that the work needs; ``None`` for one job without a scheduler,
    which this process does itself."""
    if scheduler and jobs > 1:
        raise InputError("--jobs counts processes here, and --scheduler has workers of its own; leave one out")
    if not scheduler and jobs == 1:
        yield None
        return
    from sateen.workers import workers

    with workers(scheduler, count=jobs, imports=imports) as found:
        yield found.run
