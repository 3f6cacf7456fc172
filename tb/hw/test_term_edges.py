"""Where numbers become terms: the encoder on every number; the loader's and the feeder's terms, the definition's worked
cases first."""

import pytest

from harness import run
from sateen.hw.spec.pe import Encoding
from sateen.sim.golden.terms import quantize_terms


def test_encoder():
    run("term-encoder")


def test_loader():
    run("term-loader")


def test_feeder():
    run("term-feeder")


@pytest.mark.parametrize(("values", "kept"), [([64, 3, 14], [64, 4, 14])])
def test_worked_case(values, kept):
    """What the benches above are compared with gives the definition's own answer."""
    assert quantize_terms(values, group=3, terms=4, encoding=Encoding.HESE).tolist() == kept
