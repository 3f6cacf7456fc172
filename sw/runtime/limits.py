"""How long a program may run before it counts as stuck."""

from __future__ import annotations

from sateen.compiler import Model, Part
from sateen.compiler.verification.decoding import records
from sateen.hw.spec.config import Config
from sateen.runtime.slots import Plan
from sateen.sim.cycles import predict

__all__ = ["GRACE_CYCLES", "PATIENCE", "allowed_cycles", "expected_cycles", "limit_of"]

PATIENCE, GRACE_CYCLES = 4, 10_000
"""A program may take so many times the cycles that are predicted, and so many more."""


def allowed_cycles(model: Model, config: Config) -> int:
    """What any program of a model may take on a device before it counts as stuck."""
    return PATIENCE * expected_cycles(model, config) + GRACE_CYCLES


def expected_cycles(model: Model, config: Config) -> int:
    """What the cycle model expects of one inference on a device, which may have another engine or kind of PE than the
    model was compiled for."""
    if (config.engine, config.pe) == (model.config.engine, model.config.pe):
        return sum(layer.predicted.cycles for layer in model.layers)
    cycles = [[each.cycles for each in predict(records(segment.program), config)] for segment in model.segments]
    parts = [part for layer in model.layers for part in layer.parts]
    return sum(sum(cycles[part.segment][part.first : part.first + part.count]) for part in parts)


def limit_of(plan: Plan, part: Part, allowed: int) -> int:
    """Cycles after which the device ends one part of a model, which waits for nothing else; at most those that any
    program of the model is allowed."""
    try:
        return min(allowed, PATIENCE * plan.time(part) + GRACE_CYCLES)
    except ArithmeticError:
        # A program that means nothing has no prediction: it gets what the model should take.
        return allowed
