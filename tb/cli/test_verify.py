"""``sateen verify``: every tensor against the interpreter of the model's file."""


import warnings

import numpy as np
import pytest
from typer.testing import CliRunner

import needs
import onnx_models
from command_line import CONFIG, cli, read_document
from recurrent_models import lstm_model, svdf_model
from sateen.cli import verify
from sateen.cli.main import app
from sateen.errors import SateenError, SateenWarning
from sateen.frontends import load, tflite
from sateen.graph import run
from sateen.reference import compare, image, interpreted, interpreter, random_inputs
from small_models import tflite_files
from tflite_models import small_tflite_model

SHAPE = (1, 3, 6, 6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of each format, and inputs."""
    needs.package("tflite_micro.python.tflite_micro.runtime", extra="reference")
    folder, rng = tmp_path_factory.mktemp("verify"), np.random.default_rng(1)
    (folder / "small.tflite").write_bytes(small_tflite_model())
    np.save(folder / "x.npy", rng.integers(-128, 128, (2, 5, 5, 3)).astype(np.int8))
    constants, weights = onnx_models.weights(rng, "w", 4, 3, 3, 3)
    for name, scale in (("x", 0.03), ("c", 0.17)):
        constants |= onnx_models.numbers(name, scale, 5, "i")
    nodes = [
        *onnx_models.quantized("x"),
        weights,
        onnx_models.helper.make_node("Conv", ["x_d", "w_d"], ["c"], pads=[1] * 4),
    ]
    nodes += onnx_models.quantized("c")
    data = onnx_models.model(nodes, [("x", "f", SHAPE)], ("c_d", "f", (1, 4, 6, 6)), constants)
    (folder / "small.onnx").write_bytes(data)
    return folder


def test_tflite_on_a_device(folder):
    result = cli("verify", folder / "small.tflite", "-i", folder / "x.npy", "--config", CONFIG, "--json", folder / "v")
    assert result.returncode == 0, result.stderr
    assert f"all 4 tensors of 2 items on sim:{CONFIG} equal tflite-micro's, value for value" in result.stdout
    document = read_document(folder / "v", "verify")
    assert document["equal"] and document["reference"] == "tflite-micro" and document["items"] == 2
    assert [each["op"] for each in document["tensors"]] == ["", "Conv2D", "Add", "Softmax"]
    assert [each["values"] for each in document["tensors"]] == [150] * 4


def test_onnx_with_random_inputs(folder):
    result = cli("verify", folder / "small.onnx", "--device", "golden", "--items", "3")
    assert result.returncode == 0, result.stderr
    assert "no --input: random inputs, the same every time" in result.stdout
    # The codes of input and result, and both outputs' real values.
    assert "tensors of 3 items on golden equal onnxruntime's, value for value" in result.stdout


@pytest.mark.parametrize("kind", ["INT8", "LSTM"])
def test_a_stream_keeps_its_states(folder, kind):
    """Step by step beside the interpreter, whose states live on, too; what replaces a state is compared."""
    rng = np.random.default_rng(2)
    builder, *ends = lstm_model(rng) if kind == "LSTM" else svdf_model(rng, kind, state={"zero_point": 0})
    file = folder / f"{kind}.tflite"
    file.write_bytes(builder.build(*ends))
    arguments = ["verify", str(file), "--device", "golden", "--items", "7", "--json", str(folder / "stream")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    compared = {each["tensor"] for each in read_document(folder / "stream", "verify")["tensors"]}
    graph = load(file)
    assert set(graph.states.values()) <= compared and not set(graph.states) & compared
    x = random_inputs(graph, 7)[graph.inputs[0]]
    np.save(folder / "stream.npy", x)
    arguments = ["run", str(file), "-i", str(folder / "stream.npy"), "-d", f"sim:{CONFIG}", "--check"]
    with warnings.catch_warnings(action="ignore", category=SateenWarning):
        result = CliRunner().invoke(app, [*arguments, "-o", str(folder / "y.npy")])
    assert result.exit_code == 0, result.output
    assert f"all {len(graph.tensors)} tensors equal the golden model" in result.output
    expected = run(graph, graph.tensors[graph.inputs[0]].from_file(x))[graph.outputs[0]]
    np.testing.assert_array_equal(np.load(folder / "y.npy"), graph.tensors[graph.outputs[0]].to_file(expected))


def test_another_interpreter_for_what_tflite_micro_lacks(folder):
    """A sum of uint8 tensors, which it refuses only when it runs."""
    (data,) = [
        builder.build(*ends)
        for builder, *ends in tflite_files()
        if [op["kind"] for op in builder.ops] == ["ADD"] and builder.tensors[0]["type"] == "UINT8"
    ][:1]
    (folder / "uint8.tflite").write_bytes(data)
    graph = load(folder / "uint8.tflite")
    assert interpreter(folder / "uint8.tflite", graph).name == "LiteRT with reference kernels"
    arguments = ["verify", str(folder / "uint8.tflite"), "--device", "golden"]
    assert CliRunner().invoke(app, arguments).exit_code == 0


def test_onnxruntime_is_read_at_every_integer_tensor(folder):
    graph = load(folder / "small.onnx")
    x = random_inputs(graph, 2)
    expected = interpreted(interpreter(folder / "small.onnx", graph), graph, x, lambda done, total: None)
    assert set(expected) == {"x_q", "c_q", "c_d"}
    given = {name: graph.tensors[name].from_file(values) for name, values in x.items()}
    actual = {name: graph.tensors[name].to_file(value) for name, value in run(graph, given, layers=True).items()}
    assert [each.different for each in compare(graph, actual, expected)] == [0, 0, 0]


def test_layers_that_onnxruntime_computes_in_real_numbers(folder):
    """A function between a layer and its quantization keeps them apart; that is said."""
    graph = load(folder / "small.onnx")
    assert interpreter(folder / "small.onnx", graph).note == ""
    model = onnx_models.onnx.load(folder / "small.onnx")
    (conv,) = [node for node in model.graph.node if node.op_type == "Conv"]
    conv.output[0] = "sum"
    place = list(model.graph.node).index(conv) + 1
    model.graph.node.insert(place, onnx_models.helper.make_node("Sigmoid", ["sum"], ["c"]))
    onnx_models.onnx.save(model, folder / "real.onnx")
    assert "1 of its layers with weights in real numbers" in interpreter(folder / "real.onnx", graph).note


def test_says_what_differs_first(folder, monkeypatch):
    """A layer that is off by one in two places, and what follows from it."""

    def wrong(graph, inputs, **options):
        values = run(graph, inputs, layers=True)
        flat, at = values[graph.ops[0].output].reshape(-1), np.array([2, 74])
        flat[at] = np.where(flat[at] < 100, flat[at] + 1, flat[at] - 3)
        return values

    monkeypatch.setattr(verify, "run_golden", wrong)
    result = CliRunner().invoke(
        app, ["verify", str(folder / "small.tflite"), "-d", "golden", "--json", str(folder / "w")]
    )
    assert isinstance(result.exception, SateenError) and result.exit_code == 1
    expected = r"1 of 4 tensors of 1 item on golden differ from tflite-micro, first 't2', of Conv2D: 2 of 75 values"
    assert expected in str(result.exception) and "the first at [0, 0, 0, 2] is" in str(result.exception)
    document = read_document(folder / "w", "verify")
    (wrong_one,) = [each for each in document["tensors"] if each["different"]]
    assert not document["equal"] and wrong_one["index"] == [0, 0, 0, 2] and 1 <= wrong_one["largest"] <= 3


def test_real_numbers_are_compared_to_five_digits(folder):
    graph = load(folder / "small.onnx")
    name = graph.outputs[0]
    values = np.linspace(1, 2, 4 * 36, dtype=np.float32).reshape(1, 4, 6, 6)
    for factor, different in ((1 + 1e-6, 0), (1 + 1e-4, 144)):
        (found,) = compare(graph, {name: (values * np.float32(factor)).astype(np.float32)}, {name: values})
        assert found.different == different


def test_last_bits_near_zero_are_those_of_the_largest(folder):
    """A difference of two numbers is as uncertain as they are."""
    graph = load(folder / "small.onnx")
    name = graph.outputs[0]
    values = np.linspace(0, 3, 4 * 36, dtype=np.float32).reshape(1, 4, 6, 6)
    for error, different in ((3e-7, 0), (3e-5, 1), (np.inf, 1)):
        other = values.copy()
        other.flat[0] += np.float32(error)
        (found,) = compare(graph, {name: other}, {name: values})
        assert found.different == different


def test_pictures(folder):
    image_module = needs.package("PIL.Image", extra="reference")
    pixels = np.arange(2 * 2 * 3, dtype=np.uint8).reshape(2, 2, 3) * 20
    image_module.fromarray(pixels).resize((5, 5), 0).save(folder / "p.png")
    graph = tflite.load(small_tflite_model())
    (values,) = image(folder / "p.png", graph).values()
    assert values.dtype == np.int8 and values.shape == (1, 5, 5, 3)
    np.testing.assert_array_equal(values[0, 0, 0], pixels[0, 0].astype(int) - 128)
    arguments = ["verify", str(folder / "small.tflite"), "-i", str(folder / "p.png"), "-d", "golden"]
    assert CliRunner().invoke(app, arguments).exit_code == 0


def test_refusals(folder):
    (folder / "g.npz").write_bytes(b"nothing")
    graph = tflite.load(small_tflite_model())
    graph.save(folder / "graph.npz")
    for arguments, message in (
        ((folder / "graph.npz",), "has no interpreter to compare with; give a quantized model"),
        ((folder / "none.tflite",), "cannot read"),
        ((folder / "small.tflite", "-i", folder / "g.npz"), "no NumPy file"),
        ((folder / "small.tflite", "-i", folder / "none.png"), "as a picture"),
        ((folder / "small.tflite", "--device", "nowhere"), "nowhere"),
    ):
        result = CliRunner().invoke(app, ["verify", *map(str, arguments)])
        assert isinstance(result.exception, SateenError) and message in str(result.exception), arguments
