"""Signals with a layout."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Signal
from amaranth.lib import data

__all__ = ["view"]


def view(layout: data.Layout, **options: Any) -> data.View:
    """``Signal(layout, **options)``, which is a view at run time; type checkers take it for a plain signal."""
    signal: Any = Signal(layout, src_loc_at=1, **options)
    return signal
