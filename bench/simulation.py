"""Speed of the simulated device, compared with a cocotb loop that drives the same accelerator cycle by cycle.

    python bench/simulation.py [PRESET[,field=value…]]

The figures are entered into ``results.json``.

Both execute the same requests over the link and count their clock cycles. On a busy machine, only the ratio is
meaningful.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import results
from sateen.hw.spec.config import parse_config
from sateen.hw.spec.wire import Frame, FrameType, Op, OpHeader, Space, Stuffing

FRAMES = int(os.environ.get("SATEEN_BENCH_FRAMES", 20))


def requests() -> list[bytes]:
    """A session that writes and reads the scratchpad."""
    data = bytes(range(64))
    body = (
        OpHeader(Op.WRITE, Space.SCRATCHPAD, len(data)).encode()
        + data
        + OpHeader(Op.READ, Space.SCRATCHPAD, len(data)).encode()
    )
    return [Frame(FrameType.HELLO, 0).encode()] + [
        Frame(FrameType.REQUEST, seq, body).encode() for seq in range(1, FRAMES)
    ]


def verilated(name: str) -> float:
    """Cycles per second of the simulated device."""
    from sateen.sim.verilated import VerilatedDevice

    with VerilatedDevice(parse_config(name)) as device:
        frames = requests() * 50
        begin, cycles = time.perf_counter(), device.cycles
        for frame in frames:
            assert device.exchange(frame, max_cycles=100_000)
        return (device.cycles - cycles) / (time.perf_counter() - begin)


def with_cocotb(name: str) -> float:
    """Cycles per second of a cocotb loop around the same Verilog, also compiled with optimization."""
    from sateen.hw.export import verilog
    from sateen.hw.top import Accelerator
    from sateen.sim.verilated import VERILATE
    from sateen.testing import runner as cocotb_runner

    runner = cocotb_runner()
    with tempfile.TemporaryDirectory() as work:
        source = Path(work) / "sateen.v"
        source.write_text(verilog(Accelerator(parse_config(name), link="bytes"), name="sateen"))
        flags = VERILATE[VERILATE.index("-O3") :]
        runner.build(
            sources=[source], hdl_toplevel="sateen", build_dir=work,
            build_args=[*flags, "--output-split", "0", "-MAKEFLAGS", "VM_PARALLEL_BUILDS=0 OPT_FAST=-O2"],
            log_file=Path(work) / "build.log",
        )  # fmt: skip
        result = Path(work) / "result.json"
        runner.test(
            hdl_toplevel="sateen",
            hdl_toplevel_lang="verilog",
            test_module="simulation",
            build_dir=work,
            test_dir=work,
            extra_env={
                "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
                "SATEEN_BENCH_RESULT": str(result),
            },
            log_file=Path(work) / "test.log",
        )
        return json.loads(result.read_text())["cycles_per_second"]


if "SATEEN_BENCH_RESULT" in os.environ:
    import cocotb
    from cocotb.clock import Clock
    from cocotb.triggers import ClockCycles, RisingEdge

    @cocotb.test()
    async def drives(dut):
        """The usual loop: one trigger per cycle, a byte in, a byte out."""
        dut.rx__valid.value, dut.tx__ready.value, dut.rst.value = 0, 1, 1
        cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
        await ClockCycles(dut.clk, 4)
        dut.rst.value = 0
        begin, cycles = time.perf_counter(), 0
        for frame in requests():
            stuffing, sent, bodies = Stuffing(), 0, []
            while not bodies:
                dut.rx__valid.value = sent < len(frame)
                if sent < len(frame):
                    dut.rx__payload.value = frame[sent]
                    sent += 1
                await RisingEdge(dut.clk)
                cycles += 1
                if dut.tx__valid.value:
                    bodies = stuffing.feed(bytes([int(dut.tx__payload.value)]))
        Path(os.environ["SATEEN_BENCH_RESULT"]).write_text(
            json.dumps({"cycles_per_second": cycles / (time.perf_counter() - begin)})
        )


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "small"
    ours, theirs = verilated(name), with_cocotb(name)
    results.add(
        "simulation", configuration=name, cycles_per_second=round(ours), cocotb_cycles_per_second=round(theirs),
        machine=f"{os.cpu_count()} × {platform.machine()}", tools=(*results.SIMULATION, "cocotb"),
    )  # fmt: skip
    print(
        f"{name}: simulated device {ours:,.0f} cycles/s, cocotb loop {theirs:,.0f} cycles/s, ratio {ours / theirs:.1f}"
    )


if __name__ == "__main__":
    main()
