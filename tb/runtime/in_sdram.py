"""Devices with SDRAM, and models whose parts lie there."""

import numpy as np

import sateen
from sateen.graph import run as run_golden
from sateen.testing.graphs import Builder, random_input

__all__ = ["REFRESHES", "WIDE", "in_parts"]

WIDE = (
    "tiny,sdram=as4c32m16sb,scratchpad_bytes=1024,weight_bytes=4096",
    "tiny,cols=6,lanes=3,sdram=m12l16161a,weight_bytes=3072",
)
"""Pipelined engines, to which whole words of 2 and of 4 bytes go at once. To the second one's chip no single bytes can
be written."""
REFRESHES = 120
"""Cycles of six refreshes, which come at their own time."""


def in_parts(seed, config):
    """A model of several segments, an input of two items, and its results."""
    rng = np.random.default_rng(seed)
    builder = Builder((6, 5, 7), rng, name=f"parts {seed}").conv2d(24, (3, 3)).conv2d(20, (2, 2))
    graph = builder.conv2d(40, (1, 1)).conv2d(18, (2, 2)).flatten().fully_connected(20).graph()
    x = random_input(graph, rng, 2)
    return sateen.compile(graph, config), x, run_golden(graph, x)[graph.outputs[0]]
