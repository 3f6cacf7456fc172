"""A browser in which people draw, and show their camera."""

import io
import os
import threading
import time
from types import SimpleNamespace

import pytest
from PIL import Image

from sateen.play import application


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
