"""The choice among the ways to compute a layer: the cycle model says which is the fastest.

A kernel can be computed with more or fewer rows in a block, by a window that slides over the columns, and in tiles with
selects. Each way is a :class:`Candidate`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sateen.compiler import sliding
from sateen.compiler.ahead import overlapped
from sateen.compiler.combining import Packer
from sateen.compiler.lowering import Kernel, LookUp
from sateen.compiler.model import Combining
from sateen.compiler.neighbours import choose_together
from sateen.compiler.passes import Pass, alike, block_rows, look_up_passes, mean_passes, passes, sliding_passes
from sateen.compiler.placement import Placement
from sateen.compiler.products import product_passes
from sateen.compiler.schedule import DevicePhase
from sateen.compiler.stripes import Stripe
from sateen.graph import Op, Weighted
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import Descriptor
from sateen.sim.cycles import predict

__all__ = ["Chosen", "ChosenStripe", "choose"]

WAYS = 6
"""Ways to compute a kernel that are tried beside other layers."""
WAITING = 100
"""Cycles that such a way may take more than the fastest alone: about as many as a layer waits for the one before it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ChosenStripe:
    """A stripe of a layer, and how it is computed. Stripes that differ only in their position share their passes."""

    stripe: Stripe
    passes: tuple[Pass, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Chosen:
    """How a layer of the device is computed."""

    passes: tuple[Pass, ...] = ()
    """Passes over whole tensors; none if the layer is cut into stripes."""
    stripes: tuple[ChosenStripe, ...] = ()
    combining: Combining = Combining()
    memory_bytes: int
    """Scratchpad that live tensors take while it runs."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One way to compute a kernel, and the cycles that the cycle model expects of it."""

    kernel: Kernel
    passes: list[Pass]
    cycles: int
    hidden: int
    """Of these, how many the next layer can make use of at most: those in which results are under way."""
    combining: Combining = Combining()


def choose(
    placed: Placement, config: Config, *, combine: bool, channel_orders: Mapping[str, str], roomy: bool = True
) -> dict[str, Chosen]:
    """The fastest way to compute each layer of the device, by its name.

    Parameters
    ----------
    combine
        Whether sparse layers may be packed in tiles with selects.
    channel_orders
        Notes for the report on the order of channels, by the layers' names.
    roomy
        With ``overlap``, whether layers may take more descriptors and words of the weight store than they need, if that
        saves cycles.
    """
    chooser = _Chooser(config, Packer(config) if combine else None, roomy)
    chosen: dict[str, Chosen] = {}
    for op in placed.graph.ops:
        if op.name not in placed.device:
            continue
        if op.name in placed.stripes:
            layer = chooser.choose_striped(op, placed.stripes[op.name])
        else:
            layer = chooser.choose_whole(op, placed)
        combining = layer.combining if isinstance(op, Weighted) else dataclasses.replace(layer.combining, reason="")
        combining = dataclasses.replace(combining, order=channel_orders.get(op.name, ""))
        chosen[op.name] = dataclasses.replace(layer, combining=combining)
    return _with_neighbours(chosen, chooser.ways, placed, config) if config.overlap else chosen


def _with_neighbours(
    chosen: Mapping[str, Chosen], ways: Mapping[str, list[list[list[Pass]]]], placed: Placement, config: Config
) -> dict[str, Chosen]:
    """The choice for layers that overlap with those before and behind them. ``ways`` has those of each kernel of a
    layer, what is chosen so far first; layers without have no choice."""
    result = dict(chosen)
    for phase in placed.schedule.phases:
        names = [placed.graph.ops[index].name for index in phase.ops] if isinstance(phase, DevicePhase) else []
        kernels = [kernel for name in names for kernel in ways.get(name, [[list(chosen[name].passes)]])]
        taken = choose_together([[_descriptors(way) for way in kernel] for kernel in kernels], config) if names else []
        fastest = iter([kernel[index] for kernel, index in zip(kernels, taken, strict=True)])
        for name in names:
            passes = [each for _ in ways.get(name, [[]]) for each in next(fastest)]
            result[name] = dataclasses.replace(chosen[name], passes=tuple(passes))
    return result


def _descriptors(passes: Sequence[Pass]) -> list[Descriptor]:
    return [descriptor for each in passes for descriptor in each.descriptors]


def _sensible(candidates: Sequence[Candidate], *, roomy: bool) -> list[list[Pass]]:
    """Of the candidates, the fastest first, those that may be the fastest beside other layers, and need no more
    descriptors and weights than the first unless there is room."""
    best = candidates[0]
    fit = [
        candidate
        for candidate in candidates
        if candidate.cycles - candidate.hidden < best.cycles + WAITING and (roomy or _fits_beside(candidate, best))
    ]
    shown = sorted(fit, key=lambda candidate: candidate.cycles - candidate.hidden)[:WAYS]
    return [best.passes, *(candidate.passes for candidate in shown if candidate is not best)]


def _fits_beside(candidate: Candidate, best: Candidate) -> bool:
    """Whether a candidate takes no more of the program memory and the weight store than another."""
    sizes = [
        (sum(len(each.descriptors) for each in passes), sum(len(each.weights) for each in passes))
        for passes in (candidate.passes, best.passes)
    ]
    return all(size <= most for size, most in zip(*sizes, strict=True))


class _Chooser:
    def __init__(self, config: Config, packer: Packer | None, roomy: bool = True):
        self.config, self.packer, self.roomy = config, packer, roomy
        self.ways: dict[str, list[list[list[Pass]]]] = {}
        """With ``overlap``, of each layer's kernels, the ways that may be the fastest beside other layers; the fastest
        alone is the first."""

    def choose_whole(self, op: Op, placed: Placement) -> Chosen:
        """A layer whose whole tensors stand in the scratchpad."""
        lowered, memory = placed.device[op.name], placed.memory
        sources, target = [memory.addresses[name] for name in op.inputs], memory.addresses[op.output]
        if lowered.tables is not None:
            looked_up = look_up_passes(lowered.tables, self.config, sources=sources, target=target)
            return Chosen(passes=tuple(looked_up), memory_bytes=memory.bytes_in_use[op.name])
        if lowered.product is not None:
            multiplied = product_passes(lowered.product, self.config, sources=sources, target=target)
            return Chosen(passes=tuple(multiplied), memory_bytes=memory.bytes_in_use[op.name])
        read = [*sources, target]
        kernels = [
            dataclasses.replace(kernel, apart=sources[-1] - target) if kernel.residual else kernel
            for kernel in lowered.kernels
        ]
        fastest = [self._fastest(op, kernel, read[kernel.source], target) for kernel in kernels]
        return Chosen(
            passes=tuple(each for candidate in fastest for each in candidate.passes),
            combining=sum((candidate.combining for candidate in fastest), Combining()),
            memory_bytes=memory.bytes_in_use[op.name],
        )

    def choose_striped(self, op: Op, cut: Sequence[Stripe]) -> Chosen:
        """A layer that is computed stripe by stripe."""
        inputs = len(op.inputs)
        shared: dict[tuple[object, ...], tuple[Pass, ...]] = {}
        combining = Combining()
        chosen = []
        for stripe in cut:
            work, key = stripe.computation, stripe.geometry
            if key not in shared:
                if isinstance(work, LookUp):
                    sources = [stripe.source_address + index * work.size for index in range(inputs)]
                    shared[key] = tuple(look_up_passes(work, self.config, sources=sources, target=stripe.address))
                else:
                    fastest = self._fastest(op, work, stripe.source_address, stripe.address)
                    shared[key] = tuple(fastest.passes)
                    combining += fastest.combining
            chosen.append(ChosenStripe(stripe=stripe, passes=shared[key]))
        return Chosen(
            stripes=tuple(chosen),
            combining=combining,
            memory_bytes=inputs * max(stripe.source[1] for stripe in cut) + max(stripe.target[1] for stripe in cut),
        )

    def _fastest(self, op: Op, kernel: Kernel, source: int, target: int) -> Candidate:
        candidates = sorted(self._dense(kernel, source, target), key=lambda candidate: candidate.cycles)
        dense = candidates[0]
        if self.packer is None:
            if self.config.overlap:
                self.ways.setdefault(op.name, []).append(_sensible(candidates, roomy=self.roomy))
            return dense
        budget = getattr(op, "terms", None)
        packed = [] if budget else self.packer.packed(kernel)
        best = min(
            (candidate for each in packed for candidate in self._blocks(each, source, target)),
            key=lambda candidate: candidate.cycles,
            default=None,
        )
        if budget:
            reason = "its term budget is that of neighbouring weights, which packing would separate"
        elif best is None:
            reason = self.packer.why_not(kernel)
        elif best.cycles < dense.cycles:
            return dataclasses.replace(best, combining=self._combining(best.kernel, kernel, dense, ""))
        else:
            tiles = f"{best.kernel.tiles(self.config)} tiles instead of {kernel.tiles(self.config)}"
            reason = f"in {tiles} it takes {best.cycles:,} cycles, and {dense.cycles:,} as it is"
        return dataclasses.replace(dense, combining=self._combining(kernel, kernel, dense, reason))

    def _combining(self, chosen: Kernel, kernel: Kernel, dense: Candidate, reason: str) -> Combining:
        config, tiles = self.config, chosen.tiles(self.config)
        groups = -(-chosen.channels // config.cols)
        return Combining(
            tiles=tiles,
            dense_tiles=kernel.tiles(config),
            nonzeros=chosen.nonzeros,
            dense_cycles=dense.cycles,
            reason=reason,
            cells=tiles // groups * config.tile_depth * chosen.channels,
        )

    def _dense(self, kernel: Kernel, source: int, target: int) -> Iterator[Candidate]:
        """Candidates without selects."""
        config = self.config
        for each in (kernel, *alike(kernel, config)):
            yield from self._blocks(each, source, target)
        if in_lines := mean_passes(kernel, config, source=source, target=target, words=config.weight_words):
            yield self._candidate(kernel, in_lines)
        slides = [kernel, *sliding.interleaved(kernel, config)] if sliding.supports(kernel, config) else []
        for slid in slides:
            for walk in sliding.walks(slid, config):
                if walk.apart and not self.roomy:
                    continue
                in_walks = sliding_passes(slid, config, walk, source=source, target=target, words=config.weight_words)
                if in_walks:
                    yield self._candidate(kernel, in_walks)

    def _blocks(self, kernel: Kernel, source: int, target: int) -> Iterator[Candidate]:
        """A candidate for each number of rows in a block; none if a group's weights do not fit."""
        config = self.config
        if kernel.group_words(config) + config.parameter_words > config.weight_words:
            return
        for rows in block_rows(kernel, config):
            in_blocks = passes(kernel, config, source=source, target=target, rows=rows, words=config.weight_words)
            yield self._candidate(kernel, in_blocks)

    def _candidate(self, kernel: Kernel, passes: list[Pass]) -> Candidate:
        program = _descriptors(passes)
        if self.config.overlap:
            program = overlapped(program, self.config)
        expected = predict(program, self.config)
        cycles = sum(counters.cycles for counters in expected)
        return Candidate(kernel=kernel, passes=passes, cycles=cycles, hidden=expected[-1].output)
