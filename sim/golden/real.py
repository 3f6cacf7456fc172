"""Operators on real numbers, float32 in and out, which the host computes before the first quantization of a model and
behind its last.

Sums, differences, products, quotients, roots and what only compares are rounded once, as IEEE 754 defines them, so they
equal every interpreter's. All others are computed in float64 and rounded to float32; interpreters approximate them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sateen.sim.golden.windows import Padding, transposed_sums, windows

__all__ = [
    "REAL_APPROXIMATED",
    "REAL_BINARY",
    "REAL_REDUCTIONS",
    "REAL_UNARY",
    "real_average_pool2d",
    "real_binary",
    "real_conv2d",
    "real_max_pool2d",
    "real_normalize",
    "real_product",
    "real_reduce",
    "real_share",
    "real_transpose_conv2d",
    "real_unary",
]

Floats = NDArray[np.float32]
Wide = NDArray[np.float64]

_erf = np.vectorize(math.erf, otypes=[np.float64])


def _softplus(x: Wide) -> Wide:
    return np.logaddexp(0, x)


_ROUNDED_ONCE: dict[str, Callable[..., Any]] = {
    "abs": np.abs,
    "ceil": np.ceil,
    "clip": lambda x, low, high: np.minimum(np.maximum(x, low), high),
    "floor": np.floor,
    "hard_sigmoid": lambda x, alpha, beta: np.maximum(np.minimum(alpha * x + beta, np.float32(1)), np.float32(0)),
    "hard_swish": lambda x: x * np.clip(x * np.float32(1 / 6) + np.float32(0.5), np.float32(0), np.float32(1)),
    "leaky_relu": lambda x, alpha: np.where(x >= 0, x, alpha * x),
    "negate": np.negative,
    "reciprocal": lambda x: np.float32(1) / x,
    "relu": lambda x: np.maximum(x, np.float32(0)),
    "round": np.rint,
    "sign": np.sign,
    "sqrt": np.sqrt,
    "square": lambda x: x * x,
}
"""Functions in float32. Parameters are float32."""
_APPROXIMATED: dict[str, Callable[..., Any]] = {
    "cos": np.cos,
    "elu": lambda x, alpha: np.where(x >= 0, x, alpha * np.expm1(np.minimum(x, 0))),
    "erf": _erf,
    "exp": np.exp,
    "gelu": lambda x: x * (1 + _erf(x / math.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    "log": np.log,
    "mish": lambda x: x * np.tanh(_softplus(x)),
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "selu": lambda x, alpha, gamma: gamma * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))),
    "sigmoid": lambda x: np.exp(-np.logaddexp(0, -x)),
    "sin": np.sin,
    "softplus": _softplus,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "swish": lambda x: x * np.exp(-np.logaddexp(0, -x)),
    "tanh": np.tanh,
}
"""Functions in float64."""
REAL_APPROXIMATED = frozenset(_APPROXIMATED)
"""The functions of one value that interpreters approximate."""
_PARAMETERS = {"clip": 2, "elu": 1, "hard_sigmoid": 2, "leaky_relu": 1, "selu": 2}
REAL_UNARY: dict[str, int] = {name: _PARAMETERS.get(name, 0) for name in (*_ROUNDED_ONCE, *_APPROXIMATED)}
"""The functions of one value, with the number of their parameters."""
REAL_BINARY: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "divide": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "multiply": np.multiply,
    "power": lambda a, b: np.power(a, b, dtype=np.float64),
    "prelu": lambda a, b: np.where(a >= 0, a, a * b),
    "squared_difference": lambda a, b: np.square(a - b),
    "subtract": np.subtract,
}
"""The functions of two values."""


def _held(sums: Any) -> Any:
    """Sums that float32 holds, as they are; larger ones are infinite, as in interpreters, which add in float32."""
    return np.where(np.abs(sums) > np.finfo(np.float32).max, np.copysign(np.inf, sums), sums)


def _mean(x: Any, **where: Any) -> Any:
    sums = _held(x.sum(dtype=np.float64, **where))
    return sums / (x.size / max(1, sums.size))


REAL_REDUCTIONS: dict[str, Callable[..., Any]] = {
    "l1": lambda x, **where: np.abs(x).sum(dtype=np.float64, **where),
    "l2": lambda x, **where: np.sqrt(_held(np.square(x, dtype=np.float64).sum(**where))),
    "log_sum_exp": lambda x, **where: np.logaddexp.reduce(x.astype(np.float64), **where),
    "maximum": np.max,
    "mean": _mean,
    "minimum": np.min,
    "product": lambda x, **where: x.prod(dtype=np.float64, **where),
    "sum": lambda x, **where: x.sum(dtype=np.float64, **where),
    "sum_square": lambda x, **where: np.square(x, dtype=np.float64).sum(**where),
}
"""The reductions of axes."""


def real_unary(x: Floats, function: str, parameters: tuple[float, ...] = ()) -> Floats:
    """A function of :data:`REAL_UNARY`, of each value."""
    with np.errstate(all="ignore"):
        if function in _ROUNDED_ONCE:
            return _ROUNDED_ONCE[function](x, *map(np.float32, parameters)).astype(np.float32)
        return _APPROXIMATED[function](x.astype(np.float64), *parameters).astype(np.float32)


def real_binary(a: Floats, b: Floats, function: str) -> Floats:
    """A function of :data:`REAL_BINARY`, of each pair of values; shapes broadcast."""
    with np.errstate(all="ignore"):
        return REAL_BINARY[function](a, b).astype(np.float32)


def real_reduce(x: Floats, function: str, axes: tuple[int, ...], *, keep_dims: bool) -> Floats:
    """A reduction of :data:`REAL_REDUCTIONS` over axes."""
    reduce = REAL_REDUCTIONS[function]
    with np.errstate(all="ignore"):
        if function == "log_sum_exp":
            # A reduction of numpy's over one axis at a time.
            for axis in axes:
                x = reduce(x, axis=axis, keepdims=True)
            return (x if keep_dims else np.squeeze(x, axes)).astype(np.float32)
        return reduce(x, axis=axes, keepdims=keep_dims).astype(np.float32)


def real_product(x: Floats, weights: Floats, bias: Floats) -> Floats:
    """A matrix product over the last axis, with weights [O, I] and a bias [O]."""
    return (x.astype(np.float64) @ weights.T.astype(np.float64) + bias).astype(np.float32)


def real_conv2d(
    x: Floats, weights: Floats, bias: Floats, *, stride: tuple[int, int], padding: Padding, dilation: tuple[int, int],
    groups: int,
) -> Floats:  # fmt: skip
    """A convolution of images [N, H, W, C], padded with zeros, with weights [O, kernel height, kernel width,
    C / groups] and a bias [O]."""
    outputs, height, width, depth = weights.shape
    patches = windows(x, (height, width), stride=stride, padding=padding, dilation=dilation, pad_value=0)
    images, rows, columns = patches.shape[:3]
    kernels = weights.reshape(groups, outputs // groups, height, width, depth).astype(np.float64)
    sums = np.zeros((images, rows, columns, groups, outputs // groups))
    for i, j in np.ndindex(height, width):
        values = patches[..., i, j].reshape(images, rows, columns, groups, depth)
        sums += np.einsum("nyxgc,goc->nyxgo", values, kernels[:, :, i, j], optimize=True)
    return (sums.reshape(images, rows, columns, outputs) + bias).astype(np.float32)


def real_transpose_conv2d(
    x: Floats, weights: Floats, bias: Floats, *, out: tuple[int, int], stride: tuple[int, int],
    before: tuple[int, int], dilation: tuple[int, int], groups: int,
) -> Floats:  # fmt: skip
    """A transposed convolution; see :func:`~sateen.sim.golden.transpose_conv2d`."""
    places = {"out": out, "stride": stride, "before": before, "dilation": dilation, "groups": groups}
    return (transposed_sums(x, weights, **places) + bias).astype(np.float32)  # type: ignore[arg-type]


def real_max_pool2d(x: Floats, *, size: tuple[int, int], stride: tuple[int, int], padding: Padding) -> Floats:
    """The largest value of each window of images [N, H, W, C]; padding never wins."""
    return windows(x, size, stride=stride, padding=padding, dilation=(1, 1), pad_value=-np.inf).max(axis=(4, 5))


def real_average_pool2d(
    x: Floats, *, size: tuple[int, int], stride: tuple[int, int], padding: Padding, counted: bool,
    beyond: tuple[int, int] = (0, 0),
) -> Floats:  # fmt: skip
    """The mean of each window of images [N, H, W, C]. Padding counts as zeros, but for the last ``beyond`` rows and
    columns of it, or does not count."""
    fields: Any = {"size": size, "stride": stride, "padding": padding, "dilation": (1, 1)}
    sums = _held(windows(x.astype(np.float64), pad_value=0, **fields).sum(axis=(4, 5)))
    image = np.ones((1, *x.shape[1:3], 1))
    if counted:
        given = [(before, after - more) for (before, after), more in zip(padding, beyond, strict=True)]
        image = np.pad(image, ((0, 0), *given, (0, 0)), constant_values=1)
        fields["padding"] = tuple((0, more) for more in beyond)
    counts = windows(image, pad_value=0, **fields).sum(axis=(4, 5))
    return (sums / counts).astype(np.float32)


def real_normalize(
    x: Floats, axes: tuple[int, ...], scale: Floats, bias: Floats, *, epsilon: float, centred: bool
) -> Floats:
    """Values divided by the root of their mean square over axes and ``epsilon``, less their mean before if ``centred``;
    then scaled, and a bias added."""
    values = x.astype(np.float64)
    with np.errstate(all="ignore"):
        if centred:
            values = values - _mean(values, axis=axes, keepdims=True)
        lengths = np.sqrt(_mean(np.square(values), axis=axes, keepdims=True) + epsilon)
        return (values / lengths * scale + bias).astype(np.float32)


def real_share(x: Floats, axis: int, *, beta: float = 1.0, log: bool = False) -> Floats:
    """softmax of ``beta · x`` along an axis, or its logarithm."""
    with np.errstate(all="ignore"):
        scaled = x.astype(np.float64) * beta
        shifted = scaled - scaled.max(axis=axis, keepdims=True)
        total = np.exp(shifted).sum(axis=axis, keepdims=True)
        return (shifted - np.log(total) if log else np.exp(shifted) / total).astype(np.float32)
