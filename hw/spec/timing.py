"""Latencies between the units, in cycles, for gateware and cycle model. Tests compare them with the gateware's own."""

from __future__ import annotations

from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import DESCRIPTOR_WORDS, SECTIONS
from sateen.hw.spec.layer_norm import UNIT_BITS

__all__ = [
    "ADD_CYCLES",
    "BLOCK_DEPTH",
    "DIVIDE_CYCLES",
    "EDGE_STAGES",
    "FANOUT",
    "FUSED_CYCLES",
    "LONG_DELAY",
    "LONG_PASSAGE",
    "LUT_DEPTH",
    "OPERAND_SETTLE",
    "PARAMETER_QUEUE_DEPTH",
    "QUOTIENT_CYCLES",
    "RECIPROCAL_CYCLES",
    "RECORD_CYCLES",
    "REQUANTIZE_CYCLES",
    "RESIDUAL_CYCLES",
    "REVISIT_CYCLES",
    "SERIAL_SHIFTS",
    "Timing",
    "adder_stages",
    "back_latency",
    "block_depths",
    "block_memory_latency",
    "flush_cycles",
    "mux_stages",
    "normalizing_cycles",
    "packed_memory_latency",
    "residual_pace",
    "residual_spare",
    "rotation_steps",
    "row_cycles",
    "weight_store_latency",
]

BLOCK_DEPTH = 2048
"""Words of a byte in a block RAM (2048×9 on ECP5)."""
LUT_DEPTH = 256
"""Most words of a scratchpad's bank that can be made of LUTs."""
PARAMETER_QUEUE_DEPTH = 16
"""Words of channel parameters that can wait for their group's turn without blocking the weights behind them."""
RECORD_CYCLES = 7
"""Cycles that a sequential engine takes to write a descriptor's counters."""
REVISIT_CYCLES = 4
"""Cycles after which a position of a pipelined engine's accumulators may be added to again."""
REQUANTIZE_CYCLES = 26
"""Cycles of a serial requantization."""
SERIAL_SHIFTS = 7
"""Of these, those that shift; a scale of 2^7 or larger takes more."""
FANOUT = 4
"""Columns, memory lanes or post-processing lanes that one register drives: they are spread over the chip."""
EDGE_STAGES = 2
"""Pipeline registers before the array's edges, the farthest of which are at the other end of the chip."""
LONG_DELAY, LONG_PASSAGE = 11, 3
"""Cycles from which on a delay is a memory of LUTs, where there are any: at the array's edges, and of weights on their
way to the next row that takes one."""
RECIPROCAL_CYCLES = 62
"""Cycles from the sum of a row's exponentials to its reciprocal."""
ADD_CYCLES, DIVIDE_CYCLES = 2, 10
"""Cycles that a float32 takes to be added to a row's sum, and a lane to divide it by that sum."""
FUSED_CYCLES, QUOTIENT_CYCLES = 13, 28
"""Cycles of a fused multiplication and addition of float32, one of which may begin in every cycle; of a quotient or a
root."""
OPERAND_SETTLE = 12
"""Cycles from the end of a descriptor that writes words of the weight store until these are read."""

RESIDUAL_CYCLES = 18
"""Cycles from a result to its sum with a residual byte."""


def adder_stages(count: int) -> int:
    """Cycles of a pipelined sum of ``count`` terms, :data:`FANOUT` in each."""
    stages = 0
    while count > 1:
        count, stages = -(-count // FANOUT), stages + 1
    return stages


def mux_stages(count: int) -> int:
    """Cycles of a pipelined ``count``:1 multiplexer, 4:1 in each."""
    return max(1, -(-(count - 1).bit_length() // 2))


def normalizing_cycles(bits: int) -> int:
    """Cycles in which a number of so many bits loses its leading zeros, by eight places or by one in each."""
    return max(zeros // 8 + zeros % 8 for zeros in range(bits))


def row_cycles(length: int, longest: int) -> int:
    """Cycles of a layer normalization from a row's first line to that of the next row, if its lines are there;
    ``longest`` is the device's most values."""
    between = normalizing_cycles(UNIT_BITS + (longest - 1).bit_length())
    # Passes of a cycle for each value, of two and of three; ten additions and four quotients after each other.
    return 6 * length + 10 * FUSED_CYCLES + 4 * QUOTIENT_CYCLES + between + 12


def block_depths(*, lanes: int, depth: int) -> list[int]:
    """Words of the blocks of a memory of ``depth`` words of ``lanes`` bytes, from the first word on.

    Two bytes beside each other fill half of a block RAM's words, four a quarter: so what remains below whole blocks is
    divided where that takes fewer block RAMs and no more cycles.
    """
    whole, rest = divmod(depth, BLOCK_DEPTH)
    half, quarter = BLOCK_DEPTH // 2, BLOCK_DEPTH // 4
    divided = lanes >= 4 and whole and half < rest <= half + quarter
    if divided and mux_stages(whole + 2) == mux_stages(whole + 1):
        return [BLOCK_DEPTH] * whole + [half, rest - half]
    return [BLOCK_DEPTH] * whole + ([rest] if rest else [])


def block_memory_latency(*, lanes: int, depth: int) -> int:
    """Cycles from an address to the word there, in a memory of ``depth`` words of ``lanes`` bytes.

    A block RAM and its output register, the multiplexer of the blocks, and with more than :data:`FANOUT` lanes an input
    register for each :data:`FANOUT` of them.
    """
    return 2 + mux_stages(-(-depth // BLOCK_DEPTH)) + (-(-lanes // FANOUT) if lanes > FANOUT else 0)


def packed_memory_latency(depth: int) -> int:
    """Cycles from an address to the word there, in a memory of wide words: two registers of the address, a block RAM
    and its output register, the multiplexer of the blocks."""
    return 4 + mux_stages(-(-depth // BLOCK_DEPTH))


def weight_store_latency(config: Config) -> int:
    """Cycles from an address of the weight store to the words there."""
    depth = config.weight_words // config.weight_rows
    if config.weights_packed:
        return packed_memory_latency(depth)
    return block_memory_latency(lanes=config.weight_rows * config.cols, depth=depth)


def rotation_steps(banks: int) -> int:
    """Cycles in which a line of the scratchpad gets to its place."""
    return -(-(banks - 1).bit_length() // 2)


def back_latency(config: Config) -> int:
    """Cycles from the address at the scratchpad's port that writes to the bytes there."""
    bank = block_memory_latency(lanes=1, depth=config.scratchpad_bytes // config.banks)
    return 1 + bank + 2 * rotation_steps(config.banks)


def residual_pace(config: Config) -> int:
    """Cycles of an item of ``lanes`` results to which residual bytes are added; 0: the device does not do that."""
    return config.lanes // config.residual if config.residual else 0


def residual_spare(config: Config) -> int:
    """Cycles by which sums with residual bytes come later, so that lines are not read, through the port that writes
    and a register before it, in the cycles in which results are written."""
    return int((RESIDUAL_CYCLES + 1 + back_latency(config)) % residual_pace(config) == 0)


def flush_cycles(config: Config) -> int:
    """Cycles from the last one in which a sequential engine's tile takes anything until all sums are in memory."""
    kind = config.pe_kind
    return kind.feed + config.rows + kind.latency + kind.foot + config.cols + 2


class Timing:
    """Cycles between events of different units, for one configuration."""

    operand_settle = OPERAND_SETTLE - 2
    """From the writing of a descriptor's last result to the time at which the weight section's last word would have
    arrived, had the words not waited for that."""
    output_to_table = -1
    """From the output section's last word to the first of a table's words."""
    loaded_to_full = 2
    """From the output section's last word to tables that stay."""
    release_to_free = 3
    """From the reading of a half's last sum until the activation unit knows that the half is free."""
    parameters_to_full = 0
    """From a group's last parameter word until the output unit opens its half."""
    reopen = 1
    """From the reading of a half's last sum to the opening of the next half."""
    reciprocal = RECIPROCAL_CYCLES
    """Of a softmax, from the time at which its reciprocal is computed until the row's results can be read."""
    entries_to_taken = 7
    """Of a softmax of float32, from the reading of a row's first results until those of the next row can be."""
    row_to_entries = 2
    """Of a layer normalization, from the time at which the next row's first line can be taken to the reading of the
    last entries' first."""
    loaded_to_item = -1
    """From the output section's last word to a time at which an item with residual bytes may be read."""
    loaded_to_first = 4
    """From the output section's last word to the first request."""
    loaded_to_request = 5
    """With ``overlap``, from the activation section's last word to the first request, at the earliest."""
    request_to_request = 5
    """With ``overlap``, from a descriptor's last request to the next one's first, at the earliest, beyond one."""
    loaded_to_open = 1
    """From the output section's last word to the first opening of a part of the accumulators, at the earliest."""
    waiting_lines = 8
    """Most lines of activations that wait for the tile."""
    spare_words = DESCRIPTOR_WORDS - sum(SECTIONS.values())
    """Words of a descriptor after its last section."""

    def __init__(self, config: Config):
        kind = config.pe_kind
        steps = rotation_steps(config.banks)
        weights = weight_store_latency(config)
        program = block_memory_latency(lanes=4, depth=config.descriptors * DESCRIPTOR_WORDS)
        self.scratchpad_read = 2 + block_memory_latency(lanes=1, depth=config.scratchpad_bytes // config.banks) + steps
        """From an address of the scratchpad to its bytes."""
        self.first_word = 4 + program
        """From RUN to the first descriptor word's arrival at the units."""
        self.weight_store_latency = 5 + weights
        """From the weight section's last word to the first word taken from the weight store."""
        self.sum_latency = self.weight_store_latency - 3
        """The same, to the first word of a residual sum."""
        self.line_latency = 7 + config.group + self.scratchpad_read
        """From the output section's last word to the first line of a pair."""
        self.activation_latency = 7 + config.group + kind.feed + self.scratchpad_read
        """From the output section's last word to the first beat at the tile."""
        self.release_to_beat = 6 + config.group + kind.feed + self.scratchpad_read
        """From the reading of a half's last sum to the first beat for that half at the tile."""
        self.beat_to_full = EDGE_STAGES + config.rows + kind.latency + kind.foot + config.cols + 4
        """From a half's last beat until the output unit opens it."""
        combiner = 4 if config.tables else 0
        self.entries_to_sum = 8 + combiner + adder_stages(config.lanes)
        """Of a softmax, from the reading of a row's last entries to the time from which its reciprocal is computed."""
        self.entries_to_scale = 5 + combiner
        """Of a softmax, from the reading of a row's first results until the scale of the next row can follow."""
        self.paces = ADD_CYCLES * config.lanes, DIVIDE_CYCLES
        """Of a softmax of float32, from entries that are added up, or divided, to the next ones, at the least."""
        self.entries_to_total = 9 + ADD_CYCLES * config.lanes
        """Of a softmax of float32, from the reading of a row's last entries until its results can be read."""
        self.row_to_row = 2 + (config.cols - 1).bit_length()
        """Of a softmax, from the last line of a row's first pass to the first line of the next row's, at the least."""
        self.open_to_free = 6 + combiner
        """From a half's opening to room for the next group's parameters."""
        self.drain_to_done = 23 + combiner
        """From the reading of the last sum to the writing of the last result."""
        self.loaded_to_unit = -8 - combiner
        """From the output section's last word to a time at which the unit of recurrent layers may take four sums; so it
        may every :data:`~sateen.hw.spec.recurrent.UNIT_CYCLES`."""
        self.opened_to_unit = 1 + config.overlap
        """From a part's opening to the time at which the unit may take its first sums, at the earliest."""
        self.drain_to_value = self.drain_to_done - 4
        """The same, of a recurrent layer's values, from the last four sums of which one counts."""
        self.drain_to_hidden = self.drain_to_done + 63
        """Of its hidden values, from a cell's sums."""
        self.residual_pace = residual_pace(config)
        """Cycles of an item with residual bytes."""
        self.drain_to_sum = self.drain_to_done
        """From the reading of the last item with residual bytes to the writing of its results."""
        if config.residual:
            self.drain_to_sum += RESIDUAL_CYCLES + residual_spare(config) + self.residual_pace
        late = max(0, steps - 2)
        self.done_to_request = late
        """With ``overlap``, from a descriptor's last result to the requests that waited for it."""
        self.part_to_request = 1 + late
        """With ``overlap``, from the last result of a part of the accumulators to the requests that waited for it."""
        self.prefetched_words = 7 + weights
        """Words under way between weight store and tile."""
