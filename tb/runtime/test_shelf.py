"""Models in SDRAM: loaded once, found again by their contents, never taken for whole if they are not; and a device with
SDRAM, which copies from it."""

import json
import random
import warnings
import zlib
from functools import cache
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest

import sateen
import seeds
from command_line import here
from sateen.errors import DeviceError
from sateen.graph import run as run_golden
from sateen.hw.spec.config import parse_config
from sateen.hw.spec.sdram import find_chip
from sateen.hw.spec.wire import Op, OpHeader, Space
from sateen.runtime import Device
from sateen.runtime.link import Operation, copies, read, run, stores, wait, write
from sateen.runtime.shelf import DIRECTORY_BYTES, HEAD, Shelf
from sateen.testing.graphs import Builder, random_graph, random_input, small_network

DEVICE = "micro,sdram=m12l64322a,scratchpad_bytes=1024"
CONFIG = parse_config(DEVICE)
WIDE = (
    "tiny,sdram=as4c32m16sb,scratchpad_bytes=1024,weight_bytes=4096",
    "tiny,cols=6,lanes=3,sdram=m12l64322a,weight_bytes=3072",
)
"""Pipelined engines, to which whole words of 2 and of 4 bytes go at once."""
CAPACITY = find_chip(CONFIG.sdram).capacity


class Memory:
    """A link to a device of which there is only the SDRAM. ``breaks`` ends it before so many more writes."""

    def __init__(self):
        self.bytes, self.breaks, self.written, self.shelf = {}, None, 0, None
        self.source = self.crc = 0

    def get(self, start, length):
        return bytes(self.bytes.get(place, 0xA5) for place in range(start, start + length))

    def transaction(self, operations, *, busy_cycles=0):
        answer = b""
        for operation in operations:
            header = operation.header
            if header.op == Op.WRITE:
                if self.breaks is not None:
                    if not self.breaks:
                        raise sateen.LinkError("cut")
                    self.breaks -= 1
                self.written += header.length
                self.bytes.update(enumerate(operation.data, header.address))
            elif header.op == Op.SEEK:
                self.source, self.crc = header.address, 0
            elif header.op == Op.COPY:
                assert header.space == Space.CHECK
                self.crc = zlib.crc32(self.get(self.source, header.length), self.crc)
                self.source += header.length
            elif header.space == Space.SDRAM:
                answer += self.get(header.address, header.length)
            else:
                answer += self.crc.to_bytes(4, "little")
        return answer


@cache
def opened():
    """One device for all rounds of a soak."""
    return sateen.open(f"sim:{DEVICE}")


def soak(seed):
    """A random network on a small device with SDRAM, in several parts or rows as often as not."""
    rng = np.random.default_rng(seed)
    graph = random_graph(rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sateen.SateenWarning)
        model = sateen.compile(graph, CONFIG)
        loaded = opened().load(model)
    inputs = {name: random_input(graph, rng) for name in graph.inputs}
    layers = bool(rng.integers(2))
    result = loaded.run(inputs, layers=layers)
    (output,) = graph.outputs
    tensors = result[1] if layers else {output: result}
    golden = run_golden(graph, {name: graph.tensors[name].from_file(x) for name, x in inputs.items()}, layers=True)
    for name, values in tensors.items():
        np.testing.assert_array_equal(graph.tensors[name].from_file(values), golden[name], err_msg=name)
    moves = any(step.tiles for step in model.steps)
    return "row by row" if moves else "in parts" if len(model.segments) > 1 else "whole"


@pytest.fixture(scope="module")
def models():
    return [small_network(CONFIG, seed)[0] for seed in (1, 2, 3)]


def test_loads_once(models):
    memory = Memory()
    entries = [Shelf(memory, CONFIG).load(model) for model in models]
    assert [entry.base for entry in entries] == [DIRECTORY_BYTES + place * entries[0].size for place in range(3)]
    written = memory.written
    for entry, model in zip(entries, models, strict=True):
        shelf = Shelf(memory, CONFIG)
        assert shelf.entries == entries and shelf.load(model) == entry and not shelf.sent
    assert memory.written == written


def test_half_a_model_is_none(models):
    """A transfer that is cut at any write leaves the models before it, and the next load is whole."""
    for breaks in range(4):
        memory = Memory()
        first = Shelf(memory, CONFIG).load(models[0])
        memory.breaks, shelf = breaks, Shelf(memory, CONFIG)
        if breaks < 3:
            with pytest.raises(sateen.LinkError):
                shelf.load(models[1])
        else:
            shelf.load(models[1])
        memory.breaks = None
        again = Shelf(memory, CONFIG)
        assert again.entries[:1] == [first] and len(again.entries) == (2 if breaks == 3 else 1)
        again.load(models[1])
        assert bool(again.sent) == (breaks < 3)


@pytest.mark.parametrize("place", [0, 8, 12, HEAD.size, HEAD.size + 30])
def test_stale_directory(models, place):
    """A directory that has lost a bit is none."""
    memory = Memory()
    Shelf(memory, CONFIG).load(models[0])
    memory.bytes[place] ^= 1
    shelf = Shelf(memory, CONFIG)
    assert shelf.entries == []
    shelf.load(models[0])
    assert shelf.sent


def test_stale_model(models):
    """A model that has lost a bit is sent anew."""
    memory = Memory()
    entry = Shelf(memory, CONFIG).load(models[0])
    memory.bytes[entry.base + entry.size - 1] ^= 0x80
    shelf = Shelf(memory, CONFIG)
    shelf.load(models[0])
    assert shelf.sent == entry.size and len(shelf.entries) == 1


def test_gives_way(models, monkeypatch):
    """Where there is no room, other models give way, and are sent anew when they run."""
    memory = Memory()
    shelf = Shelf(memory, CONFIG)
    size = shelf.size(models[0])
    monkeypatch.setattr(type(shelf.chip), "capacity", DIRECTORY_BYTES + 2 * size + 8)
    for model in models[:2]:
        shelf.load(model)
    assert [entry.base for entry in shelf.entries] == [DIRECTORY_BYTES, DIRECTORY_BYTES + size]
    shelf.load(models[2])
    assert [entry.sha256 for entry in shelf.entries] == [shelf.load(models[2]).sha256]
    sent = shelf.sent
    operations, _ = shelf.placing(models[0], 0)
    assert shelf.sent == sent + size and operations[0].header.address == DIRECTORY_BYTES + size
    monkeypatch.setattr(type(shelf.chip), "capacity", DIRECTORY_BYTES + size - 4)
    with pytest.raises(
        DeviceError, match=rf"takes {size:,} bytes of SDRAM, 4 more than ESMT M12L64322A-6 has room for"
    ):
        Shelf(Memory(), CONFIG).load(models[0])


def test_reserves(models, monkeypatch):
    """Models give way to what an inference keeps in SDRAM, and stay out of its place afterwards."""
    memory = Memory()
    shelf = Shelf(memory, CONFIG)
    size = shelf.size(models[0])
    capacity = DIRECTORY_BYTES + 3 * size
    monkeypatch.setattr(type(shelf.chip), "capacity", capacity)
    first, *_ = [shelf.load(model) for model in models]
    assert shelf.reserve(size - 1) == capacity - size + 1 and len(shelf.entries) == 2
    assert shelf.reserve(8) == capacity - 8 and len(shelf.entries) == 2
    # The last two do not go beside the first and the second any more.
    assert shelf.load(models[2]).base == DIRECTORY_BYTES and len(shelf.entries) == 1
    assert shelf.reserve(2 * size) == capacity - 2 * size and len(Shelf(memory, CONFIG).entries) == 1
    assert shelf.reserve(3 * size) == capacity - 3 * size and not shelf.entries
    with pytest.raises(DeviceError, match="the model's tensors take .* bytes of SDRAM, 1 more than"):
        shelf.reserve(3 * size + 1)
    with pytest.raises(DeviceError, match=f"{size:,} more than .* room for beside {3 * size:,} bytes of tensors"):
        shelf.load(models[0])
    assert first.base == DIRECTORY_BYTES


def test_full_directory(models, monkeypatch):
    """However long the names, the directory stays within its place."""
    monkeypatch.setattr("sateen.runtime.shelf.PROBE", most := 4080)
    memory = Memory()
    shelf = Shelf(memory, CONFIG)
    for index in range(40):
        model = small_network(CONFIG, index)[0]
        object.__setattr__(model.graph, "name", "\u2603" * 60)
        shelf.load(model)
        magic, length, _ = HEAD.unpack(memory.get(0, HEAD.size))
        assert length + HEAD.size <= most
        assert len(json.loads(memory.get(HEAD.size, length))) == len(shelf.entries)
    assert 1 <= len(shelf.entries) < 40


def test_memory_that_forgets(models):
    memory = Memory()
    memory.get = lambda start, length: bytes(length)
    with pytest.raises(DeviceError, match="does not keep what is written to it; check that the board has ESMT M12L6"):
        Shelf(memory, CONFIG).load(models[0])


def test_memory_that_does_not_answer(models):
    """Neither a chip that is not there nor one that drives nothing passes; one that answers keeps its directory."""
    memory = Memory()
    shelf = Shelf(memory, CONFIG)
    entry = shelf.load(models[0])
    shelf.probe()
    assert Shelf(memory, CONFIG).load(models[0]) == entry and not memory.written > 5000
    for byte in (0x00, 0xFF):
        memory.get = lambda start, length, byte=byte: bytes([byte]) * length
        with pytest.raises(DeviceError, match="SDRAM does not answer: (00|ff){8} was read where .* was written; check"):
            shelf.probe()


@pytest.fixture(scope="module")
def device():
    with sateen.open(f"sim:{DEVICE}") as opened:
        yield opened


def test_bytes(device):
    """The SDRAM's bytes from the first to the last, and over the 24 bits of other memories' addresses."""
    rng = random.Random(seeds.own())
    places = {place: rng.randbytes(9) for place in (0, 4093, CAPACITY - 9, (1 << 22) - 3)}
    device.link.transaction([write(Space.SDRAM, place, data) for place, data in places.items()])
    for place, data in places.items():
        assert device.link.transaction([read(Space.SDRAM, place, 9)]) == data


def test_copies(device):
    """Copies follow one another; the checksum is that of bytes that go nowhere else; nothing else is written."""
    data = random.Random(seeds.own()).randbytes(400)
    link = device.link
    link.transaction([write(Space.SDRAM, 8000, data), write(Space.SCRATCHPAD, 0, bytes(600))])
    more = Operation(OpHeader(Op.COPY, Space.SCRATCHPAD, 90, 407))
    none = Operation(OpHeader(Op.COPY, Space.SCRATCHPAD, 0, 9))
    checked = Operation(OpHeader(Op.COPY, Space.CHECK, 6, 0))
    answer = link.transaction(
        [
            *copies(8000, Space.SCRATCHPAD, 1, 300),
            *(none, checked, more, read(Space.CHECK, 0, 4), read(Space.SCRATCHPAD, 0, 600)),
        ]
    )
    assert int.from_bytes(answer[:4], "little") == zlib.crc32(data[300:306])
    assert answer[4:] == bytes(1) + data[:300] + bytes(106) + data[306:396] + bytes(103)
    answer = link.transaction([*copies(8004, Space.CHECK, 0, 396), read(Space.CHECK, 1, 3)])
    assert answer == zlib.crc32(data[4:]).to_bytes(4, "little")[1:]


def test_copies_a_byte_a_cycle(device):
    """Besides the frame, and refreshes."""
    cycles = []
    for length in (4, 3204):
        before = device.simulated_cycles
        device.link.transaction(copies(0, Space.CHECK, 0, length))
        cycles.append(device.simulated_cycles - before)
    assert 3150 <= cycles[1] - cycles[0] <= 3300


def test_stores(device):
    """What copies bring comes back, from and to any byte, in any number; nothing else is written."""
    rng, link = random.Random(seeds.own()), device.link
    for _ in range(60):
        length, source, target, place = rng.randrange(90), *(rng.randrange(8) for _ in range(3))
        data, old = rng.randbytes(110), rng.randbytes(110)
        link.transaction([write(Space.SDRAM, 5000, data), write(Space.SDRAM, 6000, old)])
        moves = copies(5000 + source, Space.SCRATCHPAD, place, length)
        more = Operation(OpHeader(Op.STORE, Space.SCRATCHPAD, 3, place))
        link.transaction([*moves, *stores(6000 + target, Space.SCRATCHPAD, place, length), more])
        middle = data[source : source + length] + link.transaction([read(Space.SCRATCHPAD, place, 3)])
        expected = old[:target] + middle + old[target + length + 3 :]
        assert link.transaction([read(Space.SDRAM, 6000, 110)]) == expected, (length, source, target, place)


@pytest.mark.parametrize(
    ("operation", "status"),
    [
        (OpHeader(Op.STORE, Space.IDENTITY, 4, 0), "BAD_SPACE"),
        (OpHeader(Op.STORE, Space.SDRAM, 4, 0), "BAD_SPACE"),
        (OpHeader(Op.COPY, Space.SDRAM, 4, 0), "BAD_SPACE"),
        (OpHeader(Op.COPY, Space.COUNTERS, 4, 0), "BAD_SPACE"),
        (OpHeader(Op.WRITE, Space.CHECK, 0, 0), "BAD_SPACE"),
    ],
)
def test_refuses(device, operation, status):
    with pytest.raises(DeviceError, match=status):
        device.link.transaction([Operation(operation)])


def test_runs_from_sdram(device):
    """A model's runs send its input, receive its output, and are exact; another device object finds it there."""
    model, x = small_network(CONFIG, seeds.own())
    loaded = device.load(model)
    (name,), (output,) = model.graph.inputs, model.graph.outputs
    golden = run_golden(model.graph, {name: model.graph.tensors[name].from_file(x)}, layers=True)
    other, _ = small_network(CONFIG, 7)
    for _ in range(2):
        assert np.array_equal(model.graph.tensors[output].from_file(loaded.run(x)), golden[output])
        assert loaded.profile.link_bytes < 300 < device.shelf.size(model)
        # Other weights in the meantime.
        device.load(other)
    again = Device(device.link)
    again.load(model)
    assert not again.shelf.sent and len(again.shelf.entries) == 2


def test_larger_than_the_weight_store(device):
    """A model of several segments sends its input and receives its output, no weights."""
    rng = np.random.default_rng(seeds.own())
    builder = Builder((1, 1, 60), rng, name="wide").flatten()
    graph = builder.fully_connected(60).fully_connected(50).fully_connected(40).graph()
    model = sateen.compile(graph, CONFIG)
    assert len(model.segments) >= 2 and not model.fallbacks
    x = random_input(graph, rng)
    loaded = device.load(model)
    (name,), (output,) = graph.inputs, graph.outputs
    golden = run_golden(graph, {name: graph.tensors[name].from_file(x)}, layers=True)
    for _ in range(2):
        assert np.array_equal(graph.tensors[output].from_file(loaded.run(x)), golden[output])
        assert loaded.profile.copied_bytes == device.shelf.size(model)
        # Two frames each way, a header for each operation, and counters.
        assert loaded.profile.link_bytes < 500 < device.shelf.size(model) / 10


def spilling(seed):
    """A model whose tensors do not fit the scratchpad, so that some layers are computed row by row, with a layer on
    the host in its midst."""
    rng = np.random.default_rng(seed)
    builder = Builder((15, 9, 3), rng, name="spilling").conv2d(5, (3, 3), padding=((1, 1), (1, 1)))
    builder = builder.conv2d(8, (3, 3), padding=((1, 1), (1, 1))).conv2d(120, (3, 3))
    graph = builder.conv2d(7, (1, 1)).conv2d(6, (3, 3)).flatten().fully_connected(9).graph()
    with pytest.warns(sateen.SateenWarning, match="runs on the host: one row of results takes"):
        model = sateen.compile(graph, CONFIG)
    return model, random_input(graph, rng)


def test_tensors_stay_in_sdram(device):
    """Between the device's turns tensors do not pass the link; every one is exact, also where each is read."""
    model, x = spilling(seeds.own())
    assert sum(bool(step.tiles) for step in model.steps) >= 3 and model.steps[-1].writes
    tiles = [tile for step in model.steps for tile in step.tiles]
    with pytest.warns(sateen.SateenWarning, match="runs on the host"):
        loaded = device.load(model)
    (name,), (output,) = model.graph.inputs, model.graph.outputs
    golden = run_golden(model.graph, {name: model.graph.tensors[name].from_file(x)}, layers=True)
    for layers in (False, True, False):
        result = loaded.run(x, layers=layers)
        tensors = result[1] if layers else {output: result}
        assert set(tensors) == set(golden) or not layers
        for tensor, values in tensors.items():
            assert np.array_equal(model.graph.tensors[tensor].from_file(values), golden[tensor]), tensor
    # Input and output, what the host's layer takes and gives, and for each tile its operations and its counters.
    (host,) = (op for op in model.graph.ops if op.name in model.fallbacks)
    most = x.size + model.size(host.inputs[0]) + model.size(host.output) + len(tiles) * 160
    # Frames of 128 bytes add a tenth.
    assert loaded.profile.link_bytes < 1.25 * most
    assert loaded.profile.cycles == sum(layer.predicted.cycles for layer in model.layers)


@pytest.fixture(scope="module", params=[DEVICE, *WIDE])
def each_device(request):
    with sateen.open(f"sim:{request.param}") as opened:
        yield opened


def test_copies_from_and_to_any_place(each_device):
    """Of any length, into each memory, as they were; what is beside them stays."""
    rng, config = random.Random(seeds.own()), each_device.config
    link, word = each_device.link, config.weight_word_bytes
    stored = [place for place in range(24 * word) if place % word < config.cols]
    places = {Space.SCRATCHPAD: list(range(96)), Space.WEIGHTS: stored, Space.PROGRAM: list(range(96))}
    data = rng.randbytes(400)
    link.transaction([write(Space.SDRAM, 1 << 16, data)])
    for _ in range(40):
        space = rng.choice(list(places))
        first, length, source = rng.randrange(40), rng.randrange(1, 48), rng.randrange(300)
        if space == Space.PROGRAM and config.engine == "sequential":
            first, length = first // 4 * 4, -(-length // 4) * 4
        before = rng.randbytes(len(range(96)))
        expected = bytearray(before)
        expected[first : first + length] = data[source : source + length]
        after = link.transaction(
            [
                write(space, 0, before),
                *copies((1 << 16) + source, space, first, length),
                read(space, 0, 96),
            ]
        )
        kept = [place for place in places[space] if place < 96]
        assert [after[place] for place in kept] == [expected[place] for place in kept], (space, first, length, source)


@pytest.mark.parametrize("config", WIDE)
def test_models_in_parts(config):
    """Weights and tensors that do not fit, on engines that take words of SDRAM."""
    rng = np.random.default_rng(seeds.own())
    graph = (
        Builder((15, 9, 3), rng).conv2d(20, (3, 3), padding=((1, 1), (1, 1))).conv2d(30, (3, 3), stride=(2, 2)).graph()
    )
    x = random_input(graph, rng, 2)
    with sateen.open(f"sim:{config}") as opened:
        model = sateen.compile(graph, opened.config)
        loaded = opened.load(model)
        np.testing.assert_array_equal(loaded.run(x), run_golden(graph, x)[graph.outputs[0]])
        assert loaded.profile.cycles == sum(layer.predicted.cycles for layer in model.layers)


def in_parts(seed, config):
    """A model of several segments, an input of two items, and its results."""
    rng = np.random.default_rng(seed)
    builder = Builder((6, 5, 7), rng, name=f"parts {seed}").conv2d(24, (3, 3)).conv2d(20, (2, 2))
    graph = builder.conv2d(40, (1, 1)).conv2d(18, (2, 2)).flatten().fully_connected(20).graph()
    x = random_input(graph, rng, 2)
    return sateen.compile(graph, config), x, run_golden(graph, x)[graph.outputs[0]]


def test_segments_are_copied_while_others_run():
    """It takes fewer cycles than one after the other, and the same results, also of models that take turns."""
    with sateen.open(f"sim:{WIDE[0]}") as opened:
        cases = [in_parts(seed, opened.config) for seed in (1, 2)]
        loaded = [opened.load(model) for model, _, _ in cases]
        assert all(len(model.segments) > 3 for model, _, _ in cases)
        for number in (0, 1, 1, 0, 0, 1):
            np.testing.assert_array_equal(loaded[number].run(cases[number][1]), cases[number][2])

        def cycles():
            loaded[0].run(cases[0][1])
            before = opened.simulated_cycles
            np.testing.assert_array_equal(loaded[0].run(cases[0][1]), cases[0][2])
            return opened.simulated_cycles - before

        ahead, copied = cycles(), loaded[0].profile.copied_bytes
        with mock.patch.object(Device, "_beside", return_value=False):
            behind = cycles()
            assert loaded[0].profile.copied_bytes == copied
        assert ahead < behind - 500, (ahead, behind)
        np.testing.assert_array_equal(loaded[1].run(cases[1][1]), cases[1][2])


def test_after_an_error_nothing_is_known(each_device):
    """A frame that was lost for good, between two segments: all of them are copied anew."""
    model, x, expected = in_parts(3, each_device.config)
    loaded = each_device.load(model)
    np.testing.assert_array_equal(loaded.run(x), expected)
    transaction = each_device.link.transaction
    for failing in range(4):
        calls = iter(range(100))

        def broken(operations, calls=calls, failing=failing, **options):
            if next(calls) == failing:
                raise sateen.LinkError("cut")
            return transaction(operations, **options)

        with mock.patch.object(each_device.link, "transaction", broken), pytest.raises(sateen.LinkError):
            loaded.run(x)
        before = each_device.shelf.copied if each_device.shelf else 0
        each_device.link.transaction([write(Space.WEIGHTS, 0, bytes(1024)), write(Space.PROGRAM, 0, bytes(192))])
        np.testing.assert_array_equal(loaded.run(x), expected)
        assert each_device.shelf.copied > before


def test_words_of_sdram_go_at_once(each_device):
    """A copy takes a cycle a word where it may, else a cycle a byte."""
    link, width = each_device.link, each_device.config.moved_bytes

    def cycles(source, length):
        before = each_device.simulated_cycles
        link.transaction(copies((1 << 16) + source, Space.SCRATCHPAD, 0, length), busy_cycles=10000)
        return each_device.simulated_cycles - before

    assert abs((cycles(0, 512) - cycles(0, 256)) - 256 // width) < 40
    assert abs((cycles(0, 512) - cycles(0, 511)) - 1) < 40


def test_copies_while_a_program_runs(device):
    """What a program computes does not depend on copies to places that it does not use."""
    model, x = small_network(CONFIG, 3)
    device.load(model).run(x)
    (name,) = model.graph.inputs
    data = random.Random(1).randbytes(512)
    (part,) = model.layers[0].parts
    size, address = model.size(model.layers[0].output), model.addresses[model.layers[0].output]
    put = write(Space.SCRATCHPAD, model.addresses[name], model.graph.tensors[name].from_file(x).tobytes())
    result = read(Space.SCRATCHPAD, address, size)
    expected = device.link.transaction([put, run(part.first, part.count), wait(), result])
    place = CONFIG.scratchpad_bytes - len(data)
    device.link.transaction([write(Space.SDRAM, 1 << 20, data), write(Space.SCRATCHPAD, address, bytes(size))])
    answer = device.link.transaction(
        [put, run(part.first, part.count), *copies(1 << 20, Space.SCRATCHPAD, place, 512), wait(), result]
    )
    assert answer == expected
    assert device.link.transaction([read(Space.SCRATCHPAD, place, 512)]) == data


def test_command(tmp_path):
    """``sateen load`` says what was loaded; a device without SDRAM, and what to do then."""
    small_network(CONFIG, 1)[0].save(tmp_path / "small.sateen")
    done = here("load", tmp_path / "small.sateen", "--device", f"sim:{DEVICE}")
    assert done.returncode == 0, done.stderr
    assert "bytes loaded and checked in" in done.stdout and "models in SDRAM: 1, " in done.stdout
    small_network("small", 1)[0].save(tmp_path / "other.sateen")
    done = here("load", tmp_path / "other.sateen", "--device", f"sim:{DEVICE}")
    assert done.returncode == 4 and "the model was compiled for another device" in done.stderr
    with mock.patch("sateen.cli.load.opened") as opened:
        opened.return_value.__enter__.return_value = SimpleNamespace(shelf=None, config=parse_config("micro"))
        done = here("load", tmp_path / "small.sateen", "--device", "sim:micro")
    assert done.returncode == 1 and "sim:micro has no SDRAM: its configuration is micro; build one with" in done.stderr
