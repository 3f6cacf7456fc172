"""PyTorch programs: exported ones quantized by PT2E, and modules.

In: a ``torch.export.ExportedProgram`` or a ``torch.nn.Module``. Out: a graph, if it is quantized; its operators are
those of ONNX's front end, which makes the graph. Read ``load.py`` first; ``translator.py`` walks the program, and
``layers.py``, ``functions.py`` and ``moves.py`` have the operators by theme. Imports torch only if the caller has.
"""

from sateen.frontends.torch.load import Translation, graph, is_torch, load, program, translate

__all__ = ["Translation", "graph", "is_torch", "load", "program", "translate"]
