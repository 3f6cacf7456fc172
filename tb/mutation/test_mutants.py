"""The mutator, its command, and the list of mutants that are explained."""

import subprocess
import sys
from pathlib import Path

import pytest

from mutants import mutants
from mutate import ROOT, explained
from targets import TARGETS

MUTATE = Path(__file__).with_name("mutate.py")


def changes(source):
    return {(mutant.before, mutant.after) for mutant in mutants("sim/x.py", source.encode())}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("y = a + b", {"y = a - b"}),
        ("y = a >> 2", {"y = a << 2", "y = a >> 3", "y = a >> 1"}),
        ("y = (a) - (b)", {"y = (a) + (b)"}),
        ("y = a <= b != c", {"y = a < b != c", "y = a <= b == c"}),
        ("y = a not in b", {"y = a in b"}),
        ("y = not a and b", {"y = a and b", "y = not a or b"}),
        ("y = 0 if a else b", {"y = 1 if a else b", "y = 0 if True else b", "y = 0 if False else b"}),
        ("y = Mux(a, b, c)", {"y = Mux(a, c, b)"}),
        ("y = min(a) and b.any()", {"y = max(a) and b.any()", "y = min(a) or b.any()", "y = min(a) and b.all()"}),
        ("m.d.sync += [a, b]", {"pass", "m.d.sync += [*(), b]", "m.d.sync += [a, *()]"}),
        ("y += b", {"pass", "y -= b"}),
        ("m.If(a)", {"pass", "m.If(1)", "m.If(0)"}),
        ("raise ValueError(f'{a + 1}')", {"pass"}),
        ("y: list[3] = True", {"y: list[3] = False"}),
        ("assert a + 1", set()),
        ("y = Signal(8, init=1)", {"y = Signal(7, init=1)", "y = Signal(8, init=2)", "y = Signal(8, init=0)"}),
        ("super().__init__({'o': Out(8)})", set()),
        ("y = 'ä', a + b", {"y = 'ä', a - b"}),
    ],
)
def test_changes(line, expected):
    assert changes(line) == {(line, after) for after in expected}


def test_names():
    """A mutant's key says where it is, and stays as it is when lines come before it."""
    source = b"class A:\n    def f(self, x: int = 0) -> None:\n        'Adds 1.'\n        return (x +\n            y)\n"
    default, total = mutants("hw/a.py", source)
    definition = "def f(self, x: int = 0) -> None:"
    assert (default.line, default.key) == (2, ("hw/a.py", "A", definition, definition.replace("0", "1")))
    assert (total.line, total.key) == (4, ("hw/a.py", "A.f", "return (x +", "return (x -"))
    assert [mutant.key for mutant in mutants("hw/a.py", b"\n\n" + source)] == [default.key, total.key]


def test_targets_exist():
    for target in TARGETS.values():
        for path in (*target.files, *target.benches, *(test.split("::")[0] for test in target.tests)):
            assert (ROOT / path).exists(), path


def test_explained_mutants_exist():
    """What is explained is still there, word for word, and belongs to a target."""
    keys = set(explained())
    files = {file for file, *_ in keys}
    assert files <= {file for target in TARGETS.values() for file in target.files}
    there = {mutant.key for file in files for mutant in mutants(file, (ROOT / file).read_bytes())}
    assert keys <= there, sorted(keys - there)[0]


def test_command(tmp_path):
    """Mutants are tried, and a second time are known; the sources stay as they are."""
    path = ROOT / "sim" / "golden" / "scaling.py"
    before = path.stat()

    def run(*arguments):
        command = [sys.executable, MUTATE, *arguments, "--results", tmp_path]
        return subprocess.run(command, capture_output=True, text=True)

    first = run("scaling", "--sample", "2")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "scaling: 2 of " in first.stdout and "the tests take" in first.stdout
    assert len((tmp_path / "scaling.jsonl").read_text().splitlines()) == 2
    second = run("scaling", "--sample", "2")
    assert second.returncode == 0 and "the tests take" not in second.stdout
    assert first.stdout.splitlines()[-4:] == second.stdout.splitlines()[-4:]
    assert (before.st_mtime_ns, before.st_ino) == (path.stat().st_mtime_ns, path.stat().st_ino)
    refused = run("nothing")
    assert refused.returncode == 2 and "'nothing' is no target; there are scaling, crc" in refused.stderr
