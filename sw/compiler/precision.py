"""The stage that sets how precisely each kernel is computed."""

from __future__ import annotations

import dataclasses

from sateen.compiler.lowering import Kernel, LoweredGraph
from sateen.graph import Op
from sateen.hw.spec.config import Config
from sateen.quantize import precision, value_ranges

__all__ = ["set_precision"]


def set_precision(lowered: LoweredGraph, config: Config) -> LoweredGraph:
    """Kernels with the precision that their layer's budget asks for, or the least that is exact.

    Raises
    ------
    CompileError
        If a layer has a term budget that the device's PEs cannot keep.
    """
    ranges = value_ranges(lowered.graph)

    def precise(op: Op, kernel: Kernel) -> Kernel:
        low, high = ranges[(*op.inputs, op.output)[kernel.source]]
        # Padding is an activation too.
        values = min(low, kernel.padding), max(high, kernel.padding)
        return dataclasses.replace(kernel, precision=precision(op, kernel.weights, values, config))

    kernels = {
        op.name: lowered.lowered[op.name].map_kernels(lambda kernel, op=op: precise(op, kernel))  # type: ignore[misc]
        for op in lowered.graph.ops
        if op.name in lowered.lowered
    }
    return dataclasses.replace(lowered, lowered=kernels)
