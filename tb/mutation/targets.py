"""What is mutated, and which tests should notice: narrow ones, the fastest first."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TARGETS", "Target"]


@dataclass(frozen=True, kw_only=True)
class Target:
    """Files whose mutants a few tests should kill."""

    files: tuple[str, ...]
    """Paths in the repository."""
    tests: tuple[str, ...]
    """What pytest is called with."""
    hardware: bool = False
    """Whether the mutants change Verilog: their simulations are kept apart and thrown away."""
    sample: int | None = None
    """How many mutants are tried, if not all; always the same ones."""


def _lowering(*names: str) -> tuple[str, ...]:
    return tuple(f"sw/compiler/lowering/{name}.py" for name in names)


TARGETS: dict[str, Target] = {
    "scaling": Target(files=("sim/golden/scaling.py",), tests=("tb/sim/test_golden.py",)),
    "crc": Target(files=("hw/link/framing.py",), tests=("tb/hw/link/test_framing.py",), hardware=True),
    "nest": Target(
        files=("hw/pipelined/nest.py",),
        tests=tuple(f"tb/hw/pipelined/test_nest.py::test_{name}" for name in ("rejects", "nest[9]", "nest[1]")),
        hardware=True,
    ),
    "sequencer": Target(
        files=("hw/pipelined/sequencer.py",), tests=("tb/hw/pipelined/test_sequencer.py",), hardware=True
    ),
    "requantize": Target(
        files=("hw/requantize.py",), tests=("tb/hw/test_requantize.py::test_requantize",), hardware=True, sample=150
    ),
    "planner": Target(
        files=tuple(f"sw/compiler/{name}.py" for name in ("memory", "schedule", "placement", "stripes")),
        tests=("tb/compiler/test_compiler.py", "tb/system/test_accelerator.py"),
    ),
    "sliding": Target(
        files=("sw/compiler/sliding.py",), tests=("tb/compiler/test_sliding.py", "tb/compiler/test_ways.py")
    ),
    "lowering": Target(
        files=_lowering("kernel", "weighted", "zero_points", "reduction", "transposed", "lower", "copies", "arrange"),
        tests=("tb/compiler", "tb/graph"),
        sample=300,
    ),
    "cycles": Target(files=("sim/cycles.py",), tests=("tb/system/test_accelerator.py::test_cycle_model",)),
}
