"""Rewrites: the graph that a model's file holds becomes the graph that suits the device. What it computes stays the
same.

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
    """A graph, and what the report says of its layers."""

    graph: Graph
    channel_orders: Mapping[str, str] = field(default_factory=dict)
    """Of each sparse layer, by its name: what became of the order of its input's channels."""


def order_channels(given: Rewritten, config: Config, combine: bool) -> Rewritten:
    """Puts channels between layers in an order in which sparse layers take fewer tiles."""
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
    made = Rewritten(graph=graph)
    for one in REWRITES:
        made = one(made, config, combine)
    return made
