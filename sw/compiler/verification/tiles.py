"""What the layers of a tile do to each other: where each finds its rows, and whether they are still there."""

from __future__ import annotations

from collections.abc import Iterator

from sateen.compiler.model import Tile

__all__ = ["misplaced"]


def misplaced(tile: Tile, inputs: int, *, source: int | None = None, target: int | None = None) -> Iterator[str]:
    """What is wrong in a tile: a layer that does not find its input where the host or a layer before put it, or that
    writes over it, or a result that is not where a later step reads it.

    Parameters
    ----------
    tile
        The tile.
    inputs
        How many its first layer has.
    source, target
        The addresses of its input and of its output, if they stand in the scratchpad as a whole.
    """
    if source is not None and tile.pieces[0].source_address != source + tile.source[0]:
        yield f"its rows are at address {source + tile.source[0]}, and it reads them at {tile.pieces[0].source_address}"
    if target is not None and tile.address != target + tile.target[0]:
        yield f"its results are read at address {target + tile.target[0]}, and it writes them at {tile.address}"
    for before, piece in zip(tile.pieces, tile.pieces[1:], strict=False):
        first, end = piece.source[0], sum(piece.source)
        inside = before.target[0] <= first and end <= sum(before.target)
        if not inside or piece.source_address - before.address != first - before.target[0]:
            yield f"bytes {first} to {end} are not where the layer behind reads them"
    for number, piece in enumerate(tile.pieces):
        size = (inputs if number == 0 else 1) * piece.source[1]
        if piece.address < piece.source_address + size and piece.source_address < piece.address + piece.target[1]:
            yield f"results of rows are written over their inputs, at {piece.address}"
