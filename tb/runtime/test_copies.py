"""A device with SDRAM: its bytes, what is copied from there and stored, models and tensors that lie there."""

import random
import zlib
from unittest import mock

import numpy as np
import pytest
from in_sdram import REFRESHES, WIDE, in_parts
from test_shelf import CAPACITY, CONFIG, DEVICE

import sateen
import seeds
from sateen.errors import DeviceError
from sateen.graph import run as run_golden
from sateen.hw.spec.wire import Op, OpHeader, Space
from sateen.runtime import Device
from sateen.runtime.link import Operation, copies, read, run, stores, wait, write
from sateen.runtime.moves import MemoryUse, memory_use
from sateen.testing.graphs import Builder, random_input, small_network

NARROW = "tiny,cols=2,lanes=1,sdram=m12l64322a,scratchpad_bytes=1024,weight_bytes=1024"
"""Weight words of 2 bytes beside words of SDRAM of 4: bytes go one by one."""


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


def test_stores(each_device):
    """What copies bring comes back, from and to any byte, in any number; nothing else is written."""
    rng, link = random.Random(seeds.own()), each_device.link
    for _ in range(40):
        length, source, target, place = rng.randrange(90), *(rng.randrange(8) for _ in range(3))
        data, old = rng.randbytes(110), rng.randbytes(110)
        link.transaction([write(Space.SDRAM, 5000, data), write(Space.SDRAM, 6000, old)])
        moves = copies(5000 + source, Space.SCRATCHPAD, place, length)
        more = Operation(OpHeader(Op.STORE, Space.SCRATCHPAD, 3, place))
        link.transaction([*moves, *stores(6000 + target, Space.SCRATCHPAD, place, length), more])
        middle = data[source : source + length] + link.transaction([read(Space.SCRATCHPAD, place, 3)])
        expected = old[:target] + middle + old[target + length + 3 :]
        assert link.transaction([read(Space.SDRAM, 6000, 110)]) == expected, (length, source, target, place)
    program = rng.randbytes(96)
    link.transaction([write(Space.PROGRAM, 0, program), *stores(6001, Space.PROGRAM, 3, 90)])
    assert link.transaction([read(Space.SDRAM, 6000, 92)]) == expected[:1] + program[3:93] + expected[91:92]


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
        assert loaded.profile.copied_bytes == device.shelf.plan(model).bytes
        # Two frames each way, a header for each operation, and counters.
        assert loaded.profile.link_bytes < 600 < device.shelf.size(model) / 10


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


@pytest.fixture(scope="module", params=[DEVICE, *WIDE, NARROW])
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


def test_bytes_of_the_host(each_device):
    """Writes of any length to any place, over each other, and reads; between SEEK and COPY they move nothing."""
    rng, link = random.Random(seeds.own()), each_device.link
    expected, first = bytearray(rng.randbytes(300)), (1 << 20) + rng.randrange(8)
    link.transaction([write(Space.SDRAM, first, bytes(expected))])
    for _ in range(40):
        place, length = rng.randrange(280), rng.choice([0, 1, 2, 3, 4, 5, 8, 20])
        data = rng.randbytes(length)
        expected[place : place + length] = data
        begin, count = rng.randrange(260), rng.randrange(40)
        seek, *copy = copies(first + begin, Space.SCRATCHPAD, 5, count)
        answer = link.transaction(
            [
                seek,
                write(Space.SDRAM, first + place, data),
                read(Space.SDRAM, first + begin, count),
                *copy,
                read(Space.SCRATCHPAD, 5, count),
            ]
        )
        assert answer == 2 * expected[begin : begin + count], (place, length, begin, count)
    assert link.transaction([read(Space.SDRAM, first, 300)]) == expected


def test_a_byte_of_the_host_takes_a_cycle(each_device):
    """Besides its way over the link; with a sequential engine three."""
    link, frame = each_device.link, each_device.config.frame_bytes - 16

    def cycles(operation):
        before = each_device.simulated_cycles
        link.transaction([operation])
        return each_device.simulated_cycles - before

    # Bytes that the link need not stuff.
    written = [cycles(write(Space.SDRAM, 3, b"x" * length)) for length in (1, frame)]
    found = [cycles(read(Space.SDRAM, 3, length)) for length in (1, frame)]
    most = 4.3 if each_device.config.engine == "sequential" else 2.3
    assert max(written[1] - written[0], found[1] - found[0]) < most * frame + 40, (written, found, frame)


def test_waiting_for_memory(each_device):
    """The device counts the cycles in which bytes move and no layer runs; the model of moves expects them."""
    for seed in (1, 2):
        model, x, expected = in_parts(seed, each_device.config)
        loaded = each_device.load(model)
        for _ in range(2):
            np.testing.assert_array_equal(loaded.run(x), expected)
        use, profile = memory_use(model, each_device.config), loaded.profile
        assert 2 * use.moved == profile.copied_bytes + profile.spilled_bytes
        assert profile.memory_cycles == pytest.approx(use.cycles, rel=0.02, abs=REFRESHES), (profile.memory_cycles, use)


def test_waiting_for_weights():
    """Of moves that take many refreshes, the model knows the cycles within two in a thousand."""
    graph = Builder((300,), np.random.default_rng(2)).fully_connected(300).graph()
    x = random_input(graph, np.random.default_rng(0), 1)
    with sateen.open(f"sim:{WIDE[0]}") as opened:
        model = sateen.compile(graph, opened.config)
        loaded = opened.load(model)
        for _ in range(2):
            np.testing.assert_array_equal(loaded.run(x), run_golden(graph, x)[graph.outputs[0]])
        use = memory_use(model, opened.config)
    assert loaded.profile.memory_cycles == pytest.approx(use.cycles, rel=0.002), use


def test_waiting_for_tensors(device):
    """The same of tensors that wait in SDRAM; nothing waits for a model that stays on the device."""
    model, x = spilling(3)
    with pytest.warns(sateen.SateenWarning, match="runs on the host"):
        loaded = device.load(model)
    loaded.run(x)
    loaded.run(x)
    use = memory_use(model, device.config)
    assert use.moved == loaded.profile.copied_bytes + loaded.profile.spilled_bytes
    assert loaded.profile.memory_cycles == pytest.approx(use.cycles, rel=0.02, abs=REFRESHES)
    model, x = small_network(CONFIG, 3)
    resident = device.load(model)
    resident.run(x)
    resident.run(x)
    assert memory_use(model, device.config) == MemoryUse() and resident.profile.memory_cycles == 0


def test_after_an_error_nothing_is_known(each_device):
    """A frame that was lost for good, between two segments: all of them are copied anew."""
    model, x, expected = in_parts(3, each_device.config)
    loaded = each_device.load(model)
    np.testing.assert_array_equal(loaded.run(x), expected)
    transaction = each_device.link.transaction
    with mock.patch.object(each_device.link, "transaction", wraps=transaction) as asked:
        loaded.run(x)
    assert asked.call_count
    for failing in range(asked.call_count):
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
    """A copy takes a cycle a word where it may, else a cycle a byte; likewise what is stored."""
    link, width = each_device.link, each_device.config.moved_bytes

    def more(space, address, move=copies):
        """Cycles that 512 bytes take more than 256."""
        taken = []
        for length in (256, 512):
            before = each_device.simulated_cycles
            link.transaction(move((1 << 16) + 1, space, address, length), busy_cycles=10000)
            taken.append(each_device.simulated_cycles - before)
        return taken[1] - taken[0]

    assert abs(more(Space.SCRATCHPAD, 1, stores) - 256 // width) < 40
    assert abs(more(Space.SCRATCHPAD, 1) - 256 // width) < 40
    assert abs(more(Space.WEIGHTS, 1) - 256 // width) < 40
    assert abs(more(Space.WEIGHTS, 0) - 256) < 40


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
