"""What the fields of a configuration may be: the range of each, and what some require of others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sateen.hw.spec.ethernet import ADDRESS, parse_address
from sateen.hw.spec.layer_norm import LONGEST_ROWS
from sateen.hw.spec.parameters import TABLE_ENTRIES
from sateen.hw.spec.pe import PE_KINDS
from sateen.hw.spec.recurrent import UNIT_SUMS, WORDS
from sateen.hw.spec.residual import LEAST_COLS
from sateen.hw.spec.sdram import find_chip

if TYPE_CHECKING:
    from sateen.hw.spec.config import Config

__all__ = ["ENGINES", "LINKS", "ceil_pow2", "check_fields"]

ENGINES = ("pipelined", "sequential")
"""``pipelined``: a unit for each stream, all working at once. ``sequential``: one step at a time, for parts of a few
thousand LUTs."""
LINKS = ("uart", "usb", "ethernet")
"""What leads from a board to the host: a serial port at the configuration's ``baud``, the board's own USB at full
speed, or gigabit Ethernet, on which the device has the configuration's ``address``."""


def ceil_pow2(value: int) -> int:
    """The smallest power of two that is ``value`` or more."""
    return 1 << max(0, value - 1).bit_length()


def check_fields(config: Config) -> None:
    """Checks every field of a configuration, and what some of them require of others.

    Raises
    ------
    ValueError
        The message names the field, what is allowed and what came.
    """
    _int(config, "rows", 4, 64, "the accumulators need 4 cycles between two tiles of weights")
    _int(config, "cols", 1, 64)
    if not isinstance(config.pe, str) or config.pe not in PE_KINDS:
        raise ValueError(f"pe must be one of {', '.join(PE_KINDS)}, not {config.pe!r}")
    low, high = config.pe_kind.weight_bits
    _int(config, "weight_bits", low, high, "" if low < high else f"pe={config.pe} keeps terms of them instead")
    _multiple(config, "cols", config.pe_kind.columns, f"pairs with pe={config.pe}")
    _int(config, "combine", 1, 16)
    if config.combine > 1 and config.pe_kind.columns > 1:
        raise ValueError(f"combine must be 1 with pe={config.pe}, not {config.combine!r}")
    _weight_rows(config)
    _weights_per_byte(config)
    _int(config, "overlap", 0, 1)
    _int(config, "lutram", 0, 1)
    _engine(config)
    _int(config, "lanes", 1, config.cols, "cols")
    _int(config, "scratchpad_bytes", config.banks * 16, 1 << 20)
    _multiple(config, "scratchpad_bytes", config.banks, "banks")
    _int(config, "weight_bytes", config.weight_word_bytes * 16, 1 << 22)
    _multiple(config, "weight_bytes", config.weight_word_bytes * config.weight_rows, "weight_word_bytes × weight_rows")
    _int(config, "positions", 16, 4096)
    _power_of_two(config, "positions")
    _int(config, "descriptors", 1, 255)
    _int(config, "frame_bytes", 128, 4096)
    _power_of_two(config, "frame_bytes")
    _int(config, "clock_hz", 1_000_000, 1_000_000_000)
    _int(config, "baud", 300, config.clock_hz // 8, "clock_hz / 8")
    if config.multipliers is not None:
        _int(config, "multipliers", 0, config.rows * config.cols, "rows × cols")
    if config.window_rows is not None:
        _int(config, "window_rows", 0, config.rows, "rows")
        if config.engine != "pipelined" or not config.pe_kind.sliding:
            raise ValueError(
                f"window_rows must be none without engine=pipelined and pe=mac or packed, not {config.window_rows!r}"
            )
    if config.sdram is not None:
        find_chip(config.sdram).timing(config.clock_hz)
    if not isinstance(config.link, str) or config.link not in LINKS:
        raise ValueError(f"link must be one of {', '.join(LINKS)}, not {config.link!r}")
    parse_address(config.address)
    if config.address != ADDRESS and config.link != "ethernet":
        raise ValueError(f"address must be left out without link=ethernet, not {config.address!r}")
    _products(config)
    _softmax(config)
    for name, positions in (("squares", f", positions={TABLE_ENTRIES} or direct=1,"), ("direct", "")):
        _int(config, name, 0, 1)
        if getattr(config, name) and not config.tables:
            raise ValueError(
                f"{name} must be 0 without tables (engine=pipelined{positions} and cols=4 or more), "
                f"not {getattr(config, name)!r}"
            )
    _int(config, "norms", 0, 1)
    if config.norms and config.engine != "pipelined":
        raise ValueError(f"engine must be pipelined with norms=1, not {config.engine!r}")
    _layer_norm(config)
    _window_skip(config)
    _recurrent(config)
    _residual(config)
    _int(config, "float_rounding", 0, 1)
    if not config.float_rounding and (config.engine != "pipelined" or config.softmax == 2 or config.layer_norm):
        raise ValueError("float_rounding must be 1 with engine=sequential, softmax=2 or layer_norm, not 0")


def _int(config: Config, name: str, low: int, high: int, why: str = "") -> None:
    value = getattr(config, name)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(
            f"{name} must be a whole number from {low} to {high}{f' ({why})' if why else ''}, not {value!r}"
        )


def _window_skip(config: Config) -> None:
    """Checks what windows that skip beats require."""
    value = config.window_skip
    if isinstance(value, bool) or value not in (0, 16, 32):
        raise ValueError(f"window_skip must be 0, 16 or 32, not {value!r}")
    if value and not (config.sliding and config.combine == 1 and config.sliding_rows >= 9):
        raise ValueError(
            "window_skip must be 0 without engine=pipelined, pe=mac or packed, combine=1 and 9 rows or more over which "
            f"windows slide, not {value!r}"
        )


def _recurrent(config: Config) -> None:
    """Checks what the unit of recurrent layers requires."""
    least, most = WORDS
    _int(config, "recurrent", 0, most)
    words = config.recurrent
    if not words:
        return
    if words < least or words != ceil_pow2(words):
        raise ValueError(f"recurrent must be 0 or a power of two from {least} to {most}, not {words!r}")
    for name, value in (("engine", "pipelined"), ("combine", 1)):
        if getattr(config, name) != value:
            raise ValueError(f"{name} must be {value} with recurrent={words}, not {getattr(config, name)!r}")
    if config.lanes % UNIT_SUMS or config.cols % config.lanes:
        raise ValueError(
            f"lanes must be a multiple of {UNIT_SUMS} that divides cols ({config.cols}) with recurrent={words}, "
            f"not {config.lanes!r}"
        )
    if config.scratchpad_bytes < words:
        raise ValueError(f"scratchpad_bytes must be {words} or more with recurrent={words}")


def _residual(config: Config) -> None:
    """Checks what residual sums require."""
    value = config.residual
    allowed = [1 << bit for bit in range(6) if config.lanes % (2 << bit) == 0]
    if isinstance(value, bool) or value not in (0, *allowed):
        may_be = " or ".join(map(str, (0, *allowed)))
        raise ValueError(f"residual must be {may_be} with lanes={config.lanes}, not {value!r}")
    if value and config.engine != "pipelined":
        raise ValueError(f"engine must be pipelined with residual={value}, not {config.engine!r}")
    if value and config.cols < LEAST_COLS:
        raise ValueError(f"cols must be {LEAST_COLS} or more with residual={value}, not {config.cols!r}")


def _engine(config: Config) -> None:
    """Checks what the engine requires of other fields."""
    if not isinstance(config.engine, str) or config.engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, not {config.engine!r}")
    if config.engine == "sequential":
        ones = ("combine", config.combine), ("lanes", config.lanes), ("a PE's group", config.group)
        for name, value in (*ones, ("weight_rows", config.weight_rows)):
            if value != 1:
                raise ValueError(f"{name} must be 1 with engine=sequential, not {value!r}")
        for name, value in (("overlap", config.overlap), ("lutram", config.lutram)):
            if value:
                raise ValueError(f"{name} must be 0 with engine=sequential, not {value!r}")
        if config.weight_word_bytes > config.banks:
            raise ValueError(f"cols must be at most {config.banks} (banks) with engine=sequential, not {config.cols!r}")


def _weight_rows(config: Config) -> None:
    """Checks how many rows' weights are loaded at once."""
    _int(config, "weight_rows", 1, 4)
    allowed = [count for count in (1, 2, 4) if config.rows % count == 0 and config.rows >= 4 * count]
    if config.combine > 1 or config.group > 1:
        allowed = [1]
    if config.weight_rows not in allowed:
        raise ValueError(
            f"weight_rows must be {' or '.join(map(str, allowed))} with rows={config.rows}, combine={config.combine} "
            f"and pe={config.pe}, not {config.weight_rows!r}"
        )


def _weights_per_byte(config: Config) -> None:
    """Checks how many weights are in a byte."""
    value = config.weights_per_byte
    if isinstance(value, bool) or value not in (1, 2, 4):
        raise ValueError(f"weights_per_byte must be 1, 2 or 4, not {value!r}")
    if value == 1:
        return
    if config.engine != "pipelined":
        raise ValueError(f"weights_per_byte must be 1 with engine={config.engine}, not {value!r}")
    if config.combine > 1 or config.weight_bits > 8 // value:
        raise ValueError(
            f"weights_per_byte must be 1 with combine={config.combine} and weight_bits={config.weight_bits}, "
            f"not {value!r}; {value} in a byte have {8 // value} bits or fewer"
        )
    _multiple(config, "rows", config.loaded_rows, "weight_rows × weights_per_byte")
    _int(config, "rows", 4 * config.loaded_rows, 64, "four times weight_rows × weights_per_byte")


def _products(config: Config) -> None:
    """Checks what products of two tensors require."""
    _int(config, "products", 0, 1)
    required = {"engine": "pipelined", "pe": "mac", "weight_bits": 9, "combine": 1}
    for name, value in required.items() if config.products else ():
        if getattr(config, name) != value:
            raise ValueError(f"{name} must be {value} with products=1, not {getattr(config, name)!r}")
    if config.products and config.multipliers not in (None, config.rows * config.cols):
        raise ValueError(f"multipliers must be none with products=1, one for each PE, not {config.multipliers!r}")


def _softmax(config: Config) -> None:
    """Checks what softmax requires."""
    _int(config, "softmax", 0, 2)
    if config.softmax and config.engine != "pipelined":
        raise ValueError(f"engine must be pipelined with softmax={config.softmax}, not {config.engine!r}")
    limits = {"positions": (16 if config.direct else TABLE_ENTRIES, 4096), "cols": (4, config.beat_bytes)}
    for name, (low, high) in limits.items() if config.softmax else ():
        if not low <= getattr(config, name) <= high:
            value = getattr(config, name)
            raise ValueError(f"{name} must be {low} to {high} with softmax={config.softmax}, not {value!r}")


def _layer_norm(config: Config) -> None:
    """Checks what layer normalization requires."""
    value, (low, high) = config.layer_norm, LONGEST_ROWS
    if isinstance(value, bool) or value and (not isinstance(value, int) or not low <= value <= high):
        raise ValueError(f"layer_norm must be 0, or a power of two from {low} to {high}, not {value!r}")
    if value:
        _power_of_two(config, "layer_norm")
    if value and not config.tables:
        raise ValueError(
            f"layer_norm must be 0 without tables (engine=pipelined, positions={TABLE_ENTRIES} or direct=1, and cols=4 "
            f"or more), not {value!r}"
        )


def _multiple(config: Config, name: str, of: int, why: str) -> None:
    if getattr(config, name) % of:
        raise ValueError(f"{name} must be a multiple of {of} ({why}), not {getattr(config, name)!r}")


def _power_of_two(config: Config, name: str) -> None:
    value = getattr(config, name)
    if value != ceil_pow2(value):
        raise ValueError(f"{name} must be a power of two, not {value!r}")
