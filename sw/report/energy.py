"""What an inference takes of energy, by layer and by module: toggles that are counted in the Verilated gateware, times
published figures. An estimate; nothing is measured on hardware."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sateen.compiler import Model, Part
from sateen.errors import InputError
from sateen.files import read_bytes
from sateen.fpga.energy import FACTOR, Coefficients, Estimate, Source, kind_of
from sateen.fpga.parts import Part as Chip
from sateen.hw.spec.config import Config
from sateen.records import read
from sateen.runtime import Device
from sateen.runtime.inference import Job
from sateen.runtime.link import Link, Operation
from sateen.runtime.loaded import Progress
from sateen.runtime.transport import CountingTransport
from sateen.sim.counted import CountingDevice, Toggles

__all__ = ["EnergyRecord", "LayerEnergy", "ModuleEnergy", "WatchedDevice", "energy"]

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class LayerEnergy:
    """One layer on the device, in one inference."""

    name: str
    op: str
    macs: int
    cycles: float
    """Cycles in which a descriptor of the layer was under way."""
    toggles: float
    """Bits of registers that toggled meanwhile."""
    logic: Estimate
    """Registers, LUTs and wires."""
    multipliers: Estimate
    memory: Estimate
    """Block RAMs, by cycles."""
    clock: Estimate
    """The clock's network, by cycles."""
    dynamic: Estimate
    """The sum of these four."""


@dataclass(frozen=True, kw_only=True)
class ModuleEnergy:
    """A group of modules, in one inference; multipliers are part of their group."""

    name: str
    registers: int
    """Bits of registers, in the simulation."""
    toggles: float
    activity: float
    """Toggles a bit and cycle."""
    logic: Estimate
    multipliers: Estimate


@dataclass(frozen=True, kw_only=True)
class EnergyRecord:
    """What ``sateen energy`` estimates, of the mean inference of its inputs."""

    FORMAT: ClassVar[str] = "sateen.energy/1"

    model: str
    config: str
    part: str
    clock_hz: int
    inferences: int
    """Inputs that were run."""
    cycles: float
    """Of one inference, in which a program ran. What the link and the host take is left out."""
    layers: list[LayerEnergy]
    modules: list[ModuleEnergy]
    toggles: dict[str, float]
    """Per path of a module, bits of its own registers that toggled in one inference."""
    host: list[str]
    """Operators that the host runs, which are left out."""
    dynamic: Estimate
    """The layers' sum."""
    static: Estimate
    """What the part takes while it does nothing, for as long as one inference."""
    static_mw: float
    total: Estimate
    """Dynamic and static."""
    sources: list[Source]

    def document(self) -> dict[str, Any]:
        """The record as JSON-ready values."""
        return {"format": self.FORMAT, **asdict(self)}

    @classmethod
    def load(cls, path: Path) -> EnergyRecord:
        """Reads what ``sateen energy --json`` wrote.

        Raises
        ------
        InputError
            If the file is damaged or something else.
        """
        try:
            document = json.loads(read_bytes(path))
            if document.pop("format") != cls.FORMAT:
                raise ValueError("its format is another one")
            return read(cls, document, "the record")
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror or error}") from error
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise InputError(
                f"{path} holds no {cls.FORMAT}, or is damaged ({error}); write it again with sateen energy --json"
            ) from error


class WatchedDevice(Device):
    """A simulated device that counts toggles, and notes which descriptors ran."""

    def __init__(self, config: Config):
        transport = CountingTransport(config)
        self.simulation: CountingDevice = transport.device
        self.parts: list[Part] = []
        try:
            super().__init__(Link(transport))
        except BaseException:
            transport.close()
            raise

    def run_all(
        self, model: Model, jobs: Sequence[Job], following: Sequence[int] = (), leading: Sequence[Operation] = ()
    ) -> bytes:
        """See :meth:`sateen.runtime.device.Device.run_all`."""
        self.parts += [part for part, _, _ in jobs]
        return super().run_all(model, jobs, following, leading)


def energy(
    device: WatchedDevice,
    model: Model,
    items: Sequence[Mapping[str, Array]],
    part: Chip,
    *,
    progress: Progress | None = None,
) -> EnergyRecord:
    """Runs a model, and estimates the energy of an inference.

    Parameters
    ----------
    device
        Where it runs; its configuration's clock tells for how long.
    items
        Inputs by name, an inference each.
    part
        The FPGA that is meant.
    progress
        Called for each item.

    Raises
    ------
    EnergyUnknown, AreaUnknown
        If there are no figures for the part, or none for the configuration.
    """
    config = device.config
    coefficients = Coefficients.of(config, part)
    loaded = device.load(model)
    device.parts.clear()
    device.simulation.count(lambda register: register.module + "\n" + kind_of(register.module, register.name, config))
    for place, item in enumerate(items, 1):
        loaded.run(dict(item))
        if progress is not None:
            progress(place, len(items))
    counted = device.simulation.counted()
    return _record(device, model, counted, coefficients, len(items), part)


def _record(
    device: WatchedDevice, model: Model, counted: Toggles, per: Coefficients, count: int, part: Chip
) -> EnergyRecord:
    config, share = device.config, 1 / count
    paths, kinds = zip(*(name.split("\n") for name in counted.groups), strict=True)
    bits = _by(kinds, counted.bits)
    names = [model.layer_at(device.parts[run], place).name
             for run, place in zip(counted.run.tolist(), counted.place.tolist(), strict=True)]  # fmt: skip
    layers = []
    for layer in model.layers:
        rows = np.array([name == layer.name for name in names], bool)
        cycles = int(counted.cycles[rows].sum())
        toggled = {kind: int(values[rows].sum()) for kind, values in bits.items()}
        logic, multipliers = _sum(toggled, per)
        memory, clock = per.memory * cycles, per.clock * cycles
        layers.append(
            LayerEnergy(
                name=layer.name, op=layer.op, macs=layer.macs, cycles=cycles * share,
                toggles=sum(toggled.values()) * share, logic=logic * share, multipliers=multipliers * share,
                memory=memory * share, clock=clock * share, dynamic=(logic + multipliers + memory + clock) * share,
            )
        )  # fmt: skip
    cycles = int(counted.cycles.sum())
    dynamic = sum((layer.dynamic for layer in layers), Estimate())
    static = per.static * (cycles / config.clock_hz * share)
    return EnergyRecord(
        model=model.graph.name, config=config.text, part=part.title, clock_hz=config.clock_hz, inferences=count,
        cycles=cycles * share, layers=layers, modules=_modules(device, bits, per, cycles, count),
        toggles={path: int(values.sum()) * share for path, values in _by(paths, counted.bits).items()},
        host=list(dict.fromkeys(step.host for step in model.steps if step.host)),
        dynamic=dynamic, static=static, static_mw=per.static.uj / 1e3, total=dynamic + static,
        sources=list(per.sources),
    )  # fmt: skip


def _by(names: Sequence[str], bits: Array) -> dict[str, Array]:
    """The columns of each name, added up."""
    found: dict[str, Array] = {}
    for place, name in enumerate(names):
        found[name] = found[name] + bits[:, place] if name in found else bits[:, place]
    return found


def _sum(toggled: Mapping[str, int], per: Coefficients) -> tuple[Estimate, Estimate]:
    """What toggles by kind take in logic, and in multipliers."""
    logic = multipliers = Estimate()
    for kind, count in toggled.items():
        group, _, within = kind.partition("+")
        if within == FACTOR:
            multipliers += per.multiplier * count
        elif not within:
            logic += per.logic[group] * count
    return logic, multipliers


def _modules(
    device: WatchedDevice, bits: Mapping[str, Array], per: Coefficients, cycles: int, count: int
) -> list[ModuleEnergy]:
    """The groups, those that take most first."""
    registers: Counter[str] = Counter()
    for each in device.simulation.registers:
        registers[kind_of(each.module, each.name, device.config).partition("+")[0]] += each.bits
    found = []
    for group, held in registers.items():
        kinds = {kind: int(values.sum()) for kind, values in bits.items() if kind.partition("+")[0] == group}
        logic, multipliers = _sum(kinds, per)
        toggles = sum(kinds.values())
        found.append(
            ModuleEnergy(
                name=group, registers=held, toggles=toggles / count,
                activity=toggles / (cycles * held) if cycles else 0.0,
                logic=logic * (1 / count), multipliers=multipliers * (1 / count),
            )
        )  # fmt: skip
    return sorted(found, key=lambda each: -(each.logic + each.multipliers).uj)
