"""The definitions of ONNX's operators: versions, attributes with their defaults, and inputs.

Those of ONNX itself come from the ``onnx`` package, those of onnxruntime's domain from a table. By them a file's
operators are held to what their handlers have used: what no handler read must not matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sateen.graph import GraphError, require

__all__ = ["ADDED", "MICROSOFT", "Attribute", "Schema", "check_version", "find", "opsets", "plain", "same", "text"]

MICROSOFT = "com.microsoft"
"""The domain of onnxruntime's own operators."""


@dataclass(frozen=True)
class Attribute:
    """An attribute of an operator."""

    kind: str
    """ONNX's type: ``INT``, ``INTS``, ``FLOAT``, …"""
    default: Any = None
    """``None`` if it has none."""


@dataclass(frozen=True)
class Schema:
    """One version of an operator's definition."""

    version: int
    """The opset that introduced it."""
    attributes: Mapping[str, Attribute]
    inputs: int = 2**31
    """The most inputs that it takes."""


_WINDOW = {
    "auto_pad": Attribute("STRING", "NOTSET"),
    "kernel_shape": Attribute("INTS"),
    "pads": Attribute("INTS"),
    "strides": Attribute("INTS"),
}
_CHANNELS_LAST = {"channels_last": Attribute("INT", 0)}
CONTRIBUTED: dict[str, dict[str, Attribute]] = {
    "DequantizeLinear": {"axis": Attribute("INT")},
    "Gelu": {},
    "QGemm": {"alpha": Attribute("FLOAT", 1.0), "transA": Attribute("INT", 0), "transB": Attribute("INT", 0)},
    "QLinearAdd": {},
    "QLinearAveragePool": {
        **_WINDOW, **_CHANNELS_LAST, "ceil_mode": Attribute("INT", 0), "count_include_pad": Attribute("INT", 0),
    },
    "QLinearConcat": {"axis": Attribute("INT")},
    "QLinearConv": {
        **_WINDOW, **_CHANNELS_LAST, "dilations": Attribute("INTS"), "group": Attribute("INT", 1),
    },
    "QLinearGlobalAveragePool": _CHANNELS_LAST,
    "QLinearLeakyRelu": {"alpha": Attribute("FLOAT", float(np.float32(0.01)))},
    "QLinearMul": {},
    "QLinearSigmoid": {},
    "QLinearSoftmax": {"axis": Attribute("INT", -1), "opset": Attribute("INT")},
    "QuantizeLinear": {"axis": Attribute("INT")},
}  # fmt: skip
"""Attributes of onnxruntime's operators, from its ContribOperators.md; each operator has one version, 1."""

ADDED: dict[str, dict[str, Attribute]] = {
    "SimplifiedLayerNormalization": {
        "axis": Attribute("INT", -1), "epsilon": Attribute("FLOAT", float(np.float32(1e-5))),
        "stash_type": Attribute("INT", 1),
    },
}  # fmt: skip
"""Operators that onnxruntime adds to ONNX's own domain; each has one version, 1."""

QUANT = {
    "signed": Attribute("INT", 1), "narrow": Attribute("INT", 0), "rounding_mode": Attribute("STRING", "ROUND"),
}  # fmt: skip
QONNX = {("qonnx.custom_op.general", "Quant"), ("qonnx.custom_op.general", "IntQuant"), ("onnx.brevitas", "Quant")}
"""QONNX's operator that quantizes and dequantizes, by domain and kind; it has one version, 1."""


def find(onnx: Any, domain: str, kind: str, opset: int) -> Schema | None:
    """The definition of an operator at an opset; ``None`` if there is none."""
    if (domain, kind) in QONNX:
        return Schema(1, QUANT)
    if domain == MICROSOFT:
        return Schema(1, CONTRIBUTED[kind]) if kind in CONTRIBUTED else None
    if domain == "" and kind in ADDED:
        return Schema(1, ADDED[kind])
    try:
        found = onnx.defs.get_schema(kind, opset, domain)
    except onnx.defs.SchemaError:
        return None
    attributes = {}
    for name, attribute in found.attributes.items():
        default = attribute.default_value
        value = onnx.helper.get_attribute_value(default) if default.type else None
        attributes[name] = Attribute(attribute.type.name, plain(value))
    return Schema(found.since_version, attributes, found.max_input)


def plain(value: Any) -> Any:
    """An attribute's value: text as ``str``, lists as tuples."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return tuple(plain(item) for item in value) if isinstance(value, list) else value


def opsets(onnx: Any, model: Any) -> dict[str, int]:
    """The version of each domain that a file states; a :class:`GraphError` if it states none, two, or one that is
    newer than the ``onnx`` package."""
    require(
        0 < model.ir_version <= onnx.IR_VERSION,
        "file",
        f"its IR version is {model.ir_version}, and the installed onnx package knows 1 to {onnx.IR_VERSION}; "
        "export the model with a known one, or update the package",
    )
    found: dict[str, int] = {}
    for opset in model.opset_import:
        domain = "" if opset.domain == "ai.onnx" else opset.domain
        require(
            found.setdefault(domain, opset.version) == opset.version,
            "file",
            f"it states two versions of the domain {domain or 'ai.onnx'!r}; export the model anew",
        )
    newest = onnx.defs.onnx_opset_version()
    require(
        0 < found.get("", 1) <= newest,
        "file",
        f"its opset is {found.get('')}, and the installed onnx package knows 1 to {newest}; "
        "export the model with a known one, or update the package",
    )
    return found


def check_version(who: object, schema: Schema, kind: str, implemented: tuple[int, ...]) -> None:
    """Raises :class:`GraphError` unless the version of an operator is one of those that its handler implements."""
    if schema.version in implemented:
        return
    earlier = [version for version in implemented if version < schema.version]
    remedy = f"{schema.version - 1} or earlier" if earlier else f"{min(implemented)} or later"
    raise GraphError(
        f"{who}: {kind} of version {schema.version} is not supported; export the model with opset {remedy}"
    )


def same(value: Any, other: Any) -> bool:
    """Whether two values of an attribute are equal."""
    if isinstance(value, float) and isinstance(other, float):
        return bool(np.float32(value) == np.float32(other))
    return not isinstance(value, np.ndarray) and bool(value == other)


def text(value: Any) -> str:
    """A value of an attribute for a message."""
    if isinstance(value, np.ndarray):
        return f"a tensor of {value.shape}"
    shown = f"{value:g}" if isinstance(value, float) else repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
