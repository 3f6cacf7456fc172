"""Attention in a decoder's program: keys and values stay in the weight store, and each token adds its own.

Heads have fewer channels than the array has rows and columns. A word of keys holds one channel of ``cols`` positions,
and a tile as many heads as fit below each other: of a query, the channels in the rows of other heads are padding. A
word of values holds one position of as many heads as fit beside each other. Of the sums over such words, those of the
heads before are written, too, in places that are written again later; so heads, and rows of a head, go backwards. Tiles
of values also stand in the store backwards, the first positions last: the scales, which stand behind all tiles, stay
where they are when another tile is added.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sateen.compiler.lowering import Kernel, lower_operator
from sateen.compiler.lowering.kernel import diagonal
from sateen.compiler.lowering.softmax import RowLookUp
from sateen.compiler.passes import Pass, passes
from sateen.graph.ops import MatrixProduct, Softmax, Tensor
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import Descriptor
from sateen.hw.spec.nests import CHANNELS_DIM, CHUNK_DIM, X_DIM, Y_DIM, Dim
from sateen.language.int8 import ROTATION, Int8Model
from sateen.sim import golden

__all__ = ["AttentionProgram", "Store"]


class Store:
    """Words of the weight store."""

    def __init__(self, words: NDArray[np.int8]):
        self._parts = [words]
        self._count = len(words)
        self._known: dict[bytes, int] = {}

    def add(self, words: NDArray[np.int8], *, shared: bool = False) -> int:
        """Puts words behind the others; the first one's number. Equal ones that are ``shared`` are there once."""
        key = words.tobytes()
        if shared and key in self._known:
            return self._known[key]
        place = self._count
        if shared:
            self._known[key] = place
        self._parts.append(words)
        self._count += len(words)
        return place

    def all(self) -> NDArray[np.int8]:
        """[words, cols]."""
        return np.concatenate(self._parts)


class AttentionProgram:
    """A layer's attention in a program.

    Parameters
    ----------
    positions
        Keys and values at most; whole groups of columns and whole tiles.
    store
        Where its words go.
    scores
        Address of the scores of all heads, ``positions`` bytes a row. Their shares replace them: a softmax writes a
        row's results while it reads the row for the last time.
    """

    def __init__(
        self, model: Int8Model, number: int, config: Config, positions: int, store: Store,
        addresses: Mapping[str, int], scores: int,
    ):  # fmt: skip
        self.number, self.config, self.positions, self.scores = number, config, positions, scores
        self.shape, self.numbers = model.shape, model.layers[number].attention
        self.joined, self.heads, self.mixed = (addresses[f"{number}.{name}"] for name in ("joined", "heads", "mixed"))
        self.turns = model.turns
        self.turned = self.joined if model.turns else self.heads
        """Address of the heads as queries and keys are compared."""
        s, most = self.shape, positions
        self.stacked, self.packed = (
            max(count for count in range(1, max(1, room // s.head_dim) + 1) if s.kv_heads % count == 0)
            for room in (config.tile_depth, config.cols)
        )
        """Heads of keys in a tile, and heads of values in a word."""
        self.together = most <= config.tile_depth and config.cols <= 2 * s.head_dim
        """All values are in one tile: then each head has words of its own, and one product takes all heads."""
        if self.together:
            self.packed = 1
        blocks = [(self._scored(most), self.stacked), (self._mixed(most, self.packed), self.packed)]
        passes_of = [(self._pass(kernel, 0, 0), s.kv_heads // count) for kernel, count in blocks]
        self.keys, self.values = ([store.add(each.weights) for _ in range(count)] for each, count in passes_of)
        self.sizes = [len(each.weights) for each, _ in passes_of]
        """Words of a tile's heads of keys, and of a word's heads of values."""
        self.places = [
            (places[0], size * len(places)) for places, size in zip((self.keys, self.values), self.sizes, strict=True)
        ]
        """Words of all keys and of all values: (first, count)."""
        self.copies = [store.add(self._pass(kernel, 0, 0).weights, shared=True) for kernel in self._copies()]
        self.rotation = store.add(self._pass(self._rotated(), 0, 0).weights, shared=True) if model.turns else 0
        """The first word of the matrix that turns heads."""
        self.table = store.add(self._softmax(1).weights, shared=True)

    def descriptors(self, positions: int) -> list[Descriptor]:
        """Those of a token, with so many keys and values."""
        s, config, word = self.shape, self.config, self.config.weight_word_bytes
        place = positions - 1
        tile, depth = divmod(place, config.tile_depth)
        targets = self._key_byte(place), (self.values[0] + self._tile(tile) + depth) * word
        sources = self.turned + s.heads * s.head_dim, self.heads + (s.heads + s.kv_heads) * s.head_dim
        keys, values = (
            [
                dataclasses.replace(d, output=dataclasses.replace(d.output, to_weights=True, address=target))
                for d in self._pass(kernel, source, 0).relocated(base)
            ]
            for kernel, base, source, target in zip(self._copies(), self.copies, sources, targets, strict=True)
        )
        turned = self._pass(self._rotated(), self.heads, self.turned).relocated(self.rotation) if self.turns else ()
        found = [*values, *turned, *keys]
        row = s.sharing * self.positions
        scored = self._scored(positions)
        for group, base in enumerate(self.keys):
            first = group * self.stacked
            source = self.turned + first * s.sharing * s.head_dim
            here = self._pass(scored, source, self.scores + first * row).relocated(base)
            if group == 0:
                # All keys and values are there then.
                weights = dataclasses.replace(here[0].weights, waits=True)
                here = (dataclasses.replace(here[0], weights=weights), *here[1:])
            found += map(self._in_rows, here)
        found += self._softmax(positions).relocated(self.table)
        if self.together:
            return found + self._mixing_all(positions)
        for head in range(s.kv_heads - 1, -1, -1):
            group, place = divmod(head, self.packed)
            source, target = self.scores + head * row, self.mixed + head * s.sharing * s.head_dim
            found += self._mixing(positions, place, source, target, self.values[group])
        return found

    def loader(self, table: NDArray[np.int64]) -> Pass:
        """What loads the softmax's table, and another one as second, which all lookups of the decoder then use: a
        softmax of anything."""
        rows = dataclasses.replace(self._rows(1), stays=False)
        rows = dataclasses.replace(rows, tables=np.array([rows.tables[0], table]))
        return self._row_pass(rows)

    def _key_byte(self, place: int) -> int:
        """Address in the weight store of the first channel of the first head's key."""
        group, column = divmod(place, self.config.cols)
        first, other = (len(self._pass(self._scored(n * self.config.cols), 0, 0).weights) for n in (1, 2))
        words = first + (group - 1) * (other - first) if group else 0
        return (self.keys[0] + words) * self.config.weight_word_bytes + column

    def _tile(self, tile: int) -> int:
        """The first word of a tile of values."""
        depth = self.config.tile_depth
        return self.positions - (tile + 1) * depth

    def _copies(self) -> tuple[Kernel, Kernel]:
        """What adds a token's keys and values."""
        s, config, word = self.shape, self.config, self.config.weight_word_bytes
        one, several = np.ones((1, 1, 1), np.int8), np.ones((self.packed * s.head_dim, 1, 1), np.int8)
        words = s.kv_heads // self.packed
        tiles, channels = s.kv_heads // self.stacked, self.stacked * s.head_dim
        keys = diagonal(one, (tiles, channels, 1), (tiles, channels), config)
        values = diagonal(several, (words, 1, len(several)), (words, 1), config)
        return (
            dataclasses.replace(keys, spacing=(self.sizes[0] * word, word)),
            dataclasses.replace(values, spacing=(self.sizes[1] * word, word)),
        )

    def _rotated(self) -> Kernel:
        """The heads turned by RoPE, those of values, too."""
        s = self.shape
        rows, size = s.heads + 2 * s.kv_heads, s.head_dim
        return self._product(
            size, *golden.quantize_multiplier(1 / ROTATION), (rows, size), (size, size), (0, 0, 0), False
        )

    def _scored(self, positions: int) -> Kernel:
        """Scores of the heads of one tile: whole groups of columns. Each query is a line, of a head's channels."""
        s, a = self.shape, self.numbers
        columns = -(-positions // self.config.cols) * self.config.cols
        depth, rows = self.stacked * s.head_dim, self.stacked * s.sharing
        kernel = self._product(
            columns, a.multiplier, a.shift, (rows, depth), (columns, depth), (0, 0, a.zero_point), True
        )
        pitch = self.positions
        return dataclasses.replace(
            kernel, height=rows, width=s.head_dim, out=(self.stacked, s.sharing), stride=(s.sharing, s.head_dim),
            spacing=(s.sharing * pitch, pitch),
        )  # fmt: skip

    def _in_rows(self, d: Descriptor) -> Descriptor:
        """The descriptor of :meth:`_scored` with each head's queries in the rows of its keys."""
        s, a = self.shape, d.activations
        dims, line = list(a.dims), s.sharing * s.head_dim
        dims[Y_DIM] = Dim(dims[Y_DIM].count, (s.sharing, -s.head_dim, line - s.head_dim))
        dims[X_DIM] = Dim(dims[X_DIM].count, (1, 0, s.head_dim))
        return dataclasses.replace(d, activations=dataclasses.replace(a, dims=tuple(dims)))

    def _mixed(self, positions: int, heads: int) -> Kernel:
        """Values by their shares: whole tiles, for the last of so many heads that stand in a word, rows backwards."""
        s, a, pitch = self.shape, self.numbers, self.positions
        depth = -(-positions // self.config.tile_depth) * self.config.tile_depth
        columns = heads * s.head_dim
        kernel = self._product(
            columns, a.mix_multiplier, a.mix_shift, (s.sharing, depth), (depth, columns), (-128, 0, 0), False
        )
        last = s.sharing - 1
        return dataclasses.replace(
            kernel, width=s.sharing * pitch, origin=(0, last * pitch), stride=(1, -pitch),
            target=last * s.head_dim - (heads - 1) * s.head_dim, spacing=(s.sharing * s.head_dim, -s.head_dim),
        )  # fmt: skip

    def _mixing(self, positions: int, place: int, source: int, target: int, base: int) -> list[Descriptor]:
        """The product of one head's shares and values, with tiles backwards."""
        depth, found = self.config.tile_depth, []
        tiles = -(-positions // depth)
        for d in self._pass(self._mixed(positions, place + 1), source, target).relocated(base + self._tile(tiles - 1)):
            a, back = d.activations, (tiles - 1) * depth
            dims = list(a.dims)
            dims[CHUNK_DIM] = Dim(tiles, (0, -depth, -depth))
            activations = dataclasses.replace(a, x=a.x + back, address=a.address + back, dims=tuple(dims))
            found.append(dataclasses.replace(d, activations=activations))
        return found

    def _mixing_all(self, positions: int) -> list[Descriptor]:
        """The products of all heads' shares and values: a group of columns for each head of values. Columns beyond a
        head's are zero, and what follows writes over them, row by row forwards."""
        s, config, (d,) = self.shape, self.config, self._mixing(positions, 0, self.scores, self.mixed, self.values[0])
        activations, output = list(d.activations.dims), list(d.output.dims)
        pitch, last = self.positions, s.sharing - 1
        activations[CHANNELS_DIM] = Dim(s.kv_heads, (0, s.sharing * pitch, s.sharing * pitch))
        activations[X_DIM] = Dim(s.sharing, (0, pitch, pitch))
        output[CHANNELS_DIM] = Dim(s.kv_heads, (s.sharing * s.head_dim,))
        output[-1] = Dim(s.sharing, (s.head_dim,))
        a = dataclasses.replace(
            d.activations, dims=tuple(activations), width=s.heads * pitch, x=d.activations.x - last * pitch,
            address=d.activations.address - last * pitch,
        )  # fmt: skip
        channels = (s.kv_heads - 1) * config.cols + s.head_dim
        address = d.output.address - last * s.head_dim
        o = dataclasses.replace(d.output, dims=tuple(output), channels=channels, address=address)
        weights = dataclasses.replace(d.weights, groups=s.kv_heads)
        return [dataclasses.replace(d, activations=a, output=o, weights=weights)]

    def _product(
        self, columns: int, multiplier: int, shift: int, left: tuple[int, int], right: tuple[int, int],
        points: tuple[int, int, int], transposed: bool,
    ) -> Kernel:  # fmt: skip
        shapes = zip("aby", (left, right, (left[0], columns)), points, strict=True)
        tensors = {name: Tensor(name=name, shape=(1, *shape), zero_point=point) for name, shape, point in shapes}
        op = MatrixProduct(
            name=f"{self.number}.attention", a="a", b="b", output="y", bias=np.zeros(1, np.int32),
            transpose_b=transposed, multiplier=multiplier, shift=shift,
        )  # fmt: skip
        product = lower_operator(op, tensors, self.config).product
        assert product is not None
        return product.kernel

    def _softmax(self, positions: int) -> Pass:
        """Shares of all heads' scores, by the table that :meth:`loader` has loaded."""
        return self._row_pass(self._rows(positions))

    def _rows(self, positions: int) -> RowLookUp:
        s, a = self.shape, self.numbers
        tensors = {
            "x": Tensor(name="x", shape=(1, s.heads, positions), scale=a.scale, zero_point=a.zero_point),
            "y": Tensor(name="y", shape=(1, s.heads, positions), scale=1 / 256, zero_point=-128),
        }
        op = Softmax(name=f"{self.number}.attention", input="x", output="y")
        rows = lower_operator(op, tensors, self.config).tables
        assert isinstance(rows, RowLookUp)
        return dataclasses.replace(rows, pitch=self.positions, stays=True)

    def _row_pass(self, rows: RowLookUp) -> Pass:
        descriptor = rows.descriptor(self.config, sources=(self.scores, self.scores), target=self.scores)
        return Pass(weights=rows.words(self.config), descriptors=(descriptor,))

    def _pass(self, kernel: Kernel, source: int, target: int) -> Pass:
        rows = max(1, min(kernel.out[0], self.config.positions // kernel.out[1]))
        (made,) = passes(
            kernel, self.config, source=source, target=target, rows=rows, words=self.config.weight_words
        )
        return made
