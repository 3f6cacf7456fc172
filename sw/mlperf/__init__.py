"""MLPerf Tiny's harness: a device as its runner sees one, and the runner's performance and accuracy modes."""

from sateen.mlperf.benchmarks import BENCHMARKS, Benchmark
from sateen.mlperf.monitor import Monitor
from sateen.mlperf.port import serve, serve_terminal
from sateen.mlperf.runner import Accuracy, Window, accuracy, dataset, performance
from sateen.mlperf.subject import Subject

__all__ = [
    "BENCHMARKS", "Accuracy", "Benchmark", "Monitor", "Subject", "Window", "accuracy", "dataset", "performance",
    "serve", "serve_terminal",
]  # fmt: skip
