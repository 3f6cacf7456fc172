"""Verification of a compiled model: its programs and weights against its graph.

In: a finished model. Out: nothing, or an :class:`~sateen.errors.InternalError` that names layer and weight. Nothing
here uses the lowering or the packer of words: ``decoding.py`` reads the bytes that a device gets, ``emulation.py``
computes some of a layer's results from them, and ``definitions.py`` the same ones from the graph; ``segments.py`` looks
for descriptors that disturb others. Read ``check.py`` first.
"""

from sateen.compiler.verification.check import verify_program

__all__ = ["verify_program"]
