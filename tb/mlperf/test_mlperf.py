"""MLPerf Tiny's harness: its commands over a pseudo-terminal as a runner sends them, its modes, and its errors."""

import os
import re
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import serial

import sateen
from command_line import here, read_document
from sateen.cli.mlperf import Measured, _print
from sateen.graph import run as golden
from sateen.hw.spec.config import PRESETS
from sateen.mlperf import BENCHMARKS, Monitor, Subject, accuracy, dataset, performance, serve, serve_terminal
from sateen.mlperf.runner import area_under_curve
from sateen.testing.graphs import Builder

SIZE = 12
"""Values of the networks' inputs."""


@pytest.fixture(scope="module")
def device():
    with sateen.open("sim:micro") as opened:
        yield opened


def network(outputs=SIZE):
    """A small network: 2×2 pixels of three channels."""
    return Builder((2, 2, 3), np.random.default_rng(5)).flatten().fully_connected(outputs).graph()


def subject(device, name="ic01", timer="device", **options):
    return Subject(device.load(sateen.compile(network(**options), device.config)), BENCHMARKS[name], timer)


def expected(graph, codes):
    """The golden model's real results for int8 codes."""
    output = graph.outputs[0]
    codes = np.asarray(codes, np.int8).reshape(graph.tensors[graph.inputs[0]].shape)
    return graph.tensors[output].dequantize(golden(graph, codes)[output]).ravel()


def answers(monitor, text):
    return b"".join(monitor.feed(text.encode())).decode().split("\r\n")[:-1]


class Runner:
    """What MLPerf Tiny's runner does at its end of the line: a command, and lines until ``m-ready``."""

    BYTES = 31
    """Of an input, in a command."""

    def __init__(self, url):
        self.port = serial.serial_for_url(url, baudrate=115200, timeout=20)

    def send(self, command):
        self.port.write(f"{command}%".encode())
        lines = []
        while not lines or "m-ready" not in lines[-1]:
            line = self.port.readline().decode()
            assert line.endswith("\r\n"), f"no answer to {command!r}"
            lines.append(line.strip())
        return lines

    def load(self, data):
        self.send(f"db load {len(data)}")
        for start in range(0, len(data), self.BYTES):
            lines = self.send(f"db {data[start : start + self.BYTES].hex()}")
        return lines

    def infer(self, count, warm):
        """The results, and the seconds between the two time stamps."""
        lines = self.send(f"infer {count} {warm}")
        laps = [int(line.removeprefix("m-lap-us-")) for line in lines if line.startswith("m-lap-us-")]
        (results,) = (found.group(1) for line in lines if (found := re.match(r"^m-results-\[([^]]+)\]$", line)))
        return [float(value) for value in results.split(",")], (laps[1] - laps[0]) / 1e6


def test_a_runner_over_a_terminal(device):
    """The whole conversation, and numbers that are the golden model's and the counters'."""
    measured, named = subject(device), threading.Event()
    names = []

    def ready(name):
        names.append(name)
        named.set()

    threading.Thread(target=serve_terminal, args=(Monitor(measured), ready), daemon=True).start()
    assert named.wait(10)
    runner = Runner(names[0])
    assert runner.send("name") == ["m-name-dut-[sateen]", "m-ready"]
    assert runner.send("profile")[1] == "m-model-[ic01]"
    pixels = np.random.default_rng(1).integers(0, 256, SIZE, np.uint8)
    assert runner.load(pixels.tobytes()) == ["m-load-done", "m-ready"]
    assert runner.send("db print")[0] == "m-buffer-" + pixels.tobytes()[:8].hex("-")
    results, seconds = runner.infer(40, 2)
    graph = network()
    np.testing.assert_allclose(results, expected(graph, pixels.astype(np.int16) - 128), atol=6e-4)
    assert seconds == pytest.approx(40 * measured.loaded.profile.cycles / device.config.clock_hz, abs=2e-6)


def test_a_runner_on_a_port(device):
    """A port that is lost ends the service with an error."""
    line, port = os.openpty()
    failed = []

    def answer():
        try:
            serve(Monitor(subject(device)), os.ttyname(port))
        except sateen.DeviceError as error:
            failed.append(str(error))

    thread = threading.Thread(target=answer)
    thread.start()
    said = b""
    while b"m-ready" not in said:
        said += os.read(line, 100)
    os.write(line, b"name%")
    while b"sateen" not in said:
        said += os.read(line, 100)
    os.close(line)
    os.close(port)
    thread.join(10)
    assert "the connection is lost" in failed[0]
    with pytest.raises(sateen.DeviceError, match="cannot open /dev/none"):
        serve(Monitor(subject(device)), "/dev/none")


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("nonsense", "e-[Unknown command: nonsense]"),
        ("db", "e-[Command 'db' requires a subcommand]"),
        ("db load", "e-[Command 'db load' requires the # of bytes]"),
        ("db load 0", "e-[Command 'db load' must be >0 and at most 16777216 bytes]"),
        ("db load 99999999999", "e-[Command 'db load' must be >0 and at most 16777216 bytes]"),
        ("db 00", "e-[No more bytes are expected; send 'db load']"),
        ("db 0", "e-[Invalid hex digits '0']"),
        ("db xy", "e-[Invalid hex digits 'xy']"),
        ("infer 0", "e-[Inference iterations must be >0]"),
        ("infer x", "e-[Inference iterations must be >0]"),
        ("infer 1 -1", "e-[Inference warmup must be >=0]"),
        ("db load 1%db 00ff", "e-[the input has 12 bytes, and 1 came]"),
    ],
)
def test_wrong_commands(device, command, answer):
    """An error, and the device goes on."""
    monitor = Monitor(subject(device))
    lines = answers(monitor, f"{command}%")
    assert answer in lines and lines[-1] == "m-ready"
    assert answers(monitor, "na") == [] and answers(monitor, "me%")[0] == "m-name-dut-[sateen]"


def test_what_is_too_long_or_no_text(device):
    monitor = Monitor(subject(device))
    assert answers(monitor, 1000 * "x" + "%%")[-1] == "m-ready"
    assert b"m-ready" in b"".join(monitor.feed(b"\xff\x00\r\n%"))
    assert answers(monitor, "help%")[0].startswith("ULPMark")


def test_what_the_runner_sends():
    """Pixels, codes and real values, for inputs of int8 and uint8."""
    signed = network().tensors["x"]
    unsigned = replace(signed, unsigned=True)
    data = bytes([0, 1, 127, 128, 129, 255, 0, 0, 0, 0, 0, 0])
    pixels, codes, floats = (BENCHMARKS[name] for name in ("vww01", "kws01", "ad01"))
    assert pixels.decode(data, signed).ravel()[:6].tolist() == [-128, -127, -1, 0, 1, 127]
    assert pixels.decode(data, unsigned).dtype == np.uint8
    assert pixels.decode(data, unsigned).ravel()[:6].tolist() == [0, 1, 127, 128, 129, 255]
    assert codes.decode(data, signed).ravel()[:6].tolist() == [0, 1, 127, -128, -127, -1]
    values = np.linspace(-9, 9, SIZE).astype("<f4")
    np.testing.assert_array_equal(floats.decode(values.tobytes(), signed).ravel(), signed.quantize(values))
    np.testing.assert_array_equal(
        floats.decode(values.tobytes(), unsigned).ravel(), signed.quantize(values).astype(np.int16) + 128
    )
    for bad in (values[:-1].tobytes(), np.append(values[:-1], np.nan).astype("<f4").tobytes()):
        with pytest.raises(sateen.InputError):
            floats.decode(bad, signed)


def test_an_anomaly_is_a_mean_squared_error(device):
    measured = subject(device, "ad01")
    values = np.random.default_rng(2).normal(size=SIZE).astype("<f4")
    measured.load(values.tobytes())
    graph = network()
    output = expected(graph, graph.tensors["x"].quantize(values))
    assert measured.results() == [pytest.approx(float(np.mean((output - values.astype(np.float64)) ** 2)))]


def test_performance(device):
    """A number of inferences, or as many as fill a time; the rate is the counters'."""
    measured = subject(device)
    done = []
    windows = performance(
        measured, [bytes(SIZE), bytes(range(SIZE))], windows=3, seconds=None, count=2,
        progress=lambda *numbers: done.append(numbers),
    )  # fmt: skip
    rate = device.config.clock_hz / measured.loaded.profile.cycles
    assert [window.inferences for window in windows] == [2, 2, 2] and done[-1] == (3, 3)
    assert [window.rate for window in windows] == pytest.approx(3 * [rate])
    (window,) = performance(measured, [bytes(SIZE)], windows=1, seconds=20.5 / rate)
    assert window.inferences == 21 and window.seconds == pytest.approx(21 / rate)


def test_time_of_the_host(device):
    measured = subject(device, timer="host")
    before = measured.now()
    measured.infer(2)
    assert 0 < measured.now() - before < 60 and measured.seconds == 0


def test_time_of_copies():
    """With SDRAM, what is copied counts, tensors too: the time is about that of all that the simulation does besides
    the link."""
    config = "tiny,sdram=as4c32m16sb,scratchpad_bytes=1024,weight_bytes=4096"
    graph = Builder((9, 8, 4), np.random.default_rng(3)).conv2d(20, (3, 3)).conv2d(40, (3, 3)).conv2d(4, (1, 1)).graph()
    with sateen.open(f"sim:{config}") as device:
        model = sateen.compile(graph, device.config)
        assert model.tiled and len(model.segments) > 1
        measured = Subject(device.load(model), BENCHMARKS["ic01"], "device")
        before = device.simulated_cycles
        measured.infer(1)
        elapsed = device.simulated_cycles - before - measured.loaded.profile.link_bytes
        assert 0.85 * elapsed < measured.seconds * device.config.clock_hz < elapsed
        assert measured.loaded.profile.spilled_bytes > 4000


@pytest.mark.parametrize(("chip", "source"), [("as4c32m16sb", "from SDRAM"), (None, "over the link")])
def test_where_weights_come_from(capsys, chip, source):
    """Those that the device's memories do not hold."""
    device = SimpleNamespace(config=replace(PRESETS["tiny"], sdram=chip))
    measured = Measured(
        benchmark="ic01", model="net", device="sim", timer="device", clock_hz=10**8, resident=False, uncounted=[],
        windows=[],
        median=None, accuracy=None,
    )  # fmt: skip
    _print(measured, device)
    assert f"the weights come {source} in each inference" in capsys.readouterr().out


@pytest.fixture
def folder(tmp_path):
    """A benchmark's data: six pictures, of the classes that the golden model finds, but for the last."""
    graph, rng = network(), np.random.default_rng(3)
    lines = []
    for number in range(6):
        pixels = rng.integers(0, 256, SIZE, np.uint8)
        (tmp_path / f"{number}.bin").write_bytes(pixels.tobytes())
        found = int(np.argmax(expected(graph, pixels.astype(np.int16) - 128)))
        lines.append(f"{number}.bin,{SIZE},{found if number < 5 else (found + 1) % SIZE}\n")
    (tmp_path / "y_labels.csv").write_text("".join(lines))
    return tmp_path


def test_accuracy(device, folder):
    found = accuracy(subject(device), dataset(folder))
    assert (found.files, found.correct, found.area) == (6, 5, None)


def test_accuracy_of_anomalies(device, tmp_path):
    """Files of several windows have the mean of their results."""
    rng = np.random.default_rng(4)
    graph, scores, lines = network(), [], []
    for number in range(4):
        values = rng.normal(scale=1 + number, size=3 * SIZE).astype("<f4")
        (tmp_path / f"{number}.bin").write_bytes(values.tobytes() + b"\0")
        windows = [values[start : start + SIZE] for start in range(0, 2 * SIZE + 1, SIZE // 2)]
        errors = [np.mean((expected(graph, graph.tensors["x"].quantize(x)) - x.astype(float)) ** 2) for x in windows]
        scores.append(np.mean(errors))
        lines.append(f"{number}.bin, 2, {number % 2}, {4 * SIZE}, {2 * SIZE}\n")
    (tmp_path / "y_labels.csv").write_text("".join(lines))
    assert len(dataset(tmp_path)[0].inputs()) == 5
    found = accuracy(subject(device, "ad01"), dataset(tmp_path))
    pairs = [(scores[high] > scores[low]) for high in (1, 3) for low in (0, 2)]
    assert found.correct is None and found.area == pytest.approx(np.mean(pairs))


def test_area_under_the_curve():
    """Scikit-learn's documented example, ties, and sets without a curve."""
    scores = np.array([0.1, 0.4, 0.35, 0.8])
    assert area_under_curve(scores, np.array([False, False, True, True])) == 0.75
    assert area_under_curve(np.array([1.0, 1.0]), np.array([False, True])) == 0.5
    with pytest.raises(sateen.InputError, match="no curve"):
        area_under_curve(scores, np.zeros(4, bool))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read"),
        ("", "lists no files"),
        ("a.bin,2\n", "line 1, is not of the form"),
        ("a.bin,2,1\nb.bin,2,x\n", "line 2, is not of the form"),
        ("a.bin,2,1,0,4\n", "both must be above 0"),
        ("a.bin,2,1,99999999999,4\n", "line 1, is not of the form"),
    ],
)
def test_lists_that_are_none(tmp_path, text, message):
    if text is not None:
        (tmp_path / "y_labels.csv").write_text(text)
    with pytest.raises(sateen.InputError, match=message):
        dataset(tmp_path)


def test_files_that_are_missing_or_short(tmp_path):
    (tmp_path / "y_labels.csv").write_text("none.bin,2,1\nshort.bin,2,1,8,4\n")
    (tmp_path / "short.bin").write_bytes(bytes(7))
    missing, short = dataset(tmp_path)
    with pytest.raises(sateen.InputError, match="cannot read"):
        missing.inputs()
    with pytest.raises(sateen.InputError, match="7 bytes, fewer than the 8"):
        short.inputs()


def test_models_of_another_kind(device):
    with pytest.raises(sateen.InputError, match="12 values|have 5 and 12 values"):
        subject(device, "ad01", outputs=5)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("mlperf") / "net.graph"
    network().save(path)
    return path


def test_command(model, folder):
    record = folder / "measured.json"
    done = here("mlperf", model, "ic01", "--device", "sim:micro", "--json", record)
    assert done.returncode == 0, done.stderr
    document = read_document(record, "mlperf")
    assert [window["inferences"] for window in document["windows"]] == 5 * [1] and document["accuracy"] is None
    layers = sateen.compile(network(), PRESETS["micro"]).layers
    rate = PRESETS["micro"].clock_hz / sum(layer.predicted.cycles for layer in layers)
    assert document["median"] == pytest.approx(rate, rel=0.01)
    assert f"median {document['median']:,.1f} inferences/s" in done.stdout and "no official result" in done.stdout
    # This network is smaller than the benchmark's.
    assert "an input of ic01 has 3,072 values, and the model's has 12: what is measured is no figure" in done.stderr
    done = here("mlperf", model, "ic01", "--device", "sim:micro", "--data", folder, "--accuracy", "--json", record)
    assert read_document(record, "mlperf")["accuracy"] == {"files": 6, "correct": 5, "area": None}
    assert "5 of 6 files right, 83.3%" in done.stdout


def test_what_the_host_computes_is_told(tmp_path):
    """It does not count for the device, and is named."""
    from sateen.graph import Softmax, Tensor

    b = Builder((2, 2, 3), np.random.default_rng(5)).flatten().fully_connected(SIZE)
    b.tensors["shares"] = Tensor(name="shares", shape=(1, SIZE), scale=1 / 256, zero_point=-128)
    b.ops.append(Softmax(name="soft", input=b.last.name, output="shares"))
    b.last = b.tensors["shares"]
    b.graph().save(tmp_path / "net.graph")
    record = tmp_path / "measured.json"
    done = here("mlperf", tmp_path / "net.graph", "kws01", "--device", "sim:micro", "--json", record)
    assert done.returncode == 0 and "without the link and what the host computes (soft)" in done.stdout
    assert read_document(record, "mlperf")["uncounted"] == ["soft"]
    done = here("mlperf", tmp_path / "net.graph", "kws01", "--device", "sim:micro", "--timer", "host", "--json", record)
    assert "what the host computes" not in done.stdout and not read_document(record, "mlperf")["uncounted"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("sww01",), "'sww01' is no benchmark; there are ic01, vww01, kws01, ad01"),
        (("ic01", "--accuracy"), "name its folder with --data"),
        (("ic01", "--port", "/dev/x"), "give --serve, too"),
        (("ic01", "--serve", "--data", "."), "with --serve the runner measures"),
        (("ic01", "--data", "/none"), "cannot read /none/y_labels.csv"),
        (("ic01", "--timer", "sun", "--device", "sim:micro"), "--timer is device or host, not 'sun'"),
    ],
)
def test_errors(model, options, text):
    done = here("mlperf", model, *options)
    assert done.returncode == 1 and text in done.stderr and done.stderr.count("\n") == 1
