"""Float networks in ONNX, and what onnxruntime's quantizer makes of them."""

from __future__ import annotations

import numpy as np

import needs
from onnx_models import MICROSOFT

onnx = needs.package("onnx", extra="onnx")
quantizer = needs.package("onnxruntime.quantization", extra="reference")

from onnx import helper, numpy_helper  # noqa: E402

__all__ = ["Net", "quantizer"]


class Net:
    """A float network, and random values for its input ``x``."""

    def __init__(self, shape, *, opset=17, seed=3):
        self.rng, self.shape, self.opset = np.random.default_rng(seed), shape, opset
        self.nodes, self.constants = [], {}

    def constant(self, values) -> str:
        self.constants[f"k{len(self.constants)}"] = np.asarray(values)
        return f"k{len(self.constants) - 1}"

    def weights(self, *shape) -> str:
        return self.constant((self.rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32))

    def node(self, kind, *inputs, **attributes) -> str:
        names = [each if isinstance(each, str) else self.constant(each) for each in inputs]
        made = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, names, [made], name=made, **attributes))
        return made

    def quantized(self, folder, *, items: int = 4, **options) -> bytes:
        """The file that onnxruntime's quantizer makes of it, which sees so many inputs; the last node is the output."""
        ends = [
            helper.make_tensor_value_info(*end) for end in (("x", 1, self.shape), (self.nodes[-1].output[0], 1, None))
        ]
        values = [numpy_helper.from_array(value, name) for name, value in self.constants.items()]
        graph = helper.make_graph(self.nodes, "net", ends[:1], ends[1:], values)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid(MICROSOFT, 1)]
        version = 8 if self.opset < 20 else 10
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=version), folder / "float.onnx")
        left = iter([{"x": self.input()} for _ in range(items)])
        reader = type("Reader", (quantizer.CalibrationDataReader,), {"get_next": lambda _: next(left, None)})()
        quantizer.quantize_static(folder / "float.onnx", folder / "q.onnx", reader, **options)
        return (folder / "q.onnx").read_bytes()

    def input(self):
        return (self.rng.normal(size=self.shape) * 2).astype(np.float32)
