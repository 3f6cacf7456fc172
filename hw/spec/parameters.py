"""What stands in the weight store besides weights: a layer's parameters, and tables."""

from __future__ import annotations

__all__ = ["BIAS_BYTES", "PARAMETER_BYTES", "SCALE_BYTES", "TABLE_ENTRIES", "parameter_words", "table_words"]

PARAMETER_BYTES = 9
"""Bytes of one output channel's parameters: bias (int32), multiplier (int32), shift (int8), each little-endian.

They follow the weights of their group of channels in the weight store, as ``PARAMETER_BYTES`` words: word ``i`` holds
byte ``i`` of every column's parameters. They come last because they are needed last: a group's weights never wait until
the group before is drained. Where all groups have the same scales, the groups after a block's first have biases only.
Words that are read several at a time are aligned: see :func:`parameter_words`.
"""
BIAS_BYTES = 4
"""The first of the :data:`PARAMETER_BYTES`; the others are the scale."""
SCALE_BYTES = PARAMETER_BYTES - BIAS_BYTES
TABLE_ENTRIES = 256
"""Entries of a table, int32, one for each unsigned byte."""


def parameter_words(weight_rows: int) -> int:
    """Words of a group's parameters in a weight store that is read ``weight_rows`` words at a time: biases, words that
    nobody reads, and at the end scales, so that both are whole reads."""
    return BIAS_BYTES + -(-SCALE_BYTES // weight_rows) * weight_rows


def table_words(cols: int) -> int:
    """Weight words of both tables. A word has an entry of each; with fewer than 8 ``cols`` it has one entry, and the
    tables follow each other."""
    return TABLE_ENTRIES if cols >= 8 else 2 * TABLE_ENTRIES
