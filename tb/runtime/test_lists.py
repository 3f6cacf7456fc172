"""Lists of operations in SDRAM, and the CALL that runs one: a model's inferences send their inputs, a CALL, and receive
their outputs."""

import random
from itertools import groupby
from unittest import mock

import numpy as np
import pytest
from in_sdram import WIDE, in_parts
from test_hostile import HELLO_CYCLES, following, hang, victim
from test_shelf import DEVICE

import sateen
import seeds
from sateen.errors import DeviceError
from sateen.graph import run as run_golden
from sateen.hw.spec.wire import Frame, FrameType, Op, OpHeader, Space, Status, Stuffing
from sateen.runtime import Device
from sateen.runtime.link import Operation, copies, read, run, wait, write
from sateen.testing.graphs import Builder, random_input

PLACE = 20_003
"""Where lists begin: not at a word."""
DATA = 1 << 20
LONGEST = 0xFFF8


@pytest.fixture(scope="module", params=[DEVICE, WIDE[0]])
def device(request):
    with sateen.open(f"sim:{request.param}") as opened:
        yield opened


def encoded(*operations):
    return b"".join(each.header.encode() for each in operations)


def call(length, place=PLACE):
    return Operation(OpHeader(Op.CALL, 0, length, place))


def asked(link, size, *operations):
    """Executes operations in one frame, which read so many bytes, also in lists."""
    return link._send(FrameType.REQUEST, encoded(*operations), size + 1, 0)


def test_executes_a_list(device):
    """Of any number of operations, in order, between others of the same frame; what they read is the answer's."""
    rng, link, steps = random.Random(seeds.own()), device.link, 12
    data = rng.randbytes(10 * steps)
    pieces = [copies(DATA + 10 * step, Space.SCRATCHPAD, 10 * (steps - 1 - step), 10) for step in range(steps)]
    operations = [each for piece in pieces for each in piece]
    operations[10:10] = [wait(), read(Space.SCRATCHPAD, 10 * (steps - 1), 3)]
    link.transaction([write(Space.SDRAM, DATA, data), write(Space.SDRAM, PLACE, encoded(*operations))])
    for count in (0, 1, 2, 7, 8, 9, 11, 12, 16, 17, len(operations)):
        link.transaction([write(Space.SCRATCHPAD, 0, bytes(10 * steps))])
        found = data[:3] if count > 11 else b""
        before, after = read(Space.SDRAM, DATA + 5, 2), read(Space.SDRAM, DATA + 7, 2)
        answer = asked(link, 4 + len(found), before, call(8 * count), after)
        assert answer == data[5:7] + found + data[7:9], count
        done = sum(each.header.op == Op.COPY for each in operations[:count])
        expected = b"".join(data[10 * step : 10 * step + 10] for step in reversed(range(done)))
        kept = link.transaction([read(Space.SCRATCHPAD, 0, 10 * steps)])
        assert kept == expected.rjust(10 * steps, b"\0"), count


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        (call(8), "BAD_OP"),
        (write(Space.SCRATCHPAD, 0, b""), "BAD_OP"),
        (write(Space.SDRAM, 0, bytes(1)), "BAD_OP"),
        (Operation(OpHeader(0xFF, 0, 0, 0)), "BAD_OP"),
        (Operation(OpHeader(Op.COPY, Space.SDRAM, 4, 0)), "BAD_SPACE"),
        (read(Space.SCRATCHPAD, 0, 0xFFFF), "OVERFLOW"),
    ],
    ids=str,
)
def test_a_bad_operation_ends_list_and_frame(device, bad, status):
    """Those before it are executed, none behind it, and the next frame begins anew."""
    link, first, other = device.link, copies(DATA, Space.SCRATCHPAD, 0, 4), copies(DATA, Space.SCRATCHPAD, 4, 4)
    link.transaction(
        [
            write(Space.SDRAM, DATA, b"good"),
            write(Space.SDRAM, PLACE, encoded(*first, bad, *other, *12 * [wait()])),
            write(Space.SCRATCHPAD, 0, bytes(12)),
        ]
    )
    with pytest.raises(DeviceError, match=status):
        link.transaction([call(17 * 8), *copies(DATA, Space.SCRATCHPAD, 8, 4)])
    assert link.transaction([read(Space.SCRATCHPAD, 0, 12)]) == b"good" + bytes(8)
    link.transaction([call(16)])


def test_a_list_is_of_whole_operations(device):
    with pytest.raises(DeviceError, match="BAD_OP"):
        device.link.transaction([call(12)])


def answers(device, payload, *, cycles):
    """The answers to a frame, and to a HELLO that comes so many cycles later."""
    link = device.link()
    link.hello()
    seq, exchange = following(link), device.transport.device.exchange
    assert not exchange(Frame(FrameType.REQUEST, seq, payload, link.session).encode(), max_cycles=cycles)
    begin = device.transport.device.cycles
    came = exchange(Frame(FrameType.HELLO, 2, b"", 0x1234).encode(), max_cycles=HELLO_CYCLES)
    came += exchange(b"", max_cycles=HELLO_CYCLES)
    assert device.transport.device.cycles - begin < 2 * HELLO_CYCLES
    return [(frame.seq - seq, frame.payload) for body in Stuffing().feed(came) if (frame := Frame.decode(body))][:-1]


@pytest.mark.parametrize("name", ["SDRAM", "pipelined with SDRAM"])
def test_a_session_ends_a_list(name):
    """One whose program never ends, and the longest, at any of its operations."""
    device = victim(name)
    stuck = encoded(run(0, 1), wait(), *copies(DATA, Space.SCRATCHPAD, 0, 4))
    hang(device).transaction([write(Space.SDRAM, PLACE, stuck), write(Space.SDRAM, DATA, 100 * encoded(wait()))])
    assert answers(device, encoded(call(len(stuck))), cycles=800) == [(0, bytes([Status.ABORTED]))]
    device.check()
    for cycles in range(600, 700, 7):
        frame = encoded(call(LONGEST, DATA), read(Space.SCRATCHPAD, 0, 4))
        # What stands behind the hundred operations is none.
        assert answers(device, frame, cycles=cycles) == [(0, bytes([Status.ABORTED]))], cycles
    device.check()


def test_a_program_of_a_list_runs_for_too_long():
    """The answer says so, and where."""
    device = victim("pipelined with SDRAM")
    link = hang(device)
    operations = encoded(run(0, 1, limit=1000), wait(), *copies(DATA, Space.SCRATCHPAD, 0, 4))
    link.transaction([write(Space.SDRAM, PLACE, operations)])
    with pytest.raises(sateen.OvertimeError, match="in descriptor 0 of the run"):
        link.transaction([call(len(operations)), read(Space.SCRATCHPAD, 0, 4)])
    device.check()


def mobile(config):
    """A network as MobileNetV2, an input of four items, and its results."""
    rng = np.random.default_rng(seeds.own())
    builder = Builder((12, 12, 3), rng, name="mobile").conv2d(12, (3, 3), stride=(2, 2), padding=((0, 1), (0, 1)))
    for stride in (1, 2):
        builder = builder.conv2d(40, (1, 1)).depthwise_conv2d((3, 3), stride=(stride, stride), padding=((1, 1), (1, 1)))
        builder = builder.conv2d(12, (1, 1))
    graph = builder.flatten().fully_connected(10).graph()
    x = random_input(graph, rng, 4)
    return sateen.compile(graph, config), x, run_golden(graph, x)[graph.outputs[0]]


def headers(data):
    """The operations in frames."""
    found = []
    for body in Stuffing().feed(data):
        payload = Frame.decode(body).payload
        while payload:
            header = OpHeader(*OpHeader.LAYOUT.unpack_from(payload))
            found.append(header)
            payload = payload[OpHeader.LAYOUT.size + header.length * (header.op == Op.WRITE) :]
    return found


def test_an_inference_is_an_input_a_call_and_an_output():
    """Of models of many parts, by the lists that were loaded with them, from any place of the SDRAM; also by a program
    that finds them there."""
    with sateen.open(f"sim:{WIDE[0]}") as opened:
        cases = [mobile(opened.config), in_parts(1, opened.config)]
        for device in (opened, Device(opened.link)):
            for model, x, expected in cases:
                assert len(model.segments) > 2
                loaded = device.load(model)
                np.testing.assert_array_equal(loaded.run(x), expected)
                transport = opened.link.transport
                with mock.patch.object(transport, "exchange", wraps=transport.exchange) as exchange:
                    np.testing.assert_array_equal(loaded.run(x), expected)
                sent = headers(b"".join(call.args[0] for call in exchange.call_args_list))
                # Long inputs are cut. The last item is profiled.
                kinds = [kind for kind, _ in groupby(header.op for header in sent)]
                assert kinds[: 3 * len(x) - 3] == (len(x) - 1) * [Op.WRITE, Op.CALL, Op.READ]
                first = next(place for place, header in enumerate(sent) if header.op == Op.CALL)
                assert sum(header.length for header in sent[:first]) == x[0].size
                assert sent[first + 1].length == expected[0].size
        assert device.shelf.entries and not device.shelf.sent


def test_lists_that_do_not_fit_are_sent():
    """Operations that no list has go over the link: behind an error, and with another's in between."""
    with sateen.open(f"sim:{WIDE[0]}") as opened:
        (model, x, expected), (other, other_x, _) = in_parts(1, opened.config), in_parts(2, opened.config)
        loaded, another = opened.load(model), opened.load(other)
        for _ in range(2):
            np.testing.assert_array_equal(loaded.run(x), expected)
            another.run(other_x)
        opened.forget()
        np.testing.assert_array_equal(loaded.run(x), expected)
        # Nobody has checked the lists in this session.
        opened.link.hello()
        np.testing.assert_array_equal(loaded.run(x), expected)
