"""Residual sums through a whole device: descriptors made by hand, whose results are what the device gives without the
sum, added in NumPy; counters are the cycle model's."""

from dataclasses import replace

import numpy as np
import pytest

import sateen
import seeds
from sateen.compiler.verification.decoding import records
from sateen.hw.pipelined.units import Units
from sateen.hw.spec.config import parse_config
from sateen.hw.spec.counters import Counters
from sateen.hw.spec.descriptor import Rounding
from sateen.hw.spec.residual import RESIDUAL_UNIT, Sum, sum_words
from sateen.hw.spec.timing import Timing, back_latency, residual_pace
from sateen.hw.spec.wire import Space
from sateen.runtime.frames import read, run, wait, write
from sateen.sim import golden
from sateen.sim.cycles import predict
from sateen.sim.streams import items
from sateen.testing.graphs import Builder

CONFIGS = [
    "tiny,cols=8,lanes=8,residual=1",
    "tiny,rows=16,cols=9,lanes=6,residual=1,weight_rows=4,positions=64,weight_bytes=65536,overlap=1",
    "tiny,rows=8,cols=8,lanes=8,residual=2,positions=256,overlap=1,softmax=2,squares=1,norms=1,scratchpad_bytes=131072",
    "tiny,rows=8,cols=8,lanes=4,residual=2,weight_rows=2,products=1,positions=256,lutram=1,scratchpad_bytes=2048",
]
SIZE = 4096
"""Most bytes of the scratchpad that are compared."""
ROUNDINGS = (Rounding.DOUBLE, Rounding.SINGLE, Rounding.FLOAT32)
SAME = ((1, 1), (1, 1))


def graphs(rng):
    """Of kernels of 1×1 and 3×3, of one group and several, of one block and several."""
    yield Builder((3, 4, 8), rng).conv2d(8, (1, 1)).conv2d(13, (1, 1)).conv2d(5, (3, 3)).graph()
    yield Builder((9, 9, 6), rng).conv2d(8, (3, 3), padding=SAME).conv2d(20, (1, 1)).conv2d(3, (1, 1)).graph()
    yield Builder((1, 1, 16), rng).conv2d(40, (1, 1)).conv2d(24, (1, 1)).graph()


def random_sum(rng, rounding):
    low, high = sorted(int(bound) for bound in rng.integers(-128, 128, 2))
    return Sum(
        tables=rng.integers(-(1 << 24), 1 << 24, (2, 256)).tolist(), multiplier=int(rng.integers(1 << 30, 1 << 31)),
        shift=int(rng.integers(-18, -15)), zero_point=int(rng.integers(-128, 128)), low=max(-128, low - 10), high=high,
        rounding=rounding, bias=int(rng.integers(-(1 << 24), 1 << 24)),
    )  # fmt: skip


def added(each, results, residual):
    first, second = (np.array(table) for table in each.tables)
    total = first[results.view(np.uint8)] + second[residual.view(np.uint8)] + each.bias
    return golden.requantize(
        total, each.multiplier, each.shift, rounding=each.rounding, zero_point=each.zero_point, low=each.low,
        high=each.high,
    )  # fmt: skip


def written(d, config):
    """The addresses of a descriptor's results."""
    found = items(d.output, cols=config.cols, lanes=config.lanes, positions=config.positions)
    return np.array([i.address + lane for i in found for lane in range(config.lanes) if i.mask >> lane & 1])


def with_sum(d, offset, base):
    """A descriptor with residual bytes; the words of its sum stand at ``base``, before its weights."""
    weights = replace(d.weights, base=base, residual=True)
    return replace(d, weights=weights, output=replace(d.output, residual=offset))


def offsets(places, size):
    """Where residual bytes may stand: on the results, or apart from them."""
    for offset in range(-size // RESIDUAL_UNIT, size // RESIDUAL_UNIT + 1):
        others = places + offset * RESIDUAL_UNIT
        inside = others.min() >= 0 and others.max() < size
        if inside and (offset == 0 or not np.isin(others, places).any()):
            yield offset


class Program:
    """A graph's descriptors, some of them with sums."""

    def __init__(self, graph, config, rng, *, every):
        (segment,) = sateen.compile(graph, config).segments
        self.config, self.plain, self.store = config, records(segment.program), segment.weights
        self.sums, self.descriptors, parts, base = [], [], [], 0
        ends = sorted({d.weights.base for d in self.plain} | {len(self.store)})
        for number, d in enumerate(self.plain):
            words = self.store[d.weights.base : next(end for end in ends if end > d.weights.base)]
            each = random_sum(rng, ROUNDINGS[number % 3]) if number % every == 0 else None
            moved = replace(d, weights=replace(d.weights, base=base))
            if each is not None:
                places = written(d, config)
                moved = with_sum(d, int(rng.choice(list(offsets(places, min(SIZE, config.scratchpad_bytes))))), base)
                head = np.frombuffer(each.words(config.cols, config.weight_rows), np.int8).reshape(-1, config.cols)
                assert len(head) == sum_words(config.weight_rows)
                words = np.concatenate([head, words])
            self.sums.append(each)
            self.descriptors.append(moved)
            parts.append(words)
            base += len(words)
        self.with_sums = np.concatenate(parts)

    def load(self, device, store, descriptors):
        words = np.zeros((len(store), self.config.weight_word_bytes), np.int8)
        words[:, : self.config.cols] = store
        assert words.size <= self.config.weight_bytes
        program = b"".join(d.encode() for d in descriptors)
        device.link.transaction([write(Space.WEIGHTS, 0, words.tobytes()), write(Space.PROGRAM, 0, program)])

    def expected(self, device, state):
        """The scratchpad after each descriptor in turn: results of the device, with sums in NumPy."""
        self.load(device, self.store, [replace(d, output=replace(d.output, ahead=(0,) * 4)) for d in self.plain])
        size = len(state)
        for number, (d, each) in enumerate(zip(self.descriptors, self.sums, strict=True)):
            operations = [write(Space.SCRATCHPAD, 0, state.tobytes()), run(number, 1), wait()]
            after = np.frombuffer(device.link.transaction([*operations, read(Space.SCRATCHPAD, 0, size)]), np.int8)
            after = after.copy()
            if each is not None:
                places = written(d, self.config)
                residual = state[places + d.output.residual * RESIDUAL_UNIT]
                after[places] = added(each, after[places], residual)
            state = after
        return state


def counted(device, count):
    size = Counters.LAYOUT.size
    data = device.link.transaction([read(Space.COUNTERS, 0, count * size)])
    return [Counters.decode(data[place : place + size]) for place in range(0, len(data), size)]


@pytest.mark.parametrize("text", [*CONFIGS, "small,residual=2", "large,residual=1"])
def test_latencies_are_the_gateware_s(text):
    """Lines are not read when results are written."""
    config = parse_config(text)
    units, timing = Units(config), Timing(config)
    assert units.scratchpad.back_latency == back_latency(config)
    assert units.residual.latency == timing.drain_to_sum - timing.drain_to_done
    assert (units.residual.latency + units.residual.line_latency) % timing.residual_pace
    # Deep banks have one more step, which would be one too many.
    assert units.residual.spare == (config.scratchpad_bytes == 131072)


@pytest.fixture(
    scope="module",
    params=[pytest.param(text, marks=[pytest.mark.prove] * (number % 3 == 0)) for number, text in enumerate(CONFIGS)],
)
def device(request):
    with sateen.open(f"sim:{request.param}") as opened:
        yield opened


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("every", [1, 2])
def test_sums(device, number, every):
    """Results, whatever stands where; the host writes while they come; cycles as predicted."""
    rng = np.random.default_rng([seeds.own(), number])
    config = device.config
    program = Program(list(graphs(rng))[number], config, rng, every=every)
    size = min(SIZE, config.scratchpad_bytes)
    state = rng.integers(-128, 128, size).astype(np.int8)
    want = program.expected(device, state)
    program.load(device, program.with_sums, program.descriptors)
    before, count = write(Space.SCRATCHPAD, 0, state.tobytes()), len(program.descriptors)
    got = device.link.transaction([before, run(0, count), wait(), read(Space.SCRATCHPAD, 0, size)])
    assert np.array_equal(np.frombuffer(got, np.int8), want)
    counters = counted(device, count)
    for place, (counter, predicted) in enumerate(zip(counters, predict(program.descriptors, config), strict=True)):
        difference = abs(counter.cycles - predicted.cycles)
        # Words that are read while a layer without a sum runs may be a cycle earlier or later than predicted, and then
        # the first item comes at another time.
        least = 2 if every == 1 else residual_pace(config)
        assert difference <= max(least, 0.01 * counter.cycles), f"{place}: {counter}, predicted {predicted}"
        for cause in ("busy", "weights", "activations", "accumulators", "output"):
            assert abs(getattr(counter, cause) - getattr(predicted, cause)) <= 12, f"{counter}, predicted {predicted}"
    # Bytes that nothing uses, written by the host in the meantime: they and the results are the same.
    data = rng.integers(-128, 128, min(300, config.scratchpad_bytes - size)).astype(np.int8)
    if len(data):
        more, end = write(Space.SCRATCHPAD, size, data.tobytes()), read(Space.SCRATCHPAD, 0, size + len(data))
        got = device.link.transaction([before, run(0, count), more, wait(), end])
        assert np.array_equal(np.frombuffer(got, np.int8), np.concatenate([want, data]))
