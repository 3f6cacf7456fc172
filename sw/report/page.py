"""The record of a run as one self-contained page of HTML. Needs the extra ``report``."""

from __future__ import annotations

from sateen.hw.spec.config import Config
from sateen.report.charts import draw
from sateen.report.energy import EnergyRecord
from sateen.report.limits import ENOUGH, limit
from sateen.report.templates import render
from sateen.runtime import RunRecord

__all__ = ["page"]


def page(run: RunRecord, energy: EnergyRecord | None = None) -> str:
    """The page of a run, with what is estimated of its energy."""
    config = Config.from_dict(run.config)
    return render(
        "page.html.j2",
        run=run,
        config=config,
        charts=draw(run),
        energy=energy,
        enough=ENOUGH,
        layers=[(layer, limit(layer, config)) for layer in run.layers],
    )
