"""The language model that writes on the page."""

from types import SimpleNamespace

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

import sateen
import small_llama
from sateen.cli.play import _language
from sateen.hw.spec.config import parse_config
from sateen.language import Decoder, Writer
from sateen.play import Story, application

DEVICE = "sim:tiny"
OWN = {"origin": "http://testserver"}


@pytest.fixture(scope="module")
def language(tmp_path_factory):
    path = tmp_path_factory.mktemp("story") / "small.bin"
    small_llama.write_tokenizer(path.with_name("tok280.bin"))
    return _language(small_llama.write_llama2c(small_llama.model(), path))


def test_a_story(language):
    """Its text is the golden model's, piece by piece; what it cannot begin with is refused."""
    model, words = language

    def told(prompt):
        with client.websocket_connect("/story", headers=OWN) as ws:
            ws.send_text(prompt)
            messages = [ws.receive_json()]
            while messages[-1]["type"] == "piece":
                messages.append(ws.receive_json())
            return messages

    with sateen.open(DEVICE) as device:
        story = Story(model, words, device, DEVICE)
        client = TestClient(application(None, hosts=["testserver"], story=story))
        *pieces, end = told("ab")
        begin = words.encode("ab")
        golden = Writer(Decoder(model), begin, ends=(words.begin, words.end))
        assert [piece["text"] for piece in pieces] == list(words.stream([*begin, *golden.write(100)]))
        assert len(pieces) > 20 and end == {"type": "end"} and story.where == f"products with weights on {DEVICE}"
        assert told("a" * 2001) == [{"type": "error", "text": "a text begins with at most 2,000 characters"}]
        assert "the model's context 32; shorten it" in told("1 c" * 40)[0]["text"]
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/story") as ws:
            ws.receive_json()


def test_a_story_that_does_not_fit_is_the_golden_models(language):
    small = SimpleNamespace(config=parse_config("tiny,weight_bytes=4096"))
    where = Story(*language, small, "sim:other").where
    assert where.startswith("by the golden model, not on sim:other: ") and "more than the weight store has" in where
