"""Quantized tensors and the operators between them; :mod:`sateen.graph.graph` puts them together.

An operator is one class: its fields, what it demands of its tensors (:meth:`Op.infer`), its work (:meth:`Op.macs`) and
its result (:meth:`Op.execute`). A new one needs no change elsewhere but its place in :data:`OPS`.

All numbers are the reference interpreter's: a layer's bias is that of the definition ``Σ w·(a − zero point) + bias``,
padding stands for the input's zero point. Folding zero points into the bias is the compiler's business.
"""

from sateen.graph.ops.base import LARGEST, Array, Binary, GraphError, Int8Array, Op, Own, Tensor, Unary, require
from sateen.graph.ops.elementwise import Add, Arithmetic, Multiply, Requantize, Subtract, Table
from sateen.graph.ops.ends import ArgMax, Dequantize, LogSoftmax, Quantize, Softmax
from sateen.graph.ops.layout import Broadcast, Concatenate, Constant, Pad, Reshape, Resize, Slice, Transpose
from sateen.graph.ops.pooling import AveragePool2D, MaxPool2D, Mean, Pool2D
from sateen.graph.ops.weighted import Conv2D, DepthwiseConv2D, FullyConnected, Weighted, Windowed

__all__ = [
    "LARGEST",
    "OPS",
    "Add",
    "ArgMax",
    "Arithmetic",
    "Array",
    "AveragePool2D",
    "Binary",
    "Broadcast",
    "Concatenate",
    "Constant",
    "Conv2D",
    "DepthwiseConv2D",
    "Dequantize",
    "FullyConnected",
    "GraphError",
    "Int8Array",
    "LogSoftmax",
    "MaxPool2D",
    "Mean",
    "Multiply",
    "Op",
    "Own",
    "Pad",
    "Pool2D",
    "Quantize",
    "Requantize",
    "Reshape",
    "Resize",
    "Slice",
    "Softmax",
    "Subtract",
    "Table",
    "Tensor",
    "Transpose",
    "Unary",
    "Weighted",
    "Windowed",
    "require",
]

OPS: dict[str, type[Op]] = {
    op.__name__: op
    for op in (
        Add,
        ArgMax,
        AveragePool2D,
        Broadcast,
        Concatenate,
        Constant,
        Conv2D,
        DepthwiseConv2D,
        Dequantize,
        FullyConnected,
        LogSoftmax,
        MaxPool2D,
        Mean,
        Multiply,
        Pad,
        Quantize,
        Requantize,
        Reshape,
        Resize,
        Slice,
        Softmax,
        Subtract,
        Table,
        Transpose,
    )
}
"""Every operator, by the name that files have for it."""
