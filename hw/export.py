"""Generated Verilog: the complete accelerator or a part of it, with its ports documented in the header."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from amaranth._toolchain.yosys import find_yosys
from amaranth.hdl import Shape, Signal, ValueCastable
from amaranth.lib import data, wiring
from amaranth.utils import ceil_log2

from sateen.hw.rtlil import Contents, collected_later, converted, merged, without_contents
from sateen.hw.spec.config import Config

__all__ = ["PARTS", "ports", "started", "verilog"]

WAIVERS = {
    "DECLFILENAME": "one file holds all modules",
    "UNSIGNED": "an offset may be zero, and everything is at least that",
    "UNUSEDSIGNAL": "every field of a word has a name, used or not",
    "ASCRANGE": "a field without bits is written [-1:0]",
    "WIDTHEXPAND": "operands are written without their extension",
    "WIDTHTRUNC": "conditions are written as whole words",
    "CASEINCOMPLETE": "defaults stand before the case",
    "PINMISSING": "outputs that an instance does not need are left open",
    "INITIALDLY": "what makes blocks run at the start changes after all of them wait",
    "PROCASSINIT": "registers have their reset values from the start",
}
"""Of ``verilator --lint-only -Wall``: what Yosys's Verilog writer causes."""


KEYWORDS = """
    always and assign automatic begin buf bufif0 bufif1 case casex casez cell cmos config deassign default defparam
    design disable edge else end endcase endconfig endfunction endgenerate endmodule endprimitive endspecify endtable
    endtask event for force forever fork function generate genvar highz0 highz1 if ifnone incdir include initial inout
    input instance integer join large liblist library localparam macromodule medium module nand negedge nmos nor
    noshowcancelled not notif0 notif1 or output parameter pmos posedge primitive pull0 pull1 pulldown pullup
    pulsestyle_onevent pulsestyle_ondetect rcmos real realtime reg release repeat rnmos rpmos rtran rtranif0 rtranif1
    scalared showcancelled signed small specify specparam strong0 strong1 supply0 supply1 table task time tran tranif0
    tranif1 tri tri0 tri1 triand trior trireg unsigned use uwire vectored wait wand weak0 weak1 while wire wor xnor
    xor
"""
"""Of IEEE 1364-2005."""


def _accelerator(config: Config) -> wiring.Component:
    from sateen.hw.top import Accelerator

    return Accelerator(config)


def _accelerator_bytes(config: Config) -> wiring.Component:
    from sateen.hw.top import Accelerator

    return Accelerator(config, link="bytes")


def _accelerator_axi(config: Config) -> wiring.Component:
    from sateen.hw.axi import AxiAccelerator

    return AxiAccelerator(config)


def _engine(config: Config) -> wiring.Component:
    from sateen.hw.engines import create_engine

    return create_engine(config)


def _tile(config: Config) -> wiring.Component:
    from sateen.hw.pe.shape import ArrayShape
    from sateen.hw.tile import Tile

    return Tile(ArrayShape.of(config), position_bits=ceil_log2(config.positions), in_place=bool(config.overlap))


def _requantize(config: Config) -> wiring.Component:
    from sateen.hw.requantize import Requantize

    return Requantize()


def _scratchpad(config: Config) -> wiring.Component:
    from sateen.hw.scratchpad import Scratchpad

    return Scratchpad(banks=config.banks, depth=config.scratchpad_bytes // config.banks)


def _multiplier(config: Config, *, widths: tuple[int, int] = (8, 8)) -> wiring.Component:
    from sateen.hw.stream.serial import BitSerialMultiplier

    return BitSerialMultiplier(a_bits=widths[0], b_bits=widths[1])


def _uart(config: Config) -> wiring.Component:
    from sateen.hw.link.uart import UART

    return UART(clock_hz=config.clock_hz, baud=config.baud)


def _endpoint(config: Config) -> wiring.Component:
    from sateen.hw.link.endpoint import Endpoint

    return Endpoint(config)


def _term_encoder(config: Config) -> wiring.Component:
    from sateen.hw.pe.term_edges import TermEncoder

    return TermEncoder()


PARTS: dict[str, Callable[..., wiring.Component]] = {
    "accelerator": _accelerator,
    "accelerator-bytes": _accelerator_bytes,
    "accelerator-axi": _accelerator_axi,
    "engine": _engine,
    "tile": _tile,
    "requantize": _requantize,
    "scratchpad": _scratchpad,
    "endpoint": _endpoint,
    "uart": _uart,
    "bitserial-multiplier": _multiplier,
    "term-encoder": _term_encoder,
}
"""What can be exported, by name: called with a configuration; ``bitserial-multiplier`` takes the ``widths`` of its
factors too."""


def ports(component: wiring.Component) -> list[Signal]:
    """The component's ports but constant ones, as the ``ready`` of a stream that is always ready."""
    found = []
    for _, _, value in component.signature.flatten(component):
        plain = value.as_value() if isinstance(value, ValueCastable) else value
        if isinstance(plain, Signal):
            found.append(plain)
    return found


def verilog(component: wiring.Component, *, name: str, header: str = "") -> str:
    """The component as Verilog, one self-contained file, in which every module stands once
    (:func:`sateen.hw.rtlil.merged`).

    Parameters
    ----------
    name
        Of the top module. The names of all others begin with it and an underscore, so that several accelerators stand
        in one design by different names.
    header
        What the file's first lines say, before the documentation of the ports.

    Raises
    ------
    ValueError
        If ``name`` is no name of a Verilog module.
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or name in KEYWORDS.split():
        raise ValueError(f"{name!r} names no Verilog module; use letters, digits and _, not a digit first, no keyword")
    with collected_later():
        design, contents = without_contents(merged(converted(component, name=name, ports=ports(component))))
    text = _written(design, contents)
    lines = [*header.splitlines(), "", *_documentation(component, name)]
    comment = "\n".join(f"// {line}".rstrip() for line in lines)
    waivers = "\n".join(f"/* verilator lint_off {code} */  // {why}" for code, why in WAIVERS.items())
    return f"{comment}\n\n{waivers}\n\n{text}"


def _written(design: str, contents: list[Contents]) -> str:
    """A design in RTLIL, and what its memories hold at the start, as Verilog by Yosys, which would write that word by
    word."""
    script = f"""read_rtlil <<end_of_design
{design}
end_of_design
proc -nomux -norom
memory_collect
attrmap -remove generator -remove top
attrmap -modattr -remove generator -remove top
write_verilog
"""
    # It warns that not every process can be written; Amaranth's all can.
    text = find_yosys(lambda version: version >= (0, 40)).run(["-q", "-"], script, ignore_warnings=True)
    # A register has its initial value beside it.
    text = re.sub(r"^  \(\* init = .* \*\)\n(?=  (?:output .*\n  )?wire )", "", text, flags=re.MULTILINE)
    text = started(text)
    for one in contents:
        # A name that Verilog has a use for is written with a backslash before it and a space behind.
        memory = rf"  reg (?:\[\d+:\d+\] )?(\\{re.escape(one.memory)} |{re.escape(one.memory)}) \[\d+:\d+\];\n"
        within = rf"^module {re.escape(one.module)} ?\(.*\n(?:(?!endmodule).*\n)*?{memory}"

        def fill(match: re.Match[str], one: Contents = one) -> str:
            return match[0] + _filled(one, match[1])

        text, found = re.subn(within, fill, text, count=1, flags=re.MULTILINE)
        if not found:
            raise RuntimeError(
                f"Yosys wrote no memory {one.memory} in module {one.module}, whose initial words belong there"
            )
    return text


def started(text: str) -> str:
    """Verilog of Yosys in which every block runs at the start, whatever the simulator.

    Yosys gives a module a register that all blocks of combinational logic are sensitive to, and an initial value in its
    declaration. In SystemVerilog, and in Icarus Verilog with ``-g2012``, it has that value before any block waits for a
    change: outputs of blocks whose inputs are constant at the start would stay undefined. What is assigned here changes
    after all blocks wait. The register gets a name that reads well.
    """
    name = r"\\\$auto\$verilog_backend\.cc:\d+:dump_module\$\d+ "
    text = re.sub(rf"^  reg {name}\s*= 0;$", "  reg _start_;\n  initial _start_ <= 1'b0;", text, flags=re.MULTILINE)
    return re.sub(name, "_start_", text)


def _filled(contents: Contents, name: str) -> str:
    """A memory's initial words: a loop over all, then those that are not as most are."""
    (most, _), *_ = Counter(contents.words).most_common(1)
    width, digits = contents.width, -(-contents.width // 4)
    lines = [
        f"initial begin : {re.sub('[^A-Za-z0-9_]', '_', contents.memory)}_init",
        "  integer i;",
        f"  for (i = 0; i < {len(contents.words)}; i = i + 1)",
        f"    {name}[i] = {width}'h{most:0{digits}x};",
        *(f"  {name}[{at}] = {width}'h{word:0{digits}x};" for at, word in enumerate(contents.words) if word != most),
        "end",
    ]
    return "".join(f"  {line}\n" for line in lines)


def _documentation(component: wiring.Component, name: str) -> Iterator[str]:
    """The component's own words, and a table of its ports."""
    document = inspect.cleandoc(type(component).__doc__ or "")
    text, _, members = document.partition("Members\n-------\n")
    text = text.partition("Parameters\n----------")[0]
    yield from f"{name}: {text}".rstrip().splitlines()
    yield ""
    yield "Members:"
    yield from (f"  {line}" for line in members.splitlines())
    yield ""
    yield "Ports, all synchronous to the rising edge of clk; rst is synchronous and active high:"
    rows: list[tuple[str, int, str, Any]] = [("in", 1, "clk", None), ("in", 1, "rst", None)]
    for path, member, value in component.signature.flatten(component):
        plain = value.as_value() if isinstance(value, ValueCastable) else value
        if isinstance(plain, Signal):
            rows.append(("in" if member.flow == wiring.In else "out", len(plain), "__".join(map(str, path)), value))
    for direction, width, port, value in rows:
        size = f"[{width - 1}:0]" if width > 1 else ""
        yield f"  {direction:4}{size:10}{re.sub(r'[^A-Za-z0-9_]', '_', port)}"
        if isinstance(value, data.View):
            yield from (f"      {line}" for line in _fields(value.shape()))


def _fields(layout: Any, offset: int = 0, prefix: str = "") -> Iterator[str]:
    """Where the fields of a word stand."""
    if isinstance(layout, data.ArrayLayout):
        width = Shape.cast(layout.elem_shape).width
        yield f"{prefix}[0 to {layout.length - 1}]: {width} bits each, from bit {offset} on"
        return
    for name, field in layout:
        shape, low = field.shape, offset + field.offset
        if isinstance(shape, data.Layout):
            yield from _fields(
                shape, low, f"{prefix}{name}" if isinstance(shape, data.ArrayLayout) else f"{prefix}{name}."
            )
        elif field.width:
            yield (
                f"{prefix}{name}: bit {low}"
                if field.width == 1
                else f"{prefix}{name}: bits {low + field.width - 1} to {low}"
            )
