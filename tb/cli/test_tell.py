"""``sateen tell``: text, record and errors."""

import json
from dataclasses import replace

import jsonschema
import pytest

import small_llama
from command_line import cli
from sateen.cli.documents import DOCUMENTS
from sateen.cli.schema import schema_of
from sateen.language import Int8Decoder, Writer, load, quantize_int8


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small model's file, with its tokenizer beside it."""
    path = tmp_path_factory.mktemp("tell") / "small.bin"
    small_llama.write_tokenizer(path.with_name("tok280.bin"))
    return small_llama.write_llama2c(small_llama.model(), path)


def test_on_a_device(model, tmp_path):
    record = tmp_path / "told.json"
    done = cli("tell", model, "ab\x1b", "--device", "sim:tiny", "--tokens", "3", "--ahead", "1", "--json", record)
    assert done.returncode == 0, done.stderr
    told = json.loads(record.read_text())
    jsonschema.validate(told, schema_of(DOCUMENTS["tell"]))
    assert told["prompt"] == [1, 265, 30] and len(told["tokens"]) == 3
    assert "\x1b" not in done.stdout and done.stdout.startswith("ab\\x1b")
    for text in ("3 tokens in", "products with weights on sim:tiny", "on the host, not counted", "equal, bit for bit"):
        assert text in done.stdout
    golden = cli("tell", model, "ab\x1b", "--device", "golden", "--tokens", "3", "--ahead", "1", "--json", "-")
    assert json.loads(golden.stdout)["tokens"] == told["tokens"] and not told["whole"]


def test_weights_in_sdram(model, tmp_path):
    device = "sim:tiny,weight_bytes=2048,sdram=m12l16161a"
    done = cli("tell", model, "ab", "--device", device, "--tokens", "2", "--json", tmp_path / "told.json")
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "told.json").read_text())
    assert 0 < told["memory_cycles"] < told["cycles"] and told["tokens_per_second"] == 2e8 / told["cycles"]
    assert f"from SDRAM: {told['memory_cycles'] / told['passes']:,.0f} of these cycles" in done.stdout
    golden = json.loads(cli("tell", model, "ab", "--device", "golden", "--tokens", "2", "--json", "-").stdout)
    assert golden["tokens"] == told["tokens"] and golden["memory_cycles"] is None


def test_whole_on_a_device(tmp_path):
    """Everything from the embedding to the logits, with the golden model's text."""
    shape = replace(small_llama.SHAPE, dim=8, hidden=12, layers=1)
    small_llama.write_tokenizer(tmp_path / "tok280.bin")
    path = small_llama.write_llama2c(small_llama.model(2, shape), tmp_path / "small.bin")
    device = "sim:tiny,products=1,softmax=1,direct=1,norms=1,positions=256,descriptors=40,weight_bytes=20480"
    done = cli("tell", path, "ab", "--device", device, "--tokens", "4", "--json", tmp_path / "told.json")
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "told.json").read_text())
    jsonschema.validate(told, schema_of(DOCUMENTS["tell"]))
    assert told["whole"] and told["compared"] == len(told["prompt"]) + 3 and told["products"] is None
    for text in ("everything from the embedding to the logits on sim:tiny", "the logits of all 5 tokens equal"):
        assert text in done.stdout
    writer = Writer(Int8Decoder(quantize_int8(load(path)[0])), told["prompt"])
    assert list(writer.write(4)) == told["tokens"]


def test_a_full_context(model):
    done = cli("tell", model, "--device", "golden", "--tokens", "60")
    assert done.returncode == 0 and "the context is full (32 tokens)" in done.stdout


def test_a_budget_and_a_rank(model):
    done = cli("tell", model, "--device", "golden", "--tokens", "40", "--keep", "8", "--rank", "8")
    assert done.returncode == 0 and "40 tokens in 40 passes over 8,064 weights" in done.stdout
    done = cli("tell", model, "--device", "golden", "--keep", "1")
    assert done.returncode == 1 and "a budget must be 2 to 32 positions" in done.stderr


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            ("--device", "sim:tiny,scratchpad_bytes=1024,weight_bytes=4096,descriptors=4"),
            "more than the weight store has (4,096)",
        ),
        (("--device", "golden", "--ahead", "2", "--temperature", "1"), "use a temperature of 0"),
        (("--device", "golden", "--tokenizer", "none.bin"), "cannot read none.bin"),
    ],
)
def test_errors(model, options, text):
    done = cli("tell", model, "a", *options)
    assert done.returncode == 1 and text in done.stderr and done.stderr.count("\n") == 1


def test_microgpt():
    """It is part of Sateen; nothing but a device and letters can be chosen."""
    done = cli("tell", "microgpt", "mar", "--device", "golden", "--temperature", "0.5")
    assert done.returncode == 0 and done.stdout.startswith("mar") and "passes over 3,504 weights" in done.stdout
    done = cli("tell", "microgpt", "Mar", "--device", "golden")
    assert done.returncode == 1 and "names in the letters a to z; 'M' is none of them" in done.stderr
    done = cli("tell", "microgpt", "--device", "golden", "--keep", "8")
    assert done.returncode == 1 and "leave out --ahead, --keep, --rank and --tokenizer" in done.stderr
