"""The page on which people draw: what the network sees, the protocol, and who may use it."""

import io
import json
import signal
import subprocess
import sys
import threading
import urllib.request

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

import sateen
from command_line import here
from sateen.cli.inputs import Preprocessing
from sateen.cli.play import _classes
from sateen.cli.sources import load_source
from sateen.errors import InputError
from sateen.play import application, pixels
from sateen.play.player import BUSY, STARVED, WAITING
from sateen.reference.inputs import real_range
from sateen.sim.probed import ProbedDevice
from sateen.testing.graphs import Builder

CONFIG = "tiny"
OWN = {"origin": "http://testserver"}


def arc(x, y, rx, ry, begin, end):
    angles = np.linspace(begin, end, 24) * np.pi
    return [[x + rx * np.cos(a), y + ry * np.sin(a)] for a in angles]


DRAWN = {
    0: [arc(50, 50, 26, 40, -0.5, 1.5)],
    1: [[[40, 25], [55, 8], [55, 92]]],
    2: [[*arc(50, 32, 24, 24, -1, 0.2), [28, 90], [78, 90]]],
    3: [[*arc(46, 30, 24, 21, -0.9, 0.5), *arc(46, 71, 27, 22, -0.5, 0.85)]],
    4: [[[58, 8], [22, 62], [82, 62]], [[62, 40], [62, 94]]],
    7: [[[22, 10], [78, 10], [42, 92]]],
}
"""Digits as people draw them, as strokes."""


def test_two_devices_that_record_at_once(player):
    """Each ends by itself, whichever was opened first."""
    config = player.device.config
    first, second = ProbedDevice(config), ProbedDevice(config)
    second.close()
    first.close()
    first.close()


@pytest.mark.parametrize("digit", DRAWN)
def test_what_is_drawn_is_read(player, digit):
    """The network was trained on scans; drawings are made to look like them."""
    found, recording = player.run(0, DRAWN[digit])
    assert found["class"] == str(digit) and recording is None


@pytest.mark.parametrize("factor, offset", [(0.1, 0), (3.2, -700), (1e4, 5)])
def test_place_and_size_do_not_matter(factor, offset):
    moved = [[[factor * x + offset, factor * y + offset] for x, y in stroke] for stroke in DRAWN[4]]
    assert np.allclose(pixels(moved), pixels(DRAWN[4]), atol=1e-5)


def test_a_point_is_a_dot():
    dot = pixels([[[10, 10]]])
    assert dot.shape == (8, 8, 1) and dot.dtype == np.float32
    assert dot[3:5, 3:5].min() > 0 and dot[:2].max() == dot[6:].max() == 0


@pytest.mark.parametrize(
    "strokes, message",
    [
        ([], "empty"), ([[]], "empty"), ([[1, 2]], "points"), ([[[1]]], "points"), ([[["a", "b"]]], "points"),
        ([[[float("nan"), 1]]], "points"), ([[[1e300, 1]]], "points"), ([[[1, 2]] * 4001], "at most 4,000"),
        ([[[1, 2], [3]]], "points"),
    ],
)  # fmt: skip
def test_no_drawing(strokes, message):
    with pytest.raises(ValueError, match=message):
        pixels(strokes)


def test_the_record_is_what_the_counters_count(player):
    """Two independent looks at the same run, cycle by cycle and in sum; and the sums of the layers."""
    found, data = player.run(0, DRAWN[2], record=True)
    config = player.device.config
    table = np.frombuffer(data, np.uint8).reshape(-1, config.rows * config.cols + 2)
    state, layer = table[:, -2], table[:, -1]
    assert found["recording"] == {"cycles": len(table), "whole": True} and len(table) == found["cycles"]
    for place, counters in enumerate(found["layers"]):
        here = state[layer == place]
        assert (here & BUSY > 0).sum() == counters["busy"]
        # Which of two causes counts when both hold is the counters' choice.
        assert abs(int(((here & WAITING > 0) & (here & BUSY == 0)).sum()) - counters["weights"]) <= 4
        assert (here & STARVED > 0).sum() >= counters["accumulators"]
        assert abs(len(here) - counters["cycles"]) <= 4
    again, _ = player.run(0, DRAWN[2])
    assert again["scores"] == found["scores"] and again["cycles"] == found["cycles"]


def test_the_array_moves_activations_to_the_right(player):
    """What enters a PE is what its left neighbour had a cycle before: a wave."""
    _, data = player.run(0, DRAWN[7], record=True)
    config = player.device.config
    table = np.frombuffer(data, np.uint8).reshape(-1, config.rows * config.cols + 2)[:, :-2]
    array = table.reshape(-1, config.rows, config.cols)
    assert len(np.unique(array)) > 20
    assert np.array_equal(array[1:, :, 1:], array[:-1, :, :-1])


def test_without_a_simulation_there_is_no_record(player, monkeypatch):
    monkeypatch.setattr(type(player), "probe", property(lambda self: None))
    assert player.describe()["live"] is False
    assert player.run(0, DRAWN[1], record=True)[1] is None


def test_pages_are_served_and_nothing_else(client):
    page = client.get("/")
    assert page.status_code == 200 and "Draw a digit" in page.text
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for name in ("play.js", "play.css"):
        assert client.get(f"/{name}").status_code == 200
    for name in ("app.py", "../app.py", "..%2fapp.py", "none"):
        assert client.get(f"/{name}").status_code == 404


@pytest.mark.parametrize("origin", ["http://evil.example", "http://testserver:81", "null", "", "http://"])
def test_pages_of_other_sites_are_sent_away(client, origin):
    with (
        pytest.raises(WebSocketDisconnect) as left,
        client.websocket_connect("/device", headers={"origin": origin}) as ws,
    ):
        ws.receive_json()
    assert left.value.code == 4403


def test_browsers_that_do_not_say_where_from_are_sent_away(client):
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/device") as ws:
        ws.receive_json()


def test_other_names_of_this_machine_are_refused(player):
    """A site whose name leads to 127.0.0.1 has its own name in the request."""
    assert TestClient(application(player), base_url="http://evil.example").get("/").status_code == 400
    assert TestClient(application(player), base_url="http://127.0.0.1:7380").get("/").status_code == 200


def ask(ws, **fields):
    ws.send_text(json.dumps({"model": 0, "id": 1, **fields}))


def test_a_conversation(client, player):
    with client.websocket_connect("/device", headers=OWN) as ws:
        hello = ws.receive_json()
        assert hello["type"] == "hello" and hello["live"] and hello["rows"] == 4
        assert [each["kind"] for each in hello["models"]] == ["digit", "picture"]
        ask(ws, strokes=DRAWN[7], id=7)
        answer = ws.receive_json()
        assert (answer["type"], answer["id"], answer["class"]) == ("result", 7, "7")
        assert answer["cycles"] == sum(each["cycles"] for each in answer["layers"])
        ask(ws, strokes=DRAWN[1], id=8, record=True)
        answer, data = ws.receive_json(), ws.receive_bytes()
        assert answer["class"] == "1" and len(data) == answer["recording"]["cycles"] * 18


def test_a_picture(client, player):
    picture = io.BytesIO()
    colours = np.random.default_rng(2).integers(0, 256, (6, 6, 3), np.uint8)
    Image.fromarray(colours).save(picture, "PNG")
    with client.websocket_connect("/device", headers=OWN) as ws:
        ws.receive_json()
        ask(ws, model=1)
        ws.send_bytes(picture.getvalue())
        answer = ws.receive_json()
        model = player.models[1].model
        tensor = model.graph.tensors[model.graph.inputs[0]]
        low, high = real_range(model.graph, tensor)
        real = low + colours[None] * (high - low) / 255
        golden = sateen.graph.run(model.graph, tensor.quantize(real.astype(np.float32)))
        assert answer["best"] == int(np.asarray(golden[model.graph.outputs[0]]).argmax())
        ask(ws, model=1, id=2)
        ws.send_bytes(b"no picture")
        refused = ws.receive_json()
        assert refused["type"] == "error" and refused["id"] == 2 and "the picture" in refused["text"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"model": 5, "id": 1, "strokes": []}', '{"model": -1, "id": 1, "strokes": []}',
             '{"model": true, "id": 1, "strokes": []}', '{"model": 0, "strokes": []}', "[" * 100_000],
)  # fmt: skip
def test_odd_messages_are_answered(client, text):
    with client.websocket_connect("/device", headers=OWN) as ws:
        ws.receive_json()
        ws.send_text(text)
        assert ws.receive_json()["type"] == "error"
        ask(ws, strokes=DRAWN[1])
        assert ws.receive_json()["class"] == "1"


@pytest.mark.parametrize("strokes", [[], 5, None, [[[1, 2], "x"]], {"a": 1}])
def test_odd_drawings_are_answered(client, strokes):
    with client.websocket_connect("/device", headers=OWN) as ws:
        ws.receive_json()
        ask(ws, strokes=strokes, id=3)
        answer = ws.receive_json()
        assert answer["type"] == "error" and answer["id"] == 3
        ask(ws, strokes=DRAWN[1])
        assert ws.receive_json()["class"] == "1"


def test_pictures_without_a_request_and_too_large_ones_are_answered(client, monkeypatch):
    monkeypatch.setattr("sateen.play.app.MOST_BYTES", 1_000_000)
    with client.websocket_connect("/device", headers=OWN) as ws:
        assert ws.receive_json()["most_bytes"] == 1_000_000
        ws.send_bytes(b"alone")
        assert ws.receive_json()["type"] == "error"
        ask(ws, model=1, id=4)
        ws.send_bytes(bytes(1_000_001))
        refused = ws.receive_json()
        assert refused["id"] == 4 and "the picture has more than 1 MB" in refused["text"]
        ask(ws, strokes=DRAWN[1])
        assert ws.receive_json()["class"] == "1"


def test_how_pictures_become_inputs_must_be_known_before(tmp_path):
    Builder((6, 6, 3), np.random.default_rng(1)).conv2d(4, (3, 3)).graph().save(tmp_path / "rgb.graph")
    with pytest.raises(InputError, match="rgb.graph: .*give --mean and --scale"):
        _classes(load_source(tmp_path / "rgb.graph"), None, Preprocessing(resize=True))


def test_people_take_turns(client, player, monkeypatch):
    """The second waits and is told so; both get their own answers. One that leaves meanwhile harms nobody."""
    run, begun, go = player.run, threading.Event(), threading.Event()

    def slow(*arguments, **options):
        begun.set()
        assert go.wait(20)
        return run(*arguments, **options)

    monkeypatch.setattr(player, "run", slow)
    with client, client.websocket_connect("/device", headers=OWN) as one:
        one.receive_json()
        ask(one, strokes=DRAWN[0], id=10)
        assert begun.wait(20)
        with client.websocket_connect("/device", headers=OWN) as leaves:
            leaves.receive_json()
            ask(leaves, strokes=DRAWN[3], id=30)
            assert leaves.receive_json() == {"type": "waiting", "ahead": 1}
        with client.websocket_connect("/device", headers=OWN) as two:
            two.receive_json()
            ask(two, strokes=DRAWN[7], id=20)
            assert two.receive_json()["type"] == "waiting"
            go.set()
            assert one.receive_json()["class"] == "0"
            assert two.receive_json()["class"] == "7"


def test_only_the_last_of_a_moving_pen_counts(client, player, monkeypatch):
    run, begun, go, ran = player.run, threading.Event(), threading.Event(), []

    def slow(index, given, **options):
        ran.append(given)
        begun.set()
        assert go.wait(20)
        return run(index, given, **options)

    monkeypatch.setattr(player, "run", slow)
    with client, client.websocket_connect("/device", headers=OWN) as ws:
        ws.receive_json()
        ask(ws, strokes=DRAWN[0], id=1)
        assert begun.wait(20)
        for number in range(2, 30):
            ask(ws, strokes=DRAWN[7], id=number)
        ask(ws, strokes=[], model=9)
        assert ws.receive_json()["type"] == "error"
        go.set()
        assert [ws.receive_json()["id"] for _ in range(2)] == [1, 29]
    assert len(ran) == 2


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--labels", "x.txt"], "--labels are those of a model; name one"),
        (["--mean", "0"], "--mean and --scale are those of a model; name one"),
        (["--host", "203.0.113.1"], "cannot listen on 203.0.113.1:7380"),
        (["--device", "sim:none", "--port", "0"], "'none' is no preset"),
        (["none.tflite", "--device", f"sim:{CONFIG}", "--port", "0"], "none.tflite"),
    ],
)
def test_the_command_line_refuses(arguments, message):
    done = here("play", *arguments)
    assert done.returncode == 1 and message in done.stderr


def test_the_command_line_serves_until_it_is_interrupted():
    command = [sys.executable, "-m", "sateen.cli", "--quiet", "play", "--device", f"sim:{CONFIG}", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        assert line.startswith("open http://127.0.0.1:")
        with urllib.request.urlopen(line.split()[1].rstrip(";")) as page:
            assert b"Draw a digit" in page.read()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and errors.strip() == "sateen: interrupted"
