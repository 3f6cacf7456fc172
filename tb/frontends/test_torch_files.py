"""PyTorch programs from files: the graphs that they make in memory, and refusals that say what to do."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import zipfile

import numpy as np
import pytest

import needs
import sateen
from sateen.frontends import load
from sateen.frontends import torch as frontend
from sateen.graph import GraphError, run
from sateen.quantize import quantize_source, quantize_torch

torch = needs.package("torch", extra="torch")

from torch_programs import coded  # noqa: E402


class Coded(torch.nn.Module):
    """Quantized as PT2E does it."""

    def forward(self, x):
        return coded(torch.relu(coded(x, 0.05, 3)), 0.04, -128)


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """A quantized and a float program, in memory and in files of these names."""
    folder = tmp_path_factory.mktemp("programs")
    layers = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.ReLU()).eval()
    made = {}
    for name, module in (("codes", Coded()), ("reals", layers)):
        exported = torch.export.export(module, (torch.zeros(1, 2, 5, 6),))
        torch.export.save(exported, folder / f"{name}.pt2")
        made[name] = exported
    return folder, made


def equal(mine, expected):
    """Whether two graphs compute the same from random codes."""
    x = np.random.default_rng(1).normal(size=(8, *expected.tensors[expected.inputs[0]].shape[1:])).astype(np.float32)
    results = [run(graph, x) for graph in (mine, expected)]
    return all(np.array_equal(results[0][name], values) for name, values in results[1].items())


def test_quantized_program(programs):
    folder, made = programs
    graph = load(folder / "codes.pt2")
    assert graph.name == "codes"
    assert equal(graph, frontend.load(made["codes"]))


def test_float_program_is_quantized(programs):
    folder, made = programs
    x = np.random.default_rng(0).normal(size=(4, 2, 5, 6)).astype(np.float32)
    found = quantize_source(folder / "reals.pt2", x)
    assert equal(found.graph, quantize_torch(made["reals"], x).graph)
    assert sateen.compile(folder / "reals.pt2", "tiny", calibration=x).layers


def test_refusals(programs, tmp_path):
    folder, _ = programs
    x = np.zeros((1, 2, 5, 6), np.float32)
    with pytest.raises(sateen.CompileError, match="reals.pt2: a float PyTorch program is quantized first; give calib"):
        load(folder / "reals.pt2")
    with pytest.raises(GraphError, match="codes.pt2: .*quantized already; give no calibration data"):
        quantize_source(folder / "codes.pt2", x)
    with pytest.raises(sateen.CompileError, match="cannot read .*none.pt2: No such file"):
        load(tmp_path / "none.pt2")
    for suffix in (".pt", ".pth"):
        with pytest.raises(GraphError, match="holds Python objects.*torch.export.save"):
            path = tmp_path / f"model{suffix}"
            path.write_bytes((folder / "codes.pt2").read_bytes())
            load(path)


def test_damaged_files(programs, tmp_path):
    folder, _ = programs
    data, path = (folder / "codes.pt2").read_bytes(), tmp_path / "damaged.pt2"
    rng = np.random.default_rng(2)
    for place in range(40):
        changed = bytearray(data)
        if place % 4:
            changed[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        else:
            del changed[int(rng.integers(len(data))) :]
        path.write_bytes(changed)
        try:
            load(path)
        except (GraphError, sateen.CompileError) as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)


class Executed:
    """A pickle of it makes a folder when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def pickled(path):
    buffer = io.BytesIO()
    torch.save(Executed(path), buffer)
    return buffer.getvalue()


def inputs_pickle(name, data, mark):
    return pickled(mark) if name.endswith("sample_inputs/model.pt") else data


def weights_pickle(name, data, mark):
    """Weights that say of themselves that they are pickled."""
    if name.endswith("_config.json"):
        return data.replace(b'"use_pickle": false', b'"use_pickle": true')
    return pickled(mark) if "/weights/weight_" in name or "/constants/tensor_" in name else data


def size_expression(name, data, mark):
    """The text of a size is evaluated."""
    value = {"as_expr": {"expr_str": f"__import__('os').mkdir('{mark}')", "hint": None}}
    return data.replace(b'"sizes": [{"as_int": 1}', b'"sizes": [' + json.dumps(value).encode())


def size_tower(name, data, mark):
    value = {"as_expr": {"expr_str": "9**9**9", "hint": None}}
    return data.replace(b'"sizes": [{"as_int": 1}', b'"sizes": [' + json.dumps(value).encode())


def named_class(name, data, mark):
    """The module of a class in the structure of inputs is imported."""
    context = json.dumps({"__enum__": True, "fqn": "antigravity:x", "name": "y"})
    structure = json.dumps([1, {"type": "builtins.tuple", "context": context, "children_spec": []}])
    changed = b'"in_spec": ' + json.dumps(structure).encode()
    return re.sub(rb'"in_spec": "(?:[^"\\]|\\.)*"', lambda found: changed, data, count=1)


def other_function(name, data, mark):
    return data.replace(b'"target": "torch.ops.aten.relu.default"', b'"target": "torch.os.mkdir"')


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (inputs_pickle, "it is no exported program, or damaged"), (weights_pickle, "no exported program, or damaged"),
        (size_expression, "a size of its tensors is the expression .__import__"),
        (size_tower, r"is the expression '9\*\*9\*\*9'; export"),
        (named_class, "the structure of its inputs names a class .__enum__.; export"),
        (other_function, "'torch.os.mkdir' is none of PyTorch's operators"),
    ],
)  # fmt: skip
def test_nothing_is_executed(programs, tmp_path, change, message):
    """What PyTorch would unpickle, evaluate or import is refused before."""
    folder, _ = programs
    path, mark, changed = tmp_path / "hostile.pt2", tmp_path / "executed", 0
    with zipfile.ZipFile(folder / "reals.pt2") as sound, zipfile.ZipFile(path, "w") as hostile:
        for name in sound.namelist():
            data = change(name, sound.read(name), mark)
            changed += data != sound.read(name)
            hostile.writestr(name, data)
    assert changed
    with pytest.raises(GraphError, match=message) as error:
        load(path)
    assert not mark.exists() and "antigravity" not in sys.modules
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


def test_archives_that_unpack_to_more(tmp_path, monkeypatch):
    monkeypatch.setattr("sateen.frontends.torch.archive.LARGEST", 1 << 16)
    with zipfile.ZipFile(tmp_path / "bomb.pt2", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/archive_format", bytes(1 << 20))
    with pytest.raises(GraphError, match=r"it unpacks to more than 65,536 bytes; no device"):
        load(tmp_path / "bomb.pt2")


def test_operator_that_pytorch_does_not_know(tmp_path):
    with torch.library._scoped_library("sateen_test", "DEF") as library:
        library.define("twice(Tensor x) -> Tensor")
        library.impl("twice", lambda x: 2 * x, "CompositeExplicitAutograd")
        library.impl("twice", torch.empty_like, "Meta")

        class Twice(torch.nn.Module):
            def forward(self, x):
                return torch.ops.sateen_test.twice(x)

        path = tmp_path / "unknown.pt2"
        torch.export.save(torch.export.export(Twice(), (torch.zeros(1, 3),)), path)
    with pytest.raises(GraphError, match=r"does not know its operator sateen_test\.twice.*; import what defines it"):
        load(path)
