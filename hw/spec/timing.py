"""Latencies between the units, in cycles, for the cycle model. The gateware's own properties are tested against them."""

from __future__ import annotations

from weft.hw.spec.config import Config
from weft.hw.spec.descriptor import DESCRIPTOR_WORDS, SECTIONS

__all__ = ["Timing"]


class Timing:
    """What passes between one unit's event and another's, for one configuration."""

    def __init__(self, config: Config):
        kind = config.pe_kind
        steps = -(-(config.banks - 1).bit_length() // 2)
        spread = -(-config.cols // 4) if config.cols > 4 else 0
        self.scratchpad_read = 5 + steps
        """Of the scratchpad: from an address to its bytes."""
        self.first_word = 7
        """From RUN to the first descriptor word's arrival at the units."""
        self.spare_words = DESCRIPTOR_WORDS - sum(SECTIONS.values())
        """Words of a descriptor after its last section."""
        self.weight_latency = 8 + spread + kind.load
        """From the weight section's last word to the first weight word at the tile."""
        self.weight_store_latency = 8 + spread
        """From the weight section's last word to the first weight word."""
        self.output_to_table = -1
        """From the output section's last word to the first of a table's words."""
        self.line_latency = 6 + config.group + self.scratchpad_read
        """From the output section's last word to the first line of a pair."""
        self.activation_latency = 6 + config.group + kind.feed + self.scratchpad_read
        """From the output section's last word to the first beat at the tile."""
        self.release_to_beat = 6 + config.group + kind.feed + self.scratchpad_read
        """From the last sum of a half read to the first beat for it at the tile."""
        self.release_to_free = 3
        """From the last sum of a half read to the activation unit's knowing that it is free."""
        self.beat_to_full = config.rows + kind.latency + kind.foot + config.cols + 3
        """From a half's last beat to the output unit's opening it."""
        self.parameters_to_full = 0
        """From a group's last parameter word to the output unit's opening its half."""
        self.reopen = 1
        """From a half's last sum read to the opening of the next."""
        combiner = 4 if config.tables else 0
        self.open_to_free = 6 + combiner
        """From a half's opening to room for the next group's parameters."""
        self.drain_to_done = 22 + combiner
        """From the last sum read to the last result written."""
        self.waiting_lines = 8
        """Lines of activations that wait for the tile at most."""
        self.prefetched_words = 10 + spread
        """Words under way between weight store and tile."""
