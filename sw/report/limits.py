"""Where a layer's cycles went, and what limited it."""

from __future__ import annotations

from dataclasses import dataclass

from sateen.hw.spec.config import Config
from sateen.runtime import LayerRecord

__all__ = ["CAUSES", "ENOUGH", "Limit", "causes", "limit"]

ENOUGH = 0.6
"""Utilization from which on a layer needs no limit named."""
WORTH_NAMING = 0.15
"""A second cause is named from this share of a layer's cycles on."""

CAUSES = {
    "useful": "useful",
    "moves": "no MACs",
    "rows": "rows unused",
    "columns": "columns unused",
    "element": "PE's own pace",
    "weights": "weights",
    "activations": "activations",
    "accumulators": "accumulators",
    "output": "output",
}
"""Titles of everything that cycles go to: work, what the layer's shape leaves unused, and the stalls of the device's
counters."""


@dataclass(frozen=True)
class Limit:
    """What kept a layer from the array's peak."""

    title: str
    text: str


def causes(layer: LayerRecord, config: Config) -> dict[str, int]:
    """A layer's cycles by the causes of :data:`CAUSES`; they add up to its cycles."""
    # With combined columns, skipped zeros are work that takes no time.
    useful = min(layer.ideal_cycles, layer.beats)
    rows = max(0, int(layer.beats * _columns(layer, config)) - useful) if layer.macs else 0
    return {
        "useful": useful,
        "moves": 0 if layer.macs else layer.busy,
        "rows": rows,
        "columns": layer.beats - rows - useful if layer.macs else 0,
        "element": layer.busy - layer.beats if layer.macs else 0,
        **{name: layer.stalls[name] for name in ("weights", "activations", "accumulators", "output")},
    }


def limit(layer: LayerRecord, config: Config) -> Limit | None:
    """The limit of a layer below :data:`ENOUGH`; ``None`` for other layers."""
    if layer.utilization >= ENOUGH:
        return None
    lost = causes(layer, config)
    del lost["useful"]
    if layer.macs:
        del lost["moves"]
    first, second = sorted(lost, key=lambda name: (name == "moves", lost[name]), reverse=True)[:2]
    ends = lost["activations"] + lost["output"]
    if first in ("activations", "output") and ends > layer.busy:
        text = f"the pipeline takes {ends:,} cycles to fill and to empty, more than the {layer.busy:,} of its work"
        return Limit("short layer", _share(text, ends, layer))
    text = _share(_TEXTS[first](layer, config), lost[first], layer)
    if lost[second] > WORTH_NAMING * layer.cycles:
        text += "; then " + _share(_TEXTS[second](layer, config), lost[second], layer)
    return Limit(CAUSES[first], text)


def _columns(layer: LayerRecord, config: Config) -> float:
    """Share of the columns with an output channel."""
    return layer.columns / (layer.beats * config.cols)


def _rows_at_work(layer: LayerRecord, config: Config) -> float:
    return config.rows * layer.ideal_cycles / (layer.beats * _columns(layer, config))


def _share(text: str, cycles: int, layer: LayerRecord) -> str:
    return f"{text} ({cycles / layer.cycles:.0%} of its cycles)"


def _lanes(config: Config) -> str:
    return "one serial lane" if config.engine == "sequential" else f"{config.lanes} lanes"


_TEXTS = {
    "moves": lambda layer, config: "it multiplies nothing; its beats compare, combine or move values",
    "rows": lambda layer, config: (
        f"its shape keeps {_rows_at_work(layer, config):.1f} of the {config.rows} rows at work"
    ),
    "columns": lambda layer, config: (
        f"its {layer.shape[-1]} channels keep {layer.columns / layer.beats:.1f} of the {config.cols} columns at work"
    ),
    "element": lambda layer, config: f"a PE of the kind {config.pe} takes {layer.busy / layer.beats:.1f} cycles a beat",
    "weights": lambda layer, config: f"beats waited for weights, {layer.weight_bytes:,} bytes at "
    f"{config.weight_rows * config.cols} a cycle",
    "activations": lambda layer, config: "no beat had arrived yet, while descriptors were read and the pipeline filled",
    "accumulators": lambda layer, config: f"the accumulators were full, drained by {_lanes(config)}",
    "output": lambda layer, config: (
        f"the last results{' of the layer before' if config.overlap else ''} were on their way to the scratchpad, "
        f"through {_lanes(config)}"
    ),
}
