"""PyTorch programs: exported ones quantized by PT2E, and modules.

In: a ``torch.export.ExportedProgram`` or a ``torch.nn.Module``. Out: a graph, if it is quantized; its operators are
those of ONNX's front end, which makes the graph. Read ``load.py`` first; ``translator.py`` walks the program, and
``layers.py``, ``functions.py`` and ``moves.py`` have the operators by theme, and ``file.py`` opens files. Imports torch
only if the caller has, or for such a file.
"""

from sateen.frontends.torch.file import SUFFIX, load_file, open_program, recognizes
from sateen.frontends.torch.load import Translation, graph, is_torch, load, program, translate

__all__ = [
    "SUFFIX", "Translation", "graph", "is_torch", "load", "load_file", "open_program", "program", "recognizes",
    "translate",
]  # fmt: skip
