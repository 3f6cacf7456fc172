"""Layer normalization of rows."""

import layer_norms
import numpy as np
import pytest

from harness import run
from sateen.hw.pipelined.layer_norm import LayerNorm
from sateen.hw.spec.layer_norm import HEAD_RECORDS, Head, record_words, records


@pytest.mark.parametrize(("cols", "beat_bytes"), [(8, 10), (5, 4)])
def test_layer_norm(cols, beat_bytes):
    """Records in one word and in two; lines that are wider than they have bytes."""
    run("layer-norm", cols=cols, beat_bytes=beat_bytes, longest=32)


def test_layers_of_many_kinds():
    """Scales and biases of every size, by the processor's own arithmetic; a row takes as many cycles as predicted."""
    layer_norms.check(1, 40)


def test_rows_as_long_as_they_may_be():
    layer_norms.check(2, 60, cols=12, longest=16)
    layer_norms.check(3, 20, cols=4, beat_bytes=4, longest=64)


def test_rejects():
    with pytest.raises(ValueError, match="cols must be 4 or more, not 3"):
        LayerNorm(cols=3, beat_bytes=8, longest=16)
    for longest in (8, 24, 8192):
        with pytest.raises(ValueError, match=f"longest must be a power of two from 16 to 4096, not {longest}"):
            LayerNorm(cols=8, beat_bytes=8, longest=longest)


def test_head():
    numbers = dict(scale=0.5, epsilon=0.25, count=24.0, steps=8.0, offset=200.5)
    head = Head(**numbers, zero_point=-7, width=12, length=24, centred=True)
    assert len(head.encode()) == 8 * HEAD_RECORDS and Head.decode(head.encode()) == head
    assert np.frombuffer(head.encode(), "<u4")[5] == 0xF9 | 12 << 8 | 24 << 16
    assert (records(24), record_words(8, 24), record_words(7, 24)) == (156, 156, 312)
