"""How much sooner work is done by several processes of this machine; entered into ``results.json``.

    python bench/scaling.py [--jobs N] [--trials T] [--models MODEL…] [explore] [verify] [build] [compare-pe]

Each piece of work is done once by one process and once by ``--jobs``, in turn, each time from the start: what is cached
is left out. Run it on a machine that does nothing else.

``explore`` looks for configurations of a ULX3S for all models together; ``verify`` simulates each model with every
layer compared (``bench/models.py``) on `small`, whose simulation is built before; ``build`` places two seeds of `tiny`
for a ULX3S; ``compare-pe`` measures each kind of PE in an array of 4×4 alone.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from platformdirs import user_cache_path

import results
from sateen.hw.spec.config import parse_config
from sateen.sim.verilated import build

HERE = Path(__file__).parent
SATEEN = (sys.executable, "-m", "sateen.cli", "--quiet")

Work = Callable[[argparse.Namespace, int], tuple[str, ...]]
"""The command for a number of processes."""


def explore(arguments: argparse.Namespace, jobs: int) -> tuple[str, ...]:
    options = ("--board", "ulx3s-85f", "--trials", str(arguments.trials), "--jobs", str(jobs))
    return (*SATEEN, "explore", *arguments.models, *options)


def verify(arguments: argparse.Namespace, jobs: int) -> tuple[str, ...]:
    return (sys.executable, str(HERE / "models.py"), "--print-only", "--jobs", str(jobs), "small", *arguments.models)


def build_seeds(arguments: argparse.Namespace, jobs: int) -> tuple[str, ...]:
    options = ("--board", "ulx3s-85f", "--config", "tiny", "--seeds", "2", "--jobs", str(jobs), "-o", "tiny.bit")
    return (*SATEEN, "build", *options)


def compare_pe(arguments: argparse.Namespace, jobs: int) -> tuple[str, ...]:
    return (*SATEEN, "compare-pe", "--part", "ecp5-85f", "--array", "4x4", "--luts", "100", "--jobs", str(jobs))


WORK: dict[str, Work] = {"explore": explore, "verify": verify, "build": build_seeds, "compare-pe": compare_pe}
CACHED = {"verify"}
"""Work that takes what was cached before."""


def seconds(name: str, command: tuple[str, ...]) -> float:
    """What a command takes, from its beginning to its end."""
    with tempfile.TemporaryDirectory() as folder:
        environment = dict(os.environ)
        if name not in CACHED:
            # The tools' own compiled form is no part of the work.
            environment.setdefault("YOWASP_CACHE_DIR", str(user_cache_path("YoWASP")))
            environment["XDG_CACHE_HOME"] = folder
        start = time.monotonic()
        done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
        took = time.monotonic() - start
    if done.returncode:
        sys.exit(f"{name}: {done.stderr or done.stdout}")
    return round(took, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", nargs="*", choices=[*WORK, []], help="by default all")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--trials", type=int, default=1000, help="configurations that are looked at")
    parser.add_argument("--models", nargs="+", default=[], metavar="MODEL", help="files, for explore and verify")
    arguments = parser.parse_args()
    arguments.models = [str(Path(name).absolute()) for name in arguments.models]
    for name in arguments.work or WORK:
        if name in ("explore", "verify") and not arguments.models:
            sys.exit(f"{name} needs --models")
        if name == "verify":
            build(parse_config("small"))
        took = {jobs: seconds(name, WORK[name](arguments, jobs)) for jobs in (1, arguments.jobs)}
        one, several = took[1], took[arguments.jobs]
        of = {"trials": arguments.trials} if name == "explore" else {}
        models = {"models": [Path(each).stem for each in arguments.models]} if name in ("explore", "verify") else {}
        results.add(
            "scaling", name=name, jobs=arguments.jobs, seconds_of_one=one, seconds=several,
            ratio=round(one / several, 2), processors=os.cpu_count(), **of, **models, tools=(),
        )  # fmt: skip
        print(f"{name}: {one} s by one process, {several} s by {arguments.jobs}: {one / several:.2f} times", flush=True)


if __name__ == "__main__":
    main()
