"""Work in other processes: nothing is lost when workers die, nothing finished is done twice."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sateen.cli.work import spread
from sateen.errors import InputError
from sateen.pool import Pool
from sateen.workers import WorkersError, fingerprint, sources, workers

pytest.importorskip("distributed")


class Noted:
    """A piece of work that notes in a folder when it begins and when it is done, by which process."""

    def __init__(self, folder, seconds):
        self.folder, self.seconds = Path(folder), seconds

    def __call__(self, item):
        begun = self.folder / f"{item}.begun.{os.getpid()}.{time.time_ns()}"
        begun.touch()
        time.sleep(self.seconds)
        begun.rename(self.folder / begun.name.replace("begun", "done"))
        return item * item

    def all(self, what):
        return sorted(self.folder.glob(f"*.{what}.*"))


class Fails:
    def __call__(self, item):
        if item == 3:
            raise InputError("three")
        return item


class Dies:
    def __call__(self, item):
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def cluster():
    """A scheduler, and how to start workers, as on other machines: each in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    # What these tests give them to do is in this file.
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    address = f"tcp://127.0.0.1:{port}"
    options = ["--no-dashboard", "--host", "127.0.0.1"]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", str(port), *options], **quiet
        )
    ]

    def worker(alive=0):
        """Starts one, unless as many are alive."""
        if alive and sum(each.poll() is None for each in started[1:]) >= alive:
            return None
        command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny"]
        started.append(subprocess.Popen([*command, "--no-dashboard"], **quiet))
        return started[-1]

    yield address, worker
    for process in started:
        process.kill()
        process.wait()


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_without_a_scheduler(free_port):
    with pytest.raises(WorkersError, match="no scheduler answers at tcp://127.0.0.1"):
        with workers(f"tcp://127.0.0.1:{free_port}"):
            pass
    with pytest.raises(WorkersError, match="no scheduler answers at nonsense://"):
        with workers("nonsense://"):
            pass


@pytest.fixture
def free_port(monkeypatch):
    monkeypatch.setattr("sateen.workers.CONNECT_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def test_a_scheduler_without_workers(cluster, monkeypatch):
    monkeypatch.setattr("sateen.workers.CONNECT_SECONDS", 5.0)
    address, _ = cluster
    until(lambda: socket.socket().connect_ex(("127.0.0.1", int(address.rpartition(":")[2]))) == 0)
    with pytest.raises(WorkersError, match="has no workers; start some with: dask worker tcp://"):
        with workers(address):
            pass


def test_four_workers_of_which_two_die(cluster, tmp_path):
    """All results come, in order; what was finished is not done again, what was begun is."""
    address, worker = cluster
    processes = [worker() for _ in range(4)]
    work, count = Noted(tmp_path, 0.6), 16

    def midway(pid):
        """Whether a worker is in the middle of a piece: what it did before has been fetched, this one is not done."""
        begun = [path.name.split(".") for path in work.all("begun")]
        return any(int(by) == pid and 0.2 < (time.time_ns() - int(at)) / 1e9 < 0.4 for _, _, by, at in begun)

    with workers(address) as found:
        found._client.wait_for_workers(4, timeout=60)
        results, kept = found.run(work, range(count)), []
        kept.append(next(results))
        for process in processes[:2]:
            until(lambda pid=process.pid: midway(pid))
            process.kill()
        kept += results
    assert kept == [item * item for item in range(count)]
    done = [path.name.partition(".")[0] for path in work.all("done")]
    assert sorted(done, key=int) == [str(item) for item in range(count)]
    assert {process.pid for process in processes[2:]} <= {int(path.name.split(".")[2]) for path in work.all("done")}


def test_what_work_raises_is_raised(cluster):
    address, worker = cluster
    worker(1)
    with workers(address) as found:
        with pytest.raises(InputError, match="three"):
            list(found.run(Fails(), range(6)))
        assert list(found.run(Fails(), [1, 2])) == [1, 2]


def test_ending_early_cancels(cluster, tmp_path):
    address, worker = cluster
    worker(1)
    work = Noted(tmp_path, 0.05)
    with workers(address) as found:
        results = found.run(work, range(400))
        next(results)
        results.close()
        counts = [-1, len(work.all("done"))]
        while counts[-1] != counts[-2]:
            time.sleep(2)
            counts.append(len(work.all("done")))
        assert counts[-1] < 300


def test_other_versions_are_refused(cluster, monkeypatch):
    address, worker = cluster
    worker(1)
    monkeypatch.setattr("sateen.workers._own", lambda: "another")
    with pytest.raises(WorkersError, match="has another version of Sateen"):
        with workers(address):
            pass


def test_every_room_counts():
    """What a worker computes depends on them; a checkout has most of them beside the package."""
    assert {"workers.py", "cli/main.py", "hw/top.py", "sim/cycles.py", "fpga/area.json"} <= set(sources())


def test_processes_here_are_not_those_of_a_scheduler():
    with pytest.raises(InputError, match="leave one out"), spread("tcp://127.0.0.1:1", 2):
        pass


def test_processes_of_this_machine(monkeypatch):
    """They do the work, and a piece that kills each of them is given up; others go on."""
    assert len(fingerprint()) == 16
    monkeypatch.setattr("sateen.workers.DEATHS", 1)
    with workers(count=2) as found:
        assert list(found.run(Fails(), [5, 6, 7])) == [5, 6, 7]
        with pytest.raises(WorkersError, match="2 workers died on the same work"):
            list(found.run(Dies(), [1]))
        with pytest.raises(InputError, match="three"):
            list(found.run(Fails(), range(6)))
        assert list(found.run(Fails(), [1, 2])) == [1, 2]


def test_processes_here_of_which_one_dies(tmp_path):
    """All results come, in order; only what it was doing is done again."""
    work, count = Noted(tmp_path, 0.5), 12
    with Pool(2) as pool:
        results, kept = pool.run(work, range(count)), []
        kept.append(next(results))
        until(lambda: work.all("begun"))
        os.kill(int(work.all("begun")[0].name.split(".")[2]), signal.SIGKILL)
        kept += results
    assert kept == [item * item for item in range(count)]
    done = [path.name.partition(".")[0] for path in work.all("done")]
    assert sorted(done, key=int) == [str(item) for item in range(count)] and len(work.all("begun")) <= 1


def test_processes_here_end_early(tmp_path):
    """What has begun is ended, and the next work is done."""
    work = Noted(tmp_path, 0.1)
    with Pool(2) as pool:
        results = pool.run(work, range(400))
        next(results)
        results.close()
        assert list(pool.run(Fails(), [1, 2])) == [1, 2]
    done = len(work.all("done"))
    time.sleep(0.3)
    assert done == len(work.all("done")) < 10


def test_processes_here_have_this_ones_surroundings(monkeypatch):
    """Variables that were set since the first of them began; and errors that cannot be sent come as their texts."""
    with Pool(1) as pool:
        monkeypatch.setenv("SATEEN_TEST_WORKERS", "here")
        assert list(pool.run(os.getenv, ["SATEEN_TEST_WORKERS"])) == [None]
    with Pool(1) as pool:
        assert list(pool.run(os.getenv, ["SATEEN_TEST_WORKERS"])) == ["here"]
        with pytest.raises(RuntimeError, match="Odd: 1 and 2"):
            list(pool.run(raises_odd, [1]))


class Odd(Exception):
    """One that pickle cannot read back."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def raises_odd(item):
    raise Odd(item, item + 1)
