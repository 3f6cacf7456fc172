"""Reports: what the page says is what the run took, and a browser shows it whole, on a phone too."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from html import unescape

import numpy as np
import pytest

import sateen
from command_line import CONFIG, cli, here
from sateen.cli.output import print_layers
from sateen.extras import install_hint
from sateen.hw.spec.config import PRESETS
from sateen.report.limits import CAUSES, ENOUGH, causes, limit
from sateen.report.page import page
from sateen.runtime import LayerRecord, RunRecord
from sateen.testing.graphs import Builder
from tflite_models import small_tflite_model

COUNTED = ("weights", "activations", "accumulators", "output")
CHARTS = ("cycles", "utilization", "causes", "roofline", "memory", "plan")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three models with what their runs took: a small one, one with layers on the host, one that goes row by row."""
    folder, rng = tmp_path_factory.mktemp("report"), np.random.default_rng(1)
    builder = Builder((6, 6, 3), rng, name="example").conv2d(6, (3, 3)).conv2d(8, (1, 1)).max_pool2d((2, 2)).flatten()
    builder.fully_connected(4).graph().save(folder / "example.npz")
    Builder((16, 16, 16), rng, name="tiled").conv2d(32, (1, 1)).conv2d(2, (1, 1)).graph().save(folder / "tiled.npz")
    (folder / "host.tflite").write_bytes(small_tflite_model())
    for source, shape in (("example.npz", (6, 6, 3)), ("tiled.npz", (16, 16, 16)), ("host.tflite", (5, 5, 3))):
        name = source.partition(".")[0]
        np.save(folder / f"{name}.npy", rng.integers(-128, 128, (2, *shape)).astype(np.int8))
        assert cli("compile", folder / source, "--config", CONFIG).returncode == 0
        result = cli("run", *arguments(folder, name), "--json", folder / f"{name}.json")
        assert result.returncode == 0, result.stderr
    return folder


def arguments(folder, name):
    return folder / f"{name}.sateen", "--input", folder / f"{name}.npy", "--device", f"sim:{CONFIG}"


def cells(text, table):
    """The texts of a table's rows, headings and total included."""
    content = text.partition(f'<table id="{table}">')[2].partition("</table>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", content, re.DOTALL)
    return [[unescape(cell) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL)] for row in rows]


def number(text):
    return int(text.replace(",", ""))


def test_page_says_what_the_run_took(folder):
    """Made of a model or of a run's JSON, the page is the same, and its numbers are the JSON's."""
    for source, target in ((arguments(folder, "example"), "run.html"), ((folder / "example.json",), "json.html")):
        result = cli("report", *source, "-o", folder / target)
        assert result.returncode == 0 and target in result.stdout and "MaxPool2D" in result.stdout, result.stderr
    text, other = ((folder / name).read_text() for name in ("run.html", "json.html"))
    # The link's frames have bytes that are sent as two, by their sequence numbers.
    assert re.sub(r"over the link.*", "", text) == re.sub(r"over the link.*", "", other)
    run = json.loads((folder / "example.json").read_text())
    head, *rows, total = cells(text, "layers")
    assert len(rows) == len(run["layers"]) == 4
    for row, layer in zip(rows, run["layers"], strict=True):
        shown = dict(zip(head, row, strict=True))
        assert (shown["layer"], shown["op"], shown["used"]) == (
            layer["name"],
            layer["op"],
            f"{layer['utilization']:.0%}",
        )
        assert [number(shown[name]) for name in ("MACs", "cycles", "ideal")] == [
            layer[n] for n in ("macs", "cycles", "ideal_cycles")
        ]
        stalls = [number(shown[name]) for name in ("weights", "activ.", "accum.", "output")]
        assert stalls == [layer["stalls"][name] for name in COUNTED]
        # The bars' labels.
        assert f">{layer['cycles']:,}</text>" in text
    assert number(total[4]) == run["cycles"] and number(total[3]) == sum(layer["macs"] for layer in run["layers"])
    assert [number(row[3]) for row in cells(text, "tensors")[1:]] == [tensor["bytes"] for tensor in run["tensors"]]


@pytest.mark.parametrize("name", ["example", "tiled", "host"])
def test_record(folder, name):
    """The plan's tensors add up to the memory in use and do not overlap; every cycle is explained."""
    model, run = sateen.Model.load(folder / f"{name}.sateen"), RunRecord.load(folder / f"{name}.json")
    assert (model.tiled > 0) == (name == "tiled") and any(step.host for step in run.steps) == (name == "host")
    used = {step.name: step.memory_bytes for step in run.steps}
    assert all(used[layer.name] == layer.memory_bytes for layer in model.layers)
    assert max(tensor.address + tensor.bytes for tensor in run.tensors) == model.scratchpad_bytes
    for index, a in enumerate(run.tensors):
        for b in run.tensors[:index]:
            apart = a.address >= b.address + b.bytes or b.address >= a.address + a.bytes
            assert apart or a.first > b.last or b.first > a.last, (a, b)
    config = model.config
    for layer in run.layers:
        assert layer.busy == layer.beats and sum(causes(layer, config).values()) == layer.cycles
        assert layer.activation_bytes == layer.beats * config.rows
        assert layer.macs <= layer.columns * config.rows <= layer.beats * config.rows * config.cols
        assert layer.weight_bytes + layer.activation_bytes <= layer.cycles * (config.rows + config.cols)
    text = page(run)
    low = [layer for layer in run.layers if layer.utilization < ENOUGH]
    said = re.findall(r"<li><b>(.*?)</b>, \d+%, (.*?): ", text)
    assert low and [name for name, _ in said] == [layer.name for layer in low] and all(title for _, title in said)


def test_notes(folder, capsys):
    """What is said of layers stands under the table of a run, and on its page."""
    run = RunRecord.load(folder / "example.json")
    assert not any(layer.note for layer in run.layers) and 'id="notes"' not in page(run)
    layers = [replace(layer, name=f"layer{place}", note="in 2 parts" if place else "") for place, layer in
              enumerate([run.layers[0]] * 9)]  # fmt: skip
    assert page(replace(run, layers=layers)).count(": in 2 parts</li>") == 8
    print_layers(replace(run, layers=layers))
    said = " ".join(capsys.readouterr().out.split())
    assert "'layer1', Conv2D 'layer2'" in said and "'layer6' and 2 more: in 2 parts" in said


def layer_record(macs=0, channels=4, beats=100, wait=None, **stalls):
    stalls = dict.fromkeys(COUNTED, 5) | stalls
    busy = beats * (wait or 1)
    cycles = busy + sum(stalls.values())
    return LayerRecord(
        name="a",
        op="Conv2D",
        shape=[5, 5, channels],
        macs=macs,
        cycles=cycles,
        ideal_cycles=-(-macs // 16),
        predicted_cycles=cycles,
        busy=busy,
        beats=beats,
        columns=beats * channels // -(-channels // 4),
        utilization=macs / cycles / 16,
        stalls=stalls,
        weight_bytes=64,
        activation_bytes=4 * beats,
    )


@pytest.mark.parametrize(
    ("layer", "title", "text"),
    [
        (layer_record(1600, weights=500), "weights", "waited for weights"),
        (layer_record(1600, activations=99, weights=2, output=0), "activations", "no beat had arrived"),
        (layer_record(1600, accumulators=500), "accumulators", "drained by 2 lanes (81% of its cycles)"),
        (layer_record(16 * 100, output=99, activations=0), "output", "on their way"),
        (layer_record(16 * 100, output=90, activations=60), "short layer",
         "takes 150 cycles to fill and to empty, more than the 100"),
        (layer_record(400), "rows unused", "keeps 1.0 of the 4 rows at work (62% of its cycles)"),
        (layer_record(400, channels=1), "columns unused", "its 1 channels keep 1.0 of the 4 columns at work"),
        (layer_record(600, channels=6), "rows unused",
         "keeps 2.0 of the 4 rows at work (31% of its cycles); then its 6 channels keep 3.0"),
        (layer_record(1600, wait=8), "PE's own pace", "takes 8.0 cycles a beat"),
        (layer_record(0, output=150), "no MACs", "move values (38% of its cycles); then the last results"),
        (layer_record(1600, activations=20, weights=20), None, None),
    ],
)  # fmt: skip
def test_limits(layer, title, text):
    found = limit(layer, PRESETS["tiny"])
    parts = causes(layer, PRESETS["tiny"])
    assert list(parts) == list(CAUSES) and sum(parts.values()) == layer.cycles and min(parts.values()) >= 0
    assert (found is None) == (title is None)
    assert found is None or found.title == title and text in found.text


def test_sdram(folder):
    """The bytes that move and the cycles that the array waits for them, of runs in which some do."""
    run = RunRecord.load(folder / "example.json")
    assert run.memory_bytes == run.memory_cycles == 0 and "SDRAM" not in page(run)
    text = page(replace(run, memory_bytes=54321, memory_cycles=12345))
    assert "<dt>waiting for SDRAM, cycles</dt><dd>12,345</dd>" in text
    assert "<dt>from and to SDRAM, bytes an inference</dt><dd>54,321</dd>" in text


def test_names_are_text(folder):
    """What a model calls itself and its layers is no markup, neither of the page nor of formulas."""
    run = RunRecord.load(folder / "example.json")
    name = "<b>$\\frac{$ & 層"
    text = page(replace(run, model=name, layers=[replace(layer, name=name) for layer in run.layers]))
    assert "<b>$" not in text and "&lt;b&gt;$\\frac{$ &amp; 層" in text


def test_empty_run(folder):
    """A model whose layers all run on the host has a page too, without charts."""
    text = page(
        replace(
            RunRecord.load(folder / "example.json"),
            layers=[],
            tensors=[],
            scratchpad_bytes=0,
            cycles=0,
            utilization=0.0,
        )
    )
    assert "Layers" in text and "<svg" not in text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["{}/none.json"], "cannot read"),
        (["{}/example.sateen"], "give them with --input"),
        (["{}/example.json", "-i", "{}/example.npy"], "leave --input out"),
        (["{}/other.json"], "holds no sateen.run/2, or is damaged"),
        (["{}/cut.json"], "holds no sateen.run/2, or is damaged"),
        (["{}/example.npy", "-i", "{}/example.npy"], "is a NumPy array, which may be an input but is no model"),
        (
            ["{}/example.sateen", "-i", "{}/example.npy", "-d", "sim:tiny,combine=4"],
            "compiled for another device: combine",
        ),
    ],
)
def test_errors_are_one_line(folder, given, message):
    (folder / "other.json").write_text('{"format": "sateen.run/2", "layers": [{}]}')
    (folder / "cut.json").write_bytes((folder / "example.json").read_bytes()[:300])
    result = here("report", *(argument.format(folder) for argument in given), "-o", folder / "none.html")
    lines = result.stderr.strip().splitlines()
    assert result.returncode in (1, 4) and len(lines) == 1, result.stderr
    assert lines[0].startswith("sateen: error: ") and message in lines[0], result.stderr
    assert not (folder / "none.html").exists()


def test_without_the_extra(folder):
    code = "import sys; sys.modules['matplotlib'] = None; from sateen.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code, "report", folder / "example.json"], capture_output=True, text=True, cwd=folder
    )
    assert result.returncode == 1 and result.stderr.strip().endswith(install_hint("report"))


@pytest.fixture(scope="module")
def pages(folder):
    """A page of a small model, and of one of many layers with long names."""
    run = RunRecord.load(folder / "example.json")
    (folder / "example.html").write_text(page(run))
    places = range(5 * len(run.layers))
    layers = [
        replace(run.layers[place % 4], name=f"backbone/stage_{place}/a_rather_long_name:{place}") for place in places
    ]
    steps = [replace(run.steps[place % 4], name=layer.name) for place, layer in enumerate(layers)]
    (folder / "long.html").write_text(page(replace(run, layers=layers, steps=steps, model="a_model_" * 12)))
    return folder


@pytest.mark.parametrize("name", ["example", "long"])
@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 800)])
def test_in_a_browser(browser, pages, name, width, height):
    """Nothing sticks out, every chart is seen with its texts, and the page asks for nothing."""
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    for log in ("browser", "performance"):
        browser.get_log(log)
    address = (pages / f"{name}.html").as_uri()
    browser.get(address)
    assert browser.execute_script("return innerWidth") == width
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    table = browser.execute_script("const b = document.querySelector('.scroll'); return [b.scrollWidth, b.clientWidth]")
    assert (table[0] > table[1]) == (width == 390)
    charts = browser.execute_script(
        """return [...document.querySelectorAll("figure")].map(figure => {
            const box = e => { const r = e.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom] };
            const texts = [...figure.querySelectorAll("svg text")];
            const boxes = texts.map(t => [t.textContent, ...box(t)]);
            return { name: figure.id, box: box(figure.querySelector("svg")), texts: boxes };
        })"""
    )
    assert [chart["name"] for chart in charts] == list(CHARTS)
    for chart in charts:
        left, top, right, bottom = chart["box"]
        assert right - left > 250 and bottom - top > 100 and left >= 0 and right <= width, chart["name"]
        assert len(chart["texts"]) > 4
        for text, *box in chart["texts"]:
            assert left - 1 <= box[0] and box[2] <= right + 1 and top - 1 <= box[1] and box[3] <= bottom + 1, (
                chart["name"],
                text,
            )
            assert box[3] - box[1] >= 9, (chart["name"], text)
    assert not browser.get_log("browser")
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"}
    assert {url for url in asked if not url.startswith("data:")} == {address}


def test_dark(browser, pages):
    """Colours follow the reader's preference, the charts' too."""
    found = {}
    for scheme in ("light", "dark"):
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )
        browser.get((pages / "example.html").as_uri())
        found[scheme] = browser.execute_script(
            "const c = (s, p) => getComputedStyle(document.querySelector(s))[p].match(/[0-9]+/g).map(Number)[0];"
            "return [c('body', 'backgroundColor'), c('body', 'color'), c('svg text', 'fill')]"
        )
    assert found["light"][0] > 200 > 100 > max(found["light"][1:]) and found["dark"][0] < 100 < 200 < min(
        found["dark"][1:]
    )
