"""Long use of one device: models come and go, results stay right, memory and open files stay as they are."""

import os
import random
import socket
import threading
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
from disturbed import Disturbed

import sateen
from sateen.graph import run as golden
from sateen.hw.spec.config import parse_config
from sateen.runtime import Device, serve
from sateen.runtime.link import TRIES, Link
from sateen.runtime.transport import SimulationTransport, TcpTransport
from sateen.sim.verilated import build
from sateen.testing.graphs import Builder, random_input

CONFIG = "micro"
WARM = 200
"""Inferences after which memory is as large as it gets."""
GROWTH = 16 << 20
"""Bytes that memory may grow after that: allocators keep some."""


class LongUse:
    """A device that is opened once, four models, and what the process held when it was warm; ``served``: over TCP, by
    this process."""

    def __init__(self, seed, rate, *, warm=WARM, served=False):
        self.warm = warm
        config = parse_config(CONFIG)
        self.rng = random.Random(seed)
        transport = TcpTransport("127.0.0.1", server(config)) if served else SimulationTransport(config)
        # On a busy machine, a served device is late.
        self.device = Device(link := Link(transport, tries=20 if served else TRIES))
        # From here on: a HELLO that came again would end the session.
        link.transport = Disturbed(transport, rate, seed, silence=1.0) if served else Disturbed(transport, rate, seed)
        self.models = list(cases(config))
        self.loaded = [self.device.load(model) for model, _, _ in self.models]
        self.inferences, self.held = 0, None

    def use(self, count):
        """Runs inferences of models in any order, some loaded anew."""
        for _ in range(count):
            number = self.rng.randrange(len(self.models))
            model, x, expected = self.models[number]
            if self.rng.random() < 0.1:
                self.loaded[number] = self.device.load(model)
            np.testing.assert_array_equal(self.loaded[number].run(x), expected)
            self.inferences += 1
            if self.inferences == self.warm:
                self.held = held()
        if self.held is not None:
            memory, files = held()
            assert files <= self.held[1], f"{files - self.held[1]} files more are open"
            assert memory - self.held[0] < GROWTH, f"{(memory - self.held[0]) >> 10} KiB more after {self.inferences}"


def server(config):
    """The port of a simulated device on TCP, built before somebody waits for its answers."""
    build(config)
    listening = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, args=(config,), kwargs={"ready": listening}, daemon=True).start()
    return listening.getsockname()[1]


def cases(config):
    """Four models: small and large, one with an operator of the host, one whose weights do not fit at once."""
    rng = np.random.default_rng(5)
    graphs = [
        Builder((4, 4, 2), rng).conv2d(3, (2, 2)).flatten().fully_connected(4).graph(),
        Builder((6, 6, 3), rng).conv2d(6, (3, 3)).max_pool2d((2, 2)).flatten().fully_connected(8).graph(),
        Builder((40,), rng).fully_connected(60).fully_connected(30).graph(),
        Builder((5, 5, 4), rng).depthwise_conv2d((3, 3)).conv2d(5, (1, 1)).graph(),
    ]
    for graph in graphs:
        x = random_input(graph, rng)
        yield sateen.compile(graph, config), x, golden(graph, x)[graph.outputs[0]]


def held():
    """Bytes of this process in memory, and its open files."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE"), len(os.listdir("/proc/self/fd"))


@cache
def user(rate, served):
    return LongUse(1, rate, served=served)


def soak(seed):
    """Ten inferences more of the same device, over a clean line, one that disturbs a frame in a hundred, or TCP that
    does."""
    user(0.01 if seed % 3 else 0, seed % 3 == 2).use(10)
    return Counter({("clean", "disturbed", "TCP disturbed")[seed % 3]: 10})


def test_long_use():
    for rate in (0, 0.01):
        LongUse(2, rate, warm=40).use(60)
