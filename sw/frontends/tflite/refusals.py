"""Why an operator is refused that others of its kind are not: what it computes with, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping

from sateen.frontends.tflite.file import RawModel, RawOperator

__all__ = ["REAL_ONLY", "refusal"]

WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL")
REAL_ONLY = ("COS", "FLOOR", "POW", "SIN", "SQUARE")
"""Operators that TensorFlow Lite's interpreters compute with real numbers alone."""
STATIC = (
    "in TensorFlow set converter.representative_dataset and inference_input_type = inference_output_type = tf.int8, in "
    "ai-edge-quantizer take the recipe static_wi8_ai8"
)
"""How a model becomes one of int8."""


def refusal(model: RawModel, operator: RawOperator, theme: str, origins: Mapping[int, str]) -> str:
    """What is wrong with an operator that computes with the type ``theme``, and how to avoid it.

    ``origins`` are the types of the constants that a DEQUANTIZE has made real, by their index.
    """
    if theme != "FLOAT32" and operator.kind in REAL_ONLY:
        return (
            f"TensorFlow Lite has no {operator.kind} of {theme}; put DEQUANTIZE before it and QUANTIZE behind it, or "
            "convert the model anew"
        )
    if theme != "FLOAT32":
        return f"{operator.kind} of {theme} is not supported; quantize the whole model to int8"
    if operator.kind in WEIGHTED and len(operator.inputs) > 1 and operator.inputs[1] >= 0:
        weights = model.tensors[operator.inputs[1]]
        kind = origins.get(weights.index, weights.type)
        if kind in ("INT4", "INT8", "UINT8"):
            return (
                f"its weights {weights} are {kind}, but its input is real: only weights are quantized (dynamic-range "
                f"or weight-only quantization). Quantize activations, too: {STATIC}"
            )
        if kind == "FLOAT16":
            return f"its weights {weights} are FLOAT16; quantize the model to int8 instead: {STATIC}"
    return f"it computes with real numbers; quantize the whole model to int8: {STATIC}"
