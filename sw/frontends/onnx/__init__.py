"""ONNX models, quantized: in QDQ and operator form.

In: a file or its bytes. Out: a graph with onnxruntime's integers. Read ``load.py`` and ``importer.py`` first;
``operators.py`` lists the operators.
"""

from sateen.frontends.onnx.file import Node, OnnxModel, array, guarded, parse, records
from sateen.frontends.onnx.load import graph, load, recognizes
from sateen.frontends.onnx.making import Maker

__all__ = ["Maker", "Node", "OnnxModel", "array", "graph", "guarded", "load", "parse", "recognizes", "records"]
