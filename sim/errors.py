"""The error of this room."""

__all__ = ["SimulationError"]


class SimulationError(Exception):
    """A simulated device cannot be built or used; the message says why and what to do."""
