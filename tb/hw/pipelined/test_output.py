"""The output unit: which sums go to post-processing, with which parameters, and where their results belong."""

import pytest

from harness import run


@pytest.mark.parametrize(("cols", "lanes"), [(1, 1), (6, 4), (16, 4), pytest.param(4, 2, marks=pytest.mark.prove)])
def test_output_unit(cols, lanes):
    run("output-unit", cols=cols, lanes=lanes)
