"""What scripts of this folder do at several things at once: in processes here, or by the workers of a scheduler.

Those of other machines need the same checkout, with its folders ``bench`` and ``tb`` in ``PYTHONPATH``, and files by
the same names.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from sateen.cli.work import spread

__all__ = ["options", "spreading"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that :func:`spreading` reads."""
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time, in processes here")
    parser.add_argument("--scheduler", default="", help="Dask scheduler whose workers do it, as tcp://HOST:8786")


@contextmanager
def spreading(arguments: argparse.Namespace) -> Iterator[Callable[[Callable[[Item], Result], Sequence[Item]], Any]]:
    """What calls a function for items; results come in order, each as soon as it is there."""
    with spread(arguments.scheduler, arguments.jobs, ["sateen.compiler", "sateen.runtime"]) as run:
        yield run or map
