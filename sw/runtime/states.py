"""The states of a loaded model: what lives from one item of a stream to the next."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

import numpy as np

from sateen.errors import InputError
from sateen.graph import Array, Graph

__all__ = ["Stateful"]


class Stateful:
    """The part of a loaded model that keeps the graph's states; nothing for a graph that has none. ``turn`` is held
    during an item: what is set meanwhile counts from the next one on."""

    def __init__(self, graph: Graph, turn: AbstractContextManager[object]):
        self._graph, self._states_turn = graph, turn
        self._states = graph.first_states()

    @property
    def states(self) -> dict[str, Array]:
        """The model's states by name, each an array in the layout and type of the model's file; empty for a model
        without. They live from one item to the next and from one run to the next. To set them, assign what was read
        here before: ``model.states = saved``.

        Raises
        ------
        InputError
            If what is assigned has other names, shapes or types.
        """
        return {name: self._graph.tensors[name].to_file(values).copy() for name, values in self._states.items()}

    @states.setter
    def states(self, given: Mapping[str, Array]) -> None:
        if set(given) != set(self._states):
            names = ", ".join(self._states) or "none"
            raise InputError(f"the model's states are {names}; {', '.join(map(str, given)) or 'none'} came")
        taken = {}
        for name in self._states:
            tensor, values = self._graph.tensors[name], np.asarray(given[name])
            kind = "uint8" if tensor.unsigned else tensor.dtype
            if values.dtype != kind or values.shape != tensor.file_shape:
                raise InputError(
                    f"state {name!r} must be {kind} of {tensor.file_shape}, not {values.dtype} of {values.shape}"
                )
            taken[name] = tensor.from_file(values).copy()
        with self._states_turn:
            self._states = taken

    def reset(self) -> None:
        """Gives the states the values that they have before the first item."""
        with self._states_turn:
            self._states = self._graph.first_states()

    def _advance(self, tensors: Mapping[str, Array]) -> None:
        """Takes the states behind an item from its tensors."""
        self._states = {name: tensors[following] for name, following in self._graph.states.items()}
