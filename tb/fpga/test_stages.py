"""What the logs and reports of Yosys and nextpnr say: stages, and registers by their names in the design."""

import pytest

from sateen.fpga.estimate import MEASURED, processor_seconds
from sateen.fpga.stages import nextpnr_stage, yosys_stage
from sateen.fpga.timing import register
from sateen.hw.spec.config import PRESETS


@pytest.mark.parametrize(("cell", "text"), [
    ("system.accelerator.endpoint.fsm_state_TRELLIS_FF_Q_3", "endpoint.fsm_state"),
    ("system.accelerator.engine.counters.$signal_SB_DFFESR_Q_2_D_SB_LUT4_O_LC", "engine.counters"),
    ("system.accelerator.engine.records.r_data$14_TRELLIS_FF_Q_1", "engine.records.r_data"),
    ("system.accelerator.engine.memory.bank_7.memory.0.1_RAM", "engine.memory.bank_7.memory (column 7)"),
    ("system.accelerator.engine.weight_store.memory.lanes_4.block_2.x.ram_1.0.0",
     "engine.weight_store.memory.lanes_4.block_2.x.ram_1 (row 2, column 5)"),
    ("system.accelerator.engine.accumulators.column_3_half_1.memory.0.0",
     "engine.accumulators.column_3_half_1.memory (row 1, column 3)"),
    ("system.uart.phase$12_TRELLIS_FF_Q", "board.uart.phase"),
    ("system.uart.$signal$13_DFFRE_Q_3", "board.uart"),
    ("locked_LUT1_I0_F_DFFP_PRESET_Q", "board.locked"),
])  # fmt: skip
def test_registers_have_the_names_of_the_design(cell, text):
    """Cells of real reports."""
    assert str(register(cell)) == text


YOSYS = """
2.31. Executing OPT_EXPR pass (perform const folding).
Optimizing module sateen.

2.32. Executing TECHMAP pass (map to technology primitives).
"""
PLACED = """
Info: Running main analytical placer, max placement attempts per cell = 137017458.
Info:     at iteration #1, type ALL: wirelen solved = 5735, spread = 521201, legal = 556239; time = 5.72s
"""
REFINED = PLACED + "Info:   at iteration #38: temp = 0.000000, timing cost = 930, wirelen = 260814 \n"
ROUTED = REFINED + """
Info: Max frequency for clock '$glbnet$clk': 110.02 MHz (FAIL at 115.00 MHz)
Info: Routing 76317 arcs.
Info:            |   (re-)routed arcs  |   delta    | remaining|       time spent     |
"""
ARCS = ROUTED + "Info:      25000 |     9085      15914 |  244   756 |     60402|       2.97     484.45|\n"
DONE = ARCS + """
Info: Router1 time 1045.75s
Info: Max frequency for clock         'clk': 122.44 MHz (PASS at 115.00 MHz)
"""


@pytest.mark.parametrize(("stage", "log", "text"), [
    (yosys_stage, "", "starting Yosys, whose first call takes a minute longer"),
    (yosys_stage, "/* Yosys", "synthesizing"),
    (nextpnr_stage, "", "starting nextpnr, whose first call takes a minute longer"),
    (yosys_stage, YOSYS, "synthesizing, step 2.32 (TECHMAP)"),
    (nextpnr_stage, "Info: Packing constants..", "packing cells"),
    (nextpnr_stage, PLACED, "placing, round 1, 556,239 tiles of wire"),
    (nextpnr_stage, REFINED, "refining the placement, round 38, 260,814 tiles of wire"),
    (nextpnr_stage, ROUTED, "routing 76,317 arcs, estimated clock 110.0 MHz"),
    (nextpnr_stage, ARCS, "routing, 60,402 of 76,317 arcs left, estimated clock 110.0 MHz"),
    (nextpnr_stage, DONE, "analysing the timing, estimated clock 122.4 MHz"),
])  # fmt: skip
def test_stages_are_those_of_the_logs(stage, log, text):
    """Lines of real logs."""
    assert stage(log) == text


def test_estimate():
    """The measured builds themselves, more for more PEs, and no less than the smallest."""
    for name, pes in (("tiny", 16), ("micro", 16), ("large", 256)):
        assert processor_seconds(PRESETS[name]) == pytest.approx(MEASURED[pes])
    for few, between, many in zip(MEASURED[16], processor_seconds(PRESETS["small"]), MEASURED[256], strict=True):
        assert few < between < many
