"""The comparison of processing elements: which tiles it measures. What it measures is `sateen compare-pe`'s to show."""

import dataclasses
import pickle

import numpy as np
import pytest

from sateen.cli.compare import _measurements
from sateen.fpga.tools import DoesNotFit, FpgaError
from sateen.hw.spec.config import PRESETS
from sateen.report import compare
from sateen.report.compare import Measurement

FIRST = Measurement(
    part="ecp5-85f", pe="mac", rows=4, cols=4, luts=500, registers=400, multipliers=0, clock_mhz=125.0, cycles=1000
)


@pytest.fixture
def tools(monkeypatch):
    """Tools that hold ``most`` columns, and give up at the numbers of columns in ``failing``."""
    given = {"most": 16, "failing": (), "too large": (), "message": "yosys failed: ERROR: Assert `x' failed"}
    tried = []

    def measured(graph, x, part, pe, config):
        tried.append(config.cols)
        if config.cols in given["failing"]:
            raise FpgaError(given["message"])
        return dataclasses.replace(
            FIRST, pe=pe, cols=config.cols, clock_mhz=None if config.cols in given["too large"] else 125.0
        )

    monkeypatch.setattr(compare, "_measured", measured)
    monkeypatch.setattr(compare, "_fill", lambda part, config, first, luts: given["most"])
    monkeypatch.setattr(compare, "_variants", lambda part: [("mac", None)])
    return given, tried


def measured(luts=3000, spread=None):
    x, parts = np.zeros((1, 64), np.int8), ["ecp5-85f"]
    found = compare.measure(None, x, parts, rows=4, cols=4, luts=luts, progress=lambda text: None, spread=spread)
    return [one.cols for one in found]


def test_equal_size_then_equal_area(tools):
    assert measured() == [4, 16]


def test_other_processes_measure_the_same(tools):
    given = []

    def spread(function, tasks):
        given.extend(tasks)
        return [function(task) for task in pickle.loads(pickle.dumps(tasks))]

    assert measured(spread=spread) == [4, 16]
    assert [(task.part, task.pe) for task in given] == [("ecp5-85f", "mac")]


def test_fewer_columns_where_a_tool_gives_up(tools):
    tools[0].update({"failing": (16,), "too large": (14,)})
    assert measured() == [4, 13] and tools[1] == [4, 16, 14, 13]


@pytest.mark.parametrize("most", [0, 4])
def test_the_same_tile_is_measured_once(tools, most):
    tools[0]["most"] = most
    assert measured() == [4]


def test_no_clock_where_the_frame_is_too_large(monkeypatch):
    def place(*arguments, **options):
        raise error

    monkeypatch.setattr("sateen.fpga.flow.place", place)
    error = DoesNotFit("the configuration does not fit")
    assert compare._clock("ice40-hx8k", PRESETS["tiny"]) is None
    error = FpgaError("yosys failed: ERROR: Assert")
    with pytest.raises(FpgaError, match="Assert"):
        compare._clock("ice40-hx8k", PRESETS["tiny"])


def test_other_errors_are_shown(tools):
    tools[0].update(failing=(16,), message="yosys is not installed")
    with pytest.raises(FpgaError, match="not installed"):
        measured()


def test_table():
    headings, lines = _measurements([FIRST, dataclasses.replace(FIRST, clock_mhz=None)])
    assert dict(zip(headings, lines[0], strict=True)) == {
        "PE": "mac",
        "array": "4×4",
        "LUTs": "500",
        "registers": "400",
        "multipliers": "0",
        "MHz": "125",
        "cycles": "1,000",
        "inferences/s": "125,000",
        "per 1000 LUTs": "250,000",
    }
    assert lines[1][5] == lines[1][7] == lines[1][8] == "does not fit"
