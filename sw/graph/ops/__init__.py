"""Quantized tensors and the operators between them; :mod:`sateen.graph.graph` combines them.

An operator is one class: its fields, its requirements on tensors (:meth:`Op.infer`), its work (:meth:`Op.macs`) and its
result (:meth:`Op.execute`). A new operator needs no change elsewhere except an entry in :data:`OPS`.

All numbers are those of the reference interpreter: a layer's bias is the one in the definition
``Σ w·(a − zero point) + bias``, and padding is the input's zero point. The compiler folds zero points into the bias.
"""

from sateen.graph.ops.base import LARGEST, Array, Binary, FileLayout, GraphError, Int8Array, Op, Tensor, Unary, require
from sateen.graph.ops.elementwise import Add, Arithmetic, Multiply, Requantize, Subtract, Table
from sateen.graph.ops.host import ArgMax, Dequantize, LogSoftmax, Quantize, Softmax
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
    "FileLayout",
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
"""Every operator, by its name in files."""
