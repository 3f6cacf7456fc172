"""The record of a run as one self-contained page of HTML. Needs the extra ``report``."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from sateen.hw.spec.config import Config
from sateen.report.charts import draw
from sateen.report.limits import ENOUGH, limit
from sateen.runtime import RunRecord

__all__ = ["page"]


def page(run: RunRecord) -> str:
    """The page of a run."""
    config = Config.from_dict(run.config)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"grouped": "{:,}".format, "percent": "{:.0%}".format}
    return environment.get_template("page.html.j2").render(
        run=run,
        config=config,
        charts=draw(run),
        enough=ENOUGH,
        layers=[(layer, limit(layer, config)) for layer in run.layers],
    )
