"""Latencies between the units, in cycles, for the cycle model. The gateware's own properties are tested against them."""

from __future__ import annotations

from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import DESCRIPTOR_WORDS, SECTIONS

__all__ = [
    "BLOCK_DEPTH",
    "PARAMETER_QUEUE",
    "RECORD",
    "REQUANTIZE",
    "SERIAL_SHIFTS",
    "TOGETHER",
    "WAY",
    "Timing",
    "block_memory_latency",
    "choice_steps",
    "settle",
]

BLOCK_DEPTH = 2048
"""Words of a byte in a block RAM (2048×9 on ECP5)."""
PARAMETER_QUEUE = 16
"""Words of channels' parameters that wait until there is room for their group, so that the weights behind them need
not."""
RECORD = 7
"""Cycles in which a sequential engine writes a descriptor's counters."""
REQUANTIZE = 26
"""Cycles of a serial requantization."""
SERIAL_SHIFTS = 7
"""Of these, those that shift; more only where a scale is 2^7 or larger."""
TOGETHER = 4
"""Columns, lanes of a memory or of post-processing that one register reaches: they lie all over the chip."""
WAY = 2
"""Registers on the way to the array's edges, of which the farthest are at the chip's other end."""


def choice_steps(count: int) -> int:
    """Cycles of a choice of one out of ``count``, out of four in each."""
    return max(1, -(-(count - 1).bit_length() // 2))


def block_memory_latency(*, lanes: int, depth: int) -> int:
    """Cycles from an address to the word there, in a memory of ``depth`` words of ``lanes`` bytes.

    A block RAM and its output register, the choice of a block, and with more lanes than that a register on
    the way there for every :data:`TOGETHER` lanes.
    """
    return 2 + choice_steps(-(-depth // BLOCK_DEPTH)) + (-(-lanes // TOGETHER) if lanes > TOGETHER else 0)


def settle(config: Config) -> int:
    """Cycles in which a sequential engine waits for its sums, from the last cycle that the tile takes anything."""
    kind = config.pe_kind
    return kind.feed + config.rows + kind.latency + kind.foot + config.cols + 2


class Timing:
    """What passes between one unit's event and another's, for one configuration."""

    def __init__(self, config: Config):
        kind = config.pe_kind
        steps = -(-(config.banks - 1).bit_length() // 2)
        weights = block_memory_latency(lanes=config.cols, depth=config.weight_words)
        program = block_memory_latency(lanes=4, depth=config.descriptors * DESCRIPTOR_WORDS)
        self.scratchpad_read = 2 + block_memory_latency(lanes=1, depth=config.scratchpad_bytes // config.banks) + steps
        """Of the scratchpad: from an address to its bytes."""
        self.first_word = 4 + program
        """From RUN to the first descriptor word's arrival at the units."""
        self.spare_words = DESCRIPTOR_WORDS - sum(SECTIONS.values())
        """Words of a descriptor after its last section."""
        self.weight_store_latency = 4 + weights
        """From the weight section's last word to the first word of the weight store that is taken."""
        self.weights_to_tile = 1 + kind.load
        """From a word taken to the tile's having it."""
        self.output_to_table = -1
        """From the output section's last word to the first of a table's words."""
        self.line_latency = 7 + config.group + self.scratchpad_read
        """From the output section's last word to the first line of a pair."""
        self.activation_latency = 7 + config.group + kind.feed + self.scratchpad_read
        """From the output section's last word to the first beat at the tile."""
        self.release_to_beat = 6 + config.group + kind.feed + self.scratchpad_read
        """From the last sum of a half read to the first beat for it at the tile."""
        self.release_to_free = 3
        """From the last sum of a half read to the activation unit's knowing that it is free."""
        self.beat_to_full = WAY + config.rows + kind.latency + kind.foot + config.cols + 4
        """From a half's last beat to the output unit's opening it."""
        self.parameters_to_full = 0
        """From a group's last parameter word to the output unit's opening its half."""
        self.reopen = 1
        """From a half's last sum read to the opening of the next."""
        combiner = 4 if config.tables else 0
        self.open_to_free = 6 + combiner
        """From a half's opening to room for the next group's parameters."""
        self.drain_to_done = 23 + combiner
        """From the last sum read to the last result written."""
        self.waiting_lines = 8
        """Lines of activations that wait for the tile at most."""
        self.prefetched_words = 7 + weights
        """Words under way between weight store and tile."""
