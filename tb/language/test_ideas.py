"""Caches under a budget, and matrices of low rank."""

import numpy as np
import pytest

import small_llama
from sateen.errors import InputError
from sateen.language import Decoder, EvictingCache, FloatDecoder, Writer, quantize, written
from sateen.language.lowrank import cut, largest_rank

SHAPE = small_llama.SHAPE


@pytest.fixture(scope="module")
def small():
    """A small float decoder and its quantized form."""
    model = small_llama.model()
    return model, quantize(model)


def attend(cache, layer, *rows):
    """Adds a position and tells the cache its attention, for each head of queries."""
    number = float(len(cache.keys[layer]))
    cache.add(layer, *(np.full((1, SHAPE.kv_heads, SHAPE.head_dim), number, np.int8) for _ in range(2)))
    cache.attended(layer, np.array(rows) * 100)


def test_what_is_evicted():
    cache = EvictingCache(SHAPE, 3, 1)
    # Heads 0 and 1 share the first head of keys, 2 and 3 the second.
    attend(cache, 0, [1], [1], [1], [1])
    attend(cache, 0, [1, 3], [1, 1], [4, 1], [4, 1])
    attend(cache, 0, [0, 4, 1], [1, 2, 2], [4, 1, 1], [4, 1, 1])
    assert len(cache.keys[0]) == 3
    # Of the older ones, the first head attended to position 2 least (0.6), the second to position 2, too (0.33).
    attend(cache, 0, [1, 2, 0, 1], [2, 1, 0, 1], [4, 0, 0, 1], [4, 0, 0, 1])
    assert cache.keys[0][:, :, 0].T.tolist() == [[0, 1, 3], [0, 1, 3]]
    # Now the first head has looked away from position 1 and the second from 3, which is old now.
    attend(cache, 0, [9, 0, 9, 1], [9, 0, 9, 1], [9, 9, 0, 1], [9, 9, 0, 1])
    attend(cache, 0, [9, 0, 9, 1], [9, 0, 9, 1], [9, 9, 0, 1], [9, 9, 0, 1])
    assert len(cache.keys[0]) == 3 and cache.keys[0][0, :, 0].tolist() == [0, 0]
    assert len(cache.keys[1]) == 0


def test_a_budget_of_the_whole_context(small):
    """Nothing is evicted, and nothing differs."""
    _, quantized = small
    tokens = [1, 259, 5, 270, 262, 262, 17]
    cache = EvictingCache(SHAPE, SHAPE.context)
    np.testing.assert_array_equal(Decoder(quantized, None, cache).step(tokens), Decoder(quantized).step(tokens))


def test_a_text_goes_on(small):
    """With a budget, a text is longer than the context."""
    _, quantized = small
    writer = Writer(Decoder(quantized, None, EvictingCache(SHAPE, 8)), [1, 259])
    assert len(list(writer.write(60))) == 60 and not writer.ended
    assert all(len(keys) == 8 for keys in writer.decoder.cache.keys)


def test_wrong_budgets(small):
    _, quantized = small
    for budget in (1, 33):
        with pytest.raises(InputError, match=f"a budget must be 2 to 32 positions, the model's context, not {budget}"):
            EvictingCache(SHAPE, budget)
    with pytest.raises(InputError, match="the most recent positions must be 1 to 7"):
        EvictingCache(SHAPE, 8, 8)
    with pytest.raises(InputError, match="use one or the other"):
        Writer(Decoder(quantized, None, EvictingCache(SHAPE, 8)), [1], ahead=2)
    with pytest.raises(InputError, match="cannot take tokens back"):
        EvictingCache(SHAPE, 8).forget(1)


def test_low_rank(small):
    """What the full matrices make of the calibration text is nearest at the largest rank, and a joint matrix that has a
    low rank already loses nothing."""
    model, _ = small
    texts = written(model, [3, 4], 30)
    assert largest_rank(model) == 10  # 10 · (32 + 16) < 32 · 16
    exact = FloatDecoder(model, dtype=np.float64).step(texts[0])
    errors = [
        np.abs(FloatDecoder(cut(model, rank, texts)[0], dtype=np.float64).step(texts[0]) - exact).mean()
        for rank in (2, 6, 10)
    ]
    assert errors[0] > errors[1] > errors[2]
    narrow, factors = cut(model, 6, texts)
    again, _ = cut(narrow, 6, texts)
    for before, after in zip(narrow.blocks, again.blocks, strict=True):
        np.testing.assert_allclose(after.query, before.query, atol=1e-5)
    assert factors[0].wide.shape == (32, 6) and factors[0].narrow.shape == (6, 16)
    for rank in (0, 11):
        with pytest.raises(InputError, match=f"rank must be 1 to 10, above which it saves no weights, not {rank}"):
            cut(model, rank, texts)


def test_low_rank_in_integers(small):
    model, full = small
    texts = written(model, [3, 4], 30)
    quantized, narrow = quantize(model, texts, rank=8), cut(model, 8, texts)[0]
    assert full.weights - quantized.weights == 2 * (32 * 16 - 8 * 48)
    assert list(quantized.matrices)[:2] == ["0.latent", "0.qkv"]
    exact = FloatDecoder(narrow, dtype=np.float64).step(texts[0])
    found = Decoder(quantized).step(texts[0])
    assert np.corrcoef(exact.ravel(), found.ravel())[0, 1] > 0.99
