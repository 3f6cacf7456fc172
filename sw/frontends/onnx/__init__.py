"""ONNX models, quantized: in QDQ and operator form.

In: a file or its bytes. Out: a graph with onnxruntime's integers. Read ``load.py`` and ``importer.py`` first; ``operators.py`` lists
the operators.
"""

from sateen.frontends.onnx.file import array, guarded, parse
from sateen.frontends.onnx.load import load

__all__ = ["array", "guarded", "load", "parse"]
