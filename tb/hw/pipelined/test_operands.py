"""Results that become words of weights."""

import pytest

from harness import run


@pytest.mark.parametrize(("cols", "lanes", "weight_rows"), [(6, 4, 1), (1, 1, 1), (8, 8, 1), (3, 2, 2), (4, 4, 4)])
def test_operand_writer(cols, lanes, weight_rows):
    run("operand-writer", cols=cols, lanes=lanes, weight_rows=weight_rows)
