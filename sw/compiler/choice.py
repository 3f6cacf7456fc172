"""The choice among several ways to compute a layer: the cycle model says which is the fastest.

A kernel can be computed with more or fewer rows in a block, by a window that slides over the columns, and in tiles with
selects. Each is a :class:`Candidate`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sateen.compiler import sliding
from sateen.compiler.combining import Packer
from sateen.compiler.lowering import Kernel, LookUp
from sateen.compiler.model import Combining
from sateen.compiler.passes import Pass, block_rows, look_up_passes, passes, sliding_passes
from sateen.compiler.placement import Placement
from sateen.compiler.stripes import Stripe, room
from sateen.graph import Op, Weighted
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import PARAMETER_BYTES
from sateen.sim.cycles import predict

__all__ = ["Chosen", "ChosenStripe", "choose"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ChosenStripe:
    """A stripe of a layer, and how it is computed. Stripes that differ only in their place share their passes."""

    stripe: Stripe
    passes: tuple[Pass, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Chosen:
    """How a layer of the device is computed."""

    passes: tuple[Pass, ...] = ()
    """In one go; none if it is cut into stripes."""
    stripes: tuple[ChosenStripe, ...] = ()
    combining: Combining = Combining()
    memory_bytes: int
    """Scratchpad that live tensors take while it runs."""
    result_address: int = 0
    """Where the results of each stripe stand."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One way to compute a kernel, and the cycles that the cycle model expects of it."""

    kernel: Kernel
    passes: list[Pass]
    cycles: int
    combining: Combining = Combining()


def choose(placed: Placement, config: Config, *, combine: bool, channel_orders: Mapping[str, str]) -> dict[str, Chosen]:
    """The fastest way to compute each layer of the device, by its name.

    Parameters
    ----------
    combine
        Whether sparse layers may be packed in tiles with selects.
    channel_orders
        What the report says of the order of channels, by the layers' names.
    """
    chooser = _Chooser(config, Packer(config) if combine else None)
    chosen: dict[str, Chosen] = {}
    for op in placed.graph.ops:
        if op.name not in placed.device:
            continue
        if op.name in placed.stripes:
            made = chooser.in_stripes(op, placed.stripes[op.name])
        else:
            made = chooser.whole(op, placed)
        combining = made.combining if isinstance(op, Weighted) else dataclasses.replace(made.combining, reason="")
        combining = dataclasses.replace(combining, order=channel_orders.get(op.name, ""))
        chosen[op.name] = dataclasses.replace(made, combining=combining)
    return chosen


class _Chooser:
    def __init__(self, config: Config, packer: Packer | None):
        self.config, self.packer = config, packer

    def whole(self, op: Op, placed: Placement) -> Chosen:
        """A layer whose tensors stand in the scratchpad as a whole."""
        lowered, memory = placed.device[op.name], placed.memory
        sources, target = [memory.addresses[name] for name in op.inputs], memory.addresses[op.output]
        if lowered.tables is not None:
            made = look_up_passes(lowered.tables, self.config, sources=sources, target=target)
            return Chosen(passes=tuple(made), memory_bytes=memory.used[op.name])
        best = [self._fastest(op, kernel, sources[kernel.source], target) for kernel in lowered.kernels]
        return Chosen(
            passes=tuple(piece for one in best for piece in one.passes),
            combining=sum((one.combining for one in best), Combining()),
            memory_bytes=memory.used[op.name],
        )

    def in_stripes(self, op: Op, cut: Sequence[Stripe]) -> Chosen:
        """A layer that is computed stripe by stripe, from address 0 on."""
        inputs = len(op.inputs)
        target = inputs * max(stripe.source[1] for stripe in cut)
        known: dict[tuple[object, ...], tuple[Pass, ...]] = {}
        combining = Combining()
        chosen = []
        for stripe in cut:
            made = stripe.made
            key = (made.size,) if isinstance(made, LookUp) else (made.height, made.out, made.origin)
            if key not in known:
                if isinstance(made, LookUp):
                    sources = [index * made.size for index in range(inputs)]
                    known[key] = tuple(look_up_passes(made, self.config, sources=sources, target=target))
                else:
                    best = self._fastest(op, made, 0, target)
                    known[key] = tuple(best.passes)
                    combining += best.combining
            chosen.append(ChosenStripe(stripe=stripe, passes=known[key]))
        return Chosen(stripes=tuple(chosen), combining=combining, memory_bytes=room(cut, inputs), result_address=target)

    def _fastest(self, op: Op, kernel: Kernel, source: int, target: int) -> Candidate:
        plain = min(self._candidates(kernel, source, target), key=lambda one: one.cycles)
        if self.packer is None:
            return plain
        budget = getattr(op, "terms", None)
        packed = [] if budget else self.packer.packed(kernel)
        best = min(
            (one for made in packed for one in self._blocks(made, source, target)),
            key=lambda one: one.cycles,
            default=None,
        )
        if budget:
            reason = "its term budget is that of neighbouring weights, which packing would part"
        elif best is None:
            reason = self.packer.why_not(kernel)
        elif best.cycles < plain.cycles:
            return dataclasses.replace(best, combining=self._combining(best.kernel, kernel, plain, ""))
        else:
            tiles, dense = best.kernel.tiles(self.config), kernel.tiles(self.config)
            reason = (
                f"in {tiles} tiles instead of {dense} it takes {best.cycles:,} cycles, and {plain.cycles:,} as it is"
            )
        return dataclasses.replace(plain, combining=self._combining(kernel, kernel, plain, reason))

    def _combining(self, made: Kernel, kernel: Kernel, plain: Candidate, reason: str) -> Combining:
        config, tiles = self.config, made.tiles(self.config)
        groups = -(-made.channels // config.cols)
        return Combining(
            tiles=tiles,
            dense_tiles=kernel.tiles(config),
            nonzeros=made.nonzeros,
            dense_cycles=plain.cycles,
            reason=reason,
            cells=tiles // groups * config.tile_depth * made.channels,
        )

    def _candidates(self, kernel: Kernel, source: int, target: int) -> Iterator[Candidate]:
        """Ways without selects."""
        config = self.config
        yield from self._blocks(kernel, source, target)
        for walk in sliding.walks(kernel, config) if sliding.fits(kernel, config) else ():
            made = sliding_passes(kernel, config, walk, source=source, target=target, words=config.weight_words)
            if made:
                yield self._candidate(kernel, made)

    def _blocks(self, kernel: Kernel, source: int, target: int) -> Iterator[Candidate]:
        """One for each number of rows in a block; none if a group's weights do not fit."""
        config = self.config
        if kernel.group_words(config) + PARAMETER_BYTES > config.weight_words:
            return
        for rows in block_rows(kernel, config):
            made = passes(kernel, config, source=source, target=target, rows=rows, words=config.weight_words)
            yield self._candidate(kernel, made)

    def _candidate(self, kernel: Kernel, made: list[Pass]) -> Candidate:
        expected = predict([descriptor for piece in made for descriptor in piece.descriptors], self.config)
        return Candidate(kernel=kernel, passes=made, cycles=sum(counters.cycles for counters in expected))
