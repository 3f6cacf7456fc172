"""Rewrites of graphs.

In: the graph of a model's file. Out: a graph that suits the device and computes the same. Each rewrite is a function in
a module of its own. To add one, write its module and put its function in :data:`REWRITES`.
"""

from __future__ import annotations

from sateen.compiler.rewrites.base import Rewrite, Rewritten
from sateen.compiler.rewrites.broadcast import repeat_smaller
from sateen.compiler.rewrites.channels import order_channels
from sateen.compiler.rewrites.constants import tabulate_constants
from sateen.compiler.rewrites.recurrent import recurrent_bytes, recurrent_codes
from sateen.compiler.rewrites.residual import join_sums, part_sums
from sateen.compiler.rewrites.slopes import split_slopes
from sateen.compiler.rewrites.unfold import fold, unfold
from sateen.graph import Graph
from sateen.hw.spec.config import Config

__all__ = ["REWRITES", "Rewrite", "Rewritten", "join_sums", "rewrite", "unfold"]

REWRITES: tuple[Rewrite, ...] = (
    recurrent_codes, recurrent_bytes, part_sums, fold, order_channels, tabulate_constants, split_slopes, repeat_smaller,
)  # fmt: skip
"""All rewrites, in the order in which they run. :func:`unfold` and :func:`join_sums` come after them, if there is
room."""


def rewrite(graph: Graph, config: Config, *, combine: bool) -> Rewritten:
    """The graph after all rewrites."""
    rewritten = Rewritten(graph=graph)
    for function in REWRITES:
        rewritten = function(rewritten, config, combine)
    return rewritten
