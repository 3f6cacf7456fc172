"""Toggles of registers, on designs made by hand of which every toggle is known."""

import numpy as np
import pytest

from sateen.hw.spec.config import parse_config
from sateen.sim import verilated
from sateen.sim.cache import Cache
from sateen.sim.counted import CountingDevice, Register
from sateen.sim.errors import SimulationError

BUSY = 33
"""Cycles in which the program runs; what changes with the first of its edges is seen after that."""
DESIGN = """
module sateen_counter(clk, go, count);
  input clk;
  input go;
  output [4:0] count;
  reg [4:0] count = 5'h00;
  reg [99:0] wide = 100'h0;
  always @(posedge clk)
    count <= count + {{4'h0, go}};
  always @(posedge clk)
    wide <= go ? ~wide : wide;
endmodule
module sateen_watchdog(clk, place);
  input clk;
  input [7:0] place;
  wire [7:0] place;
endmodule
module sateen(clk, rst, rx__valid, rx__payload, rx__ready, tx__valid, tx__payload, tx__ready, busy);
  input clk;
  input rst;
  input rx__valid;
  input [7:0] rx__payload;
  output rx__ready;
  output tx__valid;
  output [7:0] tx__payload;
  input tx__ready;
  output busy;
  wire [4:0] count;
  wire [4:0] count_1;
  reg [6:0] left = 7'h00;
  reg \\odd.name = 1'h0;
  reg [7:0] memory [3:0];
  always @(posedge clk)
    left <= rx__valid ? 7'd{busy} : left - {{6'h0, busy}};
  always @(posedge clk)
    \\odd.name <= \\odd.name ^ 1'h1;
  always @(posedge clk) begin
    if (busy)
      memory[count[1:0]] <= {{3'h0, count}};
  end
  assign busy = left != 7'h00;
  assign rx__ready = 1'h1;
  assign tx__valid = memory[rx__payload[1:0]] == 8'hff;
  assign tx__payload = rx__payload;
  sateen_counter a (.clk(clk), .go(busy), .count(count));
  sateen_counter b (.clk(clk), .go(busy & left[0]), .count(count_1));
  sateen_watchdog watchdog (.clk(clk), .place(count_1 < 5'd8 ? 8'd0 : 8'd3));
endmodule
"""


class Made(CountingDevice):
    """A design of a text."""

    def __init__(self, folder):
        self.folder = folder
        super().__init__(parse_config("tiny"))

    def _build(self, config, trace):
        verilog = DESIGN.format(busy=BUSY).lstrip()
        return verilated._compile(verilog, config, self.folder, Cache("sim"), trace=False, extra=verilated.ACTIVITY)


@pytest.fixture(scope="module")
def device(tmp_path_factory):
    with Made(tmp_path_factory.mktemp("design")) as device:
        yield device


def test_every_register_is_found(device):
    """By module and name; no memory, wire or port is among them."""
    assert set(device.registers) == {
        Register(module="", name="left", bits=7), Register(module="", name="odd.name", bits=1),
        *(Register(module=module, name=name, bits=bits)
          for module in "ab" for name, bits in (("count", 5), ("wide", 100))),
    }  # fmt: skip


def test_every_toggle_is_counted(device):
    """A counter of five bits through all its values toggles 62 times, a register of 100 bits that is inverted all of
    them; of each program alike."""
    for _ in range(3):
        device.count(lambda register: f"{register.module}.{register.name}")
        device.exchange(b"\0", max_cycles=2 * BUSY)
        found = device.counted()
        bits = dict(zip(found.groups, found.bits.sum(0).tolist(), strict=True))
        assert found.cycles.sum() == BUSY and set(found.run) == {0}
        assert bits["a.count"] == 2 * 31 and bits["a.wide"] == 100 * (BUSY - 1)
        # Every other cycle.
        assert bits["b.wide"] == 100 * (BUSY // 2) and bits[".odd.name"] == BUSY
        # From 0 to 33, and down to 1.
        assert bits[".left"] == sum((value ^ value - 1).bit_count() for value in range(2, BUSY + 1)) + 2
        assert (found.cycles > 0).all() and set(found.place.tolist()) <= {0, 3}


def test_descriptors_and_programs_are_told_apart(device):
    """What toggles goes to the descriptor that is under way, and the sum stays the same."""
    device.count(lambda register: "all")
    for _ in range(4):
        device.exchange(b"\0", max_cycles=2 * BUSY)
    found = device.counted()
    assert found.run.tolist() == sorted(found.run.tolist()) and set(found.run.tolist()) == set(range(4))
    assert {0, 3} == set(found.place.tolist()) and len(found.run) > 4
    whole = np.array([found.bits[found.run == run].sum() for run in range(4)])
    assert found.groups == ("all",) and [found.cycles[found.run == run].sum() for run in range(4)] == [BUSY] * 4
    # The second counter goes on where it was: all else is the same.
    assert np.ptp(whole) < 40


def test_a_count_is_begun_first(device):
    with pytest.raises(SimulationError, match="call count"):
        device.counted()
