"""The command line, on real files: what it writes, and that every error is one line."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import sateen
from command_line import CONFIG, cli, here
from sateen.testing.graphs import Builder
from tflite_models import small_tflite_model


def older(path, target):
    """A copy of a file of Sateen's as it was written under the project's former name."""
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    text = str(arrays.pop("document"))
    assert '"format": "sateen.' in text
    with open(target, "wb") as file:
        np.savez(file, document=np.array(text.replace('"format": "sateen.', '"format": "older.')), **arrays)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A graph, its compiled model and a batch of inputs."""
    folder, rng = tmp_path_factory.mktemp("cli"), np.random.default_rng(1)
    graph = (
        Builder((5, 5, 3), rng, name="example")
        .conv2d(6, (3, 3))
        .max_pool2d((2, 2))
        .flatten()
        .fully_connected(4)
        .graph()
    )
    graph.save(folder / "example.npz")
    Builder((1, 1, 9000), rng).max_pool2d((1, 1)).graph().save(folder / "wide.npz")
    np.save(folder / "x.npy", rng.integers(-128, 128, (3, 5, 5, 3)).astype(np.int8))
    np.save(folder / "real.npy", rng.normal(size=(2, 5, 5, 3)))
    np.save(folder / "wrong.npy", np.zeros((1, 4, 4, 3), np.int8))
    (folder / "LICENSE").write_text("Apache License\n")
    (folder / "foreign.sateen").write_bytes(b"PK\x03\x04 something else")
    assert cli("compile", folder / "example.npz", "-o", folder / "example.sateen", "--config", CONFIG).returncode == 0
    data = (folder / "example.sateen").read_bytes()
    middle = len(data) // 2
    (folder / "damaged.sateen").write_bytes(
        data[:middle] + bytes(byte ^ 0xFF for byte in data[middle : middle + 64]) + data[middle + 64 :]
    )
    (folder / "crc.npz").write_bytes((folder / "damaged.sateen").read_bytes())
    (folder / "cut.sateen").write_bytes(data[:middle])
    older(folder / "example.sateen", folder / "older.model")
    older(folder / "example.npz", folder / "older.npz")
    return folder


def test_without_standard_streams(files):
    """Started with none of them open, as some services are: no file takes the place of one."""
    command = f'"{sys.executable}" -m sateen.cli compile example.npz -o closed.sateen --config {CONFIG} <&- >&- 2>&-'
    assert subprocess.run(command, shell=True, cwd=files).returncode == 0
    assert sateen.Model.load(files / "closed.sateen").config.rows


def test_run_writes_everything(files):
    result = cli(
        "run", files / "example.sateen", "--input", files / "x.npy", "--device", f"sim:{CONFIG}", "--check",
        "--output", files / "y.npy", "--layers", files / "l.npz", "--json", files / "run.json",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "equal the golden model" in result.stdout
    model = sateen.Model.load(files / "example.sateen")
    y, layers = np.load(files / "y.npy"), np.load(files / "l.npz")
    assert y.shape == (3, 4) and y.dtype == np.int8
    np.testing.assert_array_equal(layers[model.graph.outputs[0]], y)
    report = json.loads((files / "run.json").read_text())
    assert report["equal_to_golden"] is True and report["cycles"] == sum(layer["cycles"] for layer in report["layers"])
    assert [layer["op"] for layer in report["layers"]] == ["Conv2D", "MaxPool2D", "FullyConnected"]
    assert set(report["layers"][0]["stalls"]) == {"weights", "activations", "accumulators", "output", "link"}
    assert report["link_bytes"] > 0


def test_run_quantizes_real_input(files):
    result = cli("run", files / "example.sateen", "--input", files / "real.npy", "--device", f"sim:{CONFIG}", "--check")
    assert result.returncode == 0, result.stderr


def test_run_compiles(files):
    """A graph runs as it is, and with --check it takes the cycles that it takes without, for one item."""
    np.save(files / "one.npy", np.load(files / "x.npy")[:1])
    (files / "labels.txt").write_text("cat\n[dog]\ncow\nhen\n")
    cycles = []
    for arguments in (["--labels", files / "labels.txt"], ["--check"]):
        result = cli(
            "run", files / "example.npz", "-i", files / "one.npy", "-d", f"sim:{CONFIG}", "--json", files / "r.json",
            *arguments,
        )  # fmt: skip
        assert result.returncode == 0 and "\n1 inference, " in result.stdout, result.stderr
        assert arguments == ["--check"] or "[dog] " in result.stdout
        cycles.append(json.loads((files / "r.json").read_text())["cycles"])
    assert cycles[0] == cycles[1]


def test_tflite_model(files):
    """From a model's file to its layers' integers, by the file's own names; what the device lacks is a warning, or an
    error."""
    (files / "net.tflite").write_bytes(small_tflite_model())
    result = cli("compile", files / "net.tflite", "--config", CONFIG)
    assert result.returncode == 0, result.stderr
    why = "it is looked up in tables, which take engine=pipelined, positions=256 and cols=4 or more"
    warning = f"sateen: warning: layer 'add_1' runs on the host: {why}"
    assert result.stderr.strip() == warning
    result = cli(
        "run",
        files / "net.sateen",
        "-i",
        files / "x.npy",
        "-d",
        f"sim:{CONFIG}",
        "--check",
        "--layers",
        files / "l.npz",
        "-o",
        files / "y.npy",
    )
    # Said once, by compile; a run sums it up.
    assert result.returncode == 0 and not result.stderr, result.stderr
    assert "the host ran 1 layer (sateen info says why)" in result.stdout
    layers = np.load(files / "l.npz")
    assert {"t0", "t2", "t3", "t4"} <= set(layers.files)
    np.testing.assert_array_equal(layers["t4"], np.load(files / "y.npy"))
    text = cli("info", files / "net.sateen").stdout
    assert "Add 'add_1': it is looked up in tables" in text and "Softmax 'softmax_2'" in text
    result = cli("compile", files / "net.tflite", "--config", CONFIG, "--strict")
    assert result.returncode == 1
    assert f"Add 'add_1': {why}; compile without" in result.stderr


def test_names_are_no_markup(files):
    """Brackets and colons of names are neither tags nor pictures to the terminal's library."""
    (files / "[bold]").mkdir()
    graph = Builder((5, 5, 3), np.random.default_rng(2), name="[red]net :cat:").conv2d(6, (3, 3)).graph()
    op = replace(graph.ops[0], name="conv[/b]:dog:")
    replace(graph, ops=[op]).save(files / "[bold]" / "net.npz")
    result = cli("compile", files / "[bold]" / "net.npz", "--config", CONFIG)
    assert result.returncode == 0 and "[bold]" in result.stdout.replace("\n", ""), result.stderr
    result = cli("info", files / "[bold]" / "net.sateen")
    assert result.returncode == 0 and "[red]net :cat:" in result.stdout and "conv[/b]:dog:" in result.stdout
    result = cli("run", files / "[bold]" / "net.sateen", "-i", files / "x.npy", "-d", f"sim:{CONFIG}")
    assert result.returncode == 0 and "conv[/b]:dog:" in result.stdout, result.stderr


def test_info_and_doctor(files):
    text = cli("info", files / "example.sateen").stdout
    assert "3 layers" in text and "resident" in text and "MaxPool2D" in text
    text = cli("doctor").stdout
    assert "verilator" in text and "g++" in text
    bare = cli("doctor", PATH="/nonexistent").stdout
    assert "apt-get install g++" in bare


def test_demo_without_a_terminal(files):
    result = cli("demo", "--device", f"sim:{CONFIG}", "--count", 40, "--json", files / "demo.json")
    assert result.returncode == 0, result.stderr
    assert "every result equal, bit for bit" in result.stdout and "\x1b" not in result.stdout
    report = json.loads((files / "demo.json").read_text())
    assert report["accuracy"] >= 0.95 and report["equal_to_golden"] is True and report["inferences"] == 40


def test_help_and_version():
    assert "Commands" in cli("--help").stdout
    assert cli("--version").stdout.startswith("sateen ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["verilog", "--preset", "huge", "-o", "{}/x.v"], "'huge' is no preset; there are micro, tiny, small, large"),
        (["verilog", "--part", "wheel", "-o", "{}/x.v"], "'wheel' is no part; there are accelerator"),
        (["compile", "{}/none.npz", "-o", "{}/x.sateen"], "cannot read"),
        (["compile", "{}/foreign.sateen", "-o", "{}/x.sateen"], "foreign.sateen is damaged: it begins as an archive"),
        (["compile", "{}/LICENSE"], "LICENSE is a text; give a quantized model (.tflite, .onnx, .pt2), a graph"),
        (["compile", "{}/crc.npz"], "crc.npz is a damaged file of Sateen; write it again"),
        (["run", "{}/example.sateen", "-i", "{}/LICENSE"], "LICENSE is no NumPy file (.npy), but a text; write it"),
        (["tune", "{}/LICENSE", "-i", "x", "-l", "y", "-o", "z"], "LICENSE is a text; give a graph, as"),
        (["compile", "{}/x.npy"], "x.npy is a NumPy array, which may be an input but is no model"),
        (["info", "{}/LICENSE"], "LICENSE is a text"),
        (
            ["compile", "{}/example.npz", "-o", "{}/x.sateen", "--config", "tiny,rows=99"],
            "rows must be a whole number from 4 to 64",
        ),
        (["compile", "{}/wide.npz", "-o", "{}/x.sateen", "--config", "tiny", "--strict"], "bytes of scratchpad"),
        (["run", "{}/none.sateen", "-i", "{}/x.npy"], "cannot read"),
        (["run", "{}/foreign.sateen", "-i", "{}/x.npy"], "no compiled model, or damaged"),
        (["run", "{}/damaged.sateen", "-i", "{}/x.npy"], "no compiled model, or damaged"),
        (["run", "{}/example.sateen", "-i", "{}/none.npy"], "cannot read"),
        (["run", "{}/example.sateen", "-i", "{}/foreign.sateen"], "no NumPy file"),
        (["run", "{}/example.sateen", "-i", "{}/wrong.npy", "-d", "sim:tiny"], "must have shape [N, 5, 5, 3]"),
        (["run", "{}/example.sateen", "-i", "{}/x.npy", "-d", "usb:3"], "names no device"),
        (
            ["run", "{}/example.sateen", "-i", "{}/x.npy", "-d", "sim:tiny,combine=4"],
            "compiled for another device: combine",
        ),
        (["run", "{}/example.sateen", "-i", "{}/x.npy", "-d", "tcp:127.0.0.1:1"], "cannot open"),
        (["info", "{}/damaged.sateen"], "no compiled model, or damaged"),
        (["info", "{}/cut.sateen"], "no compiled model, or damaged"),
        (["info", "{}/older.model"], f"holds no {sateen.Model.FORMAT} but older.model/"),
        (["info", "{}/older.model"], "of another version of Sateen; compile it again"),
        (["run", "{}/older.model", "-i", "{}/x.npy"], "of another version of Sateen; compile it again"),
        (["report", "{}/older.model", "-i", "{}/x.npy"], "of another version of Sateen; compile it again"),
        (["compile", "{}/older.model"], "holds a model (older.model/"),
        (["compile", "{}/example.sateen"], "give the graph or model file that it was made from"),
        (["compile", "{}/older.npz"], "make it again from its source, then compile it again"),
        (["tune", "{}/older.npz", "-i", "{}/x.npy", "-l", "{}/x.npy", "-o", "{}/t.npz"], "then compile it again"),
    ],
)
def test_errors_are_one_line(files, arguments, message):
    result = here(*(argument.format(files) for argument in arguments))
    assert result.returncode != 0
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("sateen: error: ") and message in lines[0], result.stderr
    assert "Traceback" not in result.stdout


def test_no_compiler(files, tmp_path):
    """Without a C++ compiler a simulation cannot be built: the message says what to install."""
    result = cli(
        "run",
        files / "example.sateen",
        "-i",
        files / "x.npy",
        "-d",
        "sim:tiny",
        PATH="/nonexistent",
        XDG_CACHE_HOME=str(tmp_path),
    )
    assert result.returncode == 1
    assert result.stderr.strip() == "sateen: error: simulating needs g++, which was not found; run: apt-get install g++"


def test_interrupted_output_leaves_the_old_file(files, tmp_path):
    """A file is replaced only by a complete one."""
    target = tmp_path / "x.sateen"
    target.write_bytes(b"old")
    assert cli("compile", files / "none.npz", "-o", target).returncode != 0
    assert target.read_bytes() == b"old" and os.listdir(tmp_path) == ["x.sateen"]


def test_verilog_file(tmp_path):
    assert cli("verilog", "--preset", "tiny", "--part", "requantize", "-o", tmp_path / "r.v").returncode == 0
    text = (tmp_path / "r.v").read_text()
    assert "module sateen_requantize(" in text and "Ports, all synchronous" in text
