"""The choice of an engine."""

from __future__ import annotations

from sateen.hw.pipelined.engine import Engine
from sateen.hw.sequential.engine import SequentialEngine
from sateen.hw.spec.config import Config

__all__ = ["create_engine"]


def create_engine(config: Config) -> Engine | SequentialEngine:
    """The configuration's engine. Both engines have the ports of :class:`sateen.hw.host.EngineSignature`."""
    return (SequentialEngine if config.engine == "sequential" else Engine)(config=config)
