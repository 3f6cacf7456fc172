"""ONNX models, quantized: in QDQ and operator form.

In: a file or its bytes. Out: a graph with onnxruntime's integers. Read ``importer.py`` first; ``operators.py`` lists
the operators.
"""

from sateen.frontends.onnx.importer import load

__all__ = ["load"]
