"""What nextpnr is given: the same sums as Yosys's netlist, whatever comes into carries that have no net."""

import itertools
import json
import random

import pytest

from sateen.fpga.netlists import UNCONNECTED, prepare, top_of

CELLS = 3
"""Of a chain. Its inputs are nets 2 to 9, its sums 100 and up, its carries 200 and up."""
INPUTS = range(2, 10)


def chain(random, pins, *, used=True):
    """A chain of random tables; the first cell's CIN, C0 and D0 are ``pins``. Unless ``used``, its first sum goes
    nowhere."""
    cells = {}
    for place in range(CELLS):
        inputs = {f"{name}{half}": [random.choice([*INPUTS, "0", "1"])] for half in (0, 1) for name in "ABCD"}
        cells[f"sum_{place}"] = {
            "type": "CCU2C",
            "parameters": {"INJECT1_0": "NO", **{f"INIT{half}": f"{random.getrandbits(16):016b}" for half in (0, 1)}},
            "connections": {
                **inputs, "CIN": [199 + place], "COUT": [200 + place], "S0": [100 + 2 * place], "S1": [101 + 2 * place],
            },
        }  # fmt: skip
    cells["sum_0"]["connections"] |= dict(zip(("CIN", "C0", "D0"), ([pin] for pin in pins), strict=True))
    ports = {
        "inputs": {"bits": list(INPUTS)},
        "sums": {"bits": [100 + bit for bit in range(0 if used else 1, 2 * CELLS)]},
    }
    return {"modules": {"sateen": {"attributes": {"top": "1"}, "ports": ports, "cells": cells}}}


def sums(document, values, unknown):
    """What the ports give for the inputs' values, with ``unknown`` where there is no net."""
    known = {"0": 0, "1": 1, "x": unknown, **dict(zip(INPUTS, values, strict=True))}
    for cell in top_of(document)["cells"].values():
        pins, tables = (
            cell["connections"],
            {name: int(bits, 2) for name, bits in cell["parameters"].items() if "INIT" in name},
        )
        if cell["type"] == "LUT4":
            known[pins["Z"][0]] = (
                tables["INIT"] >> sum(known[pins[pin][0]] << place for place, pin in enumerate("ABCD")) & 1
            )
            continue
        carry = known[pins["CIN"][0]]
        for half in (0, 1):
            a, b, c, d = (known[pins[f"{pin}{half}"][0]] for pin in "ABCD")
            passes = tables[f"INIT{half}"] >> (a + 2 * b + 4 * c + 8 * d) & 1
            known |= {pins[f"S{half}"][0]: passes ^ carry, "x": unknown}
            carry = carry if passes else tables[f"INIT{half}"] >> (a + 2 * b) & 1
        known |= {pins["COUT"][0]: carry, "x": unknown}
    return [known[bit] for bit in top_of(document)["ports"]["sums"]["bits"]]


@pytest.mark.parametrize("used", [True, False])
@pytest.mark.parametrize("pins", list(itertools.product("01", repeat=3)))
def test_constant_carry(pins, used):
    for seed in range(5):
        document = chain(random.Random(seed), pins, used=used)
        given = json.loads(prepare(json.dumps(document).encode(), {}))
        first = top_of(given)["cells"]["sum_0"]["connections"]
        assert [first["CIN"], first["S0"]] == [UNCONNECTED, UNCONNECTED]
        assert ("sum_0$sum" in top_of(given)["cells"]) == used
        for values in itertools.product((0, 1), repeat=len(INPUTS)):
            expected = sums(document, values, 0)
            assert [sums(given, values, unknown) for unknown in (0, 1)] == [expected, expected], (
                f"seed {seed}, inputs {values}"
            )


@pytest.mark.parametrize("pins", [(2, "0", "1"), ("0", 3, "1"), ("1", "0", 4)])
def test_other_carries_are_kept(pins):
    document = chain(random.Random(0), pins)
    given = json.loads(prepare(json.dumps(document).encode(), {}))
    assert top_of(given)["cells"].keys() == top_of(document)["cells"].keys()
    assert top_of(given)["cells"]["sum_0"] == top_of(document)["cells"]["sum_0"]


def test_injected_carries_are_kept():
    document = chain(random.Random(0), ("0", "0", "1"))
    top_of(document)["cells"]["sum_0"]["parameters"]["INJECT1_0"] = "YES"
    given = json.loads(prepare(json.dumps(document).encode(), {}))
    assert top_of(given)["cells"]["sum_0"] == top_of(document)["cells"]["sum_0"]


def test_carry_that_nothing_uses():
    document = chain(random.Random(0), (2, "0", "1"))
    cells = top_of(json.loads(prepare(json.dumps(document).encode(), {})))["cells"]
    assert [cell["connections"]["COUT"] for cell in cells.values()] == [[200], [201], UNCONNECTED]
    top_of(document)["ports"]["carry"] = {"bits": [202]}
    cells = top_of(json.loads(prepare(json.dumps(document).encode(), {})))["cells"]
    assert cells["sum_2"]["connections"]["COUT"] == [202]
