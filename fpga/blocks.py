"""Block RAMs and multipliers of a configuration, exactly: by the rules of the gateware, and of Yosys for memories that
it infers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sateen.fpga.parts import Part
from sateen.hw.spec.config import Config
from sateen.hw.spec.counters import RECORD_WORDS
from sateen.hw.spec.descriptor import DESCRIPTOR_WORDS
from sateen.hw.spec.identity import IDENTITY_BYTES
from sateen.hw.spec.layer_norm import LIMIT_RECORDS
from sateen.hw.spec.nests import COUNT_BITS
from sateen.hw.spec.norms import INDEX_BITS, ROOT_BITS
from sateen.hw.spec.parameters import TABLE_ENTRIES
from sateen.hw.spec.recurrent import SIGMOIDS, SLOPE_BITS, VALUE_BITS
from sateen.hw.spec.timing import BLOCK_DEPTH, FANOUT, LUT_DEPTH, block_depths

__all__ = ["Blocks", "blocks", "multiplier_pes"]

REQUANTIZE_MULTIPLIERS, COMBINE_MULTIPLIERS, CELL_MULTIPLIERS = 4, 1, 6
"""Of each post-processing lane: for the product of 32 by 31 bits; for sums of scaled tensors, where there are
tables. The last are the unit's of recurrent layers, which has a lane of its own."""
FUSED_MULTIPLIERS = 4
"""For the product of two mantissas of float32."""
ECP5_WIDTHS = {1: 16384, 2: 8192, 4: 4096, 9: 2048, 18: 1024, 36: 512}
ICE40_WIDTHS = {2: 2048, 4: 1024, 8: 512, 16: 256}
GOWIN_WIDTHS = {1: 16384, 2: 8192, 4: 4096, 9: 2048, 18: 1024, 36: 512}
"""Widths of a block RAM, and the words that it has then."""
BLOCK_COST, DISTRIBUTED_COST, CHOICE_COST = 128, 4, 0.4
"""What Yosys counts for a block RAM, for each 16 words of 4 bits in LUTs, and for choosing a bit of one more such word;
the cheaper is taken, and of equals the block RAM. The last is by trial: of memories of bytes, 176 words are LUTs and
192 a block RAM."""
PORT_BYTES = 32768
"""Size of a single-port memory of the iCE40 UltraPlus."""
PORT_DEEP = 4096
"""Least bytes of a sequential engine's bank that is made of one."""
MULTIPLIER_BITS = {"ecp5": 18, "gowin": 18, "up5k": 16}
"""By technology, the widest factors of its multipliers; others have none."""


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """What a configuration takes of the large cells."""

    multipliers: int
    block_rams: int
    single_port_rams: int = 0


def blocks(config: Config, part: Part) -> Blocks:
    """The large cells of a configuration on a part."""
    rams = single = 0
    if config.engine == "sequential":
        depth = -(-(config.scratchpad_bytes + config.weight_bytes) // config.banks)
        if part.technology == "up5k" and PORT_DEEP <= depth <= PORT_BYTES:
            single = config.banks
        else:
            rams += config.banks * _inferred(8, depth, part)
    rams += sum(_inferred(bits, depth, part) for bits, depth in _inferred_memories(config))
    if config.engine == "pipelined":
        rams += sum(_block(lanes, depth, whole, part) for lanes, depth, whole in _blocks(config))
    return Blocks(
        multipliers=_multipliers(config, part),
        block_rams=rams,
        single_port_rams=single,
    )


def multiplier_pes(config: Config) -> int:
    """PEs that use hardware multipliers, where there are any: whole rows."""
    if config.pe not in ("mac", "packed"):
        return 0
    given = config.rows * config.cols if config.multipliers is None else config.multipliers
    return given // config.cols * config.cols


def _multipliers(config: Config, part: Part) -> int:
    if part.technology not in MULTIPLIER_BITS:
        return 0
    lanes = config.lanes * (REQUANTIZE_MULTIPLIERS + COMBINE_MULTIPLIERS * config.tables + config.norms)
    # Of weights 9 bits apart.
    fits = config.pe != "packed" or MULTIPLIER_BITS[part.technology] >= 9 + min(9, config.weight_bits + 1)
    pes = multiplier_pes(config) // config.pe_kind.columns if fits else 0
    lanes += CELL_MULTIPLIERS * bool(config.recurrent)
    lanes += REQUANTIZE_MULTIPLIERS * config.residual
    lanes += FUSED_MULTIPLIERS * bool(config.layer_norm)
    return pes + (lanes if config.engine == "pipelined" else 0)


def _inferred_memories(config: Config) -> Iterator[tuple[int, int]]:
    """Bits and words of the memories with a registered read that are left to Yosys, but for a sequential engine's
    banks."""
    yield 8, IDENTITY_BYTES
    yield 8, config.frame_bytes
    yield 8, 2 * config.frame_bytes
    if config.layer_norm:
        yield 32, config.layer_norm
        yield 64, LIMIT_RECORDS + config.layer_norm
    if config.norms:
        yield ROOT_BITS - 1, 1 << INDEX_BITS
    if config.recurrent:
        yield 16, config.recurrent
        yield VALUE_BITS + SLOPE_BITS, len(SIGMOIDS)
    if config.engine == "sequential":
        for _ in range(4):
            yield 8, config.descriptors * DESCRIPTOR_WORDS
        yield 32, config.descriptors * RECORD_WORDS
        yield COUNT_BITS, 16
        for _ in range(config.cols):
            yield 32, config.positions


def _blocks(config: Config) -> Iterator[tuple[int, int, bool]]:
    """Bytes, words and whether words are written whole, of a pipelined engine's memories as they are divided into what
    is at most as deep as a block RAM."""
    depth = config.scratchpad_bytes // config.banks
    for _ in range(0 if config.lutram and depth <= LUT_DEPTH else config.banks):
        yield from _levels(1, depth)
    yield from _levels(4, config.descriptors * DESCRIPTOR_WORDS)
    yield from _levels(4, config.descriptors * RECORD_WORDS)
    for _ in range(0 if config.lutram else 2 * config.cols):
        yield 4, config.positions + TABLE_ENTRIES * config.direct, True
    for _ in range(2 * config.residual):
        yield 4, TABLE_ENTRIES, True
    columns, depth = config.cols * config.weight_rows, config.weight_words // config.weight_rows
    if not config.weights_packed:
        yield from _levels(columns, depth)
        return
    bits = 8 * columns
    for start in range(0, bits, 36):
        for first in range(0, depth, BLOCK_DEPTH):
            words = min(BLOCK_DEPTH, depth - first)
            yield 4 if words <= BLOCK_DEPTH // 4 else -(-min(36, bits - start) // 9), words, True


def _levels(lanes: int, depth: int) -> Iterator[tuple[int, int, bool]]:
    """The blocks of a memory of words of some bytes; those of wide words have two bytes each, or four."""
    shallow = depth > BLOCK_DEPTH and block_depths(lanes=lanes, depth=depth)[-1] <= BLOCK_DEPTH // FANOUT
    beside = FANOUT if shallow else 2
    groups = [lanes] if lanes <= FANOUT else [min(beside, lanes - first) for first in range(0, lanes, beside)]
    for group in groups:
        for words in block_depths(lanes=group, depth=depth):
            yield group, words, False


def _block(lanes: int, depth: int, whole: bool, part: Part) -> int:
    """Block RAMs of one block: on an ECP5 most are instantiated."""
    if part.technology == "ecp5" and depth <= BLOCK_DEPTH:
        if whole and lanes == 4 and 128 < depth <= ECP5_WIDTHS[36]:
            return 1
        if depth > ECP5_WIDTHS[36]:
            return -(-lanes // 2) if depth <= ECP5_WIDTHS[18] else lanes
    return _inferred(8 * lanes, depth, part)


def _inferred(bits: int, depth: int, part: Part) -> int:
    """Block RAMs of a memory that Yosys infers; none if it is cheaper from LUTs."""
    widths = {"ecp5": ECP5_WIDTHS, "gowin": GOWIN_WIDTHS}.get(part.family, ICE40_WIDTHS)
    count = min(-(-bits // width) * -(-depth // words) for width, words in widths.items())
    if part.family in ("ecp5", "gowin"):
        words = -(-depth // 16)
        distributed = DISTRIBUTED_COST * words * -(-bits // 4) + CHOICE_COST * bits * (words - 1)
        return 0 if distributed < BLOCK_COST * count else count
    return count
