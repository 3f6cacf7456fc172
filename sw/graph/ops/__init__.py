"""Quantized tensors and the operators between them; :mod:`sateen.graph.graph` combines them.

An operator is one class: its fields, its requirements on tensors (:meth:`Op.infer`), its work (:meth:`Op.macs`) and its
result (:meth:`Op.execute`). A new operator stands in ``__all__`` of its module, and is found there.

All numbers are those of the reference interpreter: a layer's bias is the one in the definition
``Σ w·(a − zero point) + bias``, and padding is the input's zero point. The compiler folds zero points into the bias.
"""

# ruff: noqa: F403
# Each module's ``__all__`` is the only list of its names, so there is none here.
from sateen.graph.ops import (
    arrange,
    base,
    elementwise,
    host,
    layer_norm,
    layout,
    logic,
    pairs,
    pooling,
    products,
    real,
    real_layers,
    recurrent,
    recurrent_bytes,
    reduction,
    residual,
    resizing,
    weighted,
    wide,
)
from sateen.graph.ops.arrange import *
from sateen.graph.ops.base import *
from sateen.graph.ops.base import Op
from sateen.graph.ops.elementwise import *
from sateen.graph.ops.host import *
from sateen.graph.ops.layer_norm import *
from sateen.graph.ops.layout import *
from sateen.graph.ops.logic import *
from sateen.graph.ops.pairs import *
from sateen.graph.ops.pooling import *
from sateen.graph.ops.products import *
from sateen.graph.ops.real import *
from sateen.graph.ops.real_layers import *
from sateen.graph.ops.recurrent import *
from sateen.graph.ops.recurrent_bytes import *
from sateen.graph.ops.reduction import *
from sateen.graph.ops.residual import *
from sateen.graph.ops.resizing import *
from sateen.graph.ops.weighted import *
from sateen.graph.ops.wide import *

_MODULES = (
    arrange,
    base,
    elementwise,
    host,
    layer_norm,
    layout,
    logic,
    pairs,
    pooling,
    products,
    real,
    real_layers,
    recurrent,
    recurrent_bytes,
    reduction,
    residual,
    resizing,
    weighted,
    wide,
)

OPS: dict[str, type[Op]] = {
    name: kind
    for module in _MODULES
    for name in module.__all__
    if isinstance(kind := getattr(module, name), type) and issubclass(kind, Op) and kind.execute is not Op.execute
}
"""Every operator, by its name in files: the classes that compute something."""
