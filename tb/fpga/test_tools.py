"""The cache of the FPGA tools' results: a build that was killed, two at once, a disk that is full or not there."""

import errno
import signal
import subprocess
import sys

import pytest

from sateen.fpga.tools import FpgaError, cached, produce

MAKE = """
import os, sys, time
from pathlib import Path
from sateen.fpga.tools import cached, produce

folder = cached("a netlist", "amaranth")

def make(work):
    (work / "half").write_text("half")
    print("begun", flush=True)
    time.sleep(float(sys.argv[1]))
    (work / "half").replace(folder / "result")

produce(folder, "result", make)
print("ended", flush=True)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return cached("a netlist", "amaranth")


def started(seconds):
    return subprocess.Popen([sys.executable, "-c", MAKE, str(seconds)], stdout=subprocess.PIPE, text=True)


def test_a_killed_build_and_two_at_once(folder):
    killed = started(1000)
    assert killed.stdout.readline() == "begun\n"
    assert [path.name for path in folder.glob("*/*")] == ["half"]
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    killed.stdout.close()
    both = [started(0.5) for _ in range(2)]
    printed = sorted(process.communicate(timeout=60)[0].split() for process in both)
    assert printed == [["begun", "ended"], ["ended"]], "a result was made twice, or not at all"
    assert [path.name for path in folder.iterdir()] == ["result"]


def test_nothing_stays_of_a_failure(folder):
    def make(work):
        (work / "half").write_text("half")
        raise FpgaError("yosys failed: no message")

    with pytest.raises(FpgaError, match="yosys failed"):
        produce(folder, "result", make)
    assert not folder.exists()


def test_a_full_disk(folder):
    def make(work):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(
        FpgaError, match=r"cannot use the cache .*/fpga \(No space left on device\); set XDG_CACHE_HOME"
    ):
        produce(folder, "result", make)
    assert not folder.exists()


@pytest.mark.parametrize("home", ["/proc/sateen", "/dev/null/x"])
def test_a_cache_that_cannot_be_written(monkeypatch, home):
    """Wherever it follows from: the cache's variable, or a home that is read-only."""
    monkeypatch.setenv("XDG_CACHE_HOME", home)
    with pytest.raises(FpgaError, match=f"cannot use the cache {home}/sateen/fpga"):
        produce(cached("", "amaranth"), "result", lambda work: None)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", home)
    with pytest.raises(FpgaError, match=f"cannot use the cache {home}/.cache/sateen/fpga"):
        produce(cached("", "amaranth"), "result", lambda work: None)
