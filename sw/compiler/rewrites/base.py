"""What a rewrite takes and returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sateen.graph import Graph
from sateen.hw.spec.config import Config

__all__ = ["Rewrite", "Rewritten"]


@dataclass(frozen=True, kw_only=True)
class Rewritten:
    """A graph, and notes on its layers for the report."""

    graph: Graph
    channel_orders: Mapping[str, str] = field(default_factory=dict)
    """How the channels of a sparse layer's input were reordered, by the layer's name."""


Rewrite = Callable[[Rewritten, Config, bool], Rewritten]
"""A rewrite. Called with the graph so far, the configuration, and whether columns are combined."""
