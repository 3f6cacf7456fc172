"""Text to tokens and back: byte pair encoding by score, as llama2.c and SentencePiece do it."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Sequence

from sateen.errors import InputError, ModelFileError

__all__ = ["BEGIN", "END", "Tokenizer"]

BEGIN, END = 1, 2
"""Tokens that begin and end a text."""
BYTE = re.compile(rb"<0x([0-9A-Fa-f]{2})>")
"""What a token that stands for one byte is spelled as."""


class Tokenizer:
    """Pieces of text, each with a score.

    Parameters
    ----------
    pieces
        The bytes of each token; a space is a space.
    scores
        Of two neighbouring pieces, those are joined first whose joint piece has the highest score.
    begin, end
        Tokens that begin and end a text.

    Raises
    ------
    ModelFileError
        If there are fewer pieces than the special tokens need.
    """

    def __init__(self, pieces: Sequence[bytes], scores: Sequence[float], *, begin: int = BEGIN, end: int = END):
        if len(pieces) != len(scores) or max(begin, end) >= len(pieces):
            raise ModelFileError(f"a tokenizer of {len(pieces)} pieces lacks scores, or its tokens {begin} and {end}")
        self.pieces, self.scores, self.begin, self.end = tuple(pieces), tuple(scores), begin, end
        bytes_of = {token: BYTE.fullmatch(piece) for token, piece in enumerate(pieces)}
        self._byte_of = {token: bytes([int(match[1], 16)]) for token, match in bytes_of.items() if match}
        self._token_of_byte = {byte: token for token, byte in self._byte_of.items()}
        self._token_of: dict[bytes, int] = {}
        for token, piece in enumerate(pieces):
            if token not in self._byte_of:
                self._token_of.setdefault(piece, token)

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, the beginning token first. Characters without a piece are spelled in bytes.

        Raises
        ------
        InputError
            If a character has neither a piece nor tokens for its bytes.
        """
        if not text:
            return [self.begin]
        tokens = []
        # A text begins like a word inside another.
        for character in f" {text}":
            piece = character.encode("utf-8", "surrogateescape")
            if piece in self._token_of:
                tokens.append(self._token_of[piece])
                continue
            spelled = [self._token_of_byte.get(bytes([byte])) for byte in piece]
            known = [token for token in spelled if token is not None]
            if len(known) < len(spelled):
                raise InputError(
                    f"the tokenizer has no token for {character!r}, and none for its bytes; leave the character out"
                )
            tokens += known
        return [self.begin, *self._merged(tokens)]

    def _merged(self, tokens: list[int]) -> list[int]:
        """Joins neighbours, the best first, the first of equals."""
        while True:
            best: tuple[float, int, int] | None = None
            for place, (left, right) in enumerate(zip(tokens, tokens[1:], strict=False)):
                joined = self._token_of.get(self.pieces[left] + self.pieces[right])
                if joined is not None and (best is None or self.scores[joined] > best[0]):
                    best = self.scores[joined], place, joined
            if best is None:
                return tokens
            _, place, joined = best
            tokens[place : place + 2] = [joined]

    def shown(self, token: int) -> str:
        """A token by itself, for people; bytes that are no whole character as ``\\xNN``."""
        if token in (self.begin, self.end):
            return "⟨begin⟩" if token == self.begin else "⟨end⟩"
        return self._byte_of.get(token, self.pieces[token]).decode("utf-8", "backslashreplace")

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of tokens that follow a beginning token; it ends before the next beginning or ending token."""
        return "".join(self.stream(tokens))

    def stream(self, tokens: Iterable[int]) -> Iterable[str]:
        """The text token by token, as soon as its characters are whole."""
        decoder, first = codecs.getincrementaldecoder("utf-8")("replace"), True
        for token in tokens:
            if token in (self.begin, self.end):
                if first:
                    continue
                break
            piece = self._byte_of.get(token, self.pieces[token])
            yield decoder.decode(piece.removeprefix(b" ") if first else piece)
            first = False
        yield decoder.decode(b"", True)
