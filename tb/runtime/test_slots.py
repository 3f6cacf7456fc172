"""Segments in their places in the device's memories: a program that was moved computes what the compiler's does."""

import random
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import sateen
import seeds
from graph.test_softmax_layers import attention
from sateen.compiler import Part
from sateen.compiler.verification import verify_program
from sateen.hw.spec.config import parse_config
from sateen.hw.spec.descriptor import DESCRIPTOR_WORDS
from sateen.hw.spec.wire import Space
from sateen.runtime.shelf import _relocated
from sateen.runtime.slots import GRAIN, MEMORIES, Plan, Slot, Stock, _arranged
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


def at_the_end(segment, config):
    """A segment's place at the memories' end."""
    word = (config.weight_words - len(segment.weights)) // config.weight_rows * config.weight_rows
    first = config.descriptors - segment.count
    assert word > 0 and first > 0
    return Slot(
        words=range(word, word + len(segment.weights)), descriptors=range(first, first + segment.count)
    )  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_moved_programs(name):
    """Each segment at the memories' end: the program for its words there is verified as any other is."""
    made, text = CASES[name]
    config = parse_config(text)
    model = sateen.compile(made(), config)
    slots = [at_the_end(segment, config) for segment in model.segments]
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


@pytest.mark.parametrize("name", CASES)
def test_places(name):
    """Each segment within the memories; none but the first where all stand without SDRAM."""
    made, text = CASES[name]
    config = parse_config(text)
    model = sateen.compile(made(), config)
    plan = Plan(model, config)
    for segment, slot in zip(model.segments, plan.slots, strict=True):
        assert (len(slot.words), len(slot.descriptors)) == (len(segment.weights), segment.count)
        assert 0 <= slot.words.start <= slot.words.stop <= config.weight_words
        assert 0 <= slot.descriptors.start < slot.descriptors.stop <= config.descriptors
        assert slot.words.start % config.weight_rows == 0
    for other in (replace(config, sdram=None), parse_config("micro,sdram=as4c32m16sb")):
        assert all(slot.words.start == slot.descriptors.start == 0 for slot in Plan(model, other).slots)


class Places:
    """A plan of any places and times, of which nothing else is known."""

    def __init__(self, rng):
        self.config = SimpleNamespace(moved_bytes=rng.choice([1, 2, 4]))
        count, self.room = rng.randrange(1, 7), 4000
        self.sizes = [{space: GRAIN // 4 * rng.randrange(1, 30) for space in MEMORIES} for _ in range(count)]
        self.starts = [{space: rng.randrange(self.room - size[space]) for space in MEMORIES} for size in self.sizes]
        self.times = [rng.choice([0, 100, 300, 1000, 5000]) for _ in range(count)]

    def address(self, segment, space):
        return self.starts[segment][space]

    def time(self, part):
        return self.times[part.segment]

    def copy_cycles(self, piece):
        return piece.count / self.config.moved_bytes


def test_what_runs_is_there():
    """Whatever the places and the order of runs, each segment is whole when it runs, and behind what is copied then."""
    rng = random.Random(seeds.own())
    for _ in range(60):
        plan = Places(rng)
        stock, memory = Stock(plan), {space: [None] * plan.room for space in MEMORIES}
        runs = [rng.randrange(len(plan.sizes)) for _ in range(12)]
        several, copied_ahead = len(plan.sizes) > 1, 0

        def copy(pieces, memory=memory, plan=plan):
            for piece in pieces:
                start = plan.address(piece.segment, piece.space) + piece.first
                for place in range(piece.count):
                    memory[piece.space][start + place] = piece.segment, piece.first + place

        def whole(segment, memory=memory, plan=plan):
            return all(
                memory[space][plan.address(segment, space) + place] == (segment, place)
                for space in MEMORIES
                for place in range(plan.sizes[segment][space])
            )

        for number, segment in enumerate(runs):
            copy(stock.needed(segment))
            assert whole(segment)
            assert not stock.needed(segment)
            ahead = stock.ahead(Part(segment=segment, first=0, count=1), runs[number + 1 :])
            copied_ahead += sum(piece.count for piece in ahead)
            copy(ahead)
            assert whole(segment)
        assert several or not copied_ahead


def test_copies_fit_the_time():
    """As much as goes beside a run; of the segment that is needed next, all that has room."""
    plan = SimpleNamespace(
        config=SimpleNamespace(moved_bytes=2), sizes=[{Space.WEIGHTS: 4000, Space.PROGRAM: 192}] * 3,
        address=lambda segment, space: 8000 * segment, time=lambda part: 1000,
        copy_cycles=lambda piece: piece.count / 2,
    )  # fmt: skip
    here = Part(segment=0, first=0, count=1)
    (piece,) = Stock(plan).ahead(here, [0, 0, 1, 2])
    assert (piece.segment, piece.space, piece.first) == (1, Space.WEIGHTS, 0) and 1500 < piece.count < 2000
    assert [(piece.segment, piece.count) for piece in Stock(plan).ahead(here, [1, 0, 2])] == [(1, 4000), (1, 192)]
    # The second one's last 1,000 bytes lie where the first one's are.
    plan.address = lambda segment, space: 8000 - 3000 * segment
    stock = Stock(plan)
    assert [(piece.space, piece.count) for piece in stock.ahead(here, [1, 0])] == [
        (Space.WEIGHTS, 3000), (Space.PROGRAM, 192),
    ]  # fmt: skip
    assert [(piece.space, piece.first, piece.count) for piece in stock.needed(1)] == [(Space.WEIGHTS, 3000, 1000)]


def lines_run(function):
    """Lines of Python that a function executes."""
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return count


def follow(count):
    """A round of copies ahead, of many segments that stand at two places in turn, and their programs at eight."""
    plan = SimpleNamespace(
        config=SimpleNamespace(moved_bytes=2), sizes=[{Space.WEIGHTS: 3000, Space.PROGRAM: 192}] * count,
        address=lambda segment, space: 1000 * (segment % 2) if space == Space.WEIGHTS else 192 * (segment % 8),
        time=lambda part: 1000, copy_cycles=lambda piece: piece.count / 2,
    )  # fmt: skip
    stock = Stock(plan)
    for segment in range(count):
        stock.needed(segment)
    copied = 0
    for segment in range(count):
        stock.needed(segment)
        behind = [*range(segment + 1, count), *range(segment)]
        copied += len(stock.ahead(Part(segment=segment, first=0, count=1), behind))
    assert copied


@pytest.mark.parametrize(
    "work", [follow, lambda count: _arranged([1200] * count, [600.0] * count, [700] * count, room=4000, grain=1)],
    ids=["copies", "places"],
)  # fmt: skip
def test_work_grows_with_the_segments(work, monkeypatch):
    """In proportion, nearly: models of many megabytes have hundreds on small arrays."""
    monkeypatch.setattr("sateen.runtime.slots.WIDTH", 4)
    few, many = (lines_run(lambda count=count: work(count)) for count in (40, 160))
    assert many < 6 * few, (few, many)
