"""The templates of this folder's pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

__all__ = ["render"]


def render(name: str, **values: Any) -> str:
    """A page from the template ``name``; texts in it are escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"grouped": "{:,}".format, "percent": "{:.0%}".format}
    return environment.get_template(name).render(**values)
