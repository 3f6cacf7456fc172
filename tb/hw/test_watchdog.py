"""The watchdog: a program ends at its limit, not before, and one without a limit never."""

from harness import run
from sateen.hw.spec.wire import limit_code, limit_cycles


def test_watchdog():
    run("watchdog")


def test_codes():
    """The least power of 4 that allows a program its cycles."""
    assert [limit_code(cycles) for cycles in (0, 1, 4, 5, 16, 17, 4**15, 4**15 + 1)] == [0, 1, 1, 2, 2, 3, 15, 0]
    assert [limit_cycles(code) for code in (0, 1, 15)] == [0, 4, 4**15]
