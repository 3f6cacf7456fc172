"""Functions of one value: whatever PyTorch computes from one tensor, value by value, becomes a table.

PyTorch itself computes the 256 results, and quantizes them as its reference does. A clamp stays a clamp where a layer
can apply it to its result.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np

from sateen.frontends.onnx.file import Node
from sateen.frontends.onnx.importer import Importer
from sateen.frontends.onnx.operators import HANDLERS
from sateen.frontends.onnx.values import REAL as REALS
from sateen.frontends.onnx.values import Deferred, Limits, Quantization, clamp
from sateen.frontends.torch.program import Call
from sateen.frontends.torch.translator import FUNCTION, Function, TorchNode, Translator
from sateen.graph import Add, Array, Multiply, Quantize, RealTable, Table, Tensor, require

if TYPE_CHECKING:
    import torch

__all__ = ["POINTWISE", "make_table", "pointwise", "quantize", "reference_codes", "try_function"]

POINTWISE = frozenset((
    "abs", "atan", "ceil", "celu", "clamp", "clamp_max", "clamp_min", "clip", "cos", "elu", "erf", "exp", "exp2",
    "expm1", "floor", "gelu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "log", "log1p",
    "log2", "log_sigmoid", "mish", "neg", "pow", "reciprocal", "relu", "relu6", "round", "rsqrt", "selu", "sigmoid",
    "sign", "silu", "sin", "softplus", "softshrink", "softsign", "sqrt", "square", "tan", "tanh", "tanhshrink",
    "threshold", "trunc", "add", "sub", "rsub", "mul", "div", "maximum", "minimum",
))  # fmt: skip
"""Names of ATen operators that compute each value of their result from the same value of their operands."""
CLAMPS = {"relu": (0.0, None), "relu6": (0.0, 6.0)}
"""Limits of operators that state them by their names."""


RECIPROCAL: ContextVar[float] = ContextVar("reciprocal", default=0.0)
"""What results are multiplied by that are quantized now."""
REAL = {
    "abs": "Abs", "erf": "Erf", "exp": "Exp", "hardswish": "HardSwish", "neg": "Neg", "sigmoid": "Sigmoid",
    "sqrt": "Sqrt", "tanh": "Tanh",
}  # fmt: skip
"""ONNX's names of functions without parameters, for the host to compute where nothing quantizes their results."""
OF_REALS = {
    **REAL, "ceil": "Ceil", "cos": "Cos", "floor": "Floor", "log": "Log", "reciprocal": "Reciprocal", "round": "Round",
    "sign": "Sign", "sin": "Sin",
}  # fmt: skip
"""The same where no codes stand for what they take."""


def _clamp(call: Call) -> tuple[float | None, float | None] | None:
    """The limits of a call that only clamps."""
    name = call.kind.split(".")[1]
    if name in CLAMPS:
        return CLAMPS[name]
    if call.kind == "aten.hardtanh.default":
        return float(call.arguments["min_val"]), float(call.arguments["max_val"])
    if call.kind in ("aten.clamp.default", "aten.clip.default"):
        low, high = (call.arguments[end] for end in ("min", "max"))
        return None if low is None else float(low), None if high is None else float(high)
    if call.kind == "aten.clamp_min.default":
        return float(call.arguments["min"]), None
    if call.kind == "aten.clamp_max.default":
        return None, float(call.arguments["max"])
    return None


def try_function(translator: Translator, call: Call) -> str | None:
    """A call's result as a function of one value; ``None`` if it is none."""
    domain, name, *_ = call.kind.split(".")
    if domain != "aten" or name not in POINTWISE:
        return None
    sources = []
    for node in call.node.all_input_nodes:
        constant = translator.tensor(node)
        if constant is None:
            sources.append(translator.name(node))
        elif constant.numel() > 1:
            return None
    # Several operands may be functions of one value, as in x · sigmoid(x).
    functions = {source: translator.functions[source] for source in sources if source in translator.functions}
    bases = {functions[source].base if source in functions else source for source in sources}
    if len(bases) != 1 or (len(sources) > 1 and not functions):
        return None
    (base,), limits = bases, _clamp(call)
    if limits is not None and base not in translator.plain and not functions:
        return _clip(translator, call, base, limits)

    if not functions and name in REAL and any(user.op == "output" for user in call.node.users):
        return translator.emit(call, REAL[name], [base])
    if not functions and base not in translator.plain and translator.program.quantized:
        made = _of_reals(translator, call, base, name)
        if made is not None:
            return made

    def apply(real: torch.Tensor) -> torch.Tensor:
        known = {source: functions[source].apply(real) if source in functions else real for source in sources}
        args, kwargs = (_filled(given, translator, known) for given in (call.node.args, call.node.kwargs))
        return call.node.target(*args, **kwargs)  # type: ignore[operator]

    return pointwise(translator, call, base, apply, call.node.name)


def _of_reals(translator: Translator, call: Call, base: str, name: str) -> str | None:
    """A function of real values, which no codes stand for, if the host knows it: one of :data:`OF_REALS`, GELU, SiLU
    and the like, or a sum, difference, product or quotient with a number."""
    if name in OF_REALS:
        return translator.emit(call, OF_REALS[name], [base])
    if name == "elu" and call.arguments["scale"] == call.arguments["input_scale"] == 1:
        return translator.emit(call, "Elu", [base], alpha=float(call.arguments["alpha"]))
    if name == "hardsigmoid":
        return translator.emit(call, "HardSigmoid", [base], alpha=1 / 6, beta=0.5)
    if name == "leaky_relu":
        return translator.emit(call, "LeakyRelu", [base], alpha=float(call.arguments["negative_slope"]))
    result = call.node.name
    if name == "silu":
        return translator.emit(call, "Mul", [base, translator.emit(call, "Sigmoid", [base], f"{result}.sigmoid")])
    if name == "gelu" and call.arguments["approximate"] == "none":
        root, one, half = (
            translator.constant(f"{result}.{title}", np.float32(value))
            for title, value in (("root", 2**0.5), ("one", 1), ("half", 0.5))
        )
        erf = translator.emit(call, "Div", [base, root], f"{result}.divided")
        erf = translator.emit(call, "Erf", [erf], f"{result}.erf")
        share = translator.emit(call, "Add", [erf, one], f"{result}.share")
        share = translator.emit(call, "Mul", [share, half], f"{result}.halved")
        return translator.emit(call, "Mul", [base, share])
    others = [call.arguments.get(place) for place in ("self", "other")]
    plain = call.arguments.get("alpha", 1) == 1 and call.arguments.get("rounding_mode") is None
    if name not in ("add", "sub", "mul", "div") or not plain:
        return None
    inputs = []
    for place, value in zip(("self", "other"), others, strict=True):
        constant = translator.tensor(value) if hasattr(value, "op") else value
        if constant is None:
            inputs.append(base)
        else:
            number = np.float32(constant.item() if hasattr(constant, "item") else constant)
            inputs.append(translator.constant(f"{call.node.name}.{place}", number))
    return translator.emit(call, name.capitalize(), inputs)


def _filled(value: Any, translator: Translator, known: dict[str, torch.Tensor]) -> Any:
    """Arguments with tensors in place of nodes; constants of one value have no axes."""
    if isinstance(value, dict):
        return {key: _filled(item, translator, known) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(item, translator, known) for item in value]
    if not hasattr(value, "op"):
        return value
    constant = translator.tensor(value)
    return known[translator.name(value)] if constant is None else constant.reshape(())


def _clip(translator: Translator, call: Call, base: str, limits: tuple[float | None, float | None]) -> str:
    if limits == (0.0, None):
        return translator.emit(call, "Relu", [base])
    names = [
        "" if limit is None else translator.constant(f"{call.node.name}.{end}", np.float32(limit))
        for end, limit in zip(("min", "max"), limits, strict=True)
    ]
    return translator.emit(call, "Clip", [base, *names])


def pointwise(
    translator: Translator, call: Call, base: str, apply: Callable[[torch.Tensor], torch.Tensor], name: str
) -> str:
    """Adds a function of a value."""
    translator.functions[name] = Function(base, apply)
    title = call.kind.split(".")[1]
    return translator.emit(call, FUNCTION, [base], name, function=apply, title=title)


def reference_codes(real: Array, reciprocal: float, zero_point: int, low: int, high: int) -> Array:
    """Codes of real float32 values as PyTorch's reference makes them: times the scale's reciprocal, both in float32,
    half to even."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.clip(np.rint(real.astype(np.float32) * np.float32(reciprocal)) + np.float32(zero_point), low, high)


def quantize(importer: Importer, node: Node) -> None:
    """As ONNX's front end does it. Real inputs, sums, products, tables and clamps are multiplied by the scale's
    reciprocal."""
    value, scale = importer.value(node), np.float32(importer.constant(node, 1))
    reciprocal = node.reciprocal if isinstance(node, TorchNode) else float(np.float32(1 / scale))
    if isinstance(value, Deferred):
        steps = [np.rint(np.float32(limit) * np.float32(reciprocal)) for limit in value.limits]
        limits = float(steps[0] * np.float64(scale)), float(steps[1] * np.float64(scale))
        importer.values[node.inputs[0]] = dataclasses.replace(value, limits=limits)
    token = RECIPROCAL.set(reciprocal)
    HANDLERS["QuantizeLinear"].handler(importer, node)
    RECIPROCAL.reset(token)
    importer.values[node.inputs[0]] = value
    made = importer.ops[-1] if importer.ops else None
    if made is None or made.output != node.outputs[0]:
        return
    if isinstance(made, Quantize):
        importer.ops[-1] = dataclasses.replace(made, reciprocal=reciprocal)
    elif isinstance(made, Add | Multiply):
        importer.ops[-1] = dataclasses.replace(made, fused=False, reciprocal=reciprocal)


def make_table(importer: Importer, node: Node) -> None:
    """ONNX's front end makes a function's result: a table over the codes of its operand."""
    import torch

    x = importer.quantized_input(node)
    function, title = node.get("function"), node.get("title")
    real = ((np.arange(-128, 128) - x.zero_point).astype(np.float32) * np.float32(x.scale)).astype(np.float32)
    with torch.no_grad():
        results = np.asarray(function(torch.from_numpy(real)).numpy(), np.float32)
    require(results.shape == (256,), node, "its result is of another shape; export the model without it")
    undefined = np.flatnonzero(np.isnan(results))
    require(
        not len(undefined),
        node,
        f"it is not defined for {real[undefined[:1]]}, which its input {x.name!r} may hold; clamp the input before",
    )

    def make(name: str, quantization: Quantization, limits: Limits) -> Tensor:
        base = 128 if quantization.unsigned else 0
        low, high = clamp(quantization, limits)
        reciprocal = RECIPROCAL.get() or 1 / quantization.scale
        codes = reference_codes(results, reciprocal, quantization.zero_point + base, low + base, high + base)
        table = (codes - base).astype(np.int8)
        return importer.add(
            Table, node, name, quantization, lambda _: x.file_layout, input=x.name, table=table, function=title
        )

    def make_real(name: str) -> Tensor:
        fields: dict[str, Any] = {"input": x.name, "table": results, "function": title}
        return importer.add(RealTable, node, name, REALS, lambda _: x.file_layout, dtype="float32", **fields)

    importer.values[node.outputs[0]] = Deferred(make, real=make_real)
