"""Tables that are solved for: ranges of sums, constraints on their entries, and scales of onnxruntime's sums."""

import numpy as np
import pytest

from sateen.compiler.lowering import lookup
from sateen.compiler.lowering.fitting import LARGEST, LOWEST, Lane, bias_of, fitted
from sateen.graph import Add, Tensor
from sateen.hw.spec.config import parse_config
from sateen.hw.spec.descriptor import Rounding


@pytest.mark.parametrize("rounding", [Rounding.DOUBLE, Rounding.SINGLE, Rounding.FLOAT32])
def test_ranges_are_the_widest(rounding):
    rng, codes = np.random.default_rng(1), np.arange(-128, 128).astype(np.int8)
    for _ in range(20):
        multiplier, shift, point = (
            int(rng.integers(1, 2**24)) << 7,
            int(rng.integers(-31, 10)),
            int(rng.integers(-9, 9)),
        )
        lane = Lane(
            multiplier=multiplier, shift=shift, rounding=rounding, zero_point=point, low=-128, high=127
        )  # fmt: skip
        least, most = lane.ranges(codes)
        there = least <= most
        for ends in (least, most):
            np.testing.assert_array_equal(lane.results(ends[there]), codes[there])
        for beyond in (least - 1, most + 1):
            inside = there & (beyond >= LOWEST) & (beyond <= LARGEST)
            assert (lane.results(beyond[inside]) != codes[inside]).all()


def test_constraints():
    rng = np.random.default_rng(2)
    left, right = rng.integers(-1000, 1000, (2, 256))
    sums = left[:, None] + right[None, :]
    slack = rng.integers(0, 9, sums.shape)
    # From entries that are a little wrong.
    found = fitted((sums - slack, sums + slack), left + rng.integers(-5, 6, 256), right)
    assert found is not None
    assert (np.abs(found[0][:, None] + found[1][None, :] - sums) <= slack).all()
    # Corners of a square whose diagonals would have different sums.
    exact = sums.copy()
    exact[3, 5] += 1
    assert fitted((exact, exact), left, right) is None
    assert bias_of((sums + 3, sums + 9), sums) == 3 and bias_of((sums + slack, sums), sums) in (None, 0)


@pytest.mark.parametrize("unsigned", [False, True])
def test_sums_of_onnxruntime_have_tables(unsigned):
    rng, config = np.random.default_rng(3), parse_config("small")
    for draw in range(30):
        scales = [
            2.0 ** rng.integers(-8, -2, 3),
            rng.choice([0.02, 0.05, 0.1, 0.25, 0.3], 3),
            rng.uniform(0.01, 0.1, 3),
        ]
        points = rng.integers(-128, 128, 3)
        a, b, y = (
            Tensor(name=name, shape=(1, 8), scale=float(np.float32(scale)), zero_point=int(point), unsigned=unsigned)
            for name, scale, point in zip("aby", scales[draw % 3], points, strict=True)
        )
        lookup.add(Add(name="sum", a="a", b="b", output="y", rounding=Rounding.FLOAT32), a, b, y, config)
