"""What a device's output unit can do besides draining sums of products."""

from __future__ import annotations

from dataclasses import dataclass

from sateen.hw.spec.config import Config
from sateen.hw.spec.timing import residual_pace

__all__ = ["Features"]


@dataclass(frozen=True, kw_only=True)
class Features:
    """What results of an :class:`~sateen.hw.pipelined.output.OutputUnit` may be, and what they may be made of. By
    default they are sums of products alone."""

    tables: bool = False
    """The accumulators' memories can hold tables, too, in which pairs of bytes are looked up
    (:class:`sateen.hw.spec.combining.Combine`)."""
    products: bool = False
    """Results may be bytes of the weight store."""
    softmax: int = 0
    """Lookups may be those of a softmax, :attr:`sateen.hw.spec.config.Config.softmax`; needs ``tables``."""
    squares: bool = False
    """Lookups may square sums of entries; needs ``tables``."""
    direct: bool = False
    """What is combined may be codes themselves (:class:`sateen.hw.spec.combining.Entries`); needs ``tables``."""
    norms: bool = False
    """Results may be normalized."""
    recurrent: bool = False
    """Sums may be those of recurrent layers, whose items :class:`~sateen.hw.pipelined.cells.Cells` takes."""
    layer_norm: bool = False
    """What is looked up may be normalized before; needs ``tables``."""
    residual_pace: int = 0
    """Cycles of an item whose results are added to residual bytes; 0: there are none."""
    overlap: bool = False
    """The activation unit runs ahead, see :class:`~sateen.hw.pipelined.ahead.ReadAhead`. Parts of the accumulators are
    then read in one order over all descriptors."""

    @classmethod
    def of(cls, config: Config) -> Features:
        """Those of a device."""
        return cls(
            tables=config.tables, products=bool(config.products), softmax=config.softmax,
            squares=bool(config.squares), direct=bool(config.direct), norms=bool(config.norms),
            recurrent=bool(config.recurrent), layer_norm=bool(config.layer_norm),
            residual_pace=residual_pace(config), overlap=bool(config.overlap),
        )  # fmt: skip
