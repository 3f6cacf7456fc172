"""The compiler.

In: a network, from a file or made in Python, and a configuration. Out: a :class:`Model`, which holds programs, weights
and the steps of an inference. Read ``stages.py`` first: :func:`compile` is a list of stages, each in a module of its
own.
"""

from sateen.compiler.assembly import bytes_per_inference
from sateen.compiler.model import Combining, Layer, Model, Part, Piece, Segment, Step, Tile, Traffic, runs
from sateen.compiler.notes import notes
from sateen.compiler.stages import compile

__all__ = [
    "Combining", "Layer", "Model", "Part", "Piece", "Segment", "Step", "Tile", "Traffic", "bytes_per_inference",
    "compile", "notes", "runs",
]  # fmt: skip
