"""What descriptors that work on whole rows state and have among their words: softmax and layer normalization."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from sateen.compiler.lowering import layer_norm
from sateen.compiler.lowering.softmax import entries
from sateen.compiler.verification.emulation import Layered
from sateen.compiler.verification.places import Place, mistake
from sateen.graph.ops import LayerNorm, Op, Softmax, Tensor
from sateen.hw.spec.combining import Combine, Entries
from sateen.hw.spec.descriptor import Rounding
from sateen.hw.spec.nests import CHUNK_DIM, Dim

__all__ = ["check_layer_norm", "check_softmax"]

BYTES = np.arange(-128, 128)


def check_softmax(op: Op, place: Place, layered: Layered, tensors: Mapping[str, Tensor]) -> None:
    """Checks all that the descriptor of a softmax states. Its results say less: few values of a row have a share."""
    d, config = layered.descriptor, layered.config
    if not (isinstance(op, Softmax) and config.softmax):
        raise mistake(op, f"{place} is a softmax")
    length, cols, real = tensors[op.output].shape[-1], config.cols, op.rounding == Rounding.FLOAT32
    if real and config.softmax < 2:
        raise mistake(op, f"{place} is a softmax of float32")
    rows, lines, stream = place.size // length, -(-length // cols), d.activations
    area = stream.row, stream.x, stream.height, stream.width, stream.padding
    stated = _counters(stream.dims), area, _counters(d.output.dims), d.output.channels
    walks = Dim(rows + 2, (1, 0, length)), Dim(3, (-1, 0, -length)), Dim(lines, (0, cols, cols))
    results = Dim(rows + 2, (length,)), Dim(2 * lines, (cols,))
    wanted = _counters(walks), (0, 0, rows, length, -128), _counters(results), length
    if stated != wanted or d.activations.dims[CHUNK_DIM].count != 3:
        raise mistake(op, f"{place} states counters, lines and rows {stated}, the graph {wanted}")
    tables = entries(op, *(tensors[name] for name in (op.input, op.output)))
    if d.output.combine != Combine.ADD or (layered.tables != tables).any():
        raise mistake(op, f"the tables of {place} are not exponentials and {'products' if real else 'zeros'}")
    if real != (d.output.rounding == Rounding.FLOAT32):
        raise mistake(op, f"{place} is another softmax than the graph's")
    whole = Entries(loads=True) if config.direct else None
    if real and (d.output.low, d.output.high, d.output.entries) != (-128, 127, whole):
        raise mistake(op, f"{place} clamps its shares, or takes its entries from elsewhere")


def check_layer_norm(
    op: Op, place: Place, layered: Layered, tensors: Mapping[str, Tensor], results: NDArray[np.int64]
) -> None:
    """Checks all that a descriptor which normalizes rows states; ``results`` are those of its tables for
    :data:`BYTES`."""
    d, config = layered.descriptor, layered.config
    if not (isinstance(op, LayerNorm) and config.layer_norm):
        raise mistake(op, f"{place} normalizes rows")
    x, y = (tensors[name] for name in (op.input, op.output))
    length = x.shape[-1]
    width, stream = layer_norm.line_width(length, config), d.activations
    rows, lines = place.size // length, length // width
    stated = _counters(stream.dims), _counters(d.output.dims), (stream.x, stream.width), d.output.channels
    walks = Dim(rows, (0, length, length)), Dim(lines, (0, width, width)), Dim(2)
    wanted = _counters(walks), _counters((Dim(rows, (length,)), Dim(lines, (width,)))), (0, place.size), width
    if stated != wanted:
        raise mistake(op, f"{place} states counters, lines and rows {stated}, the graph {wanted}")
    found = layered.records
    if found is None or not np.array_equal(found, layer_norm.records(op, x, y, config)):
        raise mistake(op, f"the records of {place} are not those of the graph")
    if not np.array_equal(results, BYTES):
        raise mistake(op, f"the tables of {place} change the codes of normalized rows")


def _counters(dims: Iterable[Dim]) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """Counts and strides of the counters that count."""
    return tuple((dim.count, dim.strides) for dim in dims if dim.count > 1)
