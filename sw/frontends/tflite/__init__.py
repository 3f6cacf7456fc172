"""TensorFlow Lite models, int8 and uint8.

In: a file or its bytes. Out: a graph with the integers of tflite-micro's portable kernels. Read ``load.py`` and ``importer.py`` first;
``operators.py`` lists the operators.
"""

from sateen.frontends.tflite.importer import is_tflite
from sateen.frontends.tflite.load import load

__all__ = ["is_tflite", "load"]
