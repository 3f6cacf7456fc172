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

RATES = (0.001, 0.01, 0.05, 0.2, 0.4)
"""Shares of disturbed frames."""
SILENCE_SECONDS = 1e-5
"""The model's program takes less."""


@cache
def case():
    """A device's transport, a model for it, inputs and right results."""
    config = PRESETS["micro"]
    rng = np.random.default_rng(4)
    graph = Builder((8,), rng).fully_connected(6).graph()
    x = random_input(graph, rng, 4)
    return SimulationTransport(config), sateen.compile(graph, config), x, golden(graph, x)[graph.outputs[0]]


def disturb(seed):
    """Loads and runs a model again and again, more often where more is disturbed; how it ended, and the disturbed
    frames by kind."""
    transport, model, x, expected = case()
    rate = RATES[seed % len(RATES)]
    line, device, outcomes = Disturbed(transport, rate, seed, silence=SILENCE_SECONDS), None, Counter()
    for _ in range(2 + int(50 * rate)):
        try:
            device = device or Device(Link(line))
            np.testing.assert_array_equal(device.load(model).run(x), expected)
            outcomes["equal"] += 1
        except (sateen.LinkError, sateen.DeviceTakenError) as error:
            # After five tries in vain, or a HELLO of this session that came late: an error, not a wrong result.
            outcomes[type(error).__name__] += 1
            device = None
    return outcomes + Counter(disturbed=line.counts.total()) + line.counts


def soak(seed):
    """A line that disturbs frames, and then a clean one."""
    outcomes = disturb(seed)
    transport, model, x, expected = case()
    np.testing.assert_array_equal(Device(Link(transport)).load(model).run(x), expected)
    return outcomes + Counter(usable=1)


def test_disturbed_frames():
    outcomes = Counter()
    for place in range(20):
        outcomes += soak(seeds.own() % 1000 * 32 + place)
    assert all(outcomes[kind] for kind in KINDS) and outcomes["equal"] > 40 and outcomes["usable"]
