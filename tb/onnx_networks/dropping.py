"""Random networks some of whose results are not quantized, as tools leave them out that quantize parts of a model."""

from __future__ import annotations

import numpy as np
import onnx

__all__ = ["without_some"]


def without_some(data: bytes, rng: np.random.Generator, share: float = 0.3) -> bytes | None:
    """A file without some of its pairs of QuantizeLinear and DequantizeLinear behind operators; ``None`` if it has no
    such pair."""
    model = onnx.ModelProto.FromString(data)
    graph = model.graph
    kept = {value.name for value in (*graph.output, *graph.input)} | {tensor.name for tensor in graph.initializer}
    kept |= {name for node in graph.node if node.op_type == "Constant" for name in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    dropped: dict[str, str] = {}
    gone: set[str] = set()
    for node in graph.node:
        pairs = readers.get(node.output[0], [])
        if node.op_type != "QuantizeLinear" or not pairs or {node.input[0], node.output[0]} & kept:
            continue
        whole = all(pair.op_type == "DequantizeLinear" and pair.output[0] not in kept for pair in pairs)
        if whole and rng.random() < share:
            dropped |= {pair.output[0]: node.input[0] for pair in pairs}
            gone |= {node.name, *(pair.name for pair in pairs)}
    if not dropped:
        return None
    nodes = [node for node in graph.node if node.name not in gone]
    for node in nodes:
        for place, name in enumerate(node.input):
            while name in dropped:
                name = dropped[name]
            node.input[place] = name
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    return model.SerializeToString()
