"""Kinds of models, by their operators: quantized, quantized dynamically, or not quantized."""

from __future__ import annotations

from sateen.frontends.onnx.file import Node, OnnxModel
from sateen.graph import require

__all__ = ["check_quantized", "check_static", "remedy_of"]

CODED = ("DequantizeLinear", "IntQuant", "QGemm", "QLinear", "Quant")
"""How the names of operators begin that quantized models have."""
DYNAMIC = (
    "ConvInteger", "DynamicQuantizeLSTM", "DynamicQuantizeLinear", "DynamicQuantizeMatMul", "MatMulInteger",
    "MatMulIntegerToFloat",
)  # fmt: skip
"""Operators of models that measure the ranges of activations while they run."""


UNROLLED = ("GRU", "LSTM", "RNN")
"""Operators that quantizing a float model here replaces."""


def remedy_of(node: Node) -> str:
    """What to do about an operator that is not supported."""
    if node.kind in UNROLLED:
        return "give the float model to sateen quantize, which unrolls it"
    return "export the model without it, or split it off"


def check_static(node: Node) -> None:
    """Raises a :class:`GraphError` for an operator of dynamic quantization."""
    require(
        node.kind.rpartition(".")[2] not in DYNAMIC,
        node,
        "the model is quantized dynamically: it measures its activations while it runs. Quantize the float model "
        "statically: onnxruntime.quantization.quantize_static(model, output, calibration_data_reader, "
        "quant_format=QuantFormat.QDQ, per_channel=True), or sateen quantize with a batch of inputs",
    )


def check_quantized(model: OnnxModel) -> None:
    """Raises a :class:`GraphError` for a model that is not quantized at all."""
    coded = any(node.kind.rpartition(".")[2].startswith(CODED) for node in model.nodes)
    coded = coded or any(kind in ("INT8", "UINT8") for kind, _ in model.inputs.values())
    require(
        coded,
        "file",
        "the model is not quantized; quantize it to int8, by sateen quantize with a batch of inputs, or by "
        "onnxruntime.quantization.quantize_static",
    )
