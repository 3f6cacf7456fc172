"""The configurations that are searched: named parameters, each with a few values, and the configuration they make."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sateen.compiler import compile
from sateen.errors import SateenError
from sateen.explore.target import Target
from sateen.fpga.area import GROUPS, AreaUnknown, area, options_of
from sateen.fpga.blocks import MULTIPLIER_BITS, multiplier_pes
from sateen.graph import Graph
from sateen.hw.spec.config import PRESETS, Config
from sateen.hw.spec.pe import PE_KINDS
from sateen.hw.spec.residual import LEAST_COLS
from sateen.runtime.limits import expected_cycles

__all__ = ["Space"]

SCRATCHPAD_UNIT, WEIGHT_UNIT = 512, 512
"""Sizes of the memories are multiples of so many bytes a bank, and words."""
SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 34, 48, 64, 80, 96, 128)
LANES_MOST = 5
"""Hardware multipliers of a post-processing lane, at most."""
VALUES: dict[str, tuple[int, ...]] = {
    "rows": (4, 6, 8, 12, 16, 20, 24, 32),
    "cols": (1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 32),
    "lanes": (1, 2, 3, 4, 6, 8, 12, 16),
    "weight_rows": (1, 2, 4),
    "scratchpad": SIZES,
    "weights": SIZES,
    "positions": (64, 128, 256, 512, 1024, 2048),
    "descriptors": (8, 16, 32, 42, 64, 128, 255),
}
OPTIONS: dict[str, tuple[int, ...]] = {
    "overlap": (0, 1), "window_skip": (0, 16), "window_rows": (0, 9), "residual": (0, 1, 2, 4)
}  # fmt: skip
"""Those of which there may be no estimate. No ``window_rows`` means all rows."""
MULTIPLIERS = ("most", "half", "none")
"""Of the hardware multipliers that the lanes leave, how many the PEs take."""
COMBINES = (1, 2, 4, 8)


@dataclass(frozen=True, kw_only=True)
class Space:
    """The values of each parameter."""

    values: dict[str, tuple[Any, ...]]
    target: Target

    @classmethod
    def of(cls, target: Target, graphs: Sequence[Graph]) -> Space:
        """The parameters that matter on a target, with values that some configuration for the models can have: widths
        of weights that hold theirs, combined columns only if some model gains by them."""
        # Kinds that share multipliers are as fast as the MAC at best, and save a few LUTs.
        single = [kind for kind, of_kind in PE_KINDS.items() if of_kind.columns == 1]
        pairs = [(engine, kind) for engine in GROUPS for kind in single if _estimated(target, engine, kind)]
        engines = tuple(dict.fromkeys(engine for engine, _ in pairs))
        kinds = tuple(dict.fromkeys(kind for _, kind in pairs))
        bits = tuple(bits for bits in (4, 6, 8, 9) if all(_compiles(graph, bits) for graph in graphs)) or (8, 9)
        combines = COMBINES if any(_combines(graph) for graph in graphs) else (1,)
        products = MULTIPLIERS if target.limits.get("multipliers") else ("none",)
        options = options_of("pipelined", target.part)
        return cls(
            target=target,
            # A study begins with neighbours in the first parameters.
            values={
                **{name: values if name in options else (0,) for name, values in OPTIONS.items()},
                **VALUES, "engine": engines, "pe": kinds,
            }
            | {"weight_bits": bits, "combine": combines, "multipliers": products},
        )

    def widened(self, config: Config) -> Space:
        """The space with a configuration's values, where they are numbers."""
        own = {name: value for name, value in _numbers(config).items() if value}
        values = {name: tuple(sorted({*self.values[name], value})) for name, value in own.items()}
        return replace(self, values={**self.values, **values})

    def config(self, chosen: Mapping[str, Any]) -> Config:
        """The configuration of some values; those that rule each other out are moved to what is allowed."""
        engine, cols, pe = chosen["engine"], chosen["cols"], chosen["pe"]
        serial = engine == "sequential"
        base = PRESETS["micro" if serial else "small"]
        rows = chosen["rows"]
        combine = 1 if serial else chosen["combine"]
        lanes = 1 if serial else min(chosen["lanes"], cols)
        fields: dict[str, Any] = {
            "engine": engine, "rows": rows, "cols": cols, "pe": pe, "combine": combine, "lanes": lanes,
            "positions": chosen["positions"], "descriptors": chosen["descriptors"], "frame_bytes": base.frame_bytes,
            "weight_bits": min(chosen["weight_bits"], PE_KINDS[pe].weight_bits[1]),
            "multipliers": self._multipliers(chosen["multipliers"], rows * cols, cols, pe, 0 if serial else lanes),
            "weight_rows": 1 if serial or combine > 1 or pe == "term" else _weight_rows(chosen["weight_rows"], rows),
            # Of PEs that take several cycles, the cycle model is not exact where layers overlap.
            "overlap": 0 if serial or pe != "mac" else chosen["overlap"],
            "window_skip": 0 if serial or pe != "mac" or combine > 1 or rows < 9 else chosen["window_skip"],
            "window_rows": None if serial or pe != "mac" else _window_rows(chosen["window_rows"], rows),
            "residual": 0 if serial or cols < LEAST_COLS else _residual(chosen["residual"], lanes),
        }  # fmt: skip
        # The sizes depend on the others' banks and words.
        shape = Config(**{**fields, "scratchpad_bytes": 1 << 20, "weight_bytes": 1 << 22})
        return Config(
            **fields,
            scratchpad_bytes=min(1 << 20, chosen["scratchpad"] * SCRATCHPAD_UNIT * shape.banks),
            weight_bytes=min(1 << 22, chosen["weights"] * WEIGHT_UNIT * shape.weight_word_bytes),
        )

    def chosen(self, config: Config) -> dict[str, Any] | None:
        """Values that make a configuration; ``None`` if none do. The inverse of :meth:`config`."""
        fields: dict[str, Any] = {name: getattr(config, name) for name in ("engine", "pe", "weight_bits", "combine")}
        fields |= _numbers(config)
        for choice in self.values["multipliers"]:
            found = {**fields, "multipliers": choice}
            try:
                if all(found[name] in values for name, values in self.values.items()) and _same(
                    self.config(found), config
                ):
                    return found
            except ValueError:
                return None
        return None

    def neighbours(self, config: Config) -> Iterator[dict[str, Any]]:
        """Values that differ from a configuration's in one parameter: the next smaller or larger, or another kind."""
        own = self.chosen(config)
        for name, values in self.values.items() if own is not None else ():
            assert own is not None
            place, plain = values.index(own[name]), isinstance(own[name], int)
            near = (place + 1, place - 1) if plain else range(len(values))
            yield from ({**own, name: values[other]} for other in near if 0 <= other < len(values) and other != place)

    def _multipliers(self, choice: str, pes: int, cols: int, pe: str, lanes: int) -> int | None:
        """PEs with hardware multipliers, in whole rows; ``None`` for all of them."""
        if pe != "mac":
            return None
        left = max(0, self.target.limits.get("multipliers", 0) - LANES_MOST * lanes)
        count = {"most": min(pes, left), "half": min(pes // 2, left), "none": 0}[choice] // cols * cols
        return None if count == pes else count


def _numbers(config: Config) -> dict[str, int]:
    """A configuration's sizes, as parameters."""
    words = WEIGHT_UNIT * config.weight_word_bytes
    plain = ("rows", "cols", "lanes", "weight_rows", "positions", "descriptors", *OPTIONS)
    return {
        **{name: getattr(config, name) or 0 for name in plain},
        "scratchpad": config.scratchpad_bytes // (SCRATCHPAD_UNIT * config.banks),
        "weights": config.weight_bytes // words,
    }


def _same(one: Config, other: Config) -> bool:
    """Whether two configurations make the same hardware, but for clock and rate."""
    return multiplier_pes(one) == multiplier_pes(other) and all(
        getattr(one, name) == getattr(other, name)
        for name in one.__dataclass_fields__
        if name not in ("clock_hz", "baud", "multipliers")
    )


def _weight_rows(wanted: int, rows: int) -> int:
    return next(count for count in (4, 2, 1) if count <= wanted and rows % count == 0 and rows >= 4 * count)


def _window_rows(wanted: int, rows: int) -> int | None:
    return wanted if 0 < wanted < rows else None


def _residual(wanted: int, lanes: int) -> int:
    return next((count for count in (4, 2, 1) if count <= wanted and lanes % (2 * count) == 0), 0)


def _estimated(target: Target, engine: str, pe: str) -> bool:
    """Whether there is an estimate for such configurations."""
    base = PRESETS["micro" if engine == "sequential" else "tiny"]
    products = None if pe != "mac" or target.part.technology in MULTIPLIER_BITS else 0
    try:
        config = replace(base, engine=engine, pe=pe, weight_bits=8, multipliers=products)
        area(config, target.part)
    except (AreaUnknown, ValueError):
        return False
    return True


def _compiles(graph: Graph, bits: int) -> bool:
    """Whether a model's weights fit so many bits."""
    try:
        with warnings.catch_warnings(action="ignore"):
            compile(graph, f"large,weight_bits={bits}")
    except SateenError:
        return False
    return True


def _combines(graph: Graph) -> bool:
    """Whether combined columns save a tenth of a model's cycles."""
    try:
        with warnings.catch_warnings(action="ignore"):
            plain, combined = (_cycles(graph, f"small,combine={count}") for count in (1, 4))
    except (SateenError, ValueError):
        return False
    return combined < 0.9 * plain


def _cycles(graph: Graph, config: str) -> int:
    model = compile(graph, config)
    return expected_cycles(model, model.config)
