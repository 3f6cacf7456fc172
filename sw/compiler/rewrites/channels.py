"""Reorders channels between layers so that sparse layers take fewer tiles."""

from __future__ import annotations

from sateen.compiler.rewrites.base import Rewritten
from sateen.hw.spec.config import Config
from sateen.sparsity import permute_channels

__all__ = ["order_channels"]


def order_channels(given: Rewritten, config: Config, combine: bool) -> Rewritten:
    """Reorders channels if columns are combined."""
    if not combine:
        return given
    graph, notes = permute_channels(given.graph, config)
    return Rewritten(graph=graph, channel_orders={**given.channel_orders, **notes})
