"""Inferences of which the next travels while the last is computed: results, lost answers, errors, threads, closing."""

import threading
from concurrent.futures import CancelledError

import numpy as np
import pytest
from disturbed import Disturbed
from in_sdram import REFRESHES, WIDE
from test_shelf import DEVICE

import sateen
import seeds
from sateen.graph import run as golden
from sateen.hw.spec.config import PRESETS, parse_config
from sateen.hw.spec.descriptor import DESCRIPTOR_WORDS
from sateen.hw.spec.wire import Frame, Space, Stuffing
from sateen.runtime import Device
from sateen.runtime.link import Link, read, write
from sateen.runtime.pipeline import TURN_ITEMS, Item, one_turn
from sateen.runtime.transport import SimulationTransport
from sateen.testing.graphs import Builder, random_input

CONFIG = PRESETS["micro"]


def case(outputs, items=4, *, config=CONFIG):
    """A model of several frames an input, inputs and right results."""
    rng = np.random.default_rng(outputs)
    graph = Builder((10, 10, 2), rng).conv2d(outputs, (3, 3)).max_pool2d((2, 2)).flatten().fully_connected(5).graph()
    x = random_input(graph, rng, items)
    return sateen.compile(graph, config), x, golden(graph, x)[graph.outputs[0]]


@pytest.fixture(scope="module")
def transport():
    line = SimulationTransport(CONFIG)
    yield line
    line.close()


class Lines:
    """A transport that loses chosen answers, and counts the frames that wait for theirs."""

    bits_per_second = clock_hz = float("inf")

    def __init__(self, inner):
        self.inner, self.now, self.close = inner, inner.now, lambda: None
        self.lost, self.most = set(), 0
        self.sent, self.back, self.answers, self.waiting = Stuffing(), Stuffing(), 0, set()

    def exchange(self, data, *, timeout):
        frames = [Frame.decode(body) for body in self.sent.feed(data)]
        self.waiting |= {frame.seq for frame in frames}
        self.most = max(self.most, len(self.waiting))
        kept, came = b"", self.inner.exchange(data, timeout=min(timeout, 1e-4))
        for frame in map(Frame.decode, self.back.feed(came)):
            self.answers += 1
            self.waiting.discard(frame.seq)
            if self.answers not in self.lost:
                kept += frame.encode()
        return kept


def test_two_frames_are_on_the_way(transport):
    model, x, expected = case(3)
    line = Lines(transport)
    loaded = Device(Link(line)).load(model)
    line.most = 0
    np.testing.assert_array_equal(loaded.run(x), expected)
    assert line.most == 2 and not line.waiting
    # Only the last item's counters are read, and they are those of a run of it alone.
    profile = loaded.profile
    np.testing.assert_array_equal(loaded.run(x[-1:]), expected[-1:])
    assert profile.cycles == loaded.profile.cycles and profile.inferences == len(x)


def test_overlaps_with_sdram():
    """A model that stays in the device's memories, also after another one has stood there."""
    config = parse_config(DEVICE)
    line = Lines(SimulationTransport(config))
    device = Device(Link(line))
    (model, x, expected), (other, other_x, _) = case(3, config=config), case(4, config=config)
    loaded, another = device.load(model), device.load(other)
    for _ in range(2):
        another.run(other_x[:1])
        line.most = 0
        np.testing.assert_array_equal(loaded.run(x), expected)
        assert line.most == 2 and not line.waiting
        assert loaded.profile.cycles == sum(layer.predicted.cycles for layer in model.layers)
    device.close()


@pytest.fixture(scope="module")
def parts():
    """A device with SDRAM behind a line that loses answers, and a model of many parts on it."""
    config = parse_config(WIDE[0])
    line = Lines(SimulationTransport(config))
    device = Device(Link(line))
    rng = np.random.default_rng(1)
    builder = Builder((6, 5, 7), rng, name="parts").conv2d(24, (3, 3)).conv2d(20, (2, 2)).conv2d(40, (1, 1))
    graph = builder.conv2d(18, (2, 2)).flatten().fully_connected(20).graph()
    x = random_input(graph, rng, 6)
    yield line, device, device.load(sateen.compile(graph, config)), x, golden(graph, x)[graph.outputs[0]]
    device.close()


def test_parts_from_sdram_overlap(parts):
    """The next input goes to the device while one CALL runs all parts; what a run took is what its items take alone."""
    line, device, loaded, x, expected = parts
    np.testing.assert_array_equal(loaded.run(x[:1]), expected[:1])
    np.testing.assert_array_equal(loaded.run(x[:1]), expected[:1])
    alone, line.most = loaded.profile, 0
    np.testing.assert_array_equal(loaded.run(x), expected)
    profile = loaded.profile
    assert line.most == 2 and not line.waiting and profile.inferences == len(x)
    assert (profile.cycles, profile.copied_bytes) == (alone.cycles, len(x) * alone.copied_bytes)
    assert profile.spilled_bytes == len(x) * alone.spilled_bytes
    assert profile.memory_cycles == pytest.approx(alone.memory_cycles, abs=REFRESHES)
    line.most = 0
    waiting = [loaded.submit(each[None]) for each in x]
    np.testing.assert_array_equal(np.concatenate([each.result() for each in waiting]), expected)
    assert line.most == 2


@pytest.mark.parametrize("lost", [{1}, {2}, {2, 3}, set(range(3, 60, 4))])
def test_lost_answers_of_parts(parts, lost):
    """Lists are executed again from the inputs on, and find on the device what they need."""
    line, device, loaded, x, expected = parts
    loaded.run(x[:1])
    line.answers, line.lost = 0, lost
    try:
        np.testing.assert_array_equal(loaded.run(x), expected)
    finally:
        line.lost = set()
    assert line.answers > min(lost)


def test_parts_begin_anew(parts):
    """Behind an error, whatever the device's memories hold, items run alone until it is known again; a model whose
    results are read part by part does not overlap."""
    line, device, loaded, x, expected = parts
    device.forget()
    device.link.transaction([write(Space.WEIGHTS, 0, bytes(4096)), write(Space.PROGRAM, 0, bytes(192))])
    np.testing.assert_array_equal(loaded.run(x), expected)
    rng = np.random.default_rng(2)
    graph = (
        Builder((15, 9, 3), rng).conv2d(20, (3, 3), padding=((1, 1), (1, 1))).conv2d(30, (3, 3), stride=(2, 2)).graph()
    )
    other, y = device.load(sateen.compile(graph, device.config)), random_input(graph, rng, 5)
    line.most = 0
    np.testing.assert_array_equal(other.run(y), golden(graph, y)[graph.outputs[0]])
    np.testing.assert_array_equal(loaded.run(x), expected)


@pytest.mark.parametrize("lost", [{1}, {2}, {5, 6}, {7, 9, 11}, set(range(3, 40, 3))])
def test_lost_answers(transport, lost):
    """Of an input, of a program, of several: what was executed in vain is executed again."""
    model, x, expected = case(3)
    line = Lines(transport)
    device = Device(Link(line))
    loaded = device.load(model)
    line.answers, line.lost = 0, lost
    np.testing.assert_array_equal(loaded.run(x), expected)
    assert device.link.retransmissions >= 1


def test_disturbed_lines(transport, monkeypatch):
    monkeypatch.setattr("sateen.runtime.link.ANSWER_SECONDS", 1e-4)
    model, x, expected = case(4)
    device = Device(Link(transport))
    loaded = device.load(model)
    line = Disturbed(transport, 0.1, seeds.own(), silence=1e-4)
    device.link.transport, device.link.tries = line, 50
    for _ in range(2):
        futures = [loaded.submit(each) for each in x]
        for future, each in zip(futures, expected, strict=True):
            np.testing.assert_array_equal(future.result()[0], each)
        np.testing.assert_array_equal(loaded.run(x), expected)
    assert line.counts


def test_submissions_keep_their_order(transport):
    model, x, expected = case(3, items=TURN_ITEMS + 3)
    device, ended = Device(Link(transport)), []
    loaded = device.load(model)
    futures = [loaded.submit(x[at : at + 1 + at % 3]) for at in range(len(x) - 3)]
    for at, future in enumerate(futures):
        future.add_done_callback(lambda _, at=at: ended.append(at))
    for at, future in enumerate(futures):
        np.testing.assert_array_equal(future.result(), expected[at : at + 1 + at % 3])
    assert ended == sorted(ended)


def test_an_error_is_of_its_inference_alone(transport):
    """A program that hangs fails one inference. The next ones, already on their way, run with the program written
    anew."""
    model, x, expected = case(3)
    device = Device(Link(transport))
    loaded = device.load(model)
    with pytest.raises(sateen.InputError, match="must have shape"):
        loaded.submit(x[:, :5])
    for run in ("submit", "run"):
        device.link.transaction([write(Space.PROGRAM, 0, bytes(4 * DESCRIPTOR_WORDS))])
        if run == "run":
            with pytest.raises(sateen.OvertimeError, match="the device ended the program in layer"):
                loaded.run(x)
            np.testing.assert_array_equal(loaded.run(x), expected)
            continue
        futures = [loaded.submit(each) for each in x]
        with pytest.raises(sateen.OvertimeError, match="the device ended the program in layer"):
            futures[0].result()
        for future, each in zip(futures[1:], expected[1:], strict=True):
            np.testing.assert_array_equal(future.result()[0], each)


def test_silence_fails_the_oldest(transport, monkeypatch):
    """Each inference has its own tries."""
    monkeypatch.setattr("sateen.runtime.link.ANSWER_SECONDS", 1e-4)
    model, x, expected = case(3)
    line = Lines(transport)
    loaded = Device(Link(line)).load(model)
    exchange, silent = line.exchange, threading.Event()

    def mute(data, *, timeout):
        return b"" if silent.is_set() else exchange(data, timeout=timeout)

    line.exchange = mute
    silent.set()
    futures = [loaded.submit(each) for each in x]
    with pytest.raises(sateen.LinkError, match="did not answer"):
        futures[0].result()
    futures[-1].exception()
    silent.clear()
    np.testing.assert_array_equal(loaded.submit(x[0]).result()[0], expected[0])
    np.testing.assert_array_equal(loaded.run(x), expected)


def test_an_error_of_the_host_is_of_its_inference_alone(transport, monkeypatch):
    model, x, expected = case(3)
    loaded, finish, count = Device(Link(transport)).load(model), Item.finish, []

    def fails_once(item, answer):
        count.append(item)
        if len(count) == 2:
            raise ZeroDivisionError("as an operator of the host may")
        return finish(item, answer)

    monkeypatch.setattr(Item, "finish", fails_once)
    futures = [loaded.submit(each) for each in x]
    with pytest.raises(ZeroDivisionError):
        futures[1].result()
    for place in (0, 2, 3):
        np.testing.assert_array_equal(futures[place].result()[0], expected[place])


def test_callbacks_may_not_use_the_device(transport):
    model, x, expected = case(3)
    loaded, found = Device(Link(transport)).load(model), []

    def use(future):
        try:
            loaded.run(x)
        except sateen.DeviceError as error:
            found.append(str(error))

    with loaded.device.turn:
        first, second = loaded.submit(x[0]), loaded.submit(x[1])
        first.add_done_callback(use)
    np.testing.assert_array_equal(second.result()[0], expected[1])
    assert found == ["the device computes while a callback of its results runs; use it from another thread"]
    told = []
    loaded.run(x, progress=lambda done, total: told.append((done, loaded.run(x[:1]).shape)))
    assert [done for done, _ in told] == [1, 2, 3, 4]


def test_threads_submit_and_run(transport):
    device, wrong = Device(Link(transport)), []
    models = [(device.load(model), x, expected) for model, x, expected in (case(2), case(3))]

    def work(number):
        loaded, x, expected = models[number % 2]
        futures = [loaded.submit(x) for _ in range(2)]
        results = [loaded.run(x), *(future.result() for future in futures)]
        wrong.extend(number for result in results if not np.array_equal(result, expected))

    users = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert wrong == []


def test_closing(transport):
    """What is under way ends; what has not begun is cancelled, also by its owner; nothing begins afterwards."""
    model, x, expected = case(3)
    device = Device(Link(Lines(transport)))
    loaded = device.load(model)
    with device.turn:
        futures = [loaded.submit(each) for each in x]
        assert futures[-1].cancel()
    futures[0].result()
    device.close()
    for future, each in zip(futures, expected, strict=True):
        if future.cancelled():
            with pytest.raises(CancelledError):
                future.result()
        else:
            np.testing.assert_array_equal(future.result()[0], each)
    with pytest.raises(sateen.DeviceError, match="the device is closed; open it again"):
        loaded.submit(x)


def test_several_turns_of_the_device(transport):
    """Of a model whose weights are streamed, inferences follow one another, as in a run."""
    rng = np.random.default_rng(9)
    graph = Builder((6, 6, 2), rng).conv2d(3, (3, 3)).flatten().fully_connected(120).fully_connected(4).graph()
    model, x = sateen.compile(graph, CONFIG), random_input(graph, rng, 3)
    loaded = Device(Link(transport)).load(model)
    assert not model.resident and one_turn(model) is None
    np.testing.assert_array_equal(loaded.submit(x).result(), golden(graph, x)[graph.outputs[0]])


def test_hello_after_frames_without_answers(transport):
    """Whichever of two frames the device has executed, the next request is."""
    for lost in ({1}, {1, 2}, {2}):
        line = Lines(transport)
        link = Link(line, tries=1)
        link.hello()
        line.answers, line.lost = 0, lost
        data = bytes(range(200))
        try:
            link.transaction([write(Space.SCRATCHPAD, 0, data)])
        except sateen.LinkError:
            line.lost = set()
            link.transaction([write(Space.SCRATCHPAD, 0, data)])
        assert link.transaction([read(Space.SCRATCHPAD, 0, 200)]) == data
