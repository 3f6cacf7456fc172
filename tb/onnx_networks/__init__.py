"""Random quantized ONNX networks: graphs of every operator that the front end knows, in QDQ and in operator form.

Scales are random ones, powers of two, where many sums lie on ties of rounding, or numbers such as people write.

What is left out, since results are known to differ, or since the front end says so:

- biases whose scale is not the input's times the weights';
- dilated pools, resizing where float32 decides between neighbours, and whatever moves the batch: all are refused with
  these words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from onnx_networks.builder import MICROSOFT
from onnx_networks.functions import Functions
from onnx_networks.images import Images

__all__ = ["random_network"]


def random_network(rng: np.random.Generator, opsets: Sequence[int] = (14, 17)) -> tuple[bytes, dict[str, np.ndarray]]:
    """A model of 2 to 9 operators in a version of ONNX, and values for its inputs."""
    network = _Network(rng, opsets)
    for _ in range(int(rng.integers(1, 3))):
        network.input()
    wanted = int(rng.integers(2, 10))
    for _ in range(wanted * 20):
        if network.count < wanted:
            network.step()
    return network.file(), network.inputs


class _Network(Images, Functions):
    def step(self) -> None:
        """Tries an operator."""
        makers: list[tuple[Callable[[], bool], int]] = [
            (self.conv, 6),
            (self.matmul, 4),
            (self.product, 1),
            (self.pool, 3),
            (self.mean, 1),
            (self.arithmetic, 4),
            (self.rows, 2),
            (self.transposed, 1),
            (self.reduced, 2),
            (self.normalized, 1),
            (self.blocks, 1),
            (self.taken, 1),
            (self.concat, 3),
            (self.slice, 2),
            (self.split, 2),
            (self.pad, 2),
            (self.resize, 2),
            (self.transpose, 2),
            (self.reshape, 4),
            (self.same, 1),
            (self.clip, 2),
            (self.table, 4),
            (self.softmax, 1),
            (self.argmax, 1),
            (self.tail, 1),
        ]
        weights = np.array([weight for _, weight in makers], float)
        maker = makers[self.rng.choice(len(makers), p=weights / weights.sum())][0]
        self.count += maker()

    def file(self) -> bytes:
        """The file. Its outputs are the tensors that nothing reads, and a few others."""
        rng, outputs = self.rng, list(self.ends)
        loose = [value for value in self.values if value.name not in self.used and value.name not in self.inputs]
        others = [
            value
            for value in self.values
            if value.name in self.used and value.name not in self.inputs and rng.random() < 0.1
        ]
        if not outputs and not loose:
            others = others or self.values[-1:]
        for value in (*loose, *others):
            if rng.random() < 0.6 or value.name in self.inputs:
                outputs.append((self.real(value), onnx.TensorProto.FLOAT))
            else:
                outputs.append((value.name, onnx.TensorProto.INT8 if value.kind == "i" else onnx.TensorProto.UINT8))
        types = {np.dtype(np.float32): onnx.TensorProto.FLOAT, np.dtype(np.int8): onnx.TensorProto.INT8}
        given = [
            helper.make_tensor_value_info(name, types.get(value.dtype, onnx.TensorProto.UINT8), value.shape)
            for name, value in self.inputs.items()
        ]
        made = [helper.make_tensor_value_info(name, kind, None) for name, kind in dict(outputs).items()]
        made_here = {name for node in self.nodes for name in node.output}
        initializers = [numpy_helper.from_array(v, name) for name, v in self.constants.items() if name not in made_here]
        graph = helper.make_graph(self.nodes, "random", given, made, initializers)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
