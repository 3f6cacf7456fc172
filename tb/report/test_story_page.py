"""The page of a text: what a watched decoder saw stands in it, and a browser shows it token by token."""

import base64
import json
import re

import numpy as np
import pytest

import small_llama
from command_line import cli
from sateen.language import Decoder, EvictingCache, WatchedDecoder, Writer, load, quantize
from sateen.language.integers import LOGIT_BITS
from sateen.report import story as story_page
from sateen.report.story import story
from small_llama import SHAPE

PROMPT = [1, 265, 30]
CHOSEN = "return [...document.querySelectorAll('#text span')].flatMap((s, i) => s.ariaCurrent ? [i] : [])"
FOLLOWING = """return [...document.querySelectorAll('#following li')].map(
    line => [line.children[0].textContent, line.children[2].textContent])"""
PAINTED = """const c = document.getElementById(arguments[0]);
    return [c.width, c.height, c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v)]"""


@pytest.fixture(scope="module")
def small():
    return quantize(small_llama.model())


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    small_llama.write_tokenizer(folder / "tok280.bin")
    return load(small_llama.write_llama2c(small_llama.model(), folder / "small.bin"), None)[1]


def written(decoder, count, **options):
    writer = Writer(decoder, PROMPT, ends=(1, 2), **options)
    list(writer.write(count))
    return writer.text


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_watching_changes_nothing(small):
    decoder = WatchedDecoder(small)
    text = written(decoder, 20)
    assert text == written(Decoder(small), 20)
    again = Decoder(small)
    for place, token in enumerate(text[:-1]):
        step = decoder.steps[place]
        values = again.step([token])[0] / 2.0**LOGIT_BITS
        np.testing.assert_allclose(step.following, np.exp(values) / np.exp(values).sum(), rtol=1e-9)
        assert step.token == token and len(step.looks) == SHAPE.layers
        for look in step.looks:
            assert look.shares.shape == (SHAPE.heads, place + 1)
            np.testing.assert_allclose(look.shares.sum(axis=1), 1)
            np.testing.assert_array_equal(look.places, np.tile(np.arange(place + 1), (SHAPE.kv_heads, 1)))


def test_wrong_guesses_are_replaced(small):
    plain, guessing = WatchedDecoder(small), WatchedDecoder(small)
    text = written(plain, 28)
    assert written(guessing, 28, ahead=3) == text
    for place in plain.steps:
        assert plain.steps[place].token == guessing.steps[place].token == text[place]
        for one, other in zip(plain.steps[place].looks, guessing.steps[place].looks, strict=True):
            np.testing.assert_array_equal(one.shares, other.shares)
            np.testing.assert_array_equal(one.places, other.places)


def test_what_a_budget_keeps(small):
    """The last token and as many others as the budget says; the first layer's keys, which depend on their tokens alone,
    are those that a cache that keeps all has at these places."""
    decoder = WatchedDecoder(small, cache=EvictingCache(SHAPE, 8))
    full = Decoder(small)
    for place, token in enumerate(written(decoder, 24)[:-1]):
        full.step([token])
        for look in decoder.steps[place].looks:
            assert look.places.shape == (SHAPE.kv_heads, min(place + 1, 9))
            assert (np.diff(look.places) > 0).all() and (look.places[:, -1] == place).all()
            assert place > 8 or (look.places == np.arange(place + 1)).all()
    for head in range(SHAPE.kv_heads):
        places = decoder.cache.places[0][:, head]
        np.testing.assert_array_equal(decoder.cache.keys[0][:, head], full.cache.keys[0][places, head])


@pytest.mark.parametrize(("most", "lines"), [(8_000_000, 8), (600, 2), (100, 1)])
def test_attention_in_the_page(small, words, monkeypatch, most, lines):
    """By head; of longer texts, means."""
    monkeypatch.setattr(story_page, "MOST_BYTES", most)
    decoder = WatchedDecoder(small)
    text = written(decoder, 18)
    data = data_of(story("t", {}, text, len(PROMPT), decoder.steps, words, SHAPE))
    assert len(data["heads"]) == lines and data["kept"] is None
    shown, at = np.frombuffer(base64.b64decode(data["attention"]), np.uint8), 0
    for place in range(len(text) - 1):
        part = shown[at : at + lines * (place + 1)].reshape(lines, place + 1)
        shares = np.stack([look.shares for look in decoder.steps[place].looks]).reshape(lines, -1, place + 1)
        assert np.abs(part / 255 - shares.mean(axis=1)).max() <= 0.5 / 255 + 1e-9
        at += part.size
    assert at == len(shown)
    for place, following in enumerate(data["following"]):
        likelihoods = [likelihood for _, likelihood in following]
        assert likelihoods[0] == decoder.steps[place].following.max()
        assert words.shown(text[place + 1]) in [token for token, _ in following]


def test_cache_in_the_page(small, words):
    decoder = WatchedDecoder(small, cache=EvictingCache(SHAPE, 8))
    text = written(decoder, 24)
    data = data_of(story("t", {}, text, len(PROMPT), decoder.steps, words, SHAPE))
    kept, at = np.frombuffer(base64.b64decode(data["kept"]), np.uint8), 0
    for place in range(len(text) - 1):
        row = kept[at : at + place + 1] / 255 * SHAPE.layers * SHAPE.kv_heads
        assert row.round().sum() == SHAPE.layers * SHAPE.kv_heads * min(place + 1, 9) and row[-1] == 4
        at += place + 1
    assert at == len(kept)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """One written by the command, of a prompt that is no page's language."""
    folder = tmp_path_factory.mktemp("story")
    small_llama.write_tokenizer(folder / "tok280.bin")
    model = small_llama.write_llama2c(small_llama.model(), folder / "small.bin")
    done = cli("tell", model, "a</script><b>é", "--device", "golden", "--tokens", "9", "--keep", "6",
               "--html", folder / "story.html")  # fmt: skip
    assert done.returncode == 0 and "story.html: what each token looked at" in done.stdout, done.stderr
    return folder / "story.html"


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_in_a_browser(browser, page, width, height):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.get_log("browser")
    browser.get(page.as_uri())
    data = data_of(page.read_text())
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    find = lambda selector: browser.find_elements(By.CSS_SELECTOR, selector)  # noqa: E731
    tokens = [span.get_property("textContent") for span in find("#text span")]
    assert tokens == data["tokens"] and "".join(tokens).startswith("⟨begin⟩ a</script><b>é")
    last = len(data["following"]) - 1

    def expected(step):
        return [[t.replace("\n", "⏎"), f"{100 * likelihood:.1f} %"] for t, likelihood in data["following"][step]]

    for step, act in (
        (last, lambda: None),
        (last - 1, lambda: find("body")[0].send_keys(Keys.ARROW_LEFT)),
        (2, lambda: find("#text span")[2].click()),
        (3, lambda: find("#on")[0].click()),
        (2, lambda: find("#back")[0].click()),
    ):
        act()
        assert browser.execute_script(CHOSEN) == [step]
        assert browser.execute_script(FOLLOWING) == expected(step)
    for name, size in (("heads", [3, 8 * len(data["heads"])]), ("cache", [last + 1, (last + 1) * (360 // (last + 1))])):
        assert browser.execute_script(PAINTED, name) == [*size, True]
    before = [span.get_attribute("title") for span in find("#text span")[:3]]
    find("#head option")[1].click()
    after = [span.get_attribute("title") for span in find("#text span")[:3]]
    assert before != after and all("% of the attention" in title for title in before + after)
    assert not browser.get_log("browser")


def test_a_folder_that_is_none(tmp_path):
    """It is said before the model is read."""
    done = cli("tell", "none.bin", "a", "--html", tmp_path / "no" / "story.html")
    assert done.returncode == 1 and "cannot write into the folder" in done.stderr


def test_without_jinja(tmp_path, monkeypatch):
    """It is said before the text is written."""
    (tmp_path / "jinja2.py").write_text("raise ImportError('no module named jinja2')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = cli("tell", "none.bin", "a", "--html", tmp_path / "story.html")
    assert done.returncode == 1 and "pages need Jinja" in done.stderr and "[report]" in done.stderr
