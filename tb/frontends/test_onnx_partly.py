"""Random ONNX networks some of whose results are not quantized: the host computes them with real numbers, and every
output is onnxruntime's.

Sums of products are exact here, so that a value beside a tie may be quantized to the next integer. So may a softmax,
which onnxruntime computes in integers in one place and with real numbers in another. Where a result differs, a warning
has said so.
"""

from __future__ import annotations

import os
import warnings

import numpy as np
import pytest

import needs
from sateen.errors import SateenWarning
from sateen.frontends import onnx as frontend
from sateen.graph import run

onnxruntime = needs.package("onnxruntime", extra="reference")
needs.package("onnx", extra="onnx")

from onnx_networks import random_network  # noqa: E402
from onnx_networks.dropping import without_some  # noqa: E402

ONE = os.environ.get("SATEEN_SEED")
"""A network to run alone."""
GROUPS, GROUP = 8, 40


def check(seed: int) -> str:
    """Compares the network of a seed with onnxruntime. Returns what it came to: ``"equal"``, ``"beside a tie"``, or
    ``"quantized"`` if no result could be left as it is."""
    data, x = random_network(np.random.default_rng(seed))
    partly = without_some(data, np.random.default_rng([seed, 2]))
    if partly is None:
        return "quantized"
    again = f"repeat with SATEEN_SEED={seed} python -m pytest tb/frontends/test_onnx_partly.py"
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", SateenWarning)
            graph = frontend.load(partly)
        results = run(graph, {name: graph.tensors[name].from_file(value) for name, value in x.items()})
    except Exception as error:
        raise AssertionError(f"network {seed}: {type(error).__name__}: {error}; {again}") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(partly, options, providers=["CPUExecutionProvider"])
    equal = True
    for name, wanted in zip(graph.outputs, session.run(None, x), strict=True):
        actual = graph.tensors[name].to_file(results[name])
        assert actual.shape == wanted.shape, f"network {seed}: {name} is {actual.shape}, not {wanted.shape}; {again}"
        # Exponentials of large numbers are infinite, on both sides.
        finite = (actual != wanted) & np.isfinite(wanted)
        difference = np.where(actual == wanted, 0, np.inf)
        difference[finite] = np.abs(actual[finite].astype(np.float64) - wanted[finite])
        known = wanted[np.isfinite(wanted)].astype(np.float64)
        largest = max(1e-9, float(np.ptp(known)), float(np.abs(known).max())) if known.size else 1e-9
        share, most = float((difference > 2e-5 * max(1, largest)).mean()), float(difference.max()) / largest
        told = [str(each.message) for each in caught if str(each.message).startswith("onnxruntime")]
        # Codes that it makes of real numbers while it runs are not ours.
        right = most < 0.1 and (share < 0.05 or b"Softmax" in partly or any("while it runs" in text for text in told))
        assert told or share == 0, f"network {seed}: {name} differs, and no warning says that it may; {again}"
        assert right, f"network {seed}: {share:.0%} of {name} differ, by up to {most:.0%}; {again}"
        equal &= share == 0
    return "equal" if equal else "beside a tie"


@pytest.mark.parametrize("group", range(GROUPS))
def test_results_that_are_not_quantized(group):
    for seed in [int(ONE)] if ONE else range(20_000 + group * GROUP, 20_000 + (group + 1) * GROUP):
        check(seed)


def soak(seed: int) -> str:
    """Compares the network of a seed; what it came to, in a word."""
    return check(seed)
