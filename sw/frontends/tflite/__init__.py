"""TensorFlow Lite models, int8 and uint8.

In: a file or its bytes. Out: a graph with the integers of tflite-micro's portable kernels. Read ``importer.py`` first;
``operators.py`` lists the operators.
"""

from sateen.frontends.tflite.importer import is_tflite, load

__all__ = ["is_tflite", "load"]
