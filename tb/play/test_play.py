"""The page on which people draw: what the network sees, the protocol, who may use it, and a browser that draws."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

import sateen
from command_line import here
from sateen.cli.inputs import Preprocessing
from sateen.cli.play import _classes, _digits, _pictures
from sateen.cli.sources import load_source
from sateen.errors import InputError
from sateen.hw.spec.config import parse_config
from sateen.play import Player, application, pixels
from sateen.play.player import BUSY, STARVED, WAITING
from sateen.reference.inputs import real_range
from sateen.runtime import Device
from sateen.runtime.link import Link
from sateen.runtime.transport import ProbedTransport
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


@pytest.fixture(scope="module")
def player(tmp_path_factory):
    builder = Builder((6, 6, 3), np.random.default_rng(1), name="rgb").conv2d(4, (3, 3)).flatten().fully_connected(3)
    graph, file = builder.graph(), tmp_path_factory.mktemp("play") / "rgb.graph"
    graph.save(file)
    low, high = real_range(graph, graph.tensors[graph.inputs[0]])
    with Device(Link(ProbedTransport(parse_config(CONFIG)))) as device:
        how = Preprocessing(mean=str(-255 * low / (high - low)), scale=str(255 / (high - low)), resize=True)
        yield Player(device, f"sim:{CONFIG}", [_digits(device), _pictures(load_source(file), device, list("012"), how)])


@pytest.fixture
def client(player):
    return TestClient(application(player, hosts=["testserver"]))


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


@pytest.fixture(scope="module")
def address(player):
    uvicorn = pytest.importorskip("uvicorn")
    about = SimpleNamespace(name="small")
    story = SimpleNamespace(model=about, where="by hand", write=lambda prompt: iter([prompt, ", there was one."]))
    server = uvicorn.Server(uvicorn.Config(application(player, story=story), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    server.should_exit = True
    thread.join(20)


def waited(browser, condition, seconds=20):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, seconds).until(condition)


def text(browser, name):
    return browser.find_element("id", name).text


def test_a_browser_draws(browser, address):
    """With the mouse, with the keyboard, on a phone; nothing overflows, and the console has no error."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    browser.set_window_size(1200, 1000)
    browser.get(address)
    waited(browser, lambda _: "PEs" in text(browser, "device"))
    pad = browser.find_element("id", "pad")
    browser.find_element("id", "watch").click()

    def stroke(points):
        mouse = ActionChains(browser, duration=20)
        (x, y), *others = points
        mouse.move_to_element_with_offset(pad, x - 160, y - 160).click_and_hold()
        for px, py in others:
            mouse.move_by_offset(px - x, py - y)
            x, y = px, py
        mouse.release().perform()

    stroke([(80, 40), (160, 40), (240, 40), (200, 140), (160, 280)])
    waited(browser, lambda _: text(browser, "answer") == "7")
    waited(browser, lambda _: "cycle " in text(browser, "now"))
    assert "cycles" in text(browser, "took") and browser.find_element("id", "layers").text.count("%") == 0
    painted = browser.execute_script(
        "const c = document.getElementById('array'), of = c.getContext('2d').getImageData(0, 0, c.width, c.height);"
        "return new Set(new Uint32Array(of.data.buffer)).size;"
    )
    assert painted > 3
    browser.find_element("id", "run").click()
    assert browser.find_element("id", "run").text == "Go on"
    browser.find_element("id", "clear").click()
    assert text(browser, "answer") == "–"
    pad.send_keys(Keys.SPACE, *[Keys.ARROW_DOWN] * 24, Keys.SPACE)
    waited(browser, lambda _: text(browser, "answer") == "1")
    browser.find_element("id", "tell").click()
    waited(browser, lambda _: text(browser, "told").startswith("the end; "))
    assert text(browser, "text") == "Once upon a time, there was one." and text(browser, "tell") == "Write"
    if "SATEEN_PICTURES" in os.environ:
        browser.save_screenshot(os.path.join(os.environ["SATEEN_PICTURES"], "play.png"))
    phone = {"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    if "SATEEN_PICTURES" in os.environ:
        browser.save_screenshot(os.path.join(os.environ["SATEEN_PICTURES"], "phone.png"))
    assert browser.execute_script("return document.documentElement.scrollWidth;") == 360
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_a_browser_shows_its_camera(browser, address, player, monkeypatch):
    """Frames are classified one after the other, until it is stopped or a file is chosen; what it sees is square."""
    came = []
    run = player.run
    monkeypatch.setattr(
        player, "run", lambda index, given, **options: (came.append((index, given)), run(index, given, **options))[1]
    )
    browser.set_window_size(1200, 1000)
    browser.get(address)
    waited(browser, lambda _: "PEs" in text(browser, "device"))
    button = browser.find_element("id", "camera")
    button.click()
    waited(browser, lambda _: len(came) > 2)
    assert {index for index, _ in came} == {1} and text(browser, "answer") in "012"
    assert [Image.open(io.BytesIO(given)).size for _, given in came] == [(320, 320)] * len(came)
    assert len({given for _, given in came}) > 1 and browser.find_element("id", "video").is_displayed()
    assert button.text == "Stop the camera" and button.get_attribute("aria-pressed") == "true"
    if "SATEEN_PICTURES" in os.environ:
        browser.save_screenshot(os.path.join(os.environ["SATEEN_PICTURES"], "camera.png"))
    # A drawing between is answered, and frames go on.
    browser.find_element("id", "pad").send_keys(" ", "\ue015", " ")
    waited(browser, lambda _: 0 in {index for index, _ in came})
    seen = len(came)
    waited(browser, lambda _: len(came) > seen + 2)
    button.click()
    assert not browser.find_element("id", "video").is_displayed() and button.text == "Use the camera"
    time.sleep(0.5)
    seen = len(came)
    time.sleep(0.5)
    assert len(came) == seen
    browser.execute_script(
        "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', 'NotAllowedError'));"
    )
    button.click()
    waited(browser, lambda _: "NotAllowedError" in text(browser, "problem"))
    assert "choose a file" in text(browser, "problem") and button.text == "Use the camera"
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


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
