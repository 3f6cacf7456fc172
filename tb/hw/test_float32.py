"""Arithmetic of float32, by the processor's own."""

import float32s

from sateen.hw.float32 import Fused, Quotient
from sateen.hw.spec.timing import FUSED_CYCLES, QUOTIENT_CYCLES, normalizing_cycles


def test_fused():
    float32s.check_fused(1, 500_000)


def test_quotients():
    float32s.check_quotients(1, 20_000)


def test_quotients_of_short_numbers():
    float32s.check_quotients(2, 5_000, bits=36)


def test_latencies_are_the_cycle_models():
    assert Fused.LATENCY == FUSED_CYCLES
    assert Quotient.DIGITS + 2 == QUOTIENT_CYCLES
    # Of 39 zeros: four times eight, and seven.
    assert normalizing_cycles(40) == 11
