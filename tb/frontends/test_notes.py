"""What a front end warns of stays with the graph: who reads it, or a model compiled from it, hears it, too."""

from __future__ import annotations

import dataclasses
import json
import warnings

import numpy as np
import pytest
from test_onnx_differences import file, helper, pair, warned

import sateen
from command_line import here
from sateen.compiler import Model
from sateen.graph import Graph

CONSTANTS = {"s1": np.float32(0.05), "z1": np.int8(0), "s2": np.float32(0.004), "z2": np.int8(-128)}


@pytest.fixture(scope="module")
def graph() -> Graph:
    """Of a softmax of real numbers, all of which the host computes."""
    nodes = [*pair("x", "a", "b", "1"), helper.make_node("Add", ["b", "x"], ["r"], name="sum")]
    nodes += [helper.make_node("Softmax", ["r"], ["c"], name="shares"), *pair("c", "d", "y", "2")]
    made, texts = warned(file(nodes, (1, 6, 9), (1, None), CONSTANTS))
    assert made.notes == tuple(texts)
    return made


def heard(call) -> list[str]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        call()
    return [str(each.message) for each in found]


def test_operators_have_the_names_of_the_file(graph):
    (note,) = graph.notes
    assert "computes operator 'shares' (Softmax) with real numbers" in note
    assert "on the host: 'sum', 'shares';" in " ".join(heard(lambda: sateen.compile(graph)))


def test_whoever_reads_a_file_hears_them(graph, tmp_path):
    path = tmp_path / "x.graph"
    graph.save(path)
    assert heard(lambda: Graph.load(path)) == heard(lambda: sateen.frontends.load(path)) == [*graph.notes]
    with warnings.catch_warnings(action="ignore"):
        sateen.compile(path).save(tmp_path / "x.sateen")
    assert heard(lambda: Model.load(tmp_path / "x.sateen")) == [*graph.notes]


def test_a_note_is_one_line(graph, tmp_path):
    dataclasses.replace(graph, notes=("one\ntwo\x1b[31m",)).save(tmp_path / "x.graph")
    assert heard(lambda: Graph.load(tmp_path / "x.graph")) == ["one?two?[31m"]


def test_commands_tell_them(graph, tmp_path):
    """Also of a model without a layer for the device."""
    with warnings.catch_warnings(action="ignore"):
        sateen.compile(graph).save(tmp_path / "x.sateen")
    said = here("info", tmp_path / "x.sateen", "--json", tmp_path / "x.json")
    assert said.returncode == 0 and graph.notes[0] in said.stderr
    assert "no layer runs on the device: the host computes everything" in said.stdout
    document = json.loads((tmp_path / "x.json").read_text())
    assert document["warnings"] == [*graph.notes] and document["outlook"]["changes"] == []
