"""Energy: toggles by layer and by module are the same toggles, and follow the data; figures have sources and bounds."""

import dataclasses
import json

import jsonschema
import numpy as np
import pytest

import sateen
from command_line import here
from sateen.cli.schema import schema_of
from sateen.errors import InputError
from sateen.fpga import energy as figures
from sateen.fpga.area import AreaUnknown
from sateen.fpga.energy import Coefficients, EnergyUnknown, Estimate, kind_of
from sateen.fpga.parts import PARTS
from sateen.hw.spec.config import parse_config
from sateen.report.energy import EnergyRecord, WatchedDevice, energy
from sateen.testing.graphs import Builder

PART = PARTS["ecp5-85f"]
CONFIG = "tiny"


def graph():
    builder = Builder((6, 6, 3), np.random.default_rng(1), name="example").conv2d(6, (3, 3)).depthwise_conv2d((3, 3))
    return builder.max_pool2d((2, 2)).flatten().fully_connected(4).graph()


@pytest.fixture(scope="module")
def device():
    with WatchedDevice(parse_config(CONFIG)) as device:
        yield device


@pytest.fixture(scope="module")
def model():
    return sateen.compile(graph(), CONFIG)


def inputs(*values):
    return [{"x": value[None]} for value in values]


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(2).integers(-128, 128, (3, 6, 6, 3)).astype(np.int8)


@pytest.fixture(scope="module")
def record(device, model, noise):
    return energy(device, model, inputs(noise[0]), PART)


def added(estimates):
    return dataclasses.astuple(sum(estimates, Estimate()))


def test_layers_and_modules_are_the_whole(record, device, model, noise):
    """Cycles are the device's own counters; toggles by layer, by group and by module add up to the same."""
    loaded = device.load(model)
    loaded.run(noise[:1])
    assert [layer.cycles for layer in record.layers] == [each.counters.cycles for each in loaded.profile.layers]
    assert record.cycles == loaded.profile.cycles == sum(layer.cycles for layer in record.layers)
    whole = sum(layer.toggles for layer in record.layers)
    assert whole == sum(each.toggles for each in record.modules) == sum(record.toggles.values()) > 0
    assert sum(each.registers for each in record.modules) == sum(each.bits for each in device.simulation.registers)
    for name in ("logic", "multipliers"):
        by_layer, by_module = ([getattr(each, name) for each in all_of] for all_of in (record.layers, record.modules))
        assert added(by_layer) == pytest.approx(added(by_module))
    for layer in record.layers:
        terms = (layer.logic, layer.multipliers, layer.memory, layer.clock)
        assert dataclasses.astuple(layer.dynamic) == pytest.approx(added(terms))
    assert dataclasses.astuple(record.total) == pytest.approx(added([record.dynamic, record.static]))
    assert record.static.uj == pytest.approx(record.static_mw * 1e3 * record.cycles / record.clock_hz)
    assert all(low <= value <= high for value, low, high in map(dataclasses.astuple, (record.dynamic, record.total)))


def test_every_register_has_a_group(record, device):
    """Factors of multipliers are those of the PEs and lanes, as wide as the configuration has them."""
    config = parse_config(CONFIG)
    kinds = {(each.module, each.name): kind_of(each.module, each.name, config) for each in device.simulation.registers}
    factors = [each for each in device.simulation.registers
               if kinds[each.module, each.name] == f"pe.mac+{figures.FACTOR}"]  # fmt: skip
    assert sum(each.bits for each in factors) == config.rows * config.cols * (8 + config.weight_bits)
    assert set(Coefficients.of(config, PART).logic) == {kind.partition("+")[0] for kind in kinds.values()}
    assert all(each.activity > 0 for each in record.modules)


def test_fewer_values_toggle_less(device, model, record, noise):
    """The same cycles, and fewer toggles the more zeros the input has; the same input gives the same toggles."""
    half = np.where(np.arange(3) < 2, model.graph.tensors["x"].zero_point, noise[0]).astype(np.int8)
    flat = np.full_like(half, model.graph.tensors["x"].zero_point)
    found = [energy(device, model, inputs(each), PART) for each in (noise[0], half, flat)]
    assert [each.cycles for each in found] == [record.cycles] * 3
    first = [each.layers[0] for each in found]
    assert first[0].toggles > first[1].toggles > first[2].toggles > 0
    assert first[0].multipliers.uj > first[1].multipliers.uj > first[2].multipliers.uj
    # What depends on the registers' contents before an inference.
    assert found[0].dynamic.uj == pytest.approx(record.dynamic.uj, rel=0.01)


def test_several_inputs_are_averaged(device, model, noise):
    singles = [energy(device, model, inputs(each), PART) for each in noise]
    together = energy(device, model, inputs(*noise), PART)
    assert together.inferences == 3 and together.cycles == singles[0].cycles
    assert together.dynamic.uj == pytest.approx(np.mean([each.dynamic.uj for each in singles]), rel=0.01)


def test_layers_that_go_in_pieces(device):
    """Each piece is a program of its own, and its toggles its layers'."""
    builder = Builder((16, 16, 16), np.random.default_rng(1), name="tiled").conv2d(32, (1, 1)).conv2d(2, (1, 1))
    model = sateen.compile(builder.graph(), CONFIG)
    assert model.tiled
    x = np.zeros((1, 16, 16, 16), np.int8)
    found = energy(device, model, [{"x": x}], PART)
    loaded = device.load(model)
    loaded.run(x)
    assert [layer.cycles for layer in found.layers] == [each.counters.cycles for each in loaded.profile.layers]


def test_figures_have_rules_and_bounds():
    data = json.loads(figures.FILE.read_text())
    entries = [term for each in data["technologies"].values() for term in each["terms"].values()] + data["static"]
    for entry in entries:
        assert entry["low"] <= entry.get("pj", entry.get("mw")) <= entry["high"]
        assert entry["source"] in data["sources"] and len(entry["rule"]) > 15


def test_measured_figures_follow_from_what_was_measured():
    """The rules' arithmetic: currents of an iCE40 at 1.219 V, times the square of the voltage."""
    terms = json.loads(figures.FILE.read_text())["technologies"]
    joules = {"logic": (641.3 - 613.5) * 1e-6 * 1.219 / 12e6 / 14, "clock": (2184 - 1162) * 1e-6 * 1.219 / 24e6 / 5280}
    for technology, volts in (("ecp5", 1.1), ("up5k", 1.2)):
        for name, value in joules.items():
            expected = 1e12 * value * (volts / 1.219) ** 2
            assert terms[technology]["terms"][name]["pj"] == pytest.approx(expected, rel=0.03)
    toggles = 6.4375
    """Bits a cycle of two counters of eight bits, by threes and by fives."""
    pj = ((882 - 645) * 1e-6 * 1.219 / 12e6 * 1e12 - 0.202 * (toggles + 7.6)) / toggles
    assert terms["up5k"]["terms"]["multiplier"]["pj"] == pytest.approx(pj * (1.2 / 1.219) ** 2, rel=0.05)
    assert terms["ecp5"]["terms"]["multiplier"]["high"] == pytest.approx(pj * (1.1 / 1.219) ** 2, rel=0.05)
    assert terms["ecp5"]["terms"]["multiplier"]["low"] == pytest.approx(1.09 * (1.1 / 0.9) ** 2, rel=0.03)
    assert terms["ecp5"]["terms"]["memory"]["pj"] == pytest.approx(18 * 18 / 32 * (1.1 / 0.9) ** 2, rel=0.01)


def test_what_is_not_known_is_refused(tmp_path, noise):
    with pytest.raises(EnergyUnknown, match="GW1NR-9C; there are some for ecp5, up5k"):
        Coefficients.of(parse_config(CONFIG), PARTS["gw1nr-9c"])
    with pytest.raises(AreaUnknown):
        Coefficients.of(parse_config("tiny,products=1"), PART)
    graph().save(tmp_path / "net.npz")
    np.save(tmp_path / "x.npy", noise[:1])
    call = ("energy", "net.npz", "-i", "x.npy")
    for options, text in (
        ((), "name a board with --board, or a part with --part"),
        (("--part", "x"), "--part must be one of"),
        (("--board", "tang-nano-9k"), "no figures of energy for GW1NR-9C"),
        (("--part", "ecp5-85f", "--config", "tiny,products=1"), "no synthesis of a configuration with products=1"),
    ):
        result = here(*call, *options, folder=tmp_path)
        assert result.returncode == 1 and text in result.stderr


def test_the_command_and_the_page(tmp_path, noise):
    graph().save(tmp_path / "net.npz")
    np.save(tmp_path / "x.npy", noise[:1])
    result = here("energy", "net.npz", "-i", "x.npy", "--part", "ecp5-85f", "--config", CONFIG, "--json", "energy.json",
                  folder=tmp_path)  # fmt: skip
    assert result.returncode == 0, result.stderr
    written = json.loads((tmp_path / "energy.json").read_text())
    jsonschema.validate(written, schema_of(EnergyRecord))
    loaded = EnergyRecord.load(tmp_path / "energy.json")
    assert loaded.document() == written and f"{loaded.total.uj:.3g} µJ" in result.stdout
    assert all(layer.name in result.stdout for layer in loaded.layers) and "an estimate" in result.stdout
    assert all(source.title in result.stdout for source in loaded.sources)
    call = ("report", "net.npz", "-i", "x.npy", "-d", f"sim:{CONFIG}", "--energy")
    result = here(*call, "energy.json", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    page = (tmp_path / "report.html").read_text()
    rows = page.partition('<table id="energy">')[2].partition("</table>")[0]
    assert f"<td>{loaded.layers[0].dynamic.uj:.3g}</td>" in rows and f"<td>{loaded.total.high_uj:.3g}</td>" in rows
    layers = written["layers"]
    for changed, text in (
        ({**written, "layers": layers[1:]}, "is of another model, 'example'"),
        ({**written, "layers": [{**layers[0], "cycles": "many"}]}, "holds no sateen.energy/1"),
        ({**written, "format": "sateen.run/2"}, "its format is another one"),
    ):
        (tmp_path / "other.json").write_text(json.dumps(changed))
        result = here(*call, "other.json", folder=tmp_path)
        assert result.returncode == 1 and text in result.stderr
    with pytest.raises(InputError, match="cannot read"):
        EnergyRecord.load(tmp_path / "none.json")
