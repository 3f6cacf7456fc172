"""What is measured: a model on a device, and the time that its inferences take."""

from __future__ import annotations

import time
from typing import Any, Literal

from numpy.typing import NDArray

from sateen.errors import InputError
from sateen.mlperf.benchmarks import Benchmark
from sateen.runtime import LoadedModel

__all__ = ["Subject", "Timer"]

Timer = Literal["device", "host"]
"""``device``: the device's own cycles at its clock, without the link; those in which it waits for SDRAM are among them.
``host``: this machine's clock, with the link."""


class Subject:
    """A loaded model of one input and one output, as a benchmark's subject.

    Parameters
    ----------
    loaded
        The model on its device.
    benchmark
        Which benchmark it is of.
    timer
        What tells the time.

    Raises
    ------
    InputError
        If the model is not of the benchmark's kind.
    """

    def __init__(self, loaded: LoadedModel, benchmark: Benchmark, timer: Timer):
        graph = loaded.model.graph
        if len(graph.inputs) != 1 or len(graph.outputs) != 1:
            raise InputError(f"{graph.name} has several inputs or outputs; a benchmark's model has one of each")
        self.loaded, self.benchmark, self.timer = loaded, benchmark, timer
        self.source, self.result = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
        benchmark.check(self.source, self.result)
        self.uncounted = [step.host for step in loaded.model.steps if step.host and timer == "device"]
        """Operators that the host computes, in time that the device does not count."""
        self.data = bytes(benchmark.size(self.source))
        """The bytes of the input."""
        self.output: NDArray[Any] | None = None
        """Of the last inference."""
        self.seconds = 0.0
        """The time so far: of all inferences, or since the subject began."""
        self._began = time.perf_counter()

    def load(self, data: bytes) -> None:
        """Takes the bytes of an input; :class:`~sateen.errors.InputError` if they are none."""
        self.benchmark.decode(data, self.source)
        self.data, self.output = data, None

    def infer(self, count: int) -> None:
        """Runs inferences of the input, one after the other."""
        x = self.benchmark.decode(self.data, self.source)
        for _ in range(count):
            self.output = self.loaded.run(x)
            if self.timer == "device":
                profile = self.loaded.profile
                assert profile is not None
                self.seconds += (profile.cycles + profile.memory_cycles) / self.loaded.device.config.clock_hz

    def now(self) -> float:
        """The time in seconds."""
        return self.seconds if self.timer == "device" else time.perf_counter() - self._began

    def results(self) -> list[float]:
        """The numbers of the last inference; of one that runs now, if there was none since the input came."""
        if self.output is None:
            self.infer(1)
        assert self.output is not None
        return self.benchmark.results(self.data, self.output, self.result)
