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
    benches: tuple[str, ...] = ()
    """Files of the benches that the tests run, if the mutants change Verilog: their simulations are kept apart and
    thrown away."""
    sample: int | None = None
    """How many mutants are tried, if not all; always the same ones."""


def _lowering(*names: str) -> tuple[str, ...]:
    return tuple(f"sw/compiler/lowering/{name}.py" for name in names)


CYCLE_CONFIGS = (
    "tiny", "tiny,pe=bitserial",
    "tiny,rows=16,cols=6,lanes=3,weight_rows=4,positions=256,weight_bytes=32768,overlap=1",
)  # fmt: skip
TARGETS: dict[str, Target] = {
    "scaling": Target(files=("sim/golden/scaling.py",), tests=("tb/sim/test_golden.py",)),
    "crc": Target(
        files=("hw/link/framing.py",),
        tests=("tb/hw/link/test_framing.py",),
        benches=("sw/testing/benches/framing.py",),
        sample=40,
    ),
    "nest": Target(
        files=("hw/pipelined/nest.py",),
        tests=tuple(
            f"tb/hw/pipelined/test_nest.py::test_{name}" for name in ("rejects", "nest[1]", "staged", "nest[9]")
        ),
        benches=("sw/testing/benches/nest.py",),
        sample=20,
    ),
    "sequencer": Target(
        files=("hw/pipelined/sequencer.py",),
        tests=("tb/hw/pipelined/test_sequencer.py",),
        benches=("sw/testing/benches/sequencer.py",),
        sample=20,
    ),
    "requantize": Target(
        files=("hw/requantize.py",),
        tests=("tb/hw/test_requantize.py::test_by_the_million", "tb/hw/test_requantize.py::test_requantize"),
        benches=("sw/testing/benches/requantize.py",),
        sample=20,
    ),
    "planner": Target(
        files=("sw/compiler/memory.py", "sw/compiler/schedule.py", "sw/compiler/placement.py"),
        tests=("tb/compiler/test_planner.py", "tb/compiler/test_compiler.py"),
    ),
    "sliding": Target(
        files=("sw/compiler/sliding.py",),
        tests=(
            *(
                f"tb/compiler/test_sliding.py::test_{name}"
                for name in ("every_walk_that_is_right", "programs_of_every_walk")
            ),
            "tb/compiler/test_ways.py::test_programs_of_random_layers",
            "tb/compiler/test_sliding.py",
        ),
        sample=80,
    ),
    "lowering": Target(
        files=_lowering("kernel", "weighted", "zero_points", "reduction", "transposed", "lower", "copies", "arrange"),
        tests=(
            "tb/compiler/test_lowering.py",
            "tb/compiler/test_ways.py::test_programs_of_random_layers",
        ),
        sample=30,
    ),
    "cycles": Target(
        files=("sim/cycles.py",),
        tests=(
            "tb/sim/test_cycles.py",
            *(f"tb/system/test_accelerator.py::test_cycle_model[{config}]" for config in CYCLE_CONFIGS),
            "tb/graph/test_softmax_layers.py",
            "tb/graph/test_pairs.py",
        ),
        sample=30,
    ),
}
