"""Handles of one device, one after another and in turn: none relies on what another one, or another session, left."""

import json
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from test_sharing import CONFIG, cases
from test_shelf import CONFIG as WITH_SDRAM
from test_shelf import DEVICE, Memory

import sateen
from sateen.errors import DeviceError, OvertimeError
from sateen.hw.spec.identity import Identity
from sateen.runtime import Device
from sateen.runtime.link import Link
from sateen.runtime.shelf import DIRECTORY_BYTES, HEAD, MAGIC, Shelf
from sateen.runtime.transport import SimulationTransport
from sateen.testing.graphs import Builder, small_network


def test_a_session_in_the_meantime():
    """A handle that begins a session again before any of its requests was refused."""
    transport = SimulationTransport(CONFIG)
    (model, x, expected), (other, other_x, _) = cases(2)
    first = Device(Link(transport))
    loaded = first.load(model)
    np.testing.assert_array_equal(loaded.run(x), expected)
    Device(Link(transport)).load(other).run(other_x)
    first.link.hello()
    np.testing.assert_array_equal(loaded.run(x), expected)
    transport.close()


def test_handles_that_share_a_link():
    link = Link(SimulationTransport(CONFIG))
    pairs = [(Device(link).load(model), x, expected) for model, x, expected in cases(2)]
    for _ in range(2):
        for loaded, x, expected in pairs:
            np.testing.assert_array_equal(loaded.run(x), expected)
    link.close()


def test_handles_in_threads():
    """They take turns, as threads that share a handle do: between a segment's placing and its run no other comes."""
    with sateen.open("sim:micro") as device:
        cases = []
        for handle, seed in ((device, 1), (Device(device.link), 2)):
            model, x = small_network(device.config, seed)
            loaded = handle.load(model)
            cases.append((loaded, x, loaded.run(x)))

        def wrong(case):
            loaded, x, expected = case
            return sum(not np.array_equal(loaded.run(x), expected) for _ in range(40))

        with ThreadPoolExecutor() as pool:
            assert list(pool.map(wrong, cases)) == [0, 0]


def test_sdram_after_another_session():
    """What was found in SDRAM is looked for again once a session has begun, and once another shelf was used."""
    models = [small_network(WITH_SDRAM, seed)[0] for seed in (1, 2)]
    memory = Memory()
    shelf, other = Shelf(memory, WITH_SDRAM), Shelf(memory, WITH_SDRAM)
    size = shelf.load(models[0]).size
    other.load(models[1])
    assert len(shelf.entries) == 2 and shelf.load(models[1]) and shelf.sent == size
    memory.bytes.clear()
    memory.shelf = None
    shelf.load(models[0])
    assert shelf.sent == 2 * size and len(shelf.entries) == 1


def test_room_that_another_handle_reserves(monkeypatch):
    """No handle puts a model where inferences of another one keep their tensors: what is there is not looked at again
    while the same shelf is used."""
    models = [small_network(WITH_SDRAM, seed)[0] for seed in (1, 2)]
    memory = Memory()
    shelf, other = Shelf(memory, WITH_SDRAM), Shelf(memory, WITH_SDRAM)
    size = shelf.size(models[0])
    monkeypatch.setattr(type(shelf.chip), "capacity", DIRECTORY_BYTES + 2 * size)
    base = shelf.reserve(size)
    for model in models:
        assert other.load(model).base + size <= base
    assert shelf.reserve(size + 1) == base - 1 and not other.entries
    with pytest.raises(DeviceError, match=f"1 more than .* room for beside {size + 1:,} bytes of tensors"):
        other.load(models[0])


def test_handles_that_are_made_at_once():
    """What one looks for in SDRAM, another one does not write over meanwhile."""
    with sateen.open(f"sim:{DEVICE}") as device, ThreadPoolExecutor(4) as pool:
        for handle in list(pool.map(Device, [device.link] * 12)):
            assert handle.identity == device.identity


@pytest.mark.parametrize("listed", [[{"name": "x", "since": 1}], [3], {"name": "x"}])
def test_a_directory_of_another_version(listed):
    """Its checksum is right, but it says other things."""
    text = json.dumps(listed).encode()
    memory = Memory()
    memory.bytes.update(enumerate(HEAD.pack(MAGIC, len(text), zlib.crc32(text)) + text))
    shelf = Shelf(memory, WITH_SDRAM)
    assert shelf.entries == []
    shelf.load(small_network(WITH_SDRAM, 1)[0])
    assert len(shelf.entries) == 1


def test_copies_of_others_do_not_count(monkeypatch):
    """A profile has the bytes that its own run copied, whoever else ran between its items."""
    with sateen.open(f"sim:{DEVICE}") as device:
        (model, x), (other, other_x) = (small_network(WITH_SDRAM, seed) for seed in (1, 2))
        loaded, another = device.load(model), device.load(other)
        # Others get the device after each item.
        monkeypatch.setattr("sateen.runtime.pipeline.TURN_ITEMS", 1)
        loaded.run(np.concatenate([x, x]), progress=lambda done, total: another.run(other_x))
        # For each item, and not for what ran in between.
        assert loaded.profile.copied_bytes == 2 * device.shelf.plan(model).bytes


def test_overtime_in_one_of_several_parts():
    """The layer is named, although the place counts from the beginning of a part behind the first."""

    class Stuck:
        transport, bytes = None, 0

        def hello(self):
            return Identity(CONFIG, "")

        def transaction(self, operations, *, busy_cycles=0):
            raise OvertimeError("too long", place=200)

    graph = Builder((4, 4, 2), np.random.default_rng(1), name="net").conv2d(3, (2, 2)).conv2d(2, (1, 1)).graph()
    model = sateen.compile(graph, CONFIG)
    (first,), (second,) = (layer.parts for layer in model.layers)
    device = Device(Stuck())
    device.place = lambda model, segment: None
    for parts, names in (((first, first), "'op0'"), ((second, second), "'op1'"), ((first, second), "'op0' or 'op1'")):
        with pytest.raises(OvertimeError, match=f"in layer {names}: "):
            device.run_all(model, [(part, [], []) for part in parts])
