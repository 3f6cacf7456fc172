"""Terms: worked cases of the definition, every number, and properties of both encodings."""

import numpy as np
import pytest

from sateen.hw.spec.pe import Encoding, TermBudget
from sateen.sim.golden.terms import DIGITS, decode, encode, quantize_terms, term_count

EVERY = np.arange(-255, 256)


@pytest.mark.parametrize(
    ("values", "encoding", "expected"),
    [
        ([64, 3, 14], Encoding.BINARY, [64, 2, 12]),
        ([64, 3, 14], Encoding.HESE, [64, 4, 14]),
        ([1, 12, 5, 137], Encoding.BINARY, [0, 12, 0, 136]),
    ],
)
def test_worked_cases(values, encoding, expected):
    assert quantize_terms(values, group=len(values), terms=4, encoding=encoding).tolist() == expected


def test_worked_digits():
    def text(encoding):
        return {int(e): int(d) for e, d in enumerate(encode(27, encoding)) if d}

    assert text(Encoding.HESE) == {5: 1, 3: -1, 2: 1, 0: -1}
    assert text(Encoding.NAF) == {5: 1, 2: -1, 0: -1}


@pytest.mark.parametrize("encoding", Encoding)
def test_every_number_keeps_its_value(encoding):
    assert (decode(encode(EVERY, encoding)) == EVERY).all()


def test_naf_has_no_adjacent_digits_and_the_fewest_terms():
    digits = encode(EVERY, Encoding.NAF) != 0
    assert not (digits[:, 1:] & digits[:, :-1]).any()
    fewest = np.minimum(term_count(EVERY, Encoding.HESE), term_count(EVERY, Encoding.BINARY))
    assert (term_count(EVERY, Encoding.NAF) <= fewest).all()


@pytest.mark.parametrize(
    ("most", "encoding", "mean", "maximum"),
    [
        (127, Encoding.BINARY, 3.50, 7), (127, Encoding.HESE, 2.875, 5), (127, Encoding.NAF, 2.77, 4),
        (255, Encoding.BINARY, 4.00, 8), (255, Encoding.HESE, 3.25, 6), (255, Encoding.NAF, 3.11, 5),
    ],
)  # fmt: skip
def test_term_counts(most, encoding, mean, maximum):
    """The published table."""
    counts = term_count(np.arange(most + 1), encoding)
    assert abs(counts.mean() - mean) < 0.006 and counts.max() == maximum


@pytest.mark.parametrize(("terms", "error"), [(2, 15), (3, 4), (4, 1)])
def test_truncation_error(terms, error):
    values = np.arange(128)
    kept = quantize_terms(values[:, None], group=1, terms=terms, encoding=Encoding.HESE)[:, 0]
    assert np.abs(kept - values).max() == error


def test_a_truncated_number_may_grow():
    assert quantize_terms([[127]], group=1, terms=1, encoding=Encoding.HESE) == 128


@pytest.mark.parametrize("encoding", [Encoding.HESE, Encoding.NAF])
def test_enough_is_exact(encoding):
    rng = np.random.default_rng(1)
    values = rng.integers(-128, 128, (5, 3, 21))
    assert (quantize_terms(values, group=8, terms=8 * DIGITS, encoding=encoding) == values).all()


def test_ties_go_to_the_lowest_index():
    assert quantize_terms([-64, 64, 64], group=3, terms=2, encoding=Encoding.HESE).tolist() == [-64, 64, 0]
    # The last group is a smaller one of its own.
    assert quantize_terms([3, 64, 5], group=2, terms=1, encoding=Encoding.BINARY).tolist() == [0, 64, 4]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"group": 0}, "group must be a whole number from 1 to 16, not 0"),
        ({"data_terms": 9}, "data_terms must be a whole number from 1 to 8, not 9"),
        ({"weight_terms": 1.5}, "weight_terms must be a whole number"),
        ({"encoding": 7}, "encoding must be one of HESE, NAF, BINARY, not 7"),
    ],
)
def test_rejects(fields, message):
    with pytest.raises(ValueError, match=message):
        TermBudget(**fields)


def test_rejects_large_numbers():
    with pytest.raises(ValueError, match="from -255 to 255, not 256"):
        encode([3, 256], Encoding.NAF)
