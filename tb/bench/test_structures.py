"""What the bench of terms measures with: arrays of PEs, quantizers by terms, rates."""

import numpy as np
import pytest
from amaranth.sim import Simulator

import multiplying
import seeds
from lean_elements import LeanMac
from sateen.hw.pe.term import Total
from term_accuracy import nearest_power, scheduled
from terms import SIDE, Grid, Structure


@pytest.mark.parametrize("footed", [False, True])
def test_columns_add_up(footed):
    """With activations that differ by row and weights that differ by column, all held, each column's sum is right."""
    foot = (lambda: Total(partial_bits=17, sum_bits=22)) if footed else None
    grid = Grid(Structure(name="", pe=lambda: LeanMac(4), points=(), foot=foot))
    assert ("foot_o_0" in grid.signature.members) == footed != ("sum_o_3_0" in grid.signature.members)

    async def bench(ctx):
        for place in range(SIDE):
            ctx.set(getattr(grid, f"activation_i_{place}_0"), 3 * place - 100)
            ctx.set(getattr(grid, f"capture_i_{place}_0"), {"valid": 1, "slot": 0})
            ctx.set(getattr(grid, f"swap_i_{place}_0"), 1)
            ctx.set(getattr(grid, f"weight_i_0_{place}"), {"magnitude": place, "negative": place % 2})
            ctx.set(getattr(grid, f"sum_i_0_{place}"), 1000)
            if footed:
                ctx.set(getattr(grid, f"foot_first_{place}"), 1)
        await ctx.tick().repeat(4 * SIDE)
        for place in range(SIDE):
            weight = -place if place % 2 else place
            got = ctx.get(getattr(grid, f"foot_o_{place}" if footed else f"sum_o_{SIDE - 1}_{place}"))
            assert got == 1000 + weight * sum(3 * row - 100 for row in range(SIDE))

    simulator = Simulator(grid)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_scheduled_terms():
    # 100 is 64 + 32 + 4, of which the schedule has 64 and 32; the second group is padded.
    weights = np.array([[100, 3, -1, 0, -128]])
    np.testing.assert_array_equal(scheduled(weights, [6, 5], 4), [[96, 0, 0, 0, -96]])
    # One place for each exponent: 64 goes to the first of the two, 32 to the other, whose error is larger then.
    np.testing.assert_array_equal(scheduled(np.array([[64, -64]]), [5, 6], 2), [[64, -32]])
    # A term may be larger than the weight, where that is nearer; none is added where it is farther.
    np.testing.assert_array_equal(scheduled(np.array([[31, 1]]), [5], 2), [[32, 0]])


def test_enough_terms_are_exact():
    weights = np.random.default_rng(seeds.own()).integers(-127, 128, (4, 3, 20))
    np.testing.assert_array_equal(scheduled(weights, [e for e in range(8) for _ in range(8)], 8), weights)


def test_powers_of_two():
    weights = np.array([-128, -127, -97, -95, -1, 0, 1, 3, 5, 7, 127])
    np.testing.assert_array_equal(nearest_power(weights), [-128, -128, -128, -64, -1, 0, 1, 2, 4, 8, 128])


def test_rate():
    one = {"luts": 24, "foot_luts": 64, "feeder_luts": 32, "weights": 4, "cycles": 8, "reached_mhz": 240}
    assert multiplying.rate(one) == 240 * 4 / 8 / (24 + 64 * 4 / 64 + 32 / 16)
