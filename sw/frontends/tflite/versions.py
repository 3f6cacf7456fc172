"""Versions of TensorFlow Lite's operators.

A converter states for each operator the lowest version that knows the types and options that it has written. A later
version may mean something that is not known here, so it is refused.

Source: the largest versions in TensorFlow Lite's tables of kernels, ``tflite/core/kernels/register.cc`` of LiteRT 2.
Kinds that are left out have one version. Types that a version adds are checked where tensors are read.
"""

from __future__ import annotations

__all__ = ["newest"]

_NEWEST = {
    2: "BROADCAST_ARGS DEPTH_TO_SPACE DIV EXP FAKE_QUANT FLOOR_MOD GELU GREATER L2_NORMALIZATION LEAKY_RELU LESS_EQUAL "
    "LOG LOG_SOFTMAX RANGE REDUCE_PROD SELECT_V2 SPACE_TO_DEPTH SPLIT_V SQRT SQUARED_DIFFERENCE SQUEEZE SUM WHERE",
    3: "ARG_MAX ARG_MIN AVERAGE_POOL_2D BROADCAST_TO FLOOR_DIV GREATER_EQUAL LESS LOGISTIC MAX_POOL_2D MEAN MIRROR_PAD "
    "REDUCE_MAX REDUCE_MIN RELU RELU6 REVERSE_V2 RSQRT SOFTMAX TANH TILE TOPK_V2",
    4: "BATCH_MATMUL BATCH_TO_SPACE_ND FILL MAXIMUM MINIMUM NOT_EQUAL PACK RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR "
    "SELECT SPACE_TO_BATCH_ND SPLIT SVDF UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK",
    5: "ABS ADD CONCATENATION EQUAL GATHER_ND PAD PADV2 QUANTIZE SUB TRANSPOSE_CONV",
    7: "DEPTHWISE_CONV_2D GATHER MUL SLICE TRANSPOSE",
    8: "CAST CONV_2D DEQUANTIZE STRIDED_SLICE",
    14: "FULLY_CONNECTED",
}
"""Kinds of operators, by their newest version."""


def newest(kind: str) -> int:
    """The newest version of a kind of operator that is known here."""
    return next((version for version, kinds in _NEWEST.items() if kind in kinds.split()), 1)
