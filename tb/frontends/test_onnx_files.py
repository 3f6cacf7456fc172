"""ONNX models in several files: values beside the model's file, or in a folder below."""

from __future__ import annotations

import hashlib
import os

import numpy as np
import pytest

import needs
from onnx_models import numbers
from sateen.frontends import load
from sateen.frontends import onnx as frontend
from sateen.graph import GraphError, run
from sateen.quantize import quantize_file

onnx = needs.package("onnx", extra="onnx")
onnxruntime = needs.package("onnxruntime", extra="reference")
helper = onnx.helper


def product():
    """A quantized matrix product, as a ModelProto."""
    rng = np.random.default_rng(4)
    constants = numbers("x", 0.05, 3, "i") | numbers("w", 0.01, 0, "i") | numbers("y", 0.3, -7, "i")
    constants |= {"w": rng.integers(-128, 128, (64, 32)).astype(np.int8)}
    places = ["x", "x_s", "x_z", "w", "w_s", "w_z", "y_s", "y_z"]
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.INT8, (1, n)) for name, n in (("x", 64), ("y", 32))]
    tensors = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph([helper.make_node("QLinearMatMul", places, ["y"])], "g", ends[:1], ends[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def save(path, location="model.onnx.data", model=None):
    """Writes a model whose values stand in another file."""
    options = {"save_as_external_data": True, "size_threshold": 0, "location": location}
    onnx.save(model or product(), path, **options)


def weights(path):
    """The entry for the weights of a file, by which they are found, and a function that writes the file."""
    model = onnx.load(path, load_external_data=False)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "w")
    return tensor, lambda: path.write_bytes(model.SerializeToString())


def state(tensor, **entries):
    """Sets how a tensor's values are found."""
    found = {entry.key: entry.value for entry in tensor.external_data} | entries
    del tensor.external_data[:]
    for key, value in found.items():
        if value is not None:
            tensor.external_data.add(key=key, value=str(value))


@pytest.mark.parametrize("location", ["model.onnx.data", "below/values.bin"])
@pytest.mark.parametrize("inside", [False, True])
def test_two_files(tmp_path, monkeypatch, location, inside):
    """By a path from another folder, and from their own."""
    path = tmp_path / "models" / "model.onnx"
    (path.parent / "below").mkdir(parents=True)
    save(path, location)
    monkeypatch.chdir(path.parent if inside else tmp_path)
    name = os.path.relpath(path)
    graph = load(name)
    x = np.random.default_rng(1).integers(-128, 128, (1, 64)).astype(np.int8)
    expected = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    np.testing.assert_array_equal(run(graph, x)["y"], expected)
    with pytest.raises(GraphError, match="its values are in another file; give the model by its path, or as one file"):
        frontend.load(path.read_bytes())


def test_offset_length_and_check_sum_may_be_left_out_or_given(tmp_path):
    path = tmp_path / "model.onnx"
    save(path)
    expected = load(path)
    tensor, write = weights(path)
    values = onnx.numpy_helper.to_array(
        next(tensor for tensor in product().graph.initializer if tensor.name == "w")
    ).tobytes()
    (tmp_path / "w.bin").write_bytes(values)
    for check in (None, hashlib.sha1(values).hexdigest()):
        state(tensor, location="w.bin", offset=None, length=None, checksum=check)
        write()
        np.testing.assert_array_equal(load(path).ops[0].weights, expected.ops[0].weights)


@pytest.mark.parametrize(
    "entries, message",
    [
        ({"location": "gone.data"}, "tensor 'w': its file 'gone.data' is missing beside the model; copy both files"),
        ({"location": "../m.data"}, "its file '../m.data' lies outside the model's folder; keep both files in one"),
        ({"location": "link"}, "its file 'link' lies outside the model's folder"),
        ({"location": "/etc/passwd"}, "its file '/etc/passwd' lies outside the model's folder"),
        ({"location": "a\0b"}, "it names no file for its values; export the model anew"),
        ({"location": "below"}, "its file 'below' is missing beside the model"),
        ({"location": None}, "it names no file for its values"),
        ({"offset": 1 << 20}, "its file 'model.onnx.data' of .* bytes ends before its values do"),
        ({"offset": -1}, "ends before its values do"),
        ({"length": 1 << 40}, "ends before its values do"),
        ({"length": "many"}, "its offset or length in 'model.onnx.data' is no number"),
        ({"length": 7}, "tensor 'w': its values are damaged"),
        ({"checksum": "0" * 40}, "the check sum of its file 'model.onnx.data' is wrong"),
    ],
)
def test_refuses_files(tmp_path, entries, message):
    path = tmp_path / "model" / "model.onnx"
    (path.parent / "below").mkdir(parents=True)
    (tmp_path / "m.data").write_bytes(bytes(4096))
    (path.parent / "link").symlink_to(tmp_path / "m.data")
    save(path)
    tensor, write = weights(path)
    state(tensor, **entries)
    write()
    with pytest.raises(GraphError, match=message) as error:
        load(path)
    assert str(error.value).startswith(f"{path}: tensor 'w': ") and "\n" not in str(error.value)


def test_a_check_sum_of_a_huge_file(tmp_path):
    """It is not read."""
    path = tmp_path / "model.onnx"
    save(path)
    tensor, write = weights(path)
    state(tensor, checksum="0" * 40)
    write()
    os.truncate(tmp_path / "model.onnx.data", 1 << 40)
    with pytest.raises(GraphError, match=r"its file 'model.onnx.data' has more than 1,073,741,824 bytes; no device"):
        load(path)


def test_a_short_file(tmp_path):
    """The copy of the data stopped in the middle."""
    path = tmp_path / "model.onnx"
    save(path)
    data = tmp_path / "model.onnx.data"
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(
        GraphError, match="its file 'model.onnx.data' of 100 bytes ends before its values do; copy both"
    ):
        load(path)


def test_a_float_model_in_two_files_is_quantized(tmp_path):
    rng = np.random.default_rng(5)
    tensor = onnx.numpy_helper.from_array(rng.normal(size=(8, 4)).astype(np.float32), "w")
    ends = [helper.make_tensor_value_info(name, 1, (1, n)) for name, n in (("x", 8), ("y", 4))]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [tensor])
    path = tmp_path / "model.onnx"
    save(path, model=helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8))
    x = rng.normal(size=(16, 8)).astype(np.float32)
    y = run(quantize_file(path, x), x)["y"]
    expected = x @ onnx.numpy_helper.to_array(tensor)
    assert np.abs(y - expected).max() < 0.05 * np.abs(expected).max()
