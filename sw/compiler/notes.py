"""What should be said of a compiled model's layers, beside their figures."""

from __future__ import annotations

from sateen.compiler.lowering import reason_for_parts, weight_parts
from sateen.compiler.model import Model
from sateen.graph import Weighted

__all__ = ["notes"]


def notes(model: Model) -> dict[str, str]:
    """By a layer's name why it takes more cycles than its weights need: those that the PEs do not hold are multiplied
    in parts, one after the other."""
    layers, found = {layer.name for layer in model.layers}, {}
    for op in model.graph.ops:
        if isinstance(op, Weighted) and op.name in layers:
            count = len(weight_parts(op.weights, model.config))
            if count > 1:
                reason = reason_for_parts(op.weights, model.config)
                found[op.name] = f"its weights are multiplied in {count} parts, one after the other: {reason}"
    return found
