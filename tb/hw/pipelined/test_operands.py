"""Results that become words of weights."""

import pytest

from harness import run


@pytest.mark.parametrize(("cols", "lanes"), [(6, 4), (1, 1), (8, 8)])
def test_operand_writer(cols, lanes):
    run("operand-writer", cols=cols, lanes=lanes)
