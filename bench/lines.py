"""Inferences a second over each kind of line, one by one and overlapped, entered into ``results.json``.

    python bench/lines.py CONFIG:NETWORK | CONFIG:MODEL.tflite | CONFIG:digits …

The device is simulated. Frames reach it and its answers the host at the rates that a line's own bench measured, in
simulation too, and with the delay of an adapter or a host. The host itself takes no time.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections import deque
from pathlib import Path

import numpy as np

import results
import tables
from sateen import SateenWarning, compile
from sateen.digits import load_data, load_network
from sateen.frontends import load
from sateen.graph import Graph, run
from sateen.hw.spec.config import parse_config
from sateen.runtime import Device
from sateen.runtime.link import Link
from sateen.runtime.transport import SimulationTransport

sys.path.append(str(Path(__file__).parents[1] / "tb"))
from networks import NETWORKS

LINES = {
    "3 Mbaud": (3e5, 3e5, 0.0),
    "3 Mbaud, 1 ms each way in the adapter": (3e5, 3e5, 1e-3),
    "USB, full speed": (1.14e6, 1.19e6, 0.0),
    "USB, full speed, 0.5 ms each way in the host": (1.14e6, 1.19e6, 5e-4),
    "USB, high speed": (51e6, 50e6, 0.0),
    "gigabit Ethernet": (97e6, 75e6, 0.0),
}
"""Bytes a second to the device and from it (``docs/board.md``), and seconds each way besides."""
ITEMS, FEW = 12, 2
"""Inferences of a batch, and of a short one: what a batch takes at its ends counts in neither."""


class Paced:
    """A line to a simulated device."""

    bits_per_second = math.inf

    def __init__(self, inner: SimulationTransport, there: float, back: float, delay: float):
        self.inner, self.now, self.close, self.clock_hz = inner, inner.now, inner.close, inner.clock_hz
        self.there, self.back, self.delay = inner.clock_hz / there, inner.clock_hz / back, delay * inner.clock_hz
        self.free_there = self.free_back = 0.0
        self.sent, self.came = deque[tuple[float, bytes]](), deque[tuple[float, bytes]]()

    def exchange(self, data: bytes, *, timeout: float) -> bytes:
        """See :class:`sateen.runtime.transport.Transport`."""
        device = self.inner.device
        ends = device.cycles + timeout * self.clock_hz
        if data:
            self.free_there = max(device.cycles, self.free_there) + len(data) * self.there
            # The simulated device takes a byte a cycle; the last one comes when the line has brought it.
            self.sent.append((self.free_there + self.delay - len(data), data))
        while True:
            now = device.cycles
            if self.came and self.came[0][0] <= now:
                return self.came.popleft()[1]
            if now >= ends:
                return b""
            arrives = self.sent.popleft()[1] if self.sent and self.sent[0][0] <= now else b""
            events = [ends, *(each[0][0] for each in (self.sent, self.came) if each)]
            answer = device.exchange(arrives, max_cycles=max(len(arrives), math.ceil(min(events) - now), 1))
            if answer:
                self.free_back = max(device.cycles - len(answer), self.free_back) + len(answer) * self.back
                self.came.append((self.free_back + self.delay, answer))


def network(name: str) -> tuple[Graph, dict]:
    """A network, and the options with which it is compiled."""
    if name == "digits":
        return load_network(), {"calibration": load_data()[0]}
    return (NETWORKS[name]() if name in NETWORKS else load(Path(name))), {}


def measure(config: str, name: str) -> None:
    """Measures a network on a configuration over each line."""
    graph, options = network(name)
    with warnings.catch_warnings(action="ignore", category=SateenWarning):
        model = compile(graph, parse_config(config), **options)
    source = model.graph.inputs[0]
    x = np.random.default_rng(0).integers(-128, 128, (ITEMS, *model.graph.tensors[source].shape[1:])).astype(np.int8)
    expected = run(model.graph, x)[model.graph.outputs[0]]
    transport = SimulationTransport(model.config)
    for line, (there, back, delay) in LINES.items():
        paced = Paced(transport, there, back, delay)
        loaded = Device(Link(paced)).load(model)
        # The first ones bring the model.
        loaded.run(x[:FEW])
        times, batches = [paced.now()], [x[:1], x[1:2], x[:FEW], x]
        for batch, right in zip(batches, (expected[:1], expected[1:2], expected[:FEW], expected), strict=True):
            if not np.array_equal(loaded.run(batch).reshape(right.shape), right):
                raise AssertionError(f"{name} on {config} over {line} differs from the golden model")
            times.append(paced.now())
        _, second, few, many = np.diff(times)
        results.add(
            "line", tools=results.SIMULATION, name=Path(name).stem, configuration=config, line=line,
            bytes_per_second=[there, back], delay_seconds=delay,
            one_by_one=float(f"{1 / second:.4g}"), overlapped=float(f"{(ITEMS - FEW) / (many - few):.4g}"),
        )  # fmt: skip
        print(config, name, line, flush=True)
    transport.close()


def main() -> None:
    for case in sys.argv[1:]:
        measure(*case.split(":"))
    tables.main()


if __name__ == "__main__":
    main()
