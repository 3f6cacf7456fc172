"""Front ends: model files as graphs.

In: a file of TensorFlow Lite, ONNX or Sateen. Out: a :class:`~sateen.graph.Graph` whose integers are those of the
reference interpreter, or the float :class:`~sateen.graph.Network` that the file holds. Read ``sources.py`` first; each
front end is a room of its own that knows nothing of the others.
"""

from sateen.frontends.sources import errors_name, load

__all__ = ["errors_name", "load"]
