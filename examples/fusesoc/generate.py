"""A FuseSoC generator: writes the Verilog that its parameters name, and a core that contains it.

FuseSoC calls it with a YAML file and brings PyYAML to read it. The core is written as JSON, which is also YAML.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import yaml


def main() -> None:
    request = yaml.safe_load(Path(sys.argv[1]).read_text())
    parameters = {"preset": "small", "part": "accelerator-axi", "name": "sateen", **request.get("parameters", {})}
    options = [f"--{name}={value}" for name, value in parameters.items()]
    verilog = f"{parameters['name']}.v"
    subprocess.run([sys.executable, "-m", "sateen.cli", "verilog", "--output", verilog, *options], check=True)
    core = {
        "name": request["vlnv"],
        "filesets": {"rtl": {"files": [{verilog: {"file_type": "verilogSource"}}]}},
        "targets": {"default": {"filesets": ["rtl"]}},
    }
    name = request["vlnv"].replace(":", "_")
    Path(f"{name}.core").write_text("CAPI=2:\n" + json.dumps(core, indent=2) + "\n")


if __name__ == "__main__":
    main()
