"""The configuration of one accelerator: what a user may choose, checked, with presets."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from sateen.hw.spec.checks import ENGINES, LINKS, ceil_pow2, check_fields
from sateen.hw.spec.ethernet import ADDRESS, ETHERNET_BAUD
from sateen.hw.spec.parameters import TABLE_ENTRIES, parameter_words
from sateen.hw.spec.pe import PE_KINDS, PeKind, select_bits, sliding_rows
from sateen.hw.spec.sdram import find_chip
from sateen.hw.spec.usb import USB_BAUD

__all__ = ["ENGINES", "LINKS", "PRESETS", "Config", "ceil_pow2", "parse_config"]

LAID_OUT = (
    "products", "overlap", "softmax", "squares", "window_skip", "direct", "norms", "recurrent", "layer_norm",
    "residual", "weights_per_byte", "float_rounding",
)  # fmt: skip
"""Fields of a configuration that the first version did not have, and that shape a compiled model."""
LATER = (*LAID_OUT, "combine", "engine", "weight_rows", "sdram", "link", "address", "lutram", "window_rows")
"""All fields that the first version did not have."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """One accelerator's parameters. Derive variants with :func:`dataclasses.replace`.

    Raises
    ------
    ValueError
        If a field is out of range; the message names the field, what is allowed and what came.
    """

    rows: int = 8
    """Rows of the tile: reduction elements a beat takes, 4 to 64."""
    cols: int = 8
    """Columns of the tile: output channels side by side, 1 to 64."""
    pe: str = "mac"
    """Kind of processing element, a key of :data:`sateen.hw.spec.pe.PE_KINDS`."""
    weight_bits: int = 8
    """Width of the weights in a PE, 2 to 9; fewer bits make it smaller. The weight store has a byte for each, but with
    ``weights_per_byte``. With 9 bits a layer's weights may have a zero point, which is subtracted from these bytes."""
    lanes: int = 4
    """Output channels requantized per cycle, 1 to ``cols``."""
    scratchpad_bytes: int = 16384
    """Activation memory, bytes; a multiple of ``banks``, at most 1 MiB."""
    weight_bytes: int = 65536
    """Weight store, bytes; a multiple of ``weight_word_bytes``, at most 4 MiB."""
    positions: int = 256
    """Output positions in one half of the accumulator memory, a power of two from 16 to 4096. A sequential engine has
    one half only."""
    descriptors: int = 32
    """Layer descriptors that the program memory holds, 1 to 255."""
    frame_bytes: int = 1024
    """Largest payload of a link frame, bytes, a power of two from 128 to 4096."""
    clock_hz: int = 100_000_000
    """Clock, hertz, 1 MHz to 1 GHz. Only the UART's divisor depends on it."""
    baud: int = 1_000_000
    """UART rate, bits per second; at least 8 clock cycles a bit."""
    multipliers: int | None = None
    """PEs that may use the FPGA's multipliers, rounded down to whole rows; the others are built from logic. ``None``:
    all of them. With ``pe=packed`` two PEs share one."""
    combine: int = 1
    """Column combining: activations side by side in a row, 1 to 16; each weight selects one of them."""
    engine: str = "pipelined"
    """One of :data:`ENGINES`."""
    weight_rows: int = 1
    """Rows of the tile whose weights are loaded in one cycle: 1, 2 or 4; a divisor of ``rows``, and at most a quarter
    of them, since the accumulators need 4 cycles between two tiles of weights. Layers with few positions take up to
    that many times fewer cycles. 1 with ``combine``, with ``pe=term`` and in a sequential engine."""
    overlap: int = 0
    """1: a layer's beats begin while the last results of the layer before are still under way, as far as they do not
    read them, and sums at a single position add up in a register. 0 in a sequential engine."""
    sdram: str | None = None
    """Chip of SDRAM beside the part, in which models and their tensors lie: ``as4c32m16sb``, ``is42s16160g``,
    ``m12l64322a``, ``m12l16161a`` or ``w9825g6kh``. ``None``: there is none."""
    products: int = 0
    """1: the tile also multiplies two tensors, of which one becomes words of the weight store at run time, and
    subtracts both zero points. Only in a pipelined engine with ``pe=mac``, ``weight_bits=9``, ``combine=1`` and a
    hardware multiplier for each PE."""
    link: str = "uart"
    """One of :data:`LINKS`, for builds for boards."""
    softmax: int = 0
    """1: the device computes softmax over the last axis, as TensorFlow Lite defines it, with one multiplier more; 2: as
    onnxruntime defines it, too, with an adder of float32 more, and a divider in each lane. Only in a pipelined engine
    with ``positions=256`` or more, and ``cols`` from 4 to the bytes of a beat (``rows``, or a multiple where a PE takes
    several)."""
    address: str = ADDRESS
    """The device's IPv4 address with ``link=ethernet``."""
    squares: int = 0
    """1: the device computes squared differences of tensors, as layer normalization has them. Only in a pipelined
    engine with ``positions=256`` and ``cols=4`` or more."""
    lutram: int = 0
    """1: the accumulators' memories are made of LUTs instead of block RAMs, and so are the scratchpad's banks, if they
    have at most 256 bytes. On an ECP5 a column with 256 positions takes 2,550 LUTs in place of two block RAMs, a bank
    of 256 bytes 320. 0 in a sequential engine."""
    window_skip: int = 0
    """Beats that windows which slide over the columns may skip from one of their lines to the next: 16 or 32, kept in
    small memories, so that a line has that many beats more and depthwise layers read less of it twice. 0: none. Only in
    a pipelined engine with ``combine=1``, and 9 ``rows`` or more of ``pe=mac``, or of ``pe=packed`` that have no
    pairs."""
    window_rows: int | None = None
    """Rows of the tile, the last ones, over which windows may slide, 0 to ``rows``; PEs of the others are smaller.
    ``None``: all that can. Nine with ``window_skip`` are as good."""
    direct: int = 0
    """1: operators that combine two tensors take codes themselves where these give the entries of tables, and tables
    have memory of their own, so that they stay, for any number of ``positions``. Only in a pipelined engine with
    ``cols=4`` or more."""
    norms: int = 0
    """1: the device scales a product by the inverse root of the sum of squares of the tensor before: a decoder's
    normalization. Only in a pipelined engine."""
    recurrent: int = 0
    """Words of 16 bits that the unit of recurrent layers keeps, a power of two from 64 to 4096: the device computes
    SVDF with an int16 state, and LSTMs with int16 cells, of which each takes a word and four more for each step whose
    inputs are multiplied together, one at the least. 0: no such unit. Only in a pipelined engine with ``combine=1``,
    ``lanes`` a multiple of 4 that divides ``cols``, and ``scratchpad_bytes`` of as many or more."""
    layer_norm: int = 0
    """Most values of a row whose layer normalization, or that by the root of the mean square, the device computes as
    onnxruntime defines it, with a unit of float32: a power of two from 16 to 4096. 0: none. Only in a pipelined engine
    with ``positions=256`` or ``direct=1``, and ``cols=4`` or more; ``beat_bytes`` are 4 or more."""
    residual: int = 0
    """Results of a convolution per cycle to which the unit of residual sums adds a tensor on their way to the
    scratchpad, a power of two, at most half the ``lanes``, a multiple of it. 0: there is no such unit, and sums are
    layers of their own. Only in a pipelined engine with ``cols=8`` or more."""
    float_rounding: int = 1
    """0: the device does not round as onnxruntime does, by float32, so that the host computes most layers of ONNX
    models; a lane has 260 LUTs less. 1 in a sequential engine, and with ``softmax=2`` or ``layer_norm``."""
    weights_per_byte: int = 1
    """Weights in a byte of the weight store, and of a compiled model: 2 of up to 4 ``weight_bits``, or 4 of 2, those of
    neighbouring rows. They are loaded together: ``rows`` are a multiple of ``weight_rows × weights_per_byte``, and four
    times that or more. Only in a pipelined engine with ``combine=1``."""

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def moved_bytes(self) -> int:
        """Bytes that come from SDRAM to the engine in a cycle, at most: a word, if its memories are as wide."""
        word = 1 if self.sdram is None or self.engine != "pipelined" else find_chip(self.sdram).data_bits // 8
        return word if word <= min(self.weight_word_bytes, self.banks) else 1

    @property
    def pe_kind(self) -> PeKind:
        """What the array, the memories and the compiler know about the processing element."""
        return PE_KINDS[self.pe]

    @property
    def group(self) -> int:
        """Reduction elements that one PE covers per beat."""
        return self.pe_kind.group

    @property
    def beat_bytes(self) -> int:
        """Activations that one beat brings: ``rows × group × combine``."""
        return self.tile_depth * self.combine

    @property
    def tile_depth(self) -> int:
        """Reduction elements that one tile of weights has: ``rows × group``."""
        return self.rows * self.group

    @property
    def selects(self) -> int:
        """Rows of weights whose selects share one word."""
        return 8 // select_bits(self.combine) if self.combine > 1 else 0

    @property
    def select_words(self) -> int:
        """Words of selects that a tile of weights has, if it has any."""
        return -(-self.tile_depth // self.selects) if self.combine > 1 else 0

    @property
    def banks(self) -> int:
        """Byte-wide banks of the scratchpad, a power of two; a sequential engine keeps its weights in them, too."""
        return ceil_pow2(max(self.rows * self.combine, self.lanes))

    @property
    def weight_word_bytes(self) -> int:
        """Bytes that a weight word takes in the host's address space: ``cols`` rounded up to a power of two."""
        return ceil_pow2(self.cols)

    @property
    def weight_words(self) -> int:
        """Words of the weight store; each holds a byte per column. ``weight_rows`` are read at once."""
        return self.weight_bytes // self.weight_word_bytes

    @property
    def loaded_rows(self) -> int:
        """Rows of the tile whose weights are loaded in one cycle."""
        return self.weight_rows * self.weights_per_byte

    @property
    def tile_words(self) -> int:
        """Words of the weight store that a tile's weights take, without selects."""
        return self.tile_depth // self.weights_per_byte

    @property
    def weights_packed(self) -> bool:
        """Whether the weight store's words are written whole, several at once, so that each ninth bit of its block RAMs
        is in use. Products of two tensors write single bytes."""
        return self.weight_rows > 1 and not self.products

    @property
    def parameter_words(self) -> int:
        """Weight words of a group's parameters with scales."""
        return parameter_words(self.weight_rows)

    @property
    def tables(self) -> bool:
        """Whether the accumulators' memories can hold tables, which combine tensors element by element."""
        return self.engine == "pipelined" and (self.positions >= TABLE_ENTRIES or bool(self.direct)) and self.cols >= 4

    @property
    def sliding(self) -> bool:
        """Whether the tile's columns can be filters over the beats, see :class:`sateen.hw.spec.descriptor.Sliding`."""
        return self.engine == "pipelined" and self.pe_kind.sliding and self.sliding_rows > 0

    @property
    def sliding_rows(self) -> int:
        """Rows of the tile over which windows slide, the last ones; none whose PEs share multipliers."""
        shared = self.rows if self.multipliers is None else self.multipliers // self.cols
        return sliding_rows(self.pe_kind, rows=self.rows, shared=shared, window_rows=self.window_rows)

    @property
    def activation_bits(self) -> int:
        """Width of the activations in a PE."""
        return 9 if self.products else 8

    @property
    def zero_points(self) -> bool:
        """Whether weights may have a zero point, see :attr:`sateen.hw.spec.descriptor.WeightStream.zero_point`."""
        return self.weight_bits == 9

    @property
    def drain_groups(self) -> int:
        """Cycles in which one position's ``cols`` sums pass the post-processing lanes."""
        return -(-self.cols // self.lanes)

    @property
    def line_baud(self) -> int:
        """Bits per second of the link, ten for a byte."""
        return {"usb": USB_BAUD, "ethernet": ETHERNET_BAUD}.get(self.link, self.baud)

    @property
    def layout(self) -> dict[str, int]:
        """The fields that shape a compiled model. A device refuses a model whose values differ."""
        names = (
            "rows",
            "cols",
            "group",
            "combine",
            "weight_bits",
            "weight_rows",
            "scratchpad_bytes",
            "weight_bytes",
            "positions",
            "descriptors",
            "frame_bytes",
        )
        layout = {name: getattr(self, name) for name in names}
        # Later than the others: without them, devices and models are as before.
        fields = self.to_dict()
        return {**layout, **{name: fields[name] for name in LAID_OUT if name in fields}}

    @property
    def layout_code(self) -> int:
        """Names in 32 bits all that a compiled program relies on: :attr:`layout`, :attr:`sliding`, the rows over which
        windows slide if they are not all, and :attr:`tables`. Drivers without a JSON reader compare it."""
        relied = {**self.layout, "sliding": self.sliding, "tables": self.tables}
        if self.sliding and self.sliding_rows < self.rows:
            relied["sliding_rows"] = self.sliding_rows
        return int(hashlib.sha256(json.dumps(relied, sort_keys=True).encode()).hexdigest()[:8], 16)

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-ready values. Fields that were added later are left out at their defaults, so that the
        identity and digest of older devices stay the same."""
        fields = dataclasses.asdict(self)
        for name in LATER:
            if fields[name] == type(self).__dataclass_fields__[name].default:
                del fields[name]
        return fields

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Config:
        """The inverse of :meth:`to_dict`; anything else is a ``ValueError``."""
        if not isinstance(fields, dict):
            raise ValueError(f"a configuration must be a dictionary of its fields, not {fields!r}")
        known = {field.name for field in dataclasses.fields(cls)}
        for name in fields:
            if name not in known:
                raise ValueError(f"{name!r} is no field of a configuration; there are {', '.join(sorted(known))}")
        return cls(**fields)

    @property
    def text(self) -> str:
        """``PRESET[,field=value…]`` that names this configuration, but for its clock and link: from the preset that
        shares most fields."""
        other = ("clock_hz", "baud", "link", "address")
        fields = {name: value for name, value in dataclasses.asdict(self).items() if name not in other}

        def settings(preset: Config) -> list[str]:
            changed = [(name, value) for name, value in fields.items() if getattr(preset, name) != value]
            return [f"{name}={'none' if value is None else value}" for name, value in changed]

        names: list[list[str]] = [[name, *settings(preset)] for name, preset in PRESETS.items()]
        shortest: list[str] = min(names, key=len)
        return ",".join(shortest)

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that name this configuration."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]


PRESETS: dict[str, Config] = {
    "micro": Config(
        rows=4,
        cols=2,
        lanes=1,
        scratchpad_bytes=4096,
        weight_bytes=4096,
        positions=256,
        descriptors=8,
        frame_bytes=128,
        engine="sequential",
    ),  # fmt: skip
    "tiny": Config(
        rows=4,
        cols=4,
        weight_bits=9,
        lanes=2,
        scratchpad_bytes=8192,
        weight_bytes=16384,
        positions=64,
        descriptors=32,
    ),  # fmt: skip
    "small": Config(
        rows=8,
        cols=8,
        weight_bits=9,
        lanes=4,
        scratchpad_bytes=16384,
        weight_bytes=65536,
        positions=256,
        descriptors=32,
    ),  # fmt: skip
    "large": Config(
        rows=16,
        cols=16,
        weight_bits=9,
        lanes=16,
        scratchpad_bytes=65536,
        weight_bytes=278528,
        positions=512,
        descriptors=42,
        multipliers=64,
    ),  # fmt: skip
}
PRESETS["lm"] = dataclasses.replace(PRESETS["large"], scratchpad_bytes=32768, weight_bytes=311296)
PRESETS["story"] = dataclasses.replace(
    PRESETS["large"], cols=8, lanes=4, scratchpad_bytes=4096, weight_bytes=393216, positions=64, descriptors=96,
    multipliers=None, weight_rows=4, overlap=1, products=1, softmax=1, lutram=1, direct=1, norms=1,
)  # fmt: skip
PRESETS["micro-lm"] = dataclasses.replace(
    PRESETS["story"], scratchpad_bytes=1024, weight_bytes=16384, descriptors=16, lutram=0
)
"""Named configurations. ``large`` is sized to one ECP5-85F: 208 block RAMs of 2 KiB, 156 multipliers. ``lm`` has the
same block RAMs, 16 of them in the weight store instead of the scratchpad: for language models, whose activations are
small. ``story`` computes a whole decoder with its keys and values: nearly all block RAMs of the same part are its
weight store, and other memories are made of LUTs. ``micro-lm`` has the same array with small memories, for microGPT."""


def parse_config(text: str) -> Config:
    """The configuration that ``PRESET[,field=value…]`` names, as ``small,rows=8,cols=16``. With another kind of PE, a
    preset's weights have at most the kind's bits.

    Raises
    ------
    ValueError
        If the preset or a field is unknown, or a value is out of range.
    """
    preset, *settings = text.split(",")
    if preset not in PRESETS:
        raise ValueError(f"{preset!r} is no preset; there are {', '.join(PRESETS)}")
    given: dict[str, Any] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"{setting!r} is not of the form field=value")
        given[name] = int(value) if value.removeprefix("-").isdecimal() else None if value == "none" else value
    fields = {**PRESETS[preset].to_dict(), **given}
    if fields["pe"] in PE_KINDS and "weight_bits" not in given:
        fields["weight_bits"] = min(fields["weight_bits"], PE_KINDS[fields["pe"]].weight_bits[1])
    return Config.from_dict(fields)
