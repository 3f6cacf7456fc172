"""Layer descriptors: the program of the device, one fixed-size record of 32-bit words a layer.

A layer is one pass over the tile: for every block of output positions, for every group of ``cols`` output channels, for
every slice of the reduction (kernel row, kernel column, chunk of bytes), for every position of the block, one beat.
Each memory access of that loop is an affine nest of counters (:class:`~sateen.hw.spec.nests.Dim`); kernel, stride,
dilation, padding, pooling, fully connected are settings of the nests.

Where tensors are combined element by element (:class:`~sateen.hw.spec.combining.Combine`), the loop is over pairs of
lines instead: the halves of the accumulators' memories hold two tables, the bytes of a pair are looked up there, and
the entries take the path of sums.

A descriptor has three sections, each read by one unit of the gateware: weights, activations, output.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, replace

from sateen.hw.spec.combining import Combine, Entries
from sateen.hw.spec.nests import ACTIVATION_DIMS, CHANNELS_DIM, CHUNK_DIM, OUTPUT_DIMS, Y_DIM, Dim, steps
from sateen.hw.spec.parameters import BIAS_BYTES, parameter_words
from sateen.hw.spec.pe import ZERO_POINT_BIT
from sateen.hw.spec.recurrent import Recurrent, Target

__all__ = [
    "DESCRIPTOR_WORDS", "DIM_WORDS", "DIRECT_BIT", "MODES_WORD", "MOST_AHEAD", "NUMBER_DIMS", "OUTPUT_DIM_WORDS",
    "REAL_SOFTMAX_LENGTH", "ROWS_BIT", "SAME_BIASES_BIT", "SECTIONS", "SHARE_STEPS", "SOFTMAX_BIT",
    "SOFTMAX_LENGTH", "TO_WEIGHTS_BIT", "WAITS_BIT", "WIDE_ROUNDING", "ActivationStream", "Descriptor",
    "RESIDUAL_BIT", "OutputStream", "Rounding", "Sliding", "WeightStream", "step_word",
]  # fmt: skip

SAME_BIASES_BIT, WAITS_BIT, ROWS_BIT, TO_WEIGHTS_BIT, SOFTMAX_BIT, DIRECT_BIT = 28, 29, 4, 5, 6, 7
"""Places of :attr:`WeightStream.same_biases`, :attr:`WeightStream.waits`, :attr:`OutputStream.layer_norm` where
tensors are combined (elsewhere of :attr:`OutputStream.quarters`), :attr:`OutputStream.to_weights`,
:attr:`OutputStream.softmax`, and :attr:`OutputStream.normalized` or :attr:`OutputStream.entries` in their modes."""
SOFTMAX_LENGTH, REAL_SOFTMAX_LENGTH = 2047, (1 << 16) - 1
"""Most values of a row whose softmax the device computes: the sum of its exponentials is then below 2^30; with float32
as many as a descriptor can say."""
SHARE_STEPS = 256
"""Most steps of a whole share, in a softmax of float32: 24 bits times as many have 32."""

RESIDUAL_BIT = 31
"""Place of :attr:`WeightStream.residual` in the section's last word."""
MOST_AHEAD = (1 << 16) - 1
"""The largest number of lines in :attr:`OutputStream.ahead`."""


class Rounding:
    """How a requantized product is rounded."""

    DOUBLE = 0
    """TensorFlow Lite's default: the high half of the doubled product, ties toward +∞; then a shift, ties away from
    zero."""
    SINGLE = 1
    """One rounding of the whole product, ties toward +∞: an option of TensorFlow Lite's."""
    FLOAT32 = 2
    """ONNX's: the sum rounded to 24 bits, the product rounded to 24 bits, then the result, ties to even each time. A
    sequential engine takes multipliers of 24 bits, multiples of 2^7, as float32 has them."""


NUMBER_DIMS = (0, 2, 3)
"""Counters of the output in place of whose steps a recurrent layer has its numbers: the first, and of cells the others,
too."""
WIDE_ROUNDING = 3
"""Stands in a descriptor for :attr:`Rounding.DOUBLE` with results of 16 bits, see :attr:`OutputStream.recurrent`."""


@dataclass(frozen=True, kw_only=True)
class WeightStream:
    """Which words of the weight store go to the tile: all groups' words in order, again for each block."""

    base: int
    """Word address of the first group's weights; like ``words`` a multiple of the configuration's ``weight_rows``."""
    blocks: int
    """Blocks of output positions, 1 to 65535."""
    groups: int
    """Groups of ``cols`` output channels, 1 to 65535."""
    words: int
    """Weight words of a group, before its parameters: slices of the reduction × ``rows``; or of tables. 0: there are
    parameters alone, see :attr:`Entries.loads`."""

    settings: int = 0
    """:attr:`sateen.hw.spec.pe.Settings.weights`, and :data:`sateen.hw.spec.pe.SELECTS_BIT`."""
    zero_point: int = 0
    """int8. The weights are the weight store's bytes less this, -255 to 255: a cell without a weight holds the zero
    point. Needs PEs with weights of 9 bits."""
    tables: bool = False
    """The words are tables, not weights."""
    one_scale: bool = False
    """All groups have the same scales."""
    same_biases: bool = False
    """All groups have the same biases, too: those behind a block's first have no words of parameters, and the first
    one's biases are read again for them. Only with ``one_scale``, and with
    :attr:`~sateen.hw.spec.config.Config.products`."""
    waits: bool = False
    """The words are read when all descriptors before have ended, since these write some of them. Only with
    :attr:`~sateen.hw.spec.config.Config.products`."""
    residual: bool = False
    """Words of a :class:`~sateen.hw.spec.residual.Sum` stand at ``base``, before the first group's weights, and are
    read once. Only with :attr:`~sateen.hw.spec.config.Config.residual`, and not with ``tables`` or ``waits``."""

    def parameters(self, group: int, weight_rows: int) -> int:
        """Parameter words that are read for a group, counted within its block, see :func:`parameter_words`."""
        return BIAS_BYTES if self.one_scale and group else parameter_words(weight_rows)

    def stored(self, group: int, weight_rows: int) -> int:
        """Words of parameters behind a group's weights."""
        return 0 if self.same_biases and group else self.parameters(group, weight_rows)

    LAYOUT = struct.Struct("<IHHII")
    """base; blocks, groups; settings, ``zero_point`` above them, with ``tables`` as the highest bit, ``one_scale``,
    ``waits`` and ``same_biases`` below it; words, with ``residual`` as the highest bit."""

    def encode(self) -> bytes:
        """The section's words."""
        modes = self.settings | (self.zero_point & 0xFF) << ZERO_POINT_BIT
        modes |= self.same_biases << SAME_BIASES_BIT | self.waits << WAITS_BIT
        modes |= self.one_scale << 30 | self.tables << 31
        words = self.words | self.residual << RESIDUAL_BIT
        return self.LAYOUT.pack(self.base, self.blocks, self.groups, modes, words)


@dataclass(frozen=True, kw_only=True)
class Sliding:
    """Each column is a filter over the beats: a beat's sum in column ``c`` is Σ_r weight(r, c) · byte ``c`` of the beat
    ``r`` beats before.

    So a window slides over the area that the counters ``y`` and ``x`` walk over, and every beat completes one. A sum
    counts if each of the two counters is its ``first`` value or a multiple of its ``step`` beyond; the others are
    dropped and take no position.
    """

    first_y: int
    """0 to 255, like ``first_x``."""
    first_x: int
    step_y: int = 1
    """1 to :data:`LARGEST_STEP`, like ``step_x``."""
    step_x: int = 1

    LARGEST_STEP = 255

    LAYOUT = struct.Struct("<BBBB")
    """first y, first x, step y, step x; zeros where nothing slides."""

    def keeps(self, y: int, x: int) -> bool:
        """Whether the sum of a beat counts, given the values of the two counters."""
        return all(
            value >= first and (value - first) % step == 0
            for value, first, step in ((y, self.first_y, self.step_y), (x, self.first_x, self.step_x))
        )


@dataclass(frozen=True, kw_only=True)
class ActivationStream:
    """Which bytes of the scratchpad each beat takes, and which of them are padding.

    A beat is ``beat_bytes`` consecutive bytes at ``address``. Byte ``lane`` of it is padding unless
    ``0 ≤ row < height`` and ``0 ≤ x + lane < width``: ``row`` counts lines of the input, ``x`` bytes within a line.
    """

    address: int
    """Of the first beat; may be negative if padding comes first."""
    row: int
    x: int
    height: int
    """Lines of the input, 1 to 32767."""
    width: int
    """Bytes of a line."""
    padding: int
    """int8 value of padding: the input's zero point, or the least value for max pooling."""
    dims: tuple[Dim, ...]
    """One for each of :data:`~sateen.hw.spec.nests.ACTIVATION_DIMS`, with strides of (row, x, address)."""

    settings: int = 0
    """:attr:`sateen.hw.spec.pe.Settings.beats`."""
    pairs: bool = False
    """Beats come in pairs, and their bytes are looked up in the two tables."""
    quarters: bool = False
    """Sums go to quarters of the accumulators in turn, see :meth:`Descriptor.in_quarters`."""
    sliding: Sliding | None = None
    """The bytes of a beat go to the columns, where windows slide over them; the last beat's sum counts. ``None``: the
    bytes go to the rows."""

    @property
    def positions(self) -> int:
        """Sums of a half of the accumulators that count."""
        y, x, *window = (dim.count for dim in self.dims[Y_DIM:])
        if self.sliding is None:
            return y * x * math.prod(window)
        s = self.sliding
        return ((y - 1 - s.first_y) // s.step_y + 1) * ((x - 1 - s.first_x) // s.step_x + 1)

    HEAD = struct.Struct("<ihHiII")
    """address; row, height; x; width; padding, settings, and ``pairs`` as the highest bit, ``quarters`` below it."""
    DIM = struct.Struct("<Hhii")
    """count, step of row; step of x; step of address."""

    def encode(self) -> bytes:
        """The section's words."""
        modes = self.padding & 0xFF | self.settings << 8 | self.quarters << 30 | self.pairs << 31
        head = self.HEAD.pack(self.address, self.row, self.height, self.x, self.width, modes)
        s, deltas = self.sliding, steps(list(self.dims))
        head += Sliding.LAYOUT.pack(s.first_y, s.first_x, s.step_y, s.step_x) if s else bytes(Sliding.LAYOUT.size)
        return head + b"".join(self.DIM.pack(dim.count, *step) for dim, step in zip(self.dims, deltas, strict=True))


@dataclass(frozen=True, kw_only=True)
class OutputStream:
    """Where the results go, and how sums become results.

    For every position, the device requantizes ``cols`` channels ``lanes`` at a time; channels past ``channels`` are
    dropped. With ``taps`` above 1 the largest of ``taps`` consecutive positions' results is written in place of each
    (max pooling).
    """

    address: int
    """Of the first block's first result."""
    channels: int
    """Output channels of the layer, 1 to 65535."""
    taps: int
    """Positions pooled into one result, 1 to 65535."""
    zero_point: int
    low: int
    """Least result, int8."""
    high: int
    """Largest result, int8."""
    rounding: int
    """:class:`Rounding`."""
    dims: tuple[Dim, ...]
    """One for each of :data:`~sateen.hw.spec.nests.OUTPUT_DIMS`, with strides of (address,)."""
    combine: int = Combine.NONE
    """:class:`Combine`."""
    quarters: bool = False
    """As in :class:`ActivationStream`."""
    to_weights: bool = False
    """The results become bytes of the weight store, whose byte addresses these are, as the host has them. Only with
    :attr:`~sateen.hw.spec.config.Config.products`."""
    softmax: bool = False
    """Softmax of rows of ``channels`` values, 1 to :data:`SOFTMAX_LENGTH`. The first table holds the exponential of
    each distance to a row's maximum, 0 to 2^31 − 1; the second one, biases, multipliers and shifts are zero, and
    entries are added. Each row has its own multiplier and shift.

    With ``rounding`` FLOAT32 it is onnxruntime's: 1 to :data:`REAL_SOFTMAX_LENGTH` values; the first table holds
    float32, the second one the 24 bits of each times the steps of a whole share
    (:func:`sateen.sim.golden.real_entries`), at most :data:`SHARE_STEPS`. Sums are rounded to float32 one after the
    other, quotients once, to even; ``low`` and ``high`` are −128 and 127.
    :attr:`~sateen.hw.spec.config.Config.softmax` must be 2.

    Beats, in lines of ``cols`` bytes, come in steps of three passes: over a row, over the one before and over the one
    before that. There are two steps more than rows, so that each row passes three times; what passes before the first
    row and behind the last is padding. The counters are those of steps (``y``) and of the lines of two passes (``x``):
    the first two steps' results are not written, nor those of each step's first half. Only with
    :attr:`~sateen.hw.spec.config.Config.softmax`."""
    ahead: tuple[int, ...] = (0, 0, 0, 0)
    """How many lines the *next* descriptor may read while 1, 2, 3 or 4 parts of the accumulators have results of this
    one that are not yet written, 0 to :data:`MOST_AHEAD`. Only with ``overlap`` in the configuration. Beats of a tile
    of weights with fewer than :data:`~sateen.hw.spec.timing.REVISIT_CYCLES` positions may not wait for each other."""

    normalized: bool = False
    """Sums are scaled by the inverse root (:func:`sateen.sim.golden.inverse_root`) of the sum of squares of all results
    of the last descriptor before that was not normalized: multipliers are zero, and shifts are added. Only with
    :attr:`~sateen.hw.spec.config.Config.norms`, of products with weights."""
    layer_norm: bool = False
    """Rows are normalized (:mod:`sateen.hw.spec.layer_norm`) before they are looked up. Words of the tables come behind
    those of the records. Only with :attr:`~sateen.hw.spec.config.Config.layer_norm`, of lookups of one tensor."""
    entries: Entries | None = None
    """What is combined; ``None``: entries of two tables. There is one block of one group then."""
    recurrent: Recurrent | None = None
    """What becomes of the sums of products in place of results of 8 bits. There is one block then, and one position if
    results are written. Only with :attr:`~sateen.hw.spec.config.Config.recurrent`."""
    residual: int | None = None
    """Each result is added to the byte so many :data:`~sateen.hw.spec.residual.RESIDUAL_UNIT` behind it in the
    scratchpad, −32768 to 32767, as the :class:`~sateen.hw.spec.residual.Sum` says that stands before the weights. Then
    ``taps`` is 1, and ``combine`` is NONE. The byte must not be written by this descriptor before its result; its own
    place may be. Only with :attr:`~sateen.hw.spec.config.Config.residual`."""

    def written_by(self, group: int, cols: int) -> slice:
        """The bytes that the results of a group of channels become, where there is :attr:`recurrent`."""
        assert self.recurrent is not None
        ends = (min(self.channels, sums) for sums in (group * cols, (group + 1) * cols))
        return slice(*(self.address + self.recurrent.written(count) for count in ends))

    HEAD = struct.Struct("<iHHbbbB")
    """address; channels, taps; zero point, low, high, and a byte of ``rounding`` (bits 0 and 1), ``combine`` (bits 2
    and 3), ``quarters`` or ``layer_norm`` (:data:`ROWS_BIT`), ``to_weights`` (:data:`TO_WEIGHTS_BIT`), ``softmax`` or,
    of products, whether there is a ``residual`` (:data:`SOFTMAX_BIT`), which stands in place of ``taps`` then, and
    ``normalized`` or whether there are ``entries`` (:data:`DIRECT_BIT`)."""
    DIM = struct.Struct("<HHi")
    """count, a value of ``ahead``; step of address. The first one, whose counter has one value, has the ``entries`` or
    the first word of ``recurrent`` instead of its step; the last ones may have its others."""

    def encode(self) -> bytes:
        """The section's words."""
        modes = WIDE_ROUNDING if self.recurrent else self.rounding
        modes |= self.combine << 2 | (self.quarters or self.layer_norm) << ROWS_BIT
        modes |= self.to_weights << TO_WEIGHTS_BIT | (self.softmax or self.residual is not None) << SOFTMAX_BIT
        modes |= (self.normalized or self.entries is not None) << DIRECT_BIT
        taps = self.taps if self.residual is None else self.residual & 0xFFFF
        head = self.HEAD.pack(self.address, self.channels, taps, self.zero_point, self.low, self.high, modes)
        moves = [step for (step,) in steps(list(self.dims))]
        if self.entries is not None:
            moves[0] = _signed(self.entries.encode())
        if self.recurrent is not None:
            numbers = self.recurrent.encode()[: None if self.recurrent.target == Target.CELLS else 1]
            for place, word in zip(NUMBER_DIMS, numbers, strict=False):
                moves[place] = _signed(word)
        return head + b"".join(
            self.DIM.pack(dim.count, ahead, step)
            for dim, ahead, step in zip(self.dims, self.ahead, moves, strict=True)
        )


@dataclass(frozen=True, kw_only=True)
class Descriptor:
    """One layer, as the sequencer reads it."""

    weights: WeightStream
    activations: ActivationStream
    output: OutputStream

    @property
    def quarters(self) -> bool:
        """Whether both streams use quarters of the accumulators."""
        return self.activations.quarters and self.output.quarters

    def in_quarters(self, positions: int, *, overlap: bool = False) -> Descriptor:
        """The descriptor with each half of the accumulators, of ``positions``, divided in two, if the layer allows it.

        Then up to four groups' sums are under way instead of two, and short layers do not wait for the latency of a
        sum. Each sum must be that of one beat: a half's memory has one read port, for adding to sums or for draining.
        With ``overlap``, sums at a single position may be of several beats.
        """
        counts = [dim.count for dim in self.activations.dims]
        tiles = math.prod(counts[CHANNELS_DIM + 1 : CHUNK_DIM + 1])
        beats = math.prod(counts[CHUNK_DIM + 1 :])
        if tiles > 1 and not (overlap and beats == 1):
            return self
        if 2 * self.activations.positions > positions or self.output.combine != Combine.NONE:
            return self
        activations, output = replace(self.activations, quarters=True), replace(self.output, quarters=True)
        return replace(self, activations=activations, output=output)

    @staticmethod
    def slides(program: bytes) -> bool:
        """Whether any record of the program has sliding windows."""
        place = 4 * SECTIONS["weights"] + ActivationStream.HEAD.size
        size = 4 * DESCRIPTOR_WORDS
        return any(
            any(program[start + place : start + place + Sliding.LAYOUT.size]) for start in range(0, len(program), size)
        )

    @staticmethod
    def looks_up(program: bytes) -> bool:
        """Whether any record of the program combines tensors through tables."""
        place = 4 * (SECTIONS["weights"] + SECTIONS["activations"]) + OutputStream.HEAD.size - 1
        return any(modes >> 2 & 3 for modes in program[place :: 4 * DESCRIPTOR_WORDS])

    def encode(self) -> bytes:
        """The record: :data:`DESCRIPTOR_WORDS` little-endian 32-bit words."""
        sections = self.weights.encode() + self.activations.encode() + self.output.encode()
        return sections.ljust(4 * DESCRIPTOR_WORDS, b"\0")


def _signed(word: int) -> int:
    """A word of 32 bits as a signed number."""
    return word - ((word & 1 << 31) << 1)


def _words(*parts: int) -> int:
    return sum(parts) // 4


SECTIONS: dict[str, int] = {
    "weights": _words(WeightStream.LAYOUT.size),
    "activations": _words(
        ActivationStream.HEAD.size, Sliding.LAYOUT.size, len(ACTIVATION_DIMS) * ActivationStream.DIM.size
    ),
    "output": _words(OutputStream.HEAD.size, len(OUTPUT_DIMS) * OutputStream.DIM.size),
}
"""Words of each section, in their order in the descriptor."""

DIM_WORDS, OUTPUT_DIM_WORDS = _words(ActivationStream.DIM.size), _words(OutputStream.DIM.size)
"""Words of a counter in either section."""

MODES_WORD = _words(OutputStream.HEAD.size) - 1
"""The word of the output section with the modes, in its highest byte; the counters follow."""


def step_word(dim: int) -> int:
    """The word of the output section with a counter's step; its count is in the word before."""
    return MODES_WORD + (1 + dim) * OUTPUT_DIM_WORDS


DESCRIPTOR_WORDS = 48
"""Words of a descriptor; those after its sections are zero."""
