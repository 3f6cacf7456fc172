"""Signed-digit terms and term quantization.

A term is ±2^e, and a number is a sum of terms, its digits. Term quantization ("term revealing", Kung, McDanel and
Zhang, SC 2020) keeps the largest terms of each group of weights, and of each activation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sateen.hw.spec.pe import Encoding, TermBudget

__all__ = ["DIGITS", "decode", "encode", "quantize_data", "quantize_terms", "quantize_weights", "term_count"]

DIGITS = 9
"""Digits of a number: exponents 0 to 8, for magnitudes up to 255."""


def encode(values: ArrayLike, encoding: Encoding) -> NDArray[np.int8]:
    """The digits of whole numbers of −255 to 255.

    Returns
    -------
    −1, 0 or 1 for each power of two, lowest first: [..., DIGITS].
    """
    numbers = np.asarray(values, np.int64)
    if numbers.size and np.abs(numbers).max() > 255:
        raise ValueError(f"terms are made of numbers from -255 to 255, not {numbers.flat[np.abs(numbers).argmax()]}")
    magnitude = np.abs(numbers)[..., None]
    place = np.arange(DIGITS)

    def bit(of: NDArray[np.int64], offset: int) -> NDArray[np.bool_]:
        """Bit ``place + offset``; those beyond either end are 0."""
        return ((of << 2) >> (place + offset + 2) & 1).astype(bool)

    here, above, below, lower = (bit(magnitude, offset) for offset in (0, 1, -1, -2))
    if encoding == Encoding.BINARY:
        positive, negative = here, np.zeros_like(here)
    elif encoding == Encoding.HESE:
        positive = (~above & here & ~below) | (~here & below & lower)
        negative = above & here & ~below
    else:
        # Reitwiesner: the digits of 3m − m, one place down.
        tripled, single = bit(3 * magnitude, 1), above
        positive, negative = tripled & ~single, single & ~tripled
    digits = positive.astype(np.int8) - negative.astype(np.int8)
    return digits * np.where(numbers < 0, -1, 1).astype(np.int8)[..., None]


def decode(digits: NDArray[np.int8]) -> NDArray[np.int64]:
    """The numbers whose digits these are."""
    return digits.astype(np.int64) @ (1 << np.arange(digits.shape[-1]))


def quantize_terms(values: ArrayLike, *, group: int, terms: int, encoding: Encoding) -> NDArray[np.int64]:
    """The numbers with the ``terms`` largest terms of each ``group`` along the last axis; of equal terms the first
    count.

    The last group may be smaller. A number may come out larger than it was: 127 = 128 − 1.
    """
    numbers = np.asarray(values)
    count = numbers.shape[-1]
    groups = -(-count // group)
    padded = np.zeros((*numbers.shape[:-1], groups * group), np.int64)
    padded[..., :count] = numbers
    digits = encode(padded.reshape(*numbers.shape[:-1], groups, group), encoding)
    # In the order of selection: largest exponent first, then lowest index.
    order = digits[..., ::-1].swapaxes(-1, -2)
    flat = order.reshape(*order.shape[:-2], -1)
    chosen = np.where(np.cumsum(flat != 0, axis=-1) <= terms, flat, 0).reshape(order.shape)
    return decode(chosen.swapaxes(-1, -2)[..., ::-1]).reshape(padded.shape)[..., :count]


def quantize_weights(weights: ArrayLike, budget: TermBudget) -> NDArray[np.int64]:
    """A layer's weights [O, …, I] with the terms that its budget allows."""
    return quantize_terms(weights, group=budget.group, terms=budget.weight_terms, encoding=budget.encoding)


def quantize_data(values: ArrayLike, budget: TermBudget) -> NDArray[np.int64]:
    """Activations with the terms that a budget allows."""
    values = np.asarray(values)[..., None]
    return quantize_terms(values, group=1, terms=budget.data_terms, encoding=budget.encoding)[..., 0]


def term_count(values: ArrayLike, encoding: Encoding) -> NDArray[np.int64]:
    """How many terms each number has."""
    return np.count_nonzero(encode(values, encoding), axis=-1)
