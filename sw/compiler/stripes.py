"""Layers whose tensors do not fit the scratchpad: row by row, as many rows, or elements, at a time as fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sateen.compiler.lowering import Kernel, LookUp, Lowered
from sateen.errors import CompileError
from sateen.graph import Op
from sateen.hw.spec.config import Config

__all__ = ["Stripe", "stripes"]


@dataclass(frozen=True, kw_only=True)
class Stripe:
    """Some rows of results, and what they are made of, from address 0 of the scratchpad on, one input behind the other."""

    made: Kernel | LookUp
    """Of these rows alone, over these lines alone."""
    source: tuple[int, int]
    """First byte of each input, and how many."""
    target: tuple[int, int]
    """First byte of the output, and how many."""


def stripes(op: Op, lowered: Lowered, config: Config) -> list[Stripe]:
    """A layer as stripes that fit the scratchpad, in order.

    Raises
    ------
    CompileError
        If one row does not fit, or the layer is more than one kernel over one tensor.
    """
    tables = lowered.tables
    if tables is not None:
        line, inputs = tables.walk(config)[0], len(op.inputs)
        most = config.scratchpad_bytes // (inputs + 1) // line * line
        return [_elements(tables, first, min(most, tables.size - first)) for first in range(0, tables.size, most)]
    kernel = lowered.rows
    if kernel is None:
        raise CompileError(
            f"{op}: its tensors do not fit the scratchpad, and it cannot be cut into stripes; raise scratchpad_bytes"
        )
    # Sizes grow with the number of rows: the largest that fits, by bisection.
    low, high = 0, kernel.out[0]
    while low < high:
        middle = (low + high + 1) // 2
        if room(_cut(kernel, middle)) <= config.scratchpad_bytes:
            low = middle
        else:
            high = middle - 1
    if low == 0:
        need = room(_cut(kernel, 1))
        raise CompileError(
            f"{op}: one row of results takes {need} bytes of scratchpad with what it is made of, {need - config.scratchpad_bytes} more "
            f"than there are; raise scratchpad_bytes"
        )
    return list(_cut(kernel, low))


def room(cut: Iterable[Stripe], inputs: int = 1) -> int:
    """Bytes of scratchpad that stripes take: the largest of the inputs, and behind them the largest output."""
    sizes = [(stripe.source[1], stripe.target[1]) for stripe in cut]
    return inputs * max(source for source, _ in sizes) + max(target for _, target in sizes)


def _elements(made: LookUp, first: int, count: int) -> Stripe:
    return Stripe(made=dataclasses.replace(made, size=count), source=(first, count), target=(first, count))


def _cut(kernel: Kernel, rows: int) -> Iterator[Stripe]:
    reach = sum((dim.count - 1) * dim.strides[0] for dim in (*kernel.reduction, *kernel.taps))
    step = kernel.steps[0]
    for first in range(0, kernel.out[0], rows):
        count = min(rows, kernel.out[0] - first)
        top = kernel.origin[0] + first * kernel.stride[0]
        bottom = top + (count - 1) * kernel.stride[0] + reach + 1
        # A window that lies in padding alone still has a line to be compared with.
        begin = min(max(top, 0), kernel.height - 1)
        end = max(min(bottom, kernel.height), begin + 1)
        part = dataclasses.replace(
            kernel,
            height=end - begin,
            out=(count, kernel.out[1]),
            origin=(top - begin, kernel.origin[1]),
            spread=kernel.steps,
        )
        yield Stripe(
            made=part, source=(begin * kernel.width, (end - begin) * kernel.width), target=(first * step, count * step)
        )
