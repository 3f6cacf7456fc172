"""The golden model: what the accelerator and the host compute, in NumPy integers, written from the definitions.

Activations are int8 arrays [N, H, W, C] or [N, C], weights int8, sums int32. A sum that leaves 32 bits wraps, as the
hardware's adders do; what comes before the wrap is computed in 64 bits, where no layer that fits in memory overflows.
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
from sateen.sim.golden.ends import dequantize, log_softmax, quantize, real_softmax, softmax
from sateen.sim.golden.scaling import quantize_multiplier, requantize, rescale
from sateen.sim.golden.windows import (
    average_pool2d,
    conv2d,
    fully_connected,
    max_pool2d,
    mean,
    mean_multiplier,
    nearest,
    windows,
)

__all__ = [
    "ADD_SHIFT",
    "add",
    "average_pool2d",
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
    "real_softmax",
    "real_table",
    "requantize",
    "rescale",
    "sigmoid",
    "softmax",
    "tanh_table",
    "windows",
]
