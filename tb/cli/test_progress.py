"""What long work shows, on a terminal and without one; and that an interrupt ends it cleanly."""

import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from sateen.cli import progress
from sateen.cli.progress import elapsed
from sateen.progress import report
from sateen.testing.graphs import Builder


@pytest.fixture
def on_terminal(monkeypatch):
    file = io.StringIO()
    terminal = Console(file=file, force_terminal=True, highlight=False, markup=False, emoji=False, width=100)
    monkeypatch.setattr(progress, "terminal", terminal)
    return file


def test_names_are_no_markup(on_terminal):
    with progress.status("opening [/x] :cat:") as tell:
        report("file [/w] :hen:")
    with progress.status("opening") as tell:
        tell("building [/y] :dog:")
    with progress.progress("running [/z] :cow:", 2) as done:
        done(1, 2)
    for text in ("[/y] :dog:", "opening [/x] :cat:: file [/w] :hen:", "[/z] :cow:"):
        assert text in on_terminal.getvalue()


def test_lines_without_a_terminal(monkeypatch, capsys):
    """Every few seconds, with what libraries say; counted work says how much is done."""
    monkeypatch.setattr(progress, "SECONDS", 0.02)
    with progress.progress("tuning [x]", 7) as done:
        done(3, 7)
        report("layer 'a\x1b[31m'")
        time.sleep(0.2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 2 and lines[0] == "sateen: tuning [x]: layer 'a\\x1b[31m', 3 of 7, 0 s"
    monkeypatch.setattr(progress.settings, "quiet", True)
    with progress.status("working"):
        time.sleep(0.1)
    assert capsys.readouterr() == ("", "")


def test_times():
    texts = {0.4: "0 s", 59: "59 s", 75: "1 min 15 s", 3600: "1 h 00 min", 5000: "1 h 23 min"}
    assert {seconds: elapsed(seconds) for seconds in texts} == texts


LINES = """
import sys
from sateen.cli import progress
progress.SECONDS = 0.2
sys.argv[0] = "sateen"
from sateen.cli.main import main
main()
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model that takes a simulation some seconds, and inputs for it."""
    import sateen

    folder, rng = tmp_path_factory.mktemp("long"), np.random.default_rng(3)
    graph = Builder((32, 32, 16), rng, name="long").conv2d(16, (3, 3)).conv2d(16, (3, 3)).graph()
    sateen.compile(graph, "tiny").save(folder / "long.sateen")
    np.save(folder / "x.npy", np.zeros((200, 32, 32, 16), np.int8))
    return folder


def started(*arguments, **environment):
    command = [sys.executable, "-c", LINES, *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )


def test_simulation_says_layer_share_and_rate(model):
    process = started("run", model / "long.sateen", "-i", model / "x.npy", "-d", "sim:tiny")
    try:
        pattern = r"running on sim:tiny: layer [12] of 2 \(\w+\), \d+%, [\d,]+ cycles/s, \d+ of 200, \d+ s"
        assert any(re.search(pattern, line) for line in iter(process.stderr.readline, ""))
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupt_of_a_simulation(model, number, status):
    process = started("run", model / "long.sateen", "-i", model / "x.npy", "-d", "sim:tiny")
    for line in iter(process.stderr.readline, ""):
        if "layer" in line:
            break
    process.send_signal(number)
    begin = time.monotonic()
    _, printed = process.communicate(timeout=30)
    assert process.returncode == status and time.monotonic() - begin < 10
    assert [line for line in printed.splitlines() if " of 200" not in line] == ["sateen: interrupted"]


INTERRUPT = """
import os, signal, sys
# As from a terminal: whatever starts the tests may ignore interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
from sateen.cli import main
main()
"""


@pytest.mark.parametrize("module", ["sateen.cli.main", "numpy", "sateen.runtime"])
def test_interrupt_of_imports(module):
    """Half a second goes by before a command can begin."""
    result = subprocess.run([sys.executable, "-c", INTERRUPT, module], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (130, "sateen: interrupted\n")


def those_with(mark):
    """Processes whose environment has a mark; all that a marked command called, and what those called."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes():
                found.append(process.name)
        except OSError:
            continue
    return found


@pytest.mark.parametrize(("begun", "arguments"), [
    ("compiling the simulation, file", ("demo", "--device", "sim:micro,weight_bytes=65536")),
    ("Yosys", ("build", "--board", "ulx3s-85f", "--config", "micro")),
])  # fmt: skip
def test_interrupt_of_other_programs(tmp_path, begun, arguments):
    """They end with the command that called them, and leave nothing half-done in temporary folder and cache."""
    mark = f"SATEEN_MARK=of {tmp_path}"
    (tmp_path / "tmp").mkdir()
    process = started(
        *arguments, TMPDIR=str(tmp_path / "tmp"), XDG_CACHE_HOME=str(tmp_path / "cache"), SATEEN_MARK=mark[12:],
        SATEEN_CXXFLAGS="-O0",
    )  # fmt: skip
    seen = next(line for line in iter(process.stderr.readline, "") if begun in line)
    assert len(those_with(mark)) > 1, seen
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 130
    assert printed.splitlines()[-1] == "sateen: interrupted" and "Traceback" not in printed
    assert those_with(mark) == []
    assert list((tmp_path / "tmp").iterdir()) == []
    left = [path for path in (tmp_path / "cache" / "sateen").rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert not [path for path in left if "tmp" in str(path.relative_to(tmp_path)) or "building" in str(path)]


def test_hardware_that_is_left_unfinished_is_no_warning(capsys):
    from amaranth.hdl import UnusedElaboratable

    from sateen.cli.main import _warn

    _warn(UnusedElaboratable("never used"))
    _warn(UserWarning("of a layer"))
    assert capsys.readouterr().err == "sateen: warning: of a layer\n"
