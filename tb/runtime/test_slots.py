"""Segments in their places in the device's memories: a program that was moved computes what the compiler's does."""

from dataclasses import replace

import numpy as np
import pytest

import sateen
from graph.test_softmax_layers import attention
from sateen.compiler.verification import verify_program
from sateen.hw.spec.config import parse_config
from sateen.hw.spec.descriptor import DESCRIPTOR_WORDS
from sateen.runtime.shelf import _relocated, slot_of
from sateen.testing.graphs import Builder

CHIP = "sdram=as4c32m16sb,weight_bytes=4096"


def layers():
    """More weights than a store of 4,096 bytes has."""
    builder = Builder((6, 5, 7), np.random.default_rng(1)).conv2d(24, (3, 3)).conv2d(20, (2, 2))
    return builder.conv2d(40, (1, 1)).conv2d(18, (2, 2)).flatten().fully_connected(20).graph()


CASES = {
    "layers": (layers, f"tiny,{CHIP}"),
    "several words at once": (layers, f"small,{CHIP},weight_rows=2"),
    "overlap": (layers, f"tiny,{CHIP},positions=256,overlap=1"),
    "attention": (attention, f"small,{CHIP},products=1,softmax=1"),
}


@pytest.mark.parametrize("name", CASES)
def test_moved_programs(name):
    """Each segment at the memories' end: the program for its words there is verified as any other is."""
    made, text = CASES[name]
    config = parse_config(text)
    model = sateen.compile(made(), config)
    slots = [slot_of(1, segment, config) for segment in model.segments]
    for slot in slots:
        assert 0 < slot.words.start <= slot.words.stop <= config.weight_words
        assert slot.words.start % config.weight_rows == 0 and slot.descriptors.stop == config.descriptors
    moved = [
        replace(
            segment,
            weights=np.pad(segment.weights, ((slot.words.start, 0), (0, 0))),
            program=np.frombuffer(_relocated(segment, slot, config), np.uint8),
        )
        for segment, slot in zip(model.segments, slots, strict=True)
    ]
    assert all(each.program.size == 4 * DESCRIPTOR_WORDS * each.count for each in moved)
    verify_program(replace(model, segments=tuple(moved)))
