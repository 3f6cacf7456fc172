"""Networks inside Sateen: front ends make them, and the compiler takes them.

A :class:`Graph` is a quantized network: tensors with scale and zero point, and operators, each of which computes its
exact integers (``execute``, the golden model). A :class:`~sateen.graph.network.Network` is a float network, before
quantization. Read ``graph.py`` first, then ``ops/base.py``; ``ops/`` has the operators by theme.
"""

# Names from elsewhere that a type checker shall take as this room's own are imported ``as`` themselves.
from sateen.graph.graph import Graph as Graph
from sateen.graph.graph import run as run
from sateen.graph.graph import tell as tell
from sateen.graph.network import Network as Network
from sateen.graph.network import NetworkError as NetworkError
from sateen.graph.ops import *  # noqa: F403
