"""Chains: layers of which each reads what the one before gives, computed some rows at a time from the first to the
last, so that what stands between them never leaves the scratchpad.

Layers whose tensors do not fit the scratchpad are cut into stripes, and each stripe's input and output pass the link,
or go to and from SDRAM. In a chain only the first layer's input and the last one's output do. Rows that two tiles need
are computed twice. Sources: fused-layer accelerators (Alwani et al., MICRO 2016), and the patches of MCUNetV2 (Lin et
al., NeurIPS 2021).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sateen.compiler.lowering import Kernel, Lowered
from sateen.compiler.stripes import Stripe, rows_needed, stripe_of_rows
from sateen.graph import Graph, Op
from sateen.hw.spec.config import Config

__all__ = ["Standing", "byte_cycles", "chained", "cost", "cut_rows", "largest"]

LONGEST = 8
"""Layers of a chain."""
LAYER_CYCLES = 120
"""That a short layer takes besides its beats, about."""
DESCRIPTORS = 2
"""That a layer of a tile takes, about."""
VARIANTS = 3
"""Kinds of stripes: the first, the last, and those between."""
UART_BITS = 10
"""Of a byte, on the line."""
Rows = tuple[int, int]
"""The first, and the one behind the last."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What a chain's tiles find in the scratchpad."""

    room: range
    """The addresses that they may take."""
    source: int | None = None
    """Byte address of the chain's input, if it stands there whole."""
    target: int | None = None
    """The same of its result."""


def chained(
    graph: Graph, device: Mapping[str, Lowered], striped: Mapping[str, Sequence[Stripe]], config: Config
) -> list[tuple[str, ...]]:
    """The chains that are worth while: for each the names of its layers, in order.

    Parameters
    ----------
    device
        What the device computes, lowered, by the operators' names.
    striped
        The layers whose tensors do not fit the scratchpad, cut into stripes. Each chain has one of them, or more;
        others join it if that saves more bytes than it costs cycles.
    """
    found = []
    for path in _paths(graph, device):
        if any(op.name in striped for op in path):
            kernels = [_kernel(device[op.name]) for op in path]
            for first, end in _Partition(kernels, [op.name in striped for op in path], config).chains():
                found.append(tuple(op.name for op in path[first:end]))
    return found


def _kernel(lowered: Lowered) -> Kernel:
    assert lowered.row_kernel is not None
    return lowered.row_kernel


def _paths(graph: Graph, device: Mapping[str, Lowered]) -> Iterator[list[Op]]:
    """Layers of one kernel, each of which alone reads the result of the one before; as long as they go."""
    readers: dict[str, list[Op]] = {}
    for op in graph.ops:
        for name in set(op.inputs):
            readers.setdefault(name, []).append(op)
    behind = {}
    for op in graph.ops:
        after = readers.get(op.output, [])
        if len(after) == 1 and op.output not in graph.results and _joins(graph, device, op, after[0]):
            behind[op.name] = after[0]
    inside = {op.name for op in behind.values()}
    for op in graph.ops:
        if op.name in behind and op.name not in inside:
            path = [op]
            while path[-1].name in behind:
                path.append(behind[path[-1].name])
            yield path


def _joins(graph: Graph, device: Mapping[str, Lowered], op: Op, after: Op) -> bool:
    """Whether two layers may be neighbours in a chain."""
    if len(after.inputs) != 1 or not {op.name, after.name} <= device.keys():
        return False
    first, second = device[op.name].row_kernel, device[after.name].row_kernel
    if first is None or second is None or min(first.stride[0], second.stride[0]) < 1 or first.flat or second.flat:
        return False
    size = math.prod(graph.tensors[op.output].shape[1:])
    rows, row = first.out[0], first.result_steps[0]
    return (rows, row) == (second.height, second.width) and rows * row == size and first.target == 0


@dataclass(frozen=True)
class _Partition:
    """Divides a path into chains, single layers in stripes, and layers that the device computes whole."""

    kernels: Sequence[Kernel]
    striped: Sequence[bool]
    """Which layers cannot be computed whole."""
    config: Config

    def chains(self) -> list[tuple[int, int]]:
        """The chains of two layers or more in the cheapest division: the first layer, and the one behind the last."""
        count = len(self.kernels)
        # For the first layers of a path, and whether the last of them is cut: the least cost, where its part begins,
        # and whether the part before is cut.
        best: dict[tuple[int, bool], tuple[float, int, bool]] = {(0, False): (0.0, 0, False)}
        for end in range(1, count + 1):
            for start in range(max(0, end - LONGEST), end):
                for cut, cost in self._parts(start, end):
                    for before in (False, True):
                        if (start, before) in best:
                            moved = self._tensor(start) if start and cut != before else 0
                            total = best[start, before][0] + cost + byte_cycles(self.config) * moved
                            if total < best.get((end, cut), (math.inf, 0, False))[0]:
                                best[end, cut] = total, start, before
        end, cut = count, min((False, True), key=lambda cut: best.get((count, cut), (math.inf, 0, False))[0])
        found = []
        while end:
            _, start, before = best[end, cut]
            if cut and end - start > 1:
                found.append((start, end))
            end, cut = start, before
        return found[::-1]

    def _parts(self, start: int, end: int) -> Iterator[tuple[bool, float]]:
        """Whether layers can be computed as one part, cut or whole, and what that costs."""
        kernels = self.kernels[start:end]
        if end - start == 1 and not self.striped[start]:
            yield False, _cycles(kernels[0], self.config) + LAYER_CYCLES
        if any(self.striped[start:end]):
            standing = Standing(room=range(self.config.scratchpad_bytes))
            tiles = largest(kernels, self.config, standing)
            if tiles is not None:
                yield True, cost(kernels, tiles, self.config, standing)

    def _tensor(self, place: int) -> int:
        """Bytes of the input of a layer."""
        return self.kernels[place].height * self.kernels[place].width


def cost(kernels: Sequence[Kernel], tiles: Sequence[Sequence[Rows]], config: Config, standing: Standing) -> float:
    """Cycles of a part in stripes, those of the bytes that it moves among them."""
    cycles = float(LAYER_CYCLES * len(kernels) * len(tiles))
    for kernel, spans in zip(kernels, zip(*tiles, strict=True), strict=True):
        rows = sum(end - first for first, end in spans)
        cycles += _cycles(kernel, config) * rows / kernel.out[0]
    first, last, moved = kernels[0], kernels[-1], 0
    if standing.source is None:
        needed = (rows_needed(first, tile[0]) for tile in tiles)
        moved += sum(end - begin for begin, end in needed) * first.width
    if standing.target is None:
        moved += last.out[0] * last.result_steps[0]
    return cycles + byte_cycles(config) * moved


def byte_cycles(config: Config) -> float:
    """Cycles that a byte takes, from or to SDRAM, else over the link."""
    return 1.0 if config.sdram else UART_BITS * config.clock_hz / config.line_baud


def _cycles(kernel: Kernel, config: Config) -> float:
    """About what a layer takes."""
    positions = math.prod(kernel.out) * kernel.pool_size
    beats = positions * kernel.tiles(config)
    if kernel.filters is None:
        return beats
    # Windows that slide are bound by the lines that are read and written.
    return min(beats, (kernel.height * kernel.width + kernel.out[0] * kernel.result_steps[0]) / config.cols)


def largest(kernels: Sequence[Kernel], config: Config, standing: Standing) -> list[list[Rows]] | None:
    """The fewest tiles that fit their room: rows of each layer's results. ``None`` if not even single rows fit, or
    not all weights the weight store, so that each tile would have to bring them, or not all programs theirs: where an
    end of the chain stands whole, each tile has one of its own."""
    words = sum(kernel.tiles(config) * config.tile_words for kernel in kernels)
    words += sum(-(-kernel.channels // config.cols) * config.parameter_words for kernel in kernels)
    if len(kernels) > 1 and (
        VARIANTS * words > config.weight_words or DESCRIPTORS * VARIANTS * len(kernels) > config.descriptors
    ):
        return None
    low, high = 0, kernels[-1].out[0]
    while low < high:
        middle = (low + high + 1) // 2
        if _bytes_needed(_sizes(kernels, _cut(kernels, middle), standing)) <= len(standing.room):
            low = middle
        else:
            high = middle - 1
    tiles = _cut(kernels, low) if low else None
    apart = standing.source is None and standing.target is None
    if tiles and not apart and DESCRIPTORS * len(tiles) * len(kernels) > config.descriptors:
        return None
    return tiles


def _cut(kernels: Sequence[Kernel], rows: int) -> list[list[Rows]]:
    """Tiles of so many rows of the last layer's results, and the rows of the others that they need. Every row is in a
    tile, also if nobody reads it."""
    tiles, done, last = [], [0] * len(kernels), kernels[-1].out[0]
    for first in range(0, last, rows):
        end = min(first + rows, last)
        wanted, tile = (first, end), []
        for place in range(len(kernels) - 1, -1, -1):
            begin, behind = min(wanted[0], done[place]), kernels[place].out[0] if end == last else wanted[1]
            behind = max(behind, begin + 1)
            done[place] = max(done[place], behind)
            tile.append((begin, behind))
            wanted = rows_needed(kernels[place], (begin, behind))
        tiles.append(tile[::-1])
    return tiles


def _sizes(kernels: Sequence[Kernel], tiles: Sequence[Sequence[Rows]], standing: Standing) -> list[int]:
    """The most bytes of the chain's input, and of each layer's results, that a tile has; none of what stands whole."""
    begins = [rows_needed(kernels[0], tile[0]) for tile in tiles]
    sizes = [max(end - begin for begin, end in begins) * kernels[0].width]
    for kernel, spans in zip(kernels, zip(*tiles, strict=True), strict=True):
        sizes.append(max(end - begin for begin, end in spans) * kernel.result_steps[0])
    if standing.source is not None:
        sizes[0] = 0
    if standing.target is not None:
        sizes[-1] = 0
    return sizes


def _bytes_needed(sizes: Sequence[int]) -> int:
    """Bytes of scratchpad that a chain takes. Its tensors stand at the beginning and at the end of these in turn, two
    at a time."""
    return max(size + after for size, after in zip(sizes, sizes[1:], strict=False))


def cut_rows(kernels: Sequence[Kernel], tiles: Sequence[Sequence[Rows]], standing: Standing) -> list[list[Stripe]]:
    """The stripes of each layer, in order and as many for each layer."""
    sizes = _sizes(kernels, tiles, standing)
    begin = standing.room.start
    addresses = [begin + (_bytes_needed(sizes) - size if place % 2 else 0) for place, size in enumerate(sizes)]
    cut: list[list[Stripe]] = [[] for _ in kernels]
    for tile in tiles:
        # Row of the tensor that stands at its address.
        row = rows_needed(kernels[0], tile[0])[0]
        places = list(addresses)
        if standing.source is not None:
            places[0] = standing.source + row * kernels[0].width
        if standing.target is not None:
            places[-1] = standing.target + tile[-1][0] * kernels[-1].result_steps[0]
        for place, (kernel, rows) in enumerate(zip(kernels, tile, strict=True)):
            skipped = rows_needed(kernel, rows)[0] - row
            cut[place].append(
                stripe_of_rows(
                    kernel, rows, source_address=places[place] + skipped * kernel.width, address=places[place + 1]
                )
            )
            row = rows[0]
    return cut
