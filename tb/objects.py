"""Compiled files of Verilator's runtime, for tests in which others' makefiles build simulations: the same files with
the same flags are compiled once. Verilator's makefiles call this before the compiler, by the variable OBJCACHE."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sateen" / "objects"
VARIABLE = {"OBJCACHE": f"{sys.executable} -I -S {Path(__file__)}"}
"""For the environment of a command."""


def main(command: list[str]) -> int:
    """Calls the compiler, unless what it would make is known."""
    source = Path(command[-1])
    if "-c" not in command or "-o" not in command or not source.name.startswith("verilated"):
        return subprocess.run(command).returncode
    target = Path(command[command.index("-o") + 1])
    kept = CACHE / f"{_key(command, source, target)}.o"
    if not kept.exists():
        if code := subprocess.run(command).returncode:
            return code
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=CACHE, delete=False) as partial:
            partial.write(target.read_bytes())
        os.replace(partial.name, kept)
    shutil.copyfile(kept, target)
    return 0


def _key(command: list[str], source: Path, target: Path) -> str:
    """A hash of compiler, flags and sources. Folders of headers are left out, but for the runtime's own."""
    compiler = Path(shutil.which(command[0]) or command[0]).resolve()
    flags = [each for each in command[1:-1] if not each.startswith("-I") and each != str(target)]
    digest = hashlib.sha256(repr((str(compiler), compiler.stat().st_mtime_ns, flags, source.name)).encode())
    for path in sorted(source.parent.glob("verilated*")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:32]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
