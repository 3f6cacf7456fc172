"""Tensors that wait in SDRAM between the device's turns, so that they do not pass the link."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sateen.compiler import Model
from sateen.hw.spec.wire import Space
from sateen.runtime.link import Operation, copies, stores

if TYPE_CHECKING:
    from sateen.runtime.shelf import Shelf

__all__ = ["Spill", "spilled"]

ALIGNMENT = 4
"""Of tensors, in bytes: whole words are read and written faster."""


class Spill:
    """Where a model's tensors lie in SDRAM: those that one turn of the device gives and another takes, and the inputs
    of layers that are computed row by row.

    Parameters
    ----------
    shelf : Shelf
        Gives the place, which all models share.
    model : Model
    original : callable
        A tensor's name, or that of the tensor that it reshapes.

    Raises
    ------
    DeviceError
        If the SDRAM has no room for them.
    """

    def __init__(self, shelf: Shelf, model: Model, original: Callable[[str], str]):
        self.original = original
        self.places: dict[str, int] = {}
        """By original name, the byte address in SDRAM."""
        self.moved = 0
        """Bytes of tensors copied from and into SDRAM so far."""
        self.here: set[str] = set()
        """Original names of this item's tensors that are there."""
        offsets, total = {}, 0
        for name, size in spilled(model, original).items():
            offsets[name] = total
            total += -(-size // ALIGNMENT) * ALIGNMENT
        if total:
            base = shelf.reserve(total)
            self.places = {name: base + offset for name, offset in offsets.items()}

    def place(self, name: str) -> int | None:
        """Where a tensor goes, if it goes there."""
        return self.places.get(self.original(name))

    def has(self, name: str) -> bool:
        """Whether a tensor is there."""
        return self.original(name) in self.here

    def bring(self, name: str, first: int, address: int, size: int) -> list[Operation]:
        """Copies bytes of a tensor that is there into the scratchpad, from byte ``first`` on."""
        self.moved += size
        return copies(self.places[self.original(name)] + first, Space.SCRATCHPAD, address, size)

    def save(self, name: str, first: int, address: int, size: int) -> list[Operation]:
        """Copies bytes of a tensor from the scratchpad into its place, from byte ``first`` on."""
        self.moved += size
        return stores(self.places[self.original(name)] + first, Space.SCRATCHPAD, address, size)

    def note(self, name: str) -> None:
        """A tensor is there from now on."""
        self.here.add(self.original(name))


def spilled(model: Model, original: Callable[[str], str]) -> dict[str, int]:
    """The tensors that go into SDRAM, by original name, and their bytes; ``original`` as :class:`Spill`'s."""
    ops = {op.name: op for op in model.graph.ops}
    given, taken, by_rows = set(), set(), set()
    for step in model.steps:
        if step.tiles:
            output, inputs = model.layers[step.first + step.count - 1].output, ops[model.layers[step.first].name].inputs
            given |= {original(output)} - set(step.inside)
            by_rows |= {original(name) for name in inputs if name not in step.inside}
        elif not step.host:
            given |= {original(name) for name in step.reads}
            taken |= {original(name) for name in step.writes}
    return {name: model.size(name) for name in sorted((given & taken) | by_rows)}
