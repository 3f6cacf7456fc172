"""Inferences over a line that disturbs frames in every way: no wrong result, no hang, a usable device after."""

from collections import Counter
from functools import cache

import numpy as np
from disturbed import KINDS, Disturbed

import sateen
import seeds
from sateen.graph import run as golden
from sateen.hw.spec.config import PRESETS
from sateen.runtime import Device
from sateen.runtime.link import Link
from sateen.runtime.transport import SimulationTransport
from sateen.testing.graphs import Builder, random_input

RATES = (0.001, 0.01, 0.05, 0.2)
"""Shares of disturbed frames."""


@cache
def case():
    """A device's transport, a model for it, inputs and right results."""
    config = PRESETS["micro"]
    rng = np.random.default_rng(4)
    graph = Builder((4, 4, 2), rng).conv2d(4, (2, 2)).flatten().fully_connected(6).graph()
    x = random_input(graph, rng, 4)
    return SimulationTransport(config), sateen.compile(graph, config), x, golden(graph, x)[graph.outputs[0]]


def disturb(seed, *, rounds=4):
    """Loads and runs a model in one session; how it ended, and the disturbed frames by kind."""
    transport, model, x, expected = case()
    line = Disturbed(transport, RATES[seed % len(RATES)], seed)
    outcomes = Counter()
    try:
        device = Device(Link(line))
        for _ in range(rounds):
            np.testing.assert_array_equal(device.load(model).run(x), expected)
            outcomes["equal"] += 1
    except (sateen.LinkError, sateen.DeviceTakenError) as error:
        # After five tries in vain, or a HELLO of this session that came late: an error, not a wrong result.
        outcomes[type(error).__name__] += 1
    return outcomes + line.counts


def soak(seed):
    """One session, and now and then a line that is clean again."""
    outcomes = disturb(seed)
    if seed % 16 == 0:
        transport, model, x, expected = case()
        np.testing.assert_array_equal(Device(Link(transport)).load(model).run(x), expected)
        outcomes["usable"] += 1
    return outcomes


def test_disturbed_frames():
    outcomes = Counter()
    for place in range(24):
        outcomes += soak(16 * 1000 + seeds.own() % 1000 * 32 + place)
    assert all(outcomes[kind] for kind in KINDS) and outcomes["equal"] > 40 and outcomes["usable"]
