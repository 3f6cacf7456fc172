"""Placements by other processes: the netlist goes there, the results come back into the cache here."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sateen.fpga.flow import PLACE_LOG, Resources
from sateen.progress import report as tell

if TYPE_CHECKING:
    from sateen.fpga.build import Recipe

__all__ = ["RESULTS", "Placement", "Spread", "place_elsewhere"]

RESULTS = (PLACE_LOG, "placed.json", "routed", "report.json")
"""The files of a placement; the last says that it is whole."""

Spread = Callable[[Callable[["Placement"], dict[str, bytes]], Sequence["Placement"]], Iterator[dict[str, bytes]]]
"""Calls a function for several items in other processes; the results in order."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """One placement, with all that it needs."""

    recipe: Recipe
    netlist: bytes
    """Compressed."""
    cells: Resources
    constraints: str
    seed: int


def place_elsewhere(
    placements: Sequence[tuple[Placement, Path]], place: Callable[[Placement], dict[str, bytes]], spread: Spread
) -> None:
    """Has placements made by others.

    Parameters
    ----------
    placements
        Each with the folder for its results, in which they are kept as they come; those that are there already are not
        made again.
    place
        Makes one: the files of :data:`RESULTS`, compressed.
    spread
        Calls it in other processes.
    """
    missing = [(placement, folder) for placement, folder in placements if not (folder / RESULTS[-1]).exists()]
    if not missing:
        return
    tell(f"placing {len(missing)} seeds elsewhere")
    results = spread(place, [placement for placement, _ in missing])
    for count, ((_, folder), files) in enumerate(zip(missing, results, strict=True), 1):
        folder.mkdir(parents=True, exist_ok=True)
        for name in RESULTS:
            kept = folder / f"{name}.part"
            kept.write_bytes(gzip.decompress(files[name]))
            kept.replace(folder / name)
        tell(f"placed {count} of {len(missing)} seeds elsewhere")
