"""Stripes: layers whose tensors do not fit the scratchpad are computed some rows, or elements, at a time."""

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
    """Some rows of results, and the inputs that they need. The inputs stand one behind the other, from address 0 of the
    scratchpad."""

    computation: Kernel | LookUp
    """Computes these rows alone, from these inputs alone."""
    source: tuple[int, int]
    """First byte and byte count of each input."""
    target: tuple[int, int]
    """First byte and byte count of the output."""


def stripes(op: Op, lowered: Lowered, config: Config) -> list[Stripe]:
    """Cuts a layer into stripes that fit the scratchpad, in order.

    Raises
    ------
    CompileError
        If one row does not fit, or the layer is more than one kernel over one tensor.
    """
    tables = lowered.tables
    if tables is not None:
        line, inputs = tables.lines(config)[0], len(op.inputs)
        limit = config.scratchpad_bytes // (inputs + 1) // line * line
        if not limit:
            raise CompileError(
                f"{op}: one row and its results take {(inputs + 1) * line} bytes of scratchpad, "
                f"{(inputs + 1) * line - config.scratchpad_bytes} more than there are; raise scratchpad_bytes"
            )
        return [_elements(tables, first, min(limit, tables.size - first)) for first in range(0, tables.size, limit)]
    kernel = lowered.row_kernel
    if kernel is None:
        raise CompileError(
            f"{op}: its tensors do not fit the scratchpad, and it cannot be cut into stripes ({lowered.uncut}); "
            "raise scratchpad_bytes"
        )
    # Sizes grow with the number of rows: the largest that fits, by bisection.
    low, high = 0, kernel.out[0]
    while low < high:
        middle = (low + high + 1) // 2
        if bytes_needed(_row_stripes(kernel, middle)) <= config.scratchpad_bytes:
            low = middle
        else:
            high = middle - 1
    if low == 0:
        need = bytes_needed(_row_stripes(kernel, 1))
        raise CompileError(
            f"{op}: one row of results takes {need} bytes of scratchpad with its inputs, "
            f"{need - config.scratchpad_bytes} more than there are; raise scratchpad_bytes"
        )
    return list(_row_stripes(kernel, low))


def bytes_needed(cut: Iterable[Stripe], inputs: int = 1) -> int:
    """Bytes of scratchpad that stripes take: the largest inputs, and behind them the largest output."""
    sizes = [(stripe.source[1], stripe.target[1]) for stripe in cut]
    return inputs * max(source for source, _ in sizes) + max(target for _, target in sizes)


def _elements(tables: LookUp, first: int, count: int) -> Stripe:
    return Stripe(computation=dataclasses.replace(tables, size=count), source=(first, count), target=(first, count))


def _row_stripes(kernel: Kernel, rows: int) -> Iterator[Stripe]:
    reach = sum((dim.count - 1) * dim.strides[0] for dim in (*kernel.reduction, *kernel.pooling))
    step = kernel.result_steps[0]
    for first in range(0, kernel.out[0], rows):
        count = min(rows, kernel.out[0] - first)
        start = kernel.origin[0] + first * kernel.stride[0]
        end_start = start + (count - 1) * kernel.stride[0]
        # Rows may be read backwards.
        top, bottom = min(start, end_start), max(start, end_start) + reach + 1
        # A window that lies wholly in padding needs a line, too: coordinates are compared with it.
        begin = min(max(top, 0), kernel.height - 1)
        end = max(min(bottom, kernel.height), begin + 1)
        rows_kernel = dataclasses.replace(
            kernel,
            height=end - begin,
            out=(count, kernel.out[1]),
            origin=(start - begin, kernel.origin[1]),
            spacing=kernel.result_steps,
        )
        source = (begin * kernel.width, (end - begin) * kernel.width)
        yield Stripe(computation=rows_kernel, source=source, target=(first * step, count * step))
