"""Stripes: layers whose tensors do not fit the scratchpad are computed some rows, or elements, at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sateen.compiler.lowering import Kernel, LookUp, Lowered
from sateen.errors import CompileError
from sateen.graph import Op
from sateen.hw.spec.config import Config

__all__ = ["Stripe", "rows_needed", "stripe_of_rows", "stripes"]


@dataclass(frozen=True, kw_only=True)
class Stripe:
    """Some rows of results, and the inputs that they need."""

    computation: Kernel | LookUp
    """Computes these rows alone, from these inputs alone."""
    source_address: int
    """Byte address of the first input in the scratchpad; the others stand behind it."""
    source: tuple[int, int]
    """First byte and byte count of each input."""
    address: int
    """Byte address of the results."""
    target: tuple[int, int]
    """First byte and byte count of the output."""

    @property
    def geometry(self) -> tuple[object, ...]:
        """Stripes of a layer that are equal in this differ only in their place in the tensors."""
        work = self.computation
        size = (work.size,) if isinstance(work, LookUp) else (work.height, work.out, work.origin)
        return (self.source_address, self.address, *size)


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
        starts = range(0, tables.size, limit)
        return _placed([_elements(tables, start, min(limit, tables.size - start)) for start in starts], inputs)
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
        if _bytes_needed(_row_stripes(kernel, middle)) <= config.scratchpad_bytes:
            low = middle
        else:
            high = middle - 1
    if low == 0:
        need = _bytes_needed(_row_stripes(kernel, 1))
        raise CompileError(
            f"{op}: one row of results takes {need} bytes of scratchpad with its inputs, "
            f"{need - config.scratchpad_bytes} more than there are; raise scratchpad_bytes"
        )
    return _placed(list(_row_stripes(kernel, low)))


def rows_needed(kernel: Kernel, rows: tuple[int, int]) -> tuple[int, int]:
    """The rows of the input, first and behind the last, that rows of results need."""
    reach = sum((dim.count - 1) * dim.strides[0] for dim in (*kernel.reduction, *kernel.pooling))
    start, end_start = (kernel.origin[0] + row * kernel.stride[0] for row in (rows[0], rows[1] - 1))
    # Rows may be read backwards.
    top, bottom = min(start, end_start), max(start, end_start) + reach + 1
    # A window that lies wholly in padding needs a line, too: coordinates are compared with it.
    begin = min(max(top, 0), kernel.height - 1)
    return begin, max(min(bottom, kernel.height), begin + 1)


def stripe_of_rows(kernel: Kernel, rows: tuple[int, int], *, source_address: int = 0, address: int = 0) -> Stripe:
    """The stripe of results from one row up to another. Addresses are those of the first byte that it needs, and of the
    first that it gives."""
    (first, end), step = rows, kernel.result_steps[0]
    begin, behind = rows_needed(kernel, rows)
    rows_kernel = dataclasses.replace(
        kernel,
        height=behind - begin,
        out=(end - first, kernel.out[1]),
        origin=(kernel.origin[0] + first * kernel.stride[0] - begin, kernel.origin[1]),
        spacing=kernel.result_steps,
    )
    return Stripe(
        computation=rows_kernel,
        source_address=source_address, source=(begin * kernel.width, (behind - begin) * kernel.width),
        address=address, target=(first * step, (end - first) * step),
    )  # fmt: skip


def _placed(cut: Sequence[Stripe], inputs: int = 1) -> list[Stripe]:
    """Stripes whose inputs begin at address 0, with the results behind them, at the same address for all."""
    address = inputs * max(stripe.source[1] for stripe in cut)
    return [dataclasses.replace(stripe, address=address) for stripe in cut]


def _bytes_needed(cut: Iterable[Stripe]) -> int:
    """Bytes of scratchpad that stripes of one input take: the largest input, and behind it the largest output."""
    sizes = [(stripe.source[1], stripe.target[1]) for stripe in cut]
    return max(source for source, _ in sizes) + max(target for _, target in sizes)


def _elements(tables: LookUp, first: int, count: int) -> Stripe:
    return Stripe(
        computation=dataclasses.replace(tables, size=count), source_address=0, source=(first, count), address=0,
        target=(first, count),
    )  # fmt: skip


def _row_stripes(kernel: Kernel, rows: int) -> Iterator[Stripe]:
    for first in range(0, kernel.out[0], rows):
        yield stripe_of_rows(kernel, (first, min(first + rows, kernel.out[0])))
