"""Mutation testing: changes one thing at a time in a copy of the sources, and lists the changes that no test notices.

``make mutate`` runs it, and so does ``.venv/bin/python tb/mutation/mutate.py TARGET…``. What came out is kept in
``build/mutate``: a run that was interrupted goes on where it ended. What was killed is not tried again until its file
changes, and what survived not until its file or its tests do.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from mutants import Mutant, mutants
from targets import TARGETS, Target
from trials import Laboratory, Outcome

__all__ = ["EXPLAINED", "explained", "selected"]

ROOT = Path(__file__).parents[2]
EXPLAINED = Path(__file__).with_name("explained.toml")
"""Mutants that may survive, each with the reason."""
RESULTS = ROOT / "build" / "mutate"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
EVERY = 10.0
"""Seconds from line to line of progress."""


def explained() -> dict[tuple[str, str, str, str], str]:
    """The reason of each mutant that may survive, by its key."""
    return {
        (entry["file"], entry["scope"], before, after): entry["reason"]
        for entry in tomllib.loads(EXPLAINED.read_text())["mutants"]
        for before, after in entry["changes"]
    }


def selected(target: Target, sample: int | None = None) -> tuple[list[Mutant], int]:
    """The mutants of a target that are tried, ``sample`` or the target's own number, and how many there are."""
    every = [mutant for file in target.files for mutant in mutants(file, (ROOT / file).read_bytes())]
    # A mutant's place in the draw does not depend on the others: what is tried stays the same while the code grows.
    drawn = set(sorted(every, key=lambda mutant: _digest(*mutant.key))[: sample or target.sample])
    return [mutant for mutant in every if mutant in drawn], len(every)


def _digest(*parts: str | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update((part.encode() if isinstance(part, str) else part) + b"\0")
    return digest.hexdigest()[:24]


def _tests_digest(target: Target) -> str:
    """Changes with the files of a target's tests and benches."""
    paths = [ROOT / test.split("::")[0] for test in (*target.tests, *target.benches)]
    files = [file for path in paths for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]
    return _digest(*target.tests, *(file.read_bytes() for file in files))


@dataclass
class Results:
    """What came out of a target's mutants, in a file with a line for each."""

    path: Path
    tests: str
    """Changes with the tests."""
    known: dict[str, Outcome] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for line in self.path.read_text().splitlines() if self.path.exists() else ():
            entry = json.loads(line)
            outcome = Outcome(entry["word"], entry["test"], entry["seconds"])
            if outcome.word != "survived" or entry["tests"] == self.tests:
                self.known[entry["id"]] = outcome

    def of(self, mutant: Mutant) -> Outcome | None:
        """What came out, if it is known."""
        return self.known.get(_digest(mutant.file, mutant.source))

    def add(self, mutant: Mutant, outcome: Outcome) -> None:
        """Adds an outcome, and writes it at once."""
        key = _digest(mutant.file, mutant.source)
        self.known[key] = outcome
        file, scope, before, after = mutant.key
        entry = {"id": key, "file": file, "line": mutant.line, "scope": scope, "before": before, "after": after}
        with self.path.open("a") as out:
            print(json.dumps(entry | asdict(outcome) | {"tests": self.tests}, ensure_ascii=False), file=out)


@dataclass(frozen=True)
class Summary:
    """A target's mutants and their outcomes."""

    target: str
    total: int
    outcomes: dict[Mutant, Outcome]

    def survivors(self) -> list[Mutant]:
        """Mutants that no test noticed."""
        return [mutant for mutant, outcome in self.outcomes.items() if outcome.word == "survived"]


def run(name: str, *, sample: int | None, fresh: bool, folder: Path, console: Console) -> Summary:
    """Tries a target's mutants, but for those whose outcome is known."""
    target = TARGETS[name]
    results = Results(folder / f"{name}.jsonl", _tests_digest(target))
    chosen, total = selected(target, sample)
    console.print(f"{name}: {len(chosen)} of {total} mutants")
    outcomes = {mutant: outcome for mutant in chosen if not fresh and (outcome := results.of(mutant))}
    if left := [mutant for mutant in chosen if mutant not in outcomes]:
        for mutant, outcome in _tried(name, target, left, console):
            outcomes[mutant] = outcome
            results.add(mutant, outcome)
    return Summary(name, total, {mutant: outcomes[mutant] for mutant in chosen})


def _tried(name: str, target: Target, left: list[Mutant], console: Console) -> Iterator[tuple[Mutant, Outcome]]:
    """Tries mutants one after the other, and prints progress."""
    with tempfile.TemporaryDirectory(prefix="sateen-mutate-") as folder:
        laboratory = Laboratory(ROOT, Path(folder), CACHE if target.benches else None)
        original = laboratory.try_original(target.tests)
        if original.word != "survived":
            console.print((Path(folder) / "log").read_text()[-4000:], markup=False, highlight=False)
            raise SystemExit(f"mutate: without a mutant, {original.test or 'a test'} of {name} failed; mend that first")
        console.print(f"{name}: the tests take {original.seconds:.1f} s")
        counts: Counter[str] = Counter()
        begin = said = time.monotonic()
        for done, mutant in enumerate(left, 1):
            outcome = laboratory.try_mutant(mutant, target.tests)
            yield mutant, outcome
            counts[outcome.word] += 1
            now = time.monotonic()
            if now - said >= EVERY:
                said, rest = now, (now - begin) / done * (len(left) - done)
                words = ", ".join(f"{count} {word}" for word, count in counts.items())
                console.print(f"{name}: {done} of {len(left)}, {words}; {rest / 60:.0f} min left", highlight=False)


def _table(summaries: list[Summary], reasons: dict[tuple[str, str, str, str], str]) -> Table:
    table = Table("target", "mutants", "tried", "killed", "of these by time", "explained", "unexplained", "score")
    for summary in summaries:
        words = Counter(outcome.word for outcome in summary.outcomes.values())
        survivors = summary.survivors()
        known = sum(mutant.key in reasons for mutant in survivors)
        killed, tried = words["killed"] + words["timeout"], len(summary.outcomes)
        score = f"{100 * killed / (tried - known):.1f} %" if tried > known else ""
        columns = summary.total, tried, killed, words["timeout"], known, len(survivors) - known
        table.add_row(summary.target, *map(str, columns), score)
    return table


def main(
    targets: Annotated[list[str] | None, typer.Argument(help=f"Which of {', '.join(TARGETS)}; all by default.")] = None,
    sample: Annotated[int | None, typer.Option(help="How many mutants of each; always the same ones.", min=1)] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Try again what has been tried.")] = False,
    results: Annotated[Path, typer.Option(help="Folder of what came out.")] = RESULTS,
) -> None:
    """Tries mutants, and fails if one survives without an explanation."""
    # Stopped in any way, it ends what it has started and removes its folder.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    console = Console(width=None if sys.stdout.isatty() else 120)
    for name in targets or ():
        if name not in TARGETS:
            raise typer.BadParameter(f"{name!r} is no target; there are {', '.join(TARGETS)}")
    reasons = explained()
    summaries = [run(name, sample=sample, fresh=fresh, folder=results, console=console) for name in targets or TARGETS]
    unexplained = [mutant for summary in summaries for mutant in summary.survivors() if mutant.key not in reasons]
    for mutant in unexplained:
        print(f"{mutant.file}:{mutant.line}: survived, in {mutant.scope or 'the module'}")
        for sign, text in (("-", mutant.before), ("+", mutant.after)):
            print("\n".join(f"  {sign} {line}" for line in text.split("⏎")))
    console.print(_table(summaries, reasons))
    if unexplained:
        print(f"{len(unexplained)} mutants survived: kill each by a test, or say in {EXPLAINED.name} why none can")
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
