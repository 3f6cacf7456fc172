"""The host side runs without Amaranth and the extras: importing the package and driving a serial device load none of it."""

import subprocess
import sys

HOST = "import weft, weft.transport, weft.link, weft.device, weft.compiler, weft.serve, weft.digits, weft.cli.main"


def test_host_needs_no_amaranth():
    code = f"""
import sys
class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('amaranth', 'cocotb', 'verilator', 'torch', 'sklearn', 'jinja2', 'matplotlib'):
            raise ImportError(name)
sys.meta_path.insert(0, Forbidden())
{HOST}
from weft.transport import open_transport
try:
    open_transport('serial:/dev/no-such-port')
except weft.DeviceError:
    print('ok')
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stdout.strip() == "ok", result.stderr


def test_spec_is_plain_python():
    code = "import sys, weft.hw.spec.config, weft.hw.spec.wire, weft.hw.spec.descriptor; print('amaranth' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stdout.strip() == "False", result.stderr
