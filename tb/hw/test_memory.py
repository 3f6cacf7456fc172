"""Memories: what was written is read, at the documented latency, whatever the depth."""

import re

import pytest

from harness import run
from sateen.fpga.flow import Technology, synthesize
from sateen.fpga.parts import PARTS
from sateen.fpga.probe import Probe
from sateen.hw.export import ports
from sateen.hw.memory import Block, BlockMemory
from sateen.hw.rtlil import converted
from sateen.hw.scratchpad import Scratchpad


@pytest.mark.parametrize(("lanes", "depth"), [
    (1, 1), (3, 5), (2, 5000), (10, 2049), (1, 9000),
    pytest.param(4, 2048, marks=pytest.mark.prove), pytest.param(2, 2049, marks=pytest.mark.prove),
])  # fmt: skip
def test_block_memory(lanes, depth):
    run("block-memory", lanes=lanes, depth=depth)


@pytest.mark.parametrize(("lanes", "depth"), [
    (1, 2048), (3, 1024), (2, 1025), (6, 3500),
    pytest.param(4, 5000, marks=pytest.mark.prove), pytest.param(6, 2600, marks=pytest.mark.prove),
    pytest.param(6, 4500, marks=pytest.mark.prove),
])  # fmt: skip
def test_block_memory_on_ecp5(lanes, depth):
    run("block-memory", technology="ecp5", lanes=lanes, depth=depth)


@pytest.mark.parametrize(("banks", "depth"), [(2, 8), (8, 20), (16, 32), pytest.param(4, 16, marks=pytest.mark.prove)])
def test_scratchpad(banks, depth):
    run("scratchpad", banks=banks, depth=depth, logic=int(banks == 8))


@pytest.mark.parametrize(("banks", "depth", "technology"), [
    (2, 8, None), (16, 32, None), (8, 20, None), (4, 2500, None), (16, 300, "ecp5"), (2, 2100, "ecp5"),
    pytest.param(8, 600, "ecp5", marks=pytest.mark.prove),
])  # fmt: skip
def test_scratchpad_reads_where_it_writes(banks, depth, technology):
    run("scratchpad", technology=technology, banks=banks, depth=depth, logic=int(banks == 8), back=1)


@pytest.mark.parametrize("depth", [129, 512, 1024, 4096])
def test_a_second_read_takes_no_more_block_rams(depth):
    """The port that writes a DP16KD is there anyway."""
    memory = Scratchpad(banks=4, depth=depth, reads_back=True)
    text = converted(memory, name="memory", ports=ports(memory), platform=Technology("ecp5"))
    assert "$mem" not in text
    assert len(re.findall(r"^  cell \\DP16KD ", text, re.MULTILINE)) == 4 * -(-depth // 2048)


@pytest.mark.parametrize("depth", [16, 129, 512, 1024, 2048, 4096])
@pytest.mark.parametrize("whole", [False, True])
def test_block_rams_have_room_for_their_words(depth, whole):
    """Where block RAMs are instantiated, as many as the words need: an address that they have no pins for is lost
    silently."""
    block = Block(lanes=4, depth=depth, whole=whole)
    text = converted(block, name="block", ports=ports(block), platform=Technology("ecp5"))
    count = len(re.findall(r"^  cell \\DP16KD ", text, re.MULTILINE))
    assert count in (0, -(-depth // 2048) * 4, -(-depth // 1024) * 2, -(-depth // 512))
    assert count == 0 or count * 2048 >= 4 * depth


def test_memories_in_luts():
    """Synthesis would take a block RAM for each byte of 256 words, which it half fills."""
    memory = Block(lanes=4, depth=256, whole=True, logic=True)
    assert synthesize(Probe(memory), PARTS["ecp5-85f"])[1].block_rams == 0


def test_rejects():
    with pytest.raises(ValueError, match="lanes must be 1 or more, not 0"):
        BlockMemory(lanes=0, depth=4)
    with pytest.raises(ValueError, match="depth must be 1 or more, not 0"):
        BlockMemory(lanes=4, depth=0)
    with pytest.raises(ValueError, match="banks must be a power of two of 2 or more, not 6"):
        Scratchpad(banks=6, depth=4)
    with pytest.raises(ValueError, match="lanes must be 1 where words are read back, not 2"):
        BlockMemory(lanes=2, depth=4, reads_back=True)
