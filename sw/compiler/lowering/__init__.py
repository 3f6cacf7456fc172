"""Operators as the device computes them.

In: a graph and a configuration. Out: for each operator its kernels, which are convolutions over lines of bytes, or its
tables; or the reason why the device does not compute it. Read ``kernel.py`` first, then ``lower.py``, which lists all
operators. Operators are imported from :mod:`sateen.graph.ops`, so that a new one is registered there and here only.
"""

from sateen.compiler.lowering.kernel import Kernel, parameter_words, repeated, split
from sateen.compiler.lowering.lookup import LookUp
from sateen.compiler.lowering.lower import LOWERINGS, Lowered, LoweredGraph, lower, lower_operator
from sateen.compiler.lowering.products import ProductOfTwo
from sateen.compiler.lowering.zero_points import reason_for_parts, weight_parts

__all__ = [
    "LOWERINGS", "Kernel", "LookUp", "Lowered", "LoweredGraph", "ProductOfTwo", "lower", "lower_operator",
    "parameter_words", "reason_for_parts", "repeated", "split", "weight_parts",
]  # fmt: skip
