"""The contract between a PE and the array."""

from __future__ import annotations

from amaranth.hdl import signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["PeSignature"]


class PeSignature(wiring.Signature):
    """Ports of every PE, seen from inside it.

    Everything hops on to the neighbour in one cycle: activations, ``swap`` and ``capture`` to the right, weights down. A beat at the
    PE's inputs in cycle ``t`` meets the partial sum at ``sum_i`` in cycle ``t + latency - 1``, and their total is at ``sum_o`` in
    cycle ``t + latency``.

    Parameters
    ----------
    group : int
        Activations of a beat.
    sum_bits : int
        Width of a partial sum.

    Members
    -------
    activation_i : In, activation_o : Out
        ``group`` int8 values.
    swap_i : In(1), swap_o : Out(1)
        With an activation: from it on, the captured weight is the current one.
    weight_i : In, weight_o : Out
        int8, on its way down.
    capture_i : In(1), capture_o : Out(1)
        The weight at ``weight_i`` is this PE's next one.
    sum_i : In, sum_o : Out
        Partial sum.
    """

    def __init__(self, *, group: int, sum_bits: int):
        activation = data.ArrayLayout(signed(8), group)
        members = {"activation": activation, "swap": 1, "weight": signed(8), "capture": 1, "sum": signed(sum_bits)}
        super().__init__(
            {f"{name}_i": In(shape) for name, shape in members.items()}
            | {f"{name}_o": Out(shape) for name, shape in members.items()}
        )
