"""Float ONNX models of a recurrent layer, for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

import needs

__all__ = ["recurrent_onnx"]

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def recurrent_onnx(
    kind: str, *, steps=6, inputs=5, size=8, direction="forward", layers=1, result="last", layout=0, seed=0,
    classes=0, weights: dict[str, np.ndarray] | None = None, extra: dict[int, np.ndarray] | None = None, **attributes,
) -> bytes:  # fmt: skip
    """A file of recurrent layers as PyTorch exports them with ``batch_first=True``.

    Parameters
    ----------
    result
        ``last``: the last step's; ``state``: the final hidden state; ``sequence``: all steps', [N, T, H].
    layout
        The layers' attribute, if it is 1: their inputs and results begin with the batch.
    classes
        Results of a Gemm behind; 0 for none.
    weights
        Constants by name, in place of random ones: ``W0``, ``R0``, ``B0`` of the first layer, and ``W`` and ``B`` of
        the Gemm.
    extra
        Further constant inputs of the layers, by their places.
    """
    onnx = needs.package("onnx", extra="onnx")
    rng, node = np.random.default_rng(seed), onnx.helper.make_node
    count, constants = 1 + (direction == "bidirectional"), dict[str, np.ndarray]()
    nodes: list[Any] = []
    x = "x"
    if not layout:
        nodes.append(node("Transpose", [x], ["x.time"], "before", perm=[1, 0, 2]))
        x = "x.time"
    depth = inputs
    for layer in range(layers):
        rows = GATES[kind] * size
        for name, shape in (("W", (count, rows, depth)), ("R", (count, rows, size)), ("B", (count, 2 * rows))):
            constants[f"{name}{layer}"] = rng.normal(size=shape) * (1.2 if name == "W" else 0.8) / np.sqrt(depth)
        places = [x, f"W{layer}", f"R{layer}", f"B{layer}"]
        for place, values in (extra or {}).items():
            places += [""] * (place + 1 - len(places))
            places[place] = f"extra{place}"
            constants[places[place]] = values
        if layout:
            attributes["layout"] = 1
        outputs = [f"y{layer}", f"h{layer}"]
        nodes.append(node(kind, places, outputs, f"layer{layer}", hidden_size=size, direction=direction, **attributes))
        nodes += _joined(node, layer, count, layout, constants)
        x, depth = f"s{layer}", size * count
    nodes += _result(node, x, f"h{layers - 1}", result, layout, constants)
    shape: tuple[Any, ...] = ("N", steps, depth) if result == "sequence" else ("N", depth)
    end = "result"
    if classes:
        constants |= {"W": rng.normal(size=(classes, depth)), "B": rng.normal(size=classes)}
        nodes.append(node("Gemm", [end, "W", "B"], ["logits"], "head", transB=1))
        end, shape = "logits", ("N", classes)
    constants |= weights or {}
    tensors = [
        onnx.numpy_helper.from_array(value.astype(np.int64 if value.dtype.kind == "i" else np.float32), name)
        for name, value in constants.items()
    ]
    ends = [
        onnx.helper.make_tensor_value_info(name, 1, sizes)
        for name, sizes in (("x", ("N", steps, inputs)), (end, shape))
    ]
    graph = onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    opset = onnx.helper.make_opsetid("", 17)
    return onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()


def _joined(node: Any, layer: int, count: int, layout: int, constants: dict[str, np.ndarray]) -> list[Any]:
    """The layer's sequence without an axis of directions."""
    y, s = f"y{layer}", f"s{layer}"
    if count == 1:
        constants[f"axis{layer}"] = np.array([2 if layout else 1])
        return [node("Squeeze", [y, f"axis{layer}"], [s], f"squeeze{layer}")]
    constants[f"shape{layer}"] = np.array([0, 0, -1])
    return [
        node("Transpose", [y], [f"{y}.t"], f"turn{layer}", perm=[0, 2, 1, 3]),
        node("Reshape", [f"{y}.t", f"shape{layer}"], [s], f"join{layer}"),
    ]


def _result(node: Any, x: str, h: str, result: str, layout: int, constants: dict[str, np.ndarray]) -> list[Any]:
    if result == "sequence":
        kind, attributes = ("Identity", {}) if layout else ("Transpose", {"perm": [1, 0, 2]})
        return [node(kind, [x], ["result"], "after", **attributes)]
    constants["last"] = np.array(-1)
    if result == "state":
        return [node("Gather", [h, "last"], ["result"], "final", axis=1 if layout else 0)]
    return [node("Gather", [x, "last"], ["result"], "final", axis=1 if layout else 0)]
