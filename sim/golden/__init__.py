"""The golden model: what the accelerator and the host compute, in NumPy integers, written from the definitions.

In and out: int8 activations [N, H, W, C] or [N, C], int8 weights, int32 sums. Sums wrap at 32 bits, as in hardware;
before that they are computed in 64 bits, where no layer that fits in memory overflows. Read
:mod:`~sateen.sim.golden.scaling` first, then :mod:`~sateen.sim.golden.windows`.
"""

from sateen.sim.golden.elementwise import (
    ADD_SHIFT,
    add,
    clamped_table,
    concatenation_table,
    hard_swish_table,
    leaky_relu_table,
    logistic_table,
    look_up,
    multiply,
    real_table,
    sigmoid,
    tanh_table,
)
from sateen.sim.golden.interpolation import (
    COORDINATES,
    FRACTION,
    Between,
    between,
    interpolate,
    positions,
    real_between,
    real_resize_bilinear,
    resize_bilinear,
)
from sateen.sim.golden.real import (
    REAL_BINARY,
    REAL_REDUCTIONS,
    REAL_UNARY,
    real_binary,
    real_reduce,
    real_share,
    real_unary,
)
from sateen.sim.golden.scaling import dequantize, quantize, quantize_multiplier, requantize, rescale
from sateen.sim.golden.softmax import log_softmax, real_softmax, softmax
from sateen.sim.golden.windows import (
    average_pool2d,
    conv2d,
    fully_connected,
    max_pool2d,
    mean,
    mean_multiplier,
    nearest,
    transpose_conv2d,
    windows,
)

__all__ = [
    "ADD_SHIFT",
    "COORDINATES",
    "FRACTION",
    "Between",
    "interpolate",
    "positions",
    "REAL_BINARY",
    "REAL_REDUCTIONS",
    "REAL_UNARY",
    "add",
    "average_pool2d",
    "between",
    "clamped_table",
    "concatenation_table",
    "conv2d",
    "dequantize",
    "fully_connected",
    "hard_swish_table",
    "leaky_relu_table",
    "log_softmax",
    "logistic_table",
    "look_up",
    "max_pool2d",
    "mean",
    "mean_multiplier",
    "multiply",
    "nearest",
    "quantize",
    "quantize_multiplier",
    "real_binary",
    "real_reduce",
    "real_share",
    "real_between",
    "real_resize_bilinear",
    "real_softmax",
    "real_table",
    "real_unary",
    "requantize",
    "rescale",
    "resize_bilinear",
    "sigmoid",
    "softmax",
    "tanh_table",
    "transpose_conv2d",
    "windows",
]
