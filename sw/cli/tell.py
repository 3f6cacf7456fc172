"""``sateen tell``."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import typer
from numpy.typing import NDArray

from sateen.cli.output import opened, status
from sateen.cli.printing import JsonFile, console, printable, write_document
from sateen.errors import DifferenceError, InputError, SateenError
from sateen.extras import install_hint
from sateen.files import atomic_write
from sateen.language import (
    Decoder,
    DeviceDecoder,
    DeviceProducts,
    EvictingCache,
    GoldenProducts,
    Int8Decoder,
    Int8Model,
    Quantized,
    Tokenizer,
    WatchedDecoder,
    WatchedInt8Decoder,
    Writer,
    check_size,
    device_refusal,
    load,
    load_micro,
    quantize,
    quantize_int8,
    quantize_micro,
    written,
)
from sateen.language.decoder import Llama
from sateen.language.integers import AnyDecoder
from sateen.language.quantizing import FIRST_SEED, SEEDS, TOKENS
from sateen.language.watching import Watched
from sateen.runtime.device import Device

__all__ = ["Told", "tell"]

GOLDEN = "golden"
"""The name that stands for the golden model, in place of a device's."""
MICRO, MICRO_DEVICE = "microgpt", "micro-lm"
"""The model that is part of Sateen, and the preset for it."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """What ``sateen tell`` wrote, and what it took."""

    FORMAT: ClassVar[str] = "sateen.tell/1"

    model: str
    device: str
    prompt: list[int]
    """Tokens of the prompt, the beginning token first."""
    tokens: list[int]
    """Tokens that were written."""
    text: str
    ended: str
    """Why the text ended, if not by the number of tokens."""
    passes: int
    """Passes over the weights for the tokens that were written."""
    seconds: float
    """Time that they took here."""
    whole: bool
    """Whether the decoder is the one in int8, of which the device computes everything behind the embedding up to the
    logits; else it computes the products with weights."""
    cycles: int | None
    """Clock cycles of the device for them; ``null`` without a device."""
    memory_cycles: int | None
    """Of these, cycles that waited for weights from SDRAM; ``null`` without SDRAM."""
    tokens_per_second: float | None
    """At the device's clock, with these cycles alone."""
    link_bytes: int | None
    """Bytes over the link in both directions for the tokens that were written; ``null`` without a device."""
    baud: int | None
    """Rate of the device's serial port, bits per second."""
    products: int | None
    """Products of a vector and a matrix on the device, each of which was compared with the golden model; ``null`` if
    it computes the whole decoder, or without a device."""
    compared: int | None
    """Tokens of the prompt and the text whose logits by the device were compared with the golden model's; ``null`` if
    it computes products alone, or without a device."""


class _Compared:
    """Products by a device, each compared with the golden model's."""

    def __init__(self, device: DeviceProducts, golden: GoldenProducts):
        self.device, self.golden, self.count = device, golden, 0

    def __call__(self, name: str, x: NDArray[np.int8]) -> NDArray[np.int8]:
        y = self.device(name, x)
        if not np.array_equal(y, self.golden(name, x)):
            raise DifferenceError(f"the device's product {name!r} differs from the golden model's")
        self.count += len(x)
        return y


def tell(
    model_file: Annotated[
        Path, typer.Argument(metavar="MODEL", help="Language model: llama2.c (.bin), GGUF, or microgpt, built in.")
    ],
    prompt: Annotated[str, typer.Argument(help="What the text begins with.")] = "",
    device: Annotated[
        str | None,
        typer.Option(
            "--device", "-d",
            help="A device, or golden: the golden model alone. By default sim:story, for microgpt sim:micro-lm.",
        ),
    ] = None,
    tokens: Annotated[int, typer.Option("--tokens", "-n", min=1, help="Tokens to write, at most.")] = 100,
    temperature: Annotated[float, typer.Option(help="0: the likeliest token each time; 1: as the model says.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn at a temperature above 0.")] = 1,
    ahead: Annotated[
        int, typer.Option(min=0, max=63, help="Tokens to guess from the text, and to check in one pass.")
    ] = 0,
    keep: Annotated[
        int | None, typer.Option(help="Positions that the cache keeps: the most attended and the most recent.")
    ] = None,
    rank: Annotated[int | None, typer.Option(help="Joint rank to which queries, keys and values are cut.")] = None,
    tokenizer: Annotated[Path | None, typer.Option(help="Tokenizer of a llama2.c model.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a page that shows what each token looked at, and what the cache kept.")
    ] = None,
    json: JsonFile = None,
) -> None:
    """Writes a text with a language model. A device with products=1, softmax=1, direct=1 and norms=1 computes all that
    is between the embedding and the choice of a token; others, and with --ahead, --keep or --rank every one, products
    with weights."""
    page = None if html is None else _page()
    if html is not None and not (html.parent.is_dir() and os.access(html.parent, os.W_OK)):
        raise InputError(f"cannot write into the folder {html.parent}; choose another with --html")
    micro = str(model_file) == MICRO and not model_file.exists()
    if micro and (ahead or keep is not None or rank is not None or tokenizer):
        raise InputError(
            f"{MICRO} is written whole, letter by letter: leave out --ahead, --keep, --rank and --tokenizer"
        )
    device = device or (f"sim:{MICRO_DEVICE}" if micro else "sim:story")
    with status(f"quantizing {model_file}"):
        check = device != GOLDEN
        task = _micro_task() if micro else _task(model_file, tokenizer, check, ahead, keep, rank)
    start = task.words.encode(prompt)
    options = {"temperature": temperature, "seed": seed, "ahead": ahead}
    if device == GOLDEN:
        decoder = task.golden(watched=page is not None)
        told = _told(decoder, None, task.words, start, tokens, options, device)
    else:
        with opened(device) as opened_device:
            decoder, on_device = task.on(opened_device, len(start) + tokens, watched=page is not None)
            told = _told(decoder, on_device, task.words, start, tokens, options, device)
    _summary(decoder, told)
    write_document(json, told)
    if html is not None and page is not None and isinstance(decoder, Watched):
        with atomic_write(html, "wb") as file:
            file.write(page(told, decoder, task.words).encode())
        console.print(f"{html}: what each token looked at")


@dataclass(frozen=True, kw_only=True)
class _Task:
    """A model that is to write, and how."""

    words: Tokenizer
    whole: Int8Model | None
    """In int8, if a device may compute everything."""
    model: Llama | None = None
    """As it is in its file; of the one that is part of Sateen a device computes everything or nothing."""
    texts: Sequence[Sequence[int]] = ()
    """Texts to quantize it with."""
    rank: int | None = None
    keep: int | None = None
    ahead: int = 0

    def golden(self, *, watched: bool) -> AnyDecoder:
        """The golden model."""
        if self.whole:
            return (WatchedInt8Decoder if watched else Int8Decoder)(self.whole)
        quantized, cache = self._products()
        return (WatchedDecoder if watched else Decoder)(quantized, GoldenProducts(quantized), cache)

    def on(self, device: Device, positions: int, *, watched: bool) -> tuple[AnyDecoder, DeviceDecoder | DeviceProducts]:
        """What computes on a device, and the device's share of it."""
        if self.whole and (self.model is None or not device_refusal(device.config)):
            everything = DeviceDecoder(device, self.whole, positions)
            return (WatchedInt8Decoder if watched else Int8Decoder)(self.whole, everything), everything
        quantized, cache = self._products()
        products = DeviceProducts(device, quantized, 1 + self.ahead)
        compared = _Compared(products, GoldenProducts(quantized))
        return (WatchedDecoder if watched else Decoder)(quantized, compared, cache), products

    def _products(self) -> tuple[Quantized, EvictingCache | None]:
        """The model in int8 products alone, and its cache, if that is limited."""
        assert self.model is not None
        cache = None if self.keep is None else EvictingCache(self.model.shape, self.keep)
        return quantize(self.model, self.texts, rank=self.rank), cache


def _micro_task() -> _Task:
    small, words = load_micro()
    return _Task(words=words, whole=quantize_micro(small))


def _task(file: Path, tokenizer: Path | None, check: bool, ahead: int, keep: int | None, rank: int | None) -> _Task:
    """That of a model's file. With these options the device computes products alone."""
    model, words = load(file, tokenizer)
    if check:
        check_size(model)
    texts = written(model, range(FIRST_SEED, FIRST_SEED + SEEDS), TOKENS)
    ideas = bool(ahead) or keep is not None or rank is not None
    return _Task(
        words=words, whole=None if ideas else quantize_int8(model, texts), model=model, texts=texts, rank=rank,
        keep=keep, ahead=ahead,
    )  # fmt: skip


def _page() -> Callable[[Told, Watched, Tokenizer], str]:
    """What makes a page of a text, before the text is written, which takes long."""
    try:
        from sateen.report.story import story
    except ImportError as error:
        raise SateenError(f"pages need Jinja ({error}); {install_hint('report')}") from error

    def page(told: Told, decoder: Watched, words: Tokenizer) -> str:
        rate, on_device = told.tokens_per_second, told.cycles is not None
        by = f"on {told.device}" if on_device else "by the golden model"
        alone = "" if told.whole else ", products alone"
        facts = {
            ("embedding to logits" if told.whole else "products with weights"): by,
            "tokens": f"{len(told.prompt):,} of the prompt, {len(told.tokens):,} written",
            "passes over the weights": f"{told.passes:,}",
            **({"cycles a pass": f"{told.cycles / told.passes:,.0f}"} if told.cycles and told.passes else {}),
            **({f"tokens/s at its clock{alone}": f"{rate:,.0f}"} if rate else {}),
            **({"golden model": f"all {told.products:,} products equal"} if told.products else {}),
            **({"golden model": f"logits of all {told.compared:,} tokens equal"} if told.compared else {}),
        }
        text = told.prompt + told.tokens
        return story(told.model, facts, text, len(told.prompt), decoder.steps, words, decoder.model.shape)

    return page


def _told(
    decoder: AnyDecoder, on_device: DeviceDecoder | DeviceProducts | None, words: Tokenizer, prompt: list[int],
    count: int, options: dict[str, Any], device: str,
) -> Told:  # fmt: skip
    """Writes and prints the text."""
    writer = Writer(decoder, prompt, ends=(words.begin, words.end), **options)
    cycles_before, bytes_before = (on_device.cycles, on_device.link_bytes) if on_device else (0, 0)
    waited_before = _waited(on_device)
    began = time.perf_counter()
    pieces = []

    def noted() -> Iterable[int]:
        yield from prompt
        yield from writer.write(count)

    for piece in words.stream(noted()):
        pieces.append(piece)
        console.print(printable(piece), end="")
        console.file.flush()
    console.print("\n")
    seconds, written = time.perf_counter() - began, writer.text[len(prompt) :]
    cycles = on_device.cycles - cycles_before if on_device else None
    waited = _waited(on_device)
    rate = len(written) * on_device.device.config.clock_hz / cycles if on_device and cycles else None
    products, name = getattr(decoder, "products", None), decoder.model.name
    return Told(
        model=name, device=device, prompt=prompt, tokens=written, text="".join(pieces), ended=writer.ended,
        passes=writer.steps, seconds=seconds, whole=isinstance(decoder, Int8Decoder), cycles=cycles,
        memory_cycles=None if waited is None or waited_before is None else waited - waited_before,
        tokens_per_second=rate, link_bytes=on_device.link_bytes - bytes_before if on_device else None,
        baud=on_device.device.config.line_baud if on_device else None,
        products=products.count if isinstance(products, _Compared) else None,
        compared=decoder.compared if isinstance(decoder, Int8Decoder) and on_device else None,
    )  # fmt: skip


def _waited(on_device: DeviceDecoder | DeviceProducts | None) -> int | None:
    """Cycles so far in which products waited for SDRAM; ``None`` without."""
    if isinstance(on_device, DeviceProducts) and on_device.device.config.sdram:
        return on_device.memory_cycles
    return None


def _count(number: int, one: str, more: str = "") -> str:
    return f"{number:,} {one if number == 1 else more or one + 's'}"


def _summary(decoder: AnyDecoder, told: Told) -> None:
    if told.ended:
        context = f" ({decoder.model.shape.context} tokens)" if "context" in told.ended else ""
        console.print(f"{told.ended}{context}")
    written, weights = len(told.tokens), decoder.model.weights
    console.print(
        f"{_count(written, 'token')} in {_count(told.passes, 'pass', 'passes')} over {weights:,} weights, "
        f"{written / told.seconds:.3g} tokens/s here"
    )
    if told.cycles is None or told.link_bytes is None or told.baud is None:
        return
    rate = f", {told.tokens_per_second:,.0f} tokens/s at its clock" if told.tokens_per_second else ""
    what = "everything from the embedding to the logits" if told.whole else "products with weights"
    host = "embedding, normalization, RoPE, attention, SiLU and residual sums"
    if told.whole:
        host = "looking up the embedding and choosing a token"
    console.print(
        f"{what} on {told.device}: {told.cycles / max(1, told.passes):,.0f} cycles a pass{rate}; "
        f"{host} on the host, not counted"
    )
    if told.memory_cycles is not None:
        waited = told.memory_cycles / max(1, told.passes)
        console.print(f"waiting for weights from SDRAM: {waited:,.0f} of these cycles")
    sent = told.link_bytes / max(1, written)
    console.print(
        f"link, not counted: {sent:,.0f} bytes a token, {1e4 * sent / told.baud:,.0f} ms at {told.baud:,} baud"
    )
    compared = f"the logits of all {told.compared:,} tokens" if told.whole else f"all {told.products:,} products"
    console.print(f"golden model: {compared} equal, bit for bit")
