"""A FuseSoC generator: writes the Verilog that its parameters name, and a core that contains it.

FuseSoC calls it with a YAML file, by the ``python3`` on the PATH. That may be FuseSoC's own, or the system's: it needs
neither the package ``sateen`` nor PyYAML. The Python that writes the Verilog is the first of these that has ``sateen``:
the one that the variable SATEEN_PYTHON names, the one that runs this file, and the one in the checkout's ``.venv``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
DEFAULTS = {"preset": "small", "part": "accelerator-axi", "name": "sateen", "stimulus": ""}


def main() -> None:
    vlnv, given = read_request(Path(sys.argv[1]))
    for name in given:
        if name not in DEFAULTS:
            fail(f"{name!r} is no parameter; there are {', '.join(DEFAULTS)}")
    parameters = {**DEFAULTS, **given}
    stimulus = parameters.pop("stimulus")
    refuse_second(vlnv, parameters["name"])
    python = find_python()
    verilog = f"{parameters['name']}.v"
    options = [f"--{name}={value}" for name, value in parameters.items()]
    run([python, "-m", "sateen.cli", "verilog", "--output", verilog, *options])
    files: list[dict] = [{verilog: {"file_type": "verilogSource"}}]
    if stimulus:
        made = run([python, str(Path(__file__).with_name("stimulus.py")), parameters["part"], parameters["preset"]])
        files += [{name: {"file_type": "user", "copyto": name}} for name in made.split()]
    core = {
        "name": vlnv,
        "filesets": {"rtl": {"files": files}},
        "targets": {"default": {"filesets": ["rtl"]}},
    }
    # JSON is YAML.
    Path(f"{vlnv.replace(':', '_')}.core").write_text("CAPI=2:\n" + json.dumps(core, indent=2) + "\n")


def read_request(path: Path) -> tuple[str, dict[str, str]]:
    """The name of the core to be written, and the parameters: plain YAML of ``key: value`` lines."""
    vlnv, parameters, section = "", {}, ""
    for line in path.read_text().splitlines():
        key, _, value = line.partition(":")
        key, value = key.strip(), value.strip().strip("'\"")
        if not line.startswith(" "):
            section = key
            vlnv = value if key == "vlnv" else vlnv
        elif section == "parameters":
            parameters[key] = value
    return vlnv, parameters


def refuse_second(vlnv: str, name: str) -> None:
    """Each generated core lies in a folder of its own beside those of the same design: one of another core has modules
    of the same name. The folder of this one from an earlier run, with other parameters, begins with its name."""
    folder = Path.cwd()
    own = folder.name.rpartition("-")[0]
    for other in folder.parent.glob(f"*/{name}.v"):
        if other.parent != folder and other.parent.name.rpartition("-")[0] != own:
            core = other.parent.name.rpartition("-")[0]
            fail(
                f"{vlnv} and {core} are both named {name!r}; give each another name, or remove {folder.parent} if the "
                "other is from an earlier run"
            )


def find_python(package: str = "sateen") -> str:
    """A Python that has a package."""
    named = os.environ.get("SATEEN_PYTHON")
    candidates = [named] if named else [sys.executable, str(CHECKOUT / ".venv" / "bin" / "python")]
    for python in candidates:
        try:
            if subprocess.run([python, "-c", f"import {package}"], capture_output=True).returncode == 0:
                return python
        except OSError:
            continue
    fail(
        f"the package {package} is missing in {' and in '.join(candidates)}; "
        "install it in one of them, or set SATEEN_PYTHON to a Python that has it"
    )


def run(command: list[str]) -> str:
    """What a command prints; if it fails, its message ends this program."""
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        fail(result.stderr.strip().splitlines()[-1].removeprefix("sateen: error: "))
    return result.stdout


def fail(message: str) -> None:
    """Ends with a message of one line."""
    sys.exit(f"sateen generator: error: {message}")


if __name__ == "__main__":
    main()
