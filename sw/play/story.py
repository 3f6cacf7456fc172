"""A language model that writes on the page."""

from __future__ import annotations

from collections.abc import Iterator

from sateen.errors import CompileError, InputError
from sateen.language import Decoder, DeviceProducts, GoldenProducts, Products, Quantized, Tokenizer, Writer
from sateen.runtime import Device

__all__ = ["Story"]

MOST_CHARACTERS = 2000
"""Of what a text begins with."""
MOST_TOKENS = 1000
"""Of one text."""


class Story:
    """A language model. Several people may have it write at a time.

    Parameters
    ----------
    model, words
        The decoder and its tokenizer.
    device
        Computes the products with weights if they all fit; else the golden model does.
    name
        Of the device, for people.
    """

    def __init__(self, model: Quantized, words: Tokenizer, device: Device, name: str):
        self.model, self.words = model, words
        self.products: Products
        try:
            self.products, self.where = DeviceProducts(device, model), f"products with weights on {name}"
        except CompileError as error:
            self.products, self.where = GoldenProducts(model), f"by the golden model, not on {name}: {error}"

    def write(self, prompt: str) -> Iterator[str]:
        """A text that begins with ``prompt``, piece by piece, each as soon as it is known.

        Raises
        ------
        InputError
            If the prompt is longer than the model's context, or has characters that the tokenizer cannot spell.
        """
        if len(prompt) > MOST_CHARACTERS:
            raise InputError(f"a text begins with at most {MOST_CHARACTERS:,} characters")
        begin = self.words.encode(prompt)
        writer = Writer(Decoder(self.model, self.products), begin, ends=(self.words.begin, self.words.end))

        def tokens() -> Iterator[int]:
            yield from begin
            yield from writer.write(MOST_TOKENS)

        yield from self.words.stream(tokens())
