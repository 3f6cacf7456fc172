"""How far long work is. Libraries log it with :func:`report`; the command line shows it. So can any other handler of
the logger ``sateen`` whose level is :data:`LEVEL` or less."""

from __future__ import annotations

import logging

__all__ = ["LEVEL", "report"]

LEVEL = 15
"""Level of these records, between ``DEBUG`` and ``INFO``."""
logging.addLevelName(LEVEL, "PROGRESS")

log = logging.getLogger("sateen.progress")


def report(text: str) -> None:
    """Says what is being done, and how far it is: ``compiling the simulation: file 3 of 12``. May be called often, and
    from any thread."""
    log.log(LEVEL, "%s", text)
