"""What quantization, a budget of the cache, a low rank and guessed tokens do to a language model, entered into
``results.json``.

    python bench/language.py MODEL.bin [quality] [whole] [micro] [memory] [budget] [rank] [ahead] [fusion]

Perplexities are those of 1,000 tokens that the float model wrote from four seeds, calibration used others. Texts are
greedy, cycles those of the products by the cycle model, in ``whole`` those of everything on the device. ``micro`` is
microGPT, ``memory`` the model with its weights in SDRAM, both by the counters of a simulated device.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import results
import sateen
import tables
from sateen.hw.spec.config import parse_config
from sateen.language import (
    Cache,
    Decoder,
    DecoderProgram,
    DeviceDecoder,
    DeviceProducts,
    EvictingCache,
    FloatDecoder,
    Int8Decoder,
    Llama,
    Quantized,
    Tokenizer,
    Writer,
    compile_products,
    load,
    load_micro,
    quantize,
    quantize_int8,
    quantize_micro,
    surprise,
    written,
)
from sateen.language.device import predicted_cycles
from sateen.language.eviction import cache_bytes
from sateen.language.integers import LOGIT_BITS
from sateen.language.lowrank import cut
from sateen.language.quantizing import FIRST_SEED, SEEDS, TOKENS

CONFIG, MICRO = "lm", "micro-lm"
OUTSIDE = ("small,sdram=is42s16160g",)
"""Configurations whose weights come from SDRAM."""
OUTSIDE_TOKENS = 4
TEXTS, LENGTH = range(1, 5), 250
WHOLE = {
    "story": 256,
    "story,overlap=0": 256,
    "story,cols=16,lanes=16,scratchpad_bytes=16384,weight_bytes=573440": 512,
}  # fmt: skip
"""Configurations, and the positions that they have room for."""
POSITIONS = (1, 100, 200, 512)
BUDGETS = (256, 128, 64, 32, 16)
RANKS = (42, 40, 36, 32, 24)
AHEAD = (0, 1, 3, 5, 7)
STORY = 200


class Measured:
    """A model with the texts that it is measured on."""

    def __init__(self, path: Path):
        self.model, self.words = load(path)
        self.quantized = quantize(self.model)
        self.texts = written(self.model, TEXTS, LENGTH)
        self.exact = [FloatDecoder(self.model, dtype=np.float64).step(text[:-1]) for text in self.texts]

    def of(self, logits: Callable[[list[int]], Any]) -> dict[str, float]:
        """Perplexity, and how often the likeliest token is the float model's."""
        found = [logits(text[:-1]) for text in self.texts]
        losses = np.concatenate([surprise(one, text[1:]) for one, text in zip(found, self.texts, strict=True)])
        agree = [a.argmax(axis=1) == b.argmax(axis=1) for a, b in zip(found, self.exact, strict=True)]
        same = float(np.concatenate(agree).mean())
        return {"perplexity": float(f"{np.exp(losses.mean()):.5g}"), "agreement": round(same, 4)}

    def of_integers(self, model: Quantized, cache: Callable[[], Cache | None] = lambda: None) -> dict[str, float]:
        """The same of a quantized decoder."""
        return self.of(lambda tokens: Decoder(model, None, cache()).step(tokens) / 2**LOGIT_BITS)


def cycles(model: Quantized, config: str, positions: int = 1) -> int:
    """Cycles of one pass over the weights."""
    return predicted_cycles(compile_products(model, config, positions))


def add(part: str, name: object, **fields: Any) -> None:
    results.add("language", part=part, name=str(name), tools=("numpy",), **fields)


def quality(made: Measured) -> None:
    """Float against integers, and passes on two configurations."""
    model = made.model
    add("quality", "float32", **made.of(lambda tokens: FloatDecoder(model, dtype=np.float64).step(tokens)))
    add("quality", "16 bits between products of int8", **made.of_integers(made.quantized))
    whole = quantize_int8(model)
    add("quality", "int8 alone", **made.of(lambda tokens: Int8Decoder(whole).step(tokens) / 2**LOGIT_BITS))
    for config in (CONFIG, f"{CONFIG},weight_rows=4", f"{CONFIG},weight_rows=4,overlap=1"):
        clock, took = parse_config(config).clock_hz, cycles(made.quantized, config)
        add("speed", config, cycles=took, clock_mhz=clock / 1e6, tokens_per_second=round(clock / took))


def whole(made: Measured) -> None:
    """Cycles of a token by the number of keys and values."""
    model = quantize_int8(made.model)
    for config, most in WHOLE.items():
        program, clock = DecoderProgram(model, config, most), parse_config(config).clock_hz
        for positions in (each for each in POSITIONS if each <= most):
            took = program.cycles(positions)
            add("whole", f"{config}:{positions}", configuration=config, positions=positions, cycles=took,
                clock_mhz=clock / 1e6, tokens_per_second=round(clock / took))  # fmt: skip


def micro(made: Measured) -> None:
    """Cycles of microGPT's tokens over a whole context, without the first one, whose program loads a table."""
    model, words = load_micro()
    quantized, rows = quantize_micro(model), range(1, model.shape.context)
    with sateen.open(f"sim:{MICRO}") as device:
        decoder = DeviceDecoder(device, quantized)
        golden = Int8Decoder(quantized, decoder)
        golden.step([words.begin])
        before = decoder.cycles
        golden.step([place % len(words.pieces) for place in rows])
        took = (decoder.cycles - before) / len(rows)
        predicted = sum(decoder.program.cycles(place + 1) for place in rows) / len(rows)
        clock = device.config.clock_hz
    add("micro", MICRO, cycles=round(took), predicted=round(predicted), clock_mhz=clock / 1e6,
        tokens_per_second=round(clock / took))  # fmt: skip


def memory(made: Measured) -> None:
    """Cycles of a token whose weights come from SDRAM, behind a first one, and those that wait for them."""
    for config in OUTSIDE:
        with sateen.open(f"sim:{config}") as device:
            products = DeviceProducts(device, made.quantized)
            decoder = Decoder(made.quantized, products)
            tokens, golden = made.texts[0][: 1 + OUTSIDE_TOKENS], Decoder(made.quantized)
            assert (decoder.step(tokens[:1]) == golden.step(tokens[:1])).all()
            assert device.shelf is not None
            cycles, waited, copied = products.cycles, products.memory_cycles, device.shelf.copied
            for token in tokens[1:]:
                assert (decoder.step([token]) == golden.step([token])).all()
            cycles, waited = products.cycles - cycles, products.memory_cycles - waited
            copied, clock = device.shelf.copied - copied, device.config.clock_hz
        each, waits, moved = (round(found / OUTSIDE_TOKENS) for found in (cycles, waited, copied))
        add("memory", config, cycles=each, waited=waits, bytes=moved, clock_mhz=clock / 1e6,
            tokens_per_second=round(clock / each))  # fmt: skip


def budget(made: Measured) -> None:
    """Perplexity by the number of positions that a cache keeps."""
    shape = made.model.shape
    add("budget", "all", positions=LENGTH, bytes=cache_bytes(shape, LENGTH), **made.of_integers(made.quantized))
    for positions in (each for each in BUDGETS if each < LENGTH):
        found = made.of_integers(made.quantized, lambda kept=positions: EvictingCache(shape, kept))  # type: ignore[misc]
        add("budget", positions, positions=positions, bytes=cache_bytes(shape, positions), **found)


def rank(made: Measured) -> None:
    """Perplexity and weights by the joint rank of queries, keys and values."""
    texts = written(made.model, range(FIRST_SEED, FIRST_SEED + SEEDS), TOKENS)
    full = {"weights": made.quantized.weights, "cycles": cycles(made.quantized, CONFIG)}
    exact = made.of(lambda tokens: FloatDecoder(made.model, dtype=np.float64).step(tokens))["perplexity"]
    add("rank", "full", **full, float_perplexity=exact, **made.of_integers(made.quantized))
    for each in RANKS:
        narrow = _float(made, cut(made.model, each, texts)[0])
        model = quantize(made.model, texts, rank=each)
        took = cycles(model, CONFIG)
        add("rank", each, weights=model.weights, cycles=took, float_perplexity=narrow, **made.of_integers(model))


def _float(made: Measured, model: Llama) -> float:
    return made.of(lambda tokens: FloatDecoder(model, dtype=np.float64).step(tokens))["perplexity"]


def ahead(made: Measured) -> None:
    """Passes over the weights by the number of guessed tokens; the text is always the same."""
    texts = {}
    for count in AHEAD:
        writer = Writer(Decoder(made.quantized), _prompt(made.words), ahead=count)
        texts[count] = list(writer.write(STORY))
        took = cycles(made.quantized, CONFIG, 1 + count)
        rate = STORY * parse_config(CONFIG).clock_hz / (writer.steps * took)
        add("ahead", count, tokens=STORY, passes=writer.steps, cycles=took, tokens_per_second=round(rate))
    if any(text != texts[0] for text in texts.values()):
        raise RuntimeError("texts with guessed tokens differ from the one without")


def fusion(made: Measured) -> None:
    """Cycles with matrices of one input apart and together."""
    apart = {}
    for name, matrix in made.quantized.matrices.items():
        cuts = {"qkv": [made.model.shape.dim, made.model.shape.dim + made.model.shape.kv_dim]}
        cuts["gate_up"] = [made.model.shape.hidden]
        rows = np.split(np.arange(len(matrix.bias)), cuts.get(name.partition(".")[2], []))
        for number, chosen in enumerate(rows):
            scaling = dataclasses.replace(
                matrix.scaling, multiplier=matrix.scaling.multiplier[chosen], shift=matrix.scaling.shift[chosen]
            )
            apart[f"{name}.{number}"] = dataclasses.replace(
                matrix, weights=matrix.weights[chosen], bias=matrix.bias[chosen], scaling=scaling
            )
    split = dataclasses.replace(made.quantized, matrices=apart)
    for name, model in (("apart", split), ("together", made.quantized)):
        add("fusion", name, matrices=len(model.matrices), cycles=cycles(model, CONFIG))


def _prompt(words: Tokenizer) -> list[int]:
    return words.encode("Once upon a time")


def main() -> None:
    path, *chosen = sys.argv[1:]
    made = Measured(Path(path))
    parts = {part.__name__: part for part in (quality, whole, micro, memory, budget, rank, ahead, fusion)}
    for name in chosen or parts:
        parts[name](made)
        print(tables.TABLES[f"language-{name}"](), end="\n\n")


if __name__ == "__main__":
    main()
