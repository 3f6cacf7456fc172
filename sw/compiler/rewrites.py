"""Rewrites: they turn the graph of a model's file into one that suits the device and computes the same.

A rewrite is a function of a :class:`Rewritten` graph and the configuration. To add one, write it in a module of its
own, and put it in :data:`REWRITES`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sateen.compiler.broadcast import repeat_smaller
from sateen.graph import Graph
from sateen.hw.spec.config import Config
from sateen.sparsity import permute_channels

__all__ = ["REWRITES", "Rewritten", "rewrite"]


@dataclass(frozen=True, kw_only=True)
class Rewritten:
    """A graph, and notes on its layers for the report."""

    graph: Graph
    channel_orders: Mapping[str, str] = field(default_factory=dict)
    """How the channels of a sparse layer's input were reordered, by the layer's name."""


def order_channels(given: Rewritten, config: Config, combine: bool) -> Rewritten:
    """Reorders channels between layers so that sparse layers take fewer tiles."""
    if not combine:
        return given
    graph, notes = permute_channels(given.graph, config)
    return Rewritten(graph=graph, channel_orders={**given.channel_orders, **notes})


def broadcast(given: Rewritten, config: Config, combine: bool) -> Rewritten:
    """Repeats the smaller tensor of a sum or product whose shapes broadcast."""
    return dataclasses.replace(given, graph=repeat_smaller(given.graph)) if config.tables else given


REWRITES: tuple[Callable[[Rewritten, Config, bool], Rewritten], ...] = (order_channels, broadcast)
"""All rewrites, in their order. Called with the graph so far, the configuration, and whether columns are combined."""


def rewrite(graph: Graph, config: Config, *, combine: bool) -> Rewritten:
    """The graph after all rewrites."""
    rewritten = Rewritten(graph=graph)
    for rewrite_graph in REWRITES:
        rewritten = rewrite_graph(rewritten, config, combine)
    return rewritten
