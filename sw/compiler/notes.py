"""What should be said of a compiled model's layers, beside their figures."""

from __future__ import annotations

from sateen.compiler.lowering import reason_for_parts, weight_parts
from sateen.compiler.model import Model
from sateen.graph import DepthwiseConv2D, Weighted
from sateen.hw.spec.config import Config

__all__ = ["notes"]


def notes(model: Model) -> dict[str, str]:
    """By a layer's name why it takes more cycles than its weights need: those that the PEs do not hold are multiplied
    in parts, one after the other; windows slide over rows of the tile only whose PEs take part in that."""
    layers, found = {layer.name for layer in model.layers}, {}
    for op in model.graph.ops:
        said = []
        if isinstance(op, Weighted) and op.name in layers:
            count = len(weight_parts(op.weights, model.config))
            if count > 1:
                reason = reason_for_parts(op.weights, model.config)
                said.append(f"its weights are multiplied in {count} parts, one after the other: {reason}")
        if isinstance(op, DepthwiseConv2D) and op.name in layers and model.config.sliding_rows < model.config.rows:
            said.append(_few_rows(model.config))
        if said:
            found[op.name] = "; ".join(said)
    return found


def _few_rows(config: Config) -> str:
    rows = config.sliding_rows
    slides = f"slide over {rows} of the tile's {config.rows} rows at most" if rows else "do not slide"
    if rows == config.window_rows:
        return f"its windows {slides}: window_rows says so"
    others = "PEs of the others" if rows else "all PEs"
    return f"its windows {slides}: {others} share multipliers; with fewer multipliers, fewer do"
