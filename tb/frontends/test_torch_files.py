"""PyTorch programs from files: the graphs that they make in memory, and refusals that say what to do."""

from __future__ import annotations

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
