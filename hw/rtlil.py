"""Designs in Yosys's RTLIL as Amaranth writes it, a module for each instance of a component: here equal ones become
one.

Two modules are equal if they say the same but for the names that stand for nothing: those of anonymous wires and cells,
of ports that Amaranth names after its own nets, of the clock domain. Which of their outputs are used may differ.
Whatever else differs, as a parameter, an initial value or an input that is constant in one of them, keeps them apart.
The names of instances stay, and with them all paths.
"""

from __future__ import annotations

import gc
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import Fragment, Signal
from amaranth.hdl._ast import SignalDict
from amaranth.hdl._ir import build_netlist
from amaranth.lib import wiring

__all__ = ["Contents", "collected_later", "converted", "merged", "without_contents"]

MODULE = re.compile(r"^((?:attribute [^\n]*\n)*)module \\(\S+)\n(.*?)^end\n", re.MULTILINE | re.DOTALL)
WIRE = re.compile(
    r"^((?:  attribute .*\n)*)  wire width (\d+) (?:(input|output|inout) \d+ )? *(signed )?(\S+)\n", re.MULTILINE
)
CELL = re.compile(r"^  cell \\(\S+) (\S+)\n((?:    .*\n)*)  end\n", re.MULTILINE)
PIN = re.compile(r"^    connect (\S+) (.*)\n", re.MULTILINE)
CONNECT = re.compile(r"^connect (\S+) (.*)\n", re.MULTILINE)
PART = re.compile(r"(\d+)'\S*|([\\$]\S+)(?: \[(\d+)(?::(\d+))?\])?")
"""Of what is connected: a constant or bits of a wire."""
NAME = re.compile(r"^( +(?:parameter|attribute) .*|  cell \S+|    connect \S+)|(?<!\S)([\\$]\S+)", re.MULTILINE)
"""What is kept, as types, pins and values, or the name of something in the module."""
ANONYMOUS = re.compile(r"\$\d+|\\port\$\d+\$\d+")
CONTENTS = re.compile(
    r"""^  cell \$meminit_v2 \S+
    parameter \\MEMID "\\\\(.*)"
    parameter \\ABITS 0
    parameter \\WIDTH (\d+)
    parameter \\WORDS (\d+)
    parameter \\PRIORITY 0
    connect \\ADDR \{ *\}
    connect \\DATA \d+'([01]*)
    connect \\EN .*
  end
""",
    re.MULTILINE,
)
"""A memory's initial words, all in one cell."""
INSTANCE = re.compile(r"^  cell \S+ (\\\S+)$", re.MULTILINE)
MEMORIES = re.compile(r"^  memory width \d+ size \d+ (\S+)$", re.MULTILINE)
MEMORY = re.compile(r'(?<=    parameter \\MEMID "\\\\).*(?="$)', re.MULTILINE)


@dataclass(frozen=True)
class _Wire:
    """A wire of a module."""

    width: int
    port: str
    """``input``, ``output``, ``inout``, or empty."""
    signed: bool
    attributes: str


@dataclass
class _Module:
    """A module's text, taken apart."""

    attributes: str
    wires: dict[str, _Wire]
    body: str
    """Memories, cells, processes and connections."""
    renamed: dict[str, str] = field(default_factory=dict)
    """From Amaranth's names to those that count in a comparison."""


@dataclass(frozen=True)
class Contents:
    """What a memory holds at the start."""

    module: str
    memory: str
    width: int
    words: tuple[int, ...]


@contextmanager
def collected_later() -> Iterator[None]:
    """Without looking for garbage: a design is a great many objects that stay, among which Python looks for it half of
    the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Emitter(rtlil.ModuleEmitter):
    """Amaranth's own, but for memories' contents, of which that makes an object a bit."""

    def emit_memory(self, cell_idx: int, cell: Any) -> None:
        bits = (
            "".join(f"{word & (1 << cell.width) - 1:0{cell.width}b}" for word in reversed(cell.init))
            if cell.width
            else ""
        )
        self.builder.cell(
            "$meminit_v2",
            ports={"ADDR": self.sigspec(), "DATA": f"{len(bits)}'{bits}", "EN": f"{cell.width}'{'1' * cell.width}"},
            parameters={
                "MEMID": self.memories[cell_idx].memid,
                "ABITS": 0,
                "WIDTH": cell.width,
                "WORDS": cell.depth,
                "PRIORITY": 0,
            },
        )


def converted(component: wiring.Component, *, name: str, ports: list[Signal], platform: object = None) -> str:
    """A component as :func:`amaranth.back.rtlil.convert` writes it without the places in its source, in a third of the
    time."""
    with collected_later():
        netlist = build_netlist(Fragment.get(component, platform), ports=ports, name=name)
        design, names, empty = rtlil.Design(emit_src=False), SignalDict(), rtlil.EmptyModuleChecker(netlist)
        for index, module in enumerate(netlist.modules):
            if not empty.is_empty(index):
                builder = design.module(".".join(module.name))
                if index == 0:
                    builder.attribute("top", 1)
                _Emitter(builder, netlist, module, names, empty_checker=empty).emit()
        return str(design)


def merged(text: str) -> str:
    """A design with each module once, named after the top module and what the first of its instances is called, without
    numbers: ``sateen_pe``, and ``sateen_pe_1`` if there is a second kind.

    Aliases that say nothing new are left out, but for those that synthesis is to keep, and names without a dollar sign
    take the place of those with one. The top module's ports and the names of instances stay.
    """
    modules = {name: _Module(attributes, *_wires(inner)) for attributes, name, inner in MODULE.findall(text)}
    top = next(iter(modules))
    found: dict[object, str] = {}
    same: dict[str, str] = {}
    # Those inside others come after them.
    for name, module in reversed(modules.items()):
        _canonical(module, modules, same, top=name == top)
        wires = {
            wire: replace(what, port="" if what.port == "output" else what.port) for wire, what in module.wires.items()
        }
        key = (
            name
            if name == top
            else (module.attributes, module.body, tuple(sorted(wires.items(), key=lambda item: item[0])))
        )
        first = same[name] = found.setdefault(key, name)
        for wire, what in module.wires.items():
            if what.port:
                modules[first].wires[wire] = what
    kinds = list(dict.fromkeys(same[name] for name in modules))
    names = _names(top, kinds, same)
    public = {kind: _public(modules[kind], top=kind == top) for kind in kinds}
    return "".join(_text(modules[kind], names[kind], public[kind], names, public) for kind in kinds)


def _wires(inner: str) -> tuple[dict[str, _Wire], str]:
    wires = {
        name: _Wire(int(width), port, bool(signed), attributes)
        for attributes, width, port, signed, name in WIRE.findall(inner)
    }  # fmt: skip
    return wires, re.sub(r"\n+", "\n", WIRE.sub("", inner)).lstrip("\n")


def _canonical(module: _Module, modules: dict[str, _Module], same: dict[str, str], *, top: bool) -> None:
    """Renames what has no name of its own, instances' types and their pins."""
    clocks: set[str] = set()

    def instance(match: re.Match[str]) -> str:
        kind, name, pins = match.groups()
        if kind not in same:
            return match[0]
        renamed = modules[kind].renamed
        pairs = sorted((renamed.get(pin, pin), value) for pin, value in PIN.findall(pins))
        clocks.update(value.removesuffix(" [0]") for pin, value in pairs if pin == "\\clk")
        return "".join(
            [f"  cell \\{same[kind]} {name}\n", *(f"    connect {pin} {value}\n" for pin, value in pairs), "  end\n"]
        )

    body = CELL.sub(instance, module.body)
    renamed = module.renamed
    clocks |= set(re.findall(r"^    connect \\CLK\w? (\S+) \[0\]\n", body, re.MULTILINE))
    if not top and len(clocks) == 1:
        (clock,) = clocks
        for name, own in ((clock, "\\clk"), (clock.removesuffix("clk") + "rst", "\\rst")):
            if (
                clock.endswith("_clk")
                and own not in module.wires
                and name in module.wires
                and module.wires[name].port == "input"
            ):
                renamed[name] = own

    def rename(match: re.Match[str]) -> str:
        kept, name = match.groups()
        if kept is not None:
            return kept
        if name not in renamed and ANONYMOUS.fullmatch(name):
            renamed[name] = f"${len(renamed) + 1}"
        return renamed.get(name, name)

    module.body = NAME.sub(rename, body)
    for name in module.wires:
        if name not in renamed and ANONYMOUS.fullmatch(name):
            renamed[name] = f"${len(renamed) + 1}"
    module.wires = {renamed.get(name, name): wire for name, wire in module.wires.items()}


def _names(top: str, kinds: list[str], same: dict[str, str]) -> dict[str, str]:
    """For each kind of module."""
    first: dict[str, str] = {}
    for name, kind in same.items():
        # Of several instances the outermost and first: they come last here.
        first[kind] = name
    names, taken = {}, set[str]()
    for kind in kinds:
        role = re.sub(r"_\d+(?=_|$)", "", re.sub(r"\W.*", "", first[kind].rpartition(".")[2])) or "part"
        names[kind] = top if kind == top else _free(f"{top}_{role}", taken)
        taken.add(names[kind])
    return names


def _free(name: str, taken: set[str]) -> str:
    """``name``, or with the first number that is not taken."""
    number, result = 0, name
    while result in taken:
        number += 1
        result = f"{name}_{number}"
    return result


def _public(module: _Module, *, top: bool) -> dict[str, str]:
    """Leaves aliases out, and gives names to ports that have none, and others to what has a dollar sign in its name."""
    wires, connections = module.wires, CONNECT.findall(module.body)
    ports = {name for name, wire in wires.items() if wire.port}
    plain = {name: _fed(name, wires[name], connections) for name in ports if name.startswith("$")}
    uses = Counter(name for _, name in NAME.findall(module.body))

    def connect(match: re.Match[str]) -> str:
        name, value = match.groups()
        alias = name in wires and name not in ports and uses[name] == 1 and not value.startswith("[")
        if (
            not alias
            or "\\keep" in wires[name].attributes
            or (wires[name].width and (name.startswith("$") or "$" not in name))
        ):
            return match[0]
        del wires[name]
        return ""

    module.body = CONNECT.sub(connect, module.body)
    instances = set(INSTANCE.findall(module.body))
    names = [
        name
        for name in dict.fromkeys([*sorted(ports), *wires, *MEMORIES.findall(module.body)])
        if name not in instances
    ]
    kept = {name for name in names if "$" not in name or (top and name in ports)} | instances
    plain |= {name: re.sub(r"\$\d+|\$", "", name) for name in names if not name.startswith("$")}
    public: dict[str, str] = {}
    for name in names:
        if name in plain and name not in kept:
            public[name] = _free(plain[name], kept)
            kept.add(public[name])
    return public


def _fed(port: str, wire: _Wire, connections: list[tuple[str, str]]) -> str:
    """A name for a port: that of what it is connected to, with its bits if these are not all."""
    for name, value in connections:
        at = 0
        for constant, part, high, low in reversed(PART.findall(value)):
            width = int(constant) if constant else int(high) - int(low or high) + 1 if high else wire.width
            if part == port and width == wire.width and name.startswith("\\"):
                bits = f"_{at + width - 1}_{at}" if width > 1 else f"_{at}"
                return re.sub(r"\$\d+|\$|\W+$", "", name[1:]).join(("\\", bits))
            at += width
    return f"\\{wire.port[0]}"


def _text(
    module: _Module, name: str, own: dict[str, str], names: dict[str, str], public: dict[str, dict[str, str]]
) -> str:
    """A module with the names that it and those inside have in the end."""

    def instance(match: re.Match[str]) -> str:
        kind, instance, pins = match.groups()
        if kind not in names:
            return match[0]
        pins = PIN.sub(lambda pin: f"    connect {public[kind].get(pin[1], pin[1])} {pin[2]}\n", pins)
        return f"  cell \\{names[kind]} {instance}\n{pins}  end\n"

    body = NAME.sub(lambda match: match[1] or own.get(match[2], match[2]), CELL.sub(instance, module.body))
    body = MEMORY.sub(lambda match: own.get(f"\\{match[0]}", f"\\{match[0]}")[1:], body)
    ports = sorted(
        (wire for wire, what in module.wires.items() if what.port), key=lambda wire: (wire != "\\clk", wire != "\\rst")
    )
    ids = {wire: index for index, wire in enumerate(ports)}
    wires = []
    for wire, what in module.wires.items():
        port = f"{what.port} {ids[wire]} " if what.port else ""
        wires.append(
            f"{what.attributes}  wire width {what.width} {port}{'signed ' * what.signed}{own.get(wire, wire)}\n"
        )
    return f"{module.attributes}module \\{name}\n{''.join(wires)}{body}end\n"


def without_contents(text: str) -> tuple[str, list[Contents]]:
    """A design without the initial contents of its memories, and these."""
    found: list[Contents] = []

    def module(match: re.Match[str]) -> str:
        attributes, name, inner = match.groups()
        for memory, width, count, data in CONTENTS.findall(inner):
            size = int(width)
            words = (data[len(data) - (place + 1) * size : len(data) - place * size] for place in range(int(count)))
            found.append(Contents(name, memory, size, tuple(int(word or "0", 2) for word in words)))
        return f"{attributes}module \\{name}\n{CONTENTS.sub('', inner)}end\n"

    return MODULE.sub(module, text), found
