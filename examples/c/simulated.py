"""Runs a program against a simulated device: ``python simulated.py CONFIG PROGRAM``, which gets the device's HOST:PORT.

``sateen serve CONFIG`` does the same for programs that are started elsewhere.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading

from sateen.hw.spec.config import parse_config
from sateen.runtime import serve
from sateen.sim.verilated import build


def main(config: str, program: str) -> int:
    build(parse_config(config))
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        threading.Thread(target=serve, args=[parse_config(config)], kwargs={"ready": server}, daemon=True).start()
        return subprocess.run([program, f"{host}:{port}"]).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
