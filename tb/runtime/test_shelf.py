"""Models in SDRAM: loaded once, found again by their contents, never taken for whole if they are not."""

import json
import warnings
import zlib
from functools import cache
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest

import sateen
from command_line import here
from sateen.errors import DeviceError
from sateen.graph import run as run_golden
from sateen.hw.spec.config import parse_config
from sateen.hw.spec.sdram import find_chip
from sateen.hw.spec.wire import Op, Space
from sateen.runtime.link import read
from sateen.runtime.shelf import DIRECTORY_BYTES, HEAD, MAGIC, Shelf
from sateen.runtime.slots import Piece
from sateen.testing.graphs import random_graph, random_input, small_network

DEVICE = "micro,sdram=m12l64322a,scratchpad_bytes=1024"
PIPELINED = "tiny,sdram=as4c32m16sb,scratchpad_bytes=1024,weight_bytes=4096"
CONFIG = parse_config(DEVICE)
CAPACITY = find_chip(CONFIG.sdram).capacity


class Memory:
    """A link to a device of which there is only the SDRAM. ``breaks`` ends it before so many more writes."""

    def __init__(self):
        self.bytes, self.breaks, self.written, self.shelf, self.reserved = {}, None, 0, None, 0
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
def opened(text):
    """One device of a configuration for all rounds of a soak."""
    return sateen.open(f"sim:{text}")


def soak(seed):
    """A random network on one of two small devices with SDRAM, in several parts or rows as often as not; several runs,
    of which the later ones find what the earlier ones have copied ahead, and a batch, whose items may overlap."""
    rng = np.random.default_rng(seed)
    graph, device = random_graph(rng), opened((DEVICE, PIPELINED)[seed % 2])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sateen.SateenWarning)
        model = sateen.compile(graph, device.config)
        loaded = device.load(model)
    batch = {name: random_input(graph, rng, 5) for name in graph.inputs}
    inputs = {name: x[:1] for name, x in batch.items()}
    golden = run_golden(graph, {name: graph.tensors[name].from_file(x) for name, x in batch.items()}, layers=True)
    (output,) = graph.outputs
    result = loaded.run(batch)
    np.testing.assert_array_equal(graph.tensors[output].from_file(result), golden[output])
    golden = {name: values[:1] for name, values in golden.items()}
    for _ in range(3):
        layers = bool(rng.integers(2))
        result = loaded.run(inputs, layers=layers)
        tensors = result[1] if layers else {output: result}
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
    # Its lists lie behind a model.
    assert entries[0].size > Shelf(memory, CONFIG).plan(models[0]).bytes
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


IMPOSSIBLE = [
    {"base": "65536"}, {"base": None}, {"base": 65536.5}, {"base": DIRECTORY_BYTES - 1}, {"base": CAPACITY - 99},
    {"size": -1}, {"size": "100"}, {"sha256": 5}, {"name": [1]}, {"crc32": None}, {"more": 1},
]  # fmt: skip
"""Fields of an entry that no driver has written."""


@pytest.mark.parametrize("text", [*map(json.dumps, IMPOSSIBLE), "5", "null", "[" * 60_000])
def test_directory_of_another_kind(models, text):
    """Whatever it says, behind a checksum that is right, it is none, and the next load writes another."""
    if text.startswith("{"):
        right = {"name": "a", "sha256": "0" * 64, "base": DIRECTORY_BYTES, "size": 100, "crc32": 1}
        text = json.dumps([right | json.loads(text)])
    memory, data = Memory(), text.encode()
    memory.bytes.update(enumerate(HEAD.pack(MAGIC, len(data), zlib.crc32(data)) + data))
    shelf = Shelf(memory, CONFIG)
    assert shelf.entries == []
    assert shelf.load(models[0]).base == DIRECTORY_BYTES and len(Shelf(memory, CONFIG).entries) == 1


@pytest.mark.parametrize("place", [0, -1], ids=["weights", "list"])
def test_stale_model(models, place):
    """A model that has lost a bit is sent anew."""
    memory = Memory()
    entry = Shelf(memory, CONFIG).load(models[0])
    memory.bytes[entry.base + place % entry.size] ^= 0x80
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
    operations, _ = shelf.copying(models[0], [Piece(segment=0, space=Space.WEIGHTS, first=0, count=4)])
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


def test_open_says_that_the_memory_does_not_answer():
    """Before anything else is asked of it. Here, other bytes come in place of the SDRAM's."""
    other = mock.patch("sateen.runtime.shelf.read", lambda _, place, length: read(Space.SCRATCHPAD, place, length))
    with other, pytest.raises(DeviceError, match="SDRAM does not answer: .* check that the board has ESMT M12L6"):
        sateen.open(f"sim:{DEVICE}")


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
