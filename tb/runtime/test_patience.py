"""How long the driver waits for a device that has fallen silent: what the device's own limits allow, and no longer."""

from unittest import mock

import numpy as np
import pytest
from in_sdram import WIDE

import sateen
from sateen.hw.spec.wire import limit_cycles
from sateen.runtime.frames import reached
from sateen.runtime.limits import GRACE_CYCLES, PATIENCE
from sateen.runtime.link import ANSWER_SECONDS, TRIES
from sateen.runtime.slots import Plan
from sateen.testing.graphs import Builder, random_input


class Breaking:
    """A line at 3 Mbaud from which nothing more comes once ``silent``. Its time passes with what is waited for then."""

    bits_per_second, clock_hz = 3e6, float("inf")

    def __init__(self, line):
        self.line, self.time, self.silent = line, 0.0, False

    def now(self):
        return self.time

    def exchange(self, data, *, timeout):
        if not self.silent:
            return self.line.exchange(data, timeout=timeout)
        self.time += timeout
        return b""


def test_limits_that_the_device_counts():
    """A program of a limit runs until the next power of 4; beyond the largest there is none."""
    assert [reached(limit) for limit in (1, 4, 5, 1000, 1 << 30)] == [4, 4, 16, 1024, 1 << 30]
    assert limit_cycles(0) == 0 and reached((1 << 30) + 1) == (1 << 30) + 1


def test_a_chain_on_a_board_that_falls_silent():
    """Each part may take what is predicted for it, and not what the whole network may take."""
    builder = Builder((10, 10, 6), np.random.default_rng(14)).conv2d(12, (3, 3)).conv2d(20, (3, 3)).conv2d(20, (1, 1))
    graph = builder.max_pool2d((3, 3), stride=(3, 3)).graph()
    with sateen.open(f"sim:{WIDE[0]}") as device:
        model = sateen.compile(graph, device.config)
        loaded, x = device.load(model), random_input(graph, np.random.default_rng(1))
        loaded.run(x)
        line, link, runs = device.link.transport, device.link, []
        link.transport = breaking = Breaking(line)
        patience = link.patience

        def silent_in_runs(size, busy_cycles):
            # Copies come first, and a program in the frames that wait for most.
            if busy_cycles > most:
                breaking.silent = True
                runs.append(size)
            return patience(size, busy_cycles)

        plan = Plan(model, device.config)
        most = GRACE_CYCLES
        with mock.patch.object(link, "patience", silent_in_runs):
            with pytest.raises(sateen.LinkError, match="did not answer 5 times"):
                loaded.run(x)
        link.transport = line
        parts = len(plan.parts)
        cycles = 4 * (PATIENCE * sum(map(plan.time, plan.parts)) + parts * GRACE_CYCLES) + 8 * device.shelf.copied
        assert parts > 4 and len(runs) == 1
        seconds = ANSWER_SECONDS + 20 * runs[0] / breaking.bits_per_second + cycles / device.config.clock_hz
        assert breaking.time < TRIES * seconds
        device.link.hello()
        loaded.run(x)
