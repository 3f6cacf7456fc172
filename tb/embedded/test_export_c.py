"""``sateen export-c``: what it writes and what it refuses, and models whose ends the host computes."""

import subprocess
from dataclasses import replace

import numpy as np
import pytest
from c_driver import FLAGS, CDriver

import sateen
from command_line import CONFIG, cli
from recurrent_models import variable_model
from sateen.embedded import export
from sateen.errors import CompileError
from sateen.frontends import tflite
from sateen.graph import Graph, Softmax, Tensor
from sateen.graph import run as golden
from sateen.hw.spec.config import parse_config
from sateen.hw.spec.identity import Identity
from sateen.hw.spec.wire import Op, OpHeader, Space
from sateen.testing.graphs import Builder, random_input


def classifier(*, middle=False):
    """A network that ends in a softmax, or has one in its middle."""
    rng = np.random.default_rng(1)
    graph = Builder((5, 5, 3), rng, name="example").conv2d(6, (3, 3)).conv2d(7, (3, 3)).graph()
    first = graph.ops[0].output if middle else graph.outputs[0]
    tensors = {
        **graph.tensors,
        "soft": Tensor(name="soft", shape=graph.tensors[first].shape, scale=1 / 256, zero_point=-128),
    }
    softmax = Softmax(name="softmax", input=first, output="soft")
    if not middle:
        return Graph(name="example", tensors=tensors, ops=[*graph.ops, softmax], inputs=graph.inputs, outputs=["soft"])
    rest = [replace(op, input="soft" if op.input == first else op.input) for op in graph.ops[1:]]
    return Graph(
        name="example", tensors=tensors, ops=[graph.ops[0], softmax, *rest], inputs=graph.inputs, outputs=graph.outputs
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("export")
    sateen.compile(classifier(), CONFIG).save(made / "net-1.sateen")
    sateen.compile(classifier(middle=True), CONFIG).save(made / "middle.sateen")
    return made


def test_without_the_ends(folder, tmp_path):
    """The device's part of a classifier: compiled without warnings, and its output is what goes into the softmax."""
    result = cli("export-c", folder / "net-1.sateen", "-o", tmp_path / "c", "--device-part")
    assert result.returncode == 0, result.stderr
    assert "net_1_model" in result.stdout and "left to you: softmax" in result.stdout
    files = sorted(path.name for path in (tmp_path / "c").iterdir())
    assert files == ["net_1.c", "net_1.h", "sateen.c", "sateen.h"]
    subprocess.run(["gcc", *FLAGS, "-c", "net_1.c", "sateen.c"], cwd=tmp_path / "c", check=True)
    subprocess.run(
        ["g++", "-std=c++11", "-Wall", "-Werror", "-fsyntax-only", "net_1.h"], cwd=tmp_path / "c", check=True
    )
    header = (tmp_path / "c" / "net_1.h").read_text()
    assert "#define NET_1_INPUT0_BYTES 75u" in header and "#define NET_1_OUTPUT0_BYTES 7u" in header


def test_the_device_part_is_the_device_s(tmp_path):
    from test_c_driver import CONFIG as DEVICE
    from test_c_driver import Line

    from sateen.sim.verilated import VerilatedDevice

    graph = classifier()
    driver = CDriver(tmp_path, device_part=True, net=sateen.compile(graph, DEVICE))
    x = random_input(graph, np.random.default_rng(2))
    inner = graph.ops[-1].input
    with VerilatedDevice(DEVICE) as device:
        assert Line(device).open(driver) == driver.Status.OK
        status, (y,) = driver.run("net", x)
    assert status == driver.Status.OK
    np.testing.assert_array_equal(y, golden(graph, x, layers=True)[inner])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["net-1.sateen"],
            "no Python, which computes Softmax 'softmax'; --device-part leaves out those before the first",
        ),
        (["middle.sateen", "--device-part"], "no Python, which computes Softmax 'softmax'; sateen info lists"),
        (
            ["net-1.sateen", "--device-part", "--name", "while"],
            "'while' names no model in C; use letters, digits and _",
        ),
        (["net-1.sateen", "--device-part", "--name", "sateen"], "'sateen' names no model in C"),
        (["none.sateen"], "cannot read"),
        (["net-1.sateen", "--device-part", "-o", "net-1.sateen/c"], "cannot make the folder"),
    ],
)
def test_errors_are_one_line(folder, arguments, message):
    paths = [folder / each if ".sateen" in each else each for each in arguments]
    result = cli("export-c", *paths)
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.startswith("sateen: error: ") and result.stderr.count("\n") == 1
    assert message in result.stderr


def test_an_output_that_is_an_input():
    """What no layer makes has no place on the device."""
    graph = Builder((5, 5, 3), np.random.default_rng(1)).conv2d(6, (3, 3)).graph()
    both = Graph(name="both", tensors=graph.tensors, ops=graph.ops, inputs=graph.inputs, outputs=[*graph.outputs, "x"])
    with pytest.raises(CompileError, match="the output 'x' is not the device's"):
        export(sateen.compile(both, CONFIG), "both")


def test_states_are_refused():
    """The driver in C forgets everything between two runs."""
    builder, inputs, outputs, _ = variable_model()
    model = sateen.compile(tflite.load(builder.build(inputs, outputs)), CONFIG)
    with pytest.raises(CompileError, match=r"the model keeps states \(v0\), and the driver in C keeps none"):
        export(model, "stream")


def test_more_segments_than_a_byte_counts(tmp_path):
    """Each is sent in its turn."""
    from test_c_driver import Scripted, answer

    config = parse_config("micro,weight_bytes=64")
    model = sateen.compile(Builder((8,), np.random.default_rng(1)).fully_connected(600).graph(), config)
    assert len(model.segments) > 256
    sent = bytearray()

    def memoryless(frame):
        payload, length_of_data = frame.payload, 0
        while payload:
            op, space, length, _ = OpHeader.LAYOUT.unpack_from(payload)
            payload = payload[OpHeader.LAYOUT.size :]
            if op == Op.WRITE:
                sent.extend(payload[:length] if space == Space.WEIGHTS else b"")
                payload = payload[length:]
            length_of_data += length if op == Op.READ else 0
        text = Identity(config, "").encode() + bytes(config.frame_bytes)
        return answer(frame, text[:length_of_data] + b"\0")

    driver = CDriver(tmp_path, net=model)
    assert Scripted(memoryless).open(driver) == driver.Status.OK
    assert driver.run("net", np.zeros((1, 8), np.int8))[0] == driver.Status.OK
    words = np.zeros((sum(len(each.weights) for each in model.segments), config.weight_word_bytes), np.int8)
    words[:, : config.cols] = np.concatenate([each.weights for each in model.segments])
    assert sent == words.tobytes()
