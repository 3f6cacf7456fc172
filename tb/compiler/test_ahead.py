"""How far a descriptor reads ahead of the one before, against the streams by definition."""

import dataclasses
import itertools
from dataclasses import replace

import numpy as np
import pytest

import sateen
from sateen.compiler import consistency
from sateen.compiler.verification import verify_program
from sateen.compiler.verification.decoding import records
from sateen.errors import InternalError
from sateen.graph import Add
from sateen.hw.spec.combining import Combine
from sateen.hw.spec.config import parse_config
from sateen.hw.spec.descriptor import MOST_AHEAD
from sateen.hw.spec.nests import CHUNK_DIM
from sateen.hw.spec.timing import REVISIT_CYCLES
from sateen.sim.streams import items, walk
from sateen.testing.graphs import Builder, random_graph

CONFIGS = ["tiny,positions=256,overlap=1", "tiny,rows=16,cols=6,lanes=3,weight_rows=4,weight_bytes=32768,overlap=1"]


def descriptors(graph, config):
    """Those of each segment of a compiled graph, from the bytes that a device gets."""
    found = []
    for segment in sateen.compile(graph, config).segments:
        found.append(records(segment.program))
        assert b"".join(record.encode() for record in found[-1]) == segment.program.tobytes()
    return found


def written(before, config):
    """The addresses that each part of the accumulators' results have, the last part's first."""
    stream = before.output
    parts = {}
    for item in items(stream, cols=config.cols, lanes=config.lanes, positions=config.positions):
        found = parts.setdefault(item.half, set())
        found |= {item.address + lane for lane in range(config.lanes) if item.mask >> lane & 1}
    return [parts[part] for part in sorted(parts, reverse=True)]


def read(after, config):
    """The addresses that each line needs, without those that are padding."""
    stream = after.activations
    lanes = config.rows * config.combine
    for _, (row, x, address) in walk(stream.dims, (stream.row, stream.x, stream.address)):
        inside = range(max(0, -x), min(lanes, stream.width - x)) if 0 <= row < stream.height else ()
        yield {address + lane for lane in inside}


def check(before, after, config):
    """No line that may be read ahead needs a result that may not be written."""
    parts, lines = written(before, config), list(read(after, config))
    for unwritten, ahead in enumerate(before.output.ahead, 1):
        missing = set().union(*parts[:unwritten])
        for number, line in enumerate(lines[:ahead]):
            assert not line & missing, f"line {number} reads ahead of {unwritten} parts"
    beats = [dim.count for dim in after.activations.dims[CHUNK_DIM + 1 :]]
    if np.prod(beats) < REVISIT_CYCLES:
        assert all(ahead % np.prod(beats) == 0 or ahead >= len(lines) for ahead in before.output.ahead)


@pytest.mark.parametrize("text", CONFIGS)
def test_no_line_reads_what_is_not_written(text):
    config, farthest = parse_config(text), 0
    for seed in range(25):
        graph = random_graph(np.random.default_rng([51, seed]))
        for segment in descriptors(graph, config):
            for before, after in itertools.pairwise(segment):
                check(before, after, config)
                farthest = max([farthest, *(ahead for ahead in before.output.ahead if ahead < MOST_AHEAD)])
    assert farthest > 20


def test_pointwise_layers():
    """Each tile of weights reads one group's results of the layer before: one part's tile less for each that is not
    written."""
    rng = np.random.default_rng(0)
    config = parse_config("tiny,positions=256,overlap=1")
    graph = Builder((5, 5, 16), rng).conv2d(16, (1, 1)).conv2d(4, (1, 1)).graph()
    ((first, second),) = descriptors(graph, config)
    assert not first.quarters
    assert first.output.ahead == (75, 50, 25, 0) and second.output.ahead == (0, 0, 0, 0)


def test_lookups_wait():
    """Tables take the accumulators' memories."""
    rng = np.random.default_rng(0)
    config = parse_config("small,overlap=1")
    builder = Builder((4, 4, 8), rng).conv2d(8, (1, 1))
    output = builder._output((4, 4, 8))
    builder.ops.append(Add(name="sum", a="x", b=builder.last.name, output=output.name))
    builder.last = output
    ((first, tables, last),) = descriptors(builder.conv2d(8, (1, 1)).graph(), config)
    assert tables.output.combine == Combine.ADD and last.output.combine == Combine.NONE
    assert first.output.ahead == tables.output.ahead == (0, 0, 0, 0)


def test_without_overlap():
    """Nothing runs ahead, and the bytes of the descriptors are those of before."""
    graph = Builder((5, 5, 16), np.random.default_rng(0)).conv2d(16, (1, 1)).conv2d(4, (1, 1)).graph()
    for descriptor in itertools.chain(*descriptors(graph, parse_config("tiny"))):
        assert descriptor.output.ahead == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("shape", "was", "ahead", "reason"),
    [
        ((5, 5, 16), (75, 50, 25, 0), (76, 50, 25, 0), "read 76 lines while 1 parts of its results are not written"),
        ((5, 5, 16), (75, 50, 25, 0), (75, 50, 25, 1), "read 1 lines while 4 parts"),
        ((1, 3, 16), (9, 6, 3, 0), (9, 4, 3, 0), "wait after 4 lines, within a tile of 3"),
    ],
)
def test_verification(shape, was, ahead, reason):
    """A program that reads what is not yet written, or waits where it must not, is found; one that waits longer is
    not."""
    builder = Builder(shape, np.random.default_rng(0)).conv2d(16, (1, 1)).conv2d(4, (1, 1))
    model = sateen.compile(builder.graph(), "tiny,positions=256,overlap=1")

    def changed(ahead):
        first, *others = records(model.segments[0].program)
        assert first.output.ahead == was
        program = [replace(first, output=replace(first.output, ahead=ahead)), *others]
        encoded = np.frombuffer(b"".join(d.encode() for d in program), np.uint8)
        return replace(model, segments=(replace(model.segments[0], program=encoded),))

    verify_program(changed((0, 0, 0, 0)))
    with pytest.raises(InternalError, match=f"'op0': descriptor 0 of segment 0 lets the next one {reason}"):
        verify_program(changed(ahead))


@pytest.mark.parametrize("text", ["tiny,pe=interleaved,positions=16,overlap=1", "tiny,pe=bitserial,overlap=1"])
def test_predictions(text, tmp_path):
    """Beats of several cycles count for two layers; no cause has fewer cycles than none, which files must not say."""
    model = sateen.compile(random_graph(np.random.default_rng([51, 21])), text)
    for layer in model.layers:
        cycles, *causes, link = dataclasses.astuple(layer.predicted)
        assert min(causes) >= 0 and sum(causes) == cycles and link == 0
    model.save(tmp_path / "m.sateen")
    consistency.check(sateen.Model.load(tmp_path / "m.sateen"))
