"""Multipliers and the MAC: every product."""

import pytest

from harness import run
from sateen.hw.multiply import Multiply


@pytest.mark.parametrize(
    ("a_bits", "b_bits", "technology"),
    [
        (17, 17, None),
        (18, 5, None),
        (18, 18, "ecp5"),
        (8, 8, "ecp5"),
        (18, 17, "gowin"),
        (9, 8, "gowin"),
        (16, 16, "up5k"),
        (8, 8, "up5k"),
        (17, 16, "up5k"),
        pytest.param(2, 2, None, marks=pytest.mark.prove),
    ],
)
def test_multiply(a_bits, b_bits, technology):
    run("multiply", tests=["products"], technology=technology, a_bits=a_bits, b_bits=b_bits)


@pytest.mark.parametrize("unit", ["multiply", "logic-multiply"])
def test_int8(unit):
    run(unit)


@pytest.mark.parametrize("b_bits", [8, 5, 9, pytest.param(2, marks=pytest.mark.prove)])
def test_logic_of_carry_cells(b_bits):
    """As it is built where the technology's cells are placed by hand."""
    run("logic-multiply", technology="ecp5", b_bits=b_bits)


@pytest.mark.parametrize(
    ("multiplier", "technology", "weight_bits"),
    [(True, None, 8), (False, None, 8), (True, "up5k", 8), (True, "ecp5", 9), (False, "ecp5", 9), (True, "up5k", 9)],
)
def test_mac(multiplier, technology, weight_bits):
    run("mac", technology=technology, sum_bits=20, multiplier=int(multiplier), weight_bits=weight_bits)


@pytest.mark.parametrize(("bits", "sum_bits", "technology"), [(16, 32, None), (16, 32, "up5k"), (8, 18, "up5k")])
def test_multiply_add(bits, sum_bits, technology):
    run("multiply-add", technology=technology, a_bits=bits, b_bits=bits, sum_bits=sum_bits)


@pytest.mark.parametrize("bits", [0, 19])
def test_rejects(bits):
    with pytest.raises(ValueError, match=f"b_bits must be 1 to 18, not {bits}"):
        Multiply(a_bits=8, b_bits=bits)
