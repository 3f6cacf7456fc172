"""A line that damages frames in every way that lines do."""

from __future__ import annotations

import random
from collections import Counter, deque
from typing import Any

from sateen.hw.spec.wire import FLAG

__all__ = ["KINDS", "Disturbed"]

KINDS = ("flip", "drop", "insert", "repeat", "reorder", "again", "delay", "cut", "burst")
"""A bit flipped; a byte lost, or too many; the frame twice; before the one that was sent before it; before one that was
sent long ago; late; cut short; a run of bytes that are anything."""
MEMORY = 30
"""Frames of long ago that are kept."""
SILENCE_SECONDS = 5e-5
"""After as much simulated time without an answer there is none: programs here take less."""


class Disturbed:
    """A transport around another.

    Parameters
    ----------
    inner
        The transport of a simulated device.
    rate
        Share of the frames that are disturbed, in each direction.
    seed
        Of all that happens.
    kinds
        In which ways.
    silence
        Simulated seconds without an answer after which there is none: most of a soak is such silence.
    """

    bits_per_second = clock_hz = float("inf")

    def __init__(
        self, inner: Any, rate: float, seed: int, *, kinds: tuple[str, ...] = KINDS, silence: float = SILENCE_SECONDS
    ):
        self.inner, self.rate, self.kinds, self.silence, self.rng = inner, rate, kinds, silence, random.Random(seed)
        self.counts: Counter[str] = Counter()
        """Disturbed frames by kind."""
        self._held = {"out": b"", "in": b""}
        self._last: dict[str, deque[bytes]] = {way: deque([], maxlen=MEMORY) for way in ("out", "in")}

    def now(self) -> float:
        """Simulated seconds."""
        return float(self.inner.now())

    def close(self) -> None:
        """The other transport stays open."""

    def exchange(self, data: bytes, *, timeout: float) -> bytes:
        """See :class:`sateen.runtime.transport.Transport`."""
        sent = self._passed(data, "out") if data else b""
        return self._passed(self.inner.exchange(sent, timeout=min(timeout, self.silence)), "in")

    def _passed(self, data: bytes, way: str) -> bytes:
        held, self._held[way] = self._held[way], b""
        if not data:
            return held
        last = self._last[way]
        before, long_ago = (last[-1], self.rng.choice(last)) if last else (data, data)
        last.append(data)
        if self.rng.random() >= self.rate:
            return held + data
        kind = self.rng.choice(self.kinds)
        self.counts[kind] += 1
        rng, place = self.rng, self.rng.randrange(len(data))
        if kind == "delay":
            self._held[way] = data
            return held
        changed = {
            "flip": lambda: data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :],
            "drop": lambda: data[:place] + data[place + 1 :],
            "insert": lambda: data[:place] + bytes([rng.choice([FLAG, rng.randrange(256)])]) + data[place:],
            "repeat": lambda: data + data,
            "reorder": lambda: data + before,
            "again": lambda: data + long_ago,
            "cut": lambda: data[:place],
            "burst": lambda: data[:place] + rng.randbytes(length := rng.randrange(1, 40)) + data[place + length :],
        }
        return held + changed[kind]()
