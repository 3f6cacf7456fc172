"""The accelerator for other designs: AXI4-Stream for data, AXI4-Lite for control, in place of the link."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from sateen.hw.engines import create_engine
from sateen.hw.spec.axi import MAGIC, RUN_COUNT, Register, StatusBit
from sateen.hw.spec.config import Config
from sateen.hw.spec.identity import Identity
from sateen.hw.watchdog import guard

__all__ = ["AxiAccelerator"]

OKAY = 0
ANSWERS = 32
"""Most bytes that are under way from the memories or wait for the stream: more than the memories' latency."""


class AxiAccelerator(wiring.Component):
    """The engine behind AXI: AXI4-Stream carries bytes to and from its memories, AXI4-Lite registers control it.

    To run a program: write SPACE and ADDRESS, and stream its bytes in; do the same for the inputs; write RUN; wait
    until STATUS is 0; write SPACE and ADDRESS of the result, then READ, and take the bytes from the other stream.
    Registers: :class:`sateen.hw.spec.axi.Register`. The streams move a byte a cycle while the memories are free; the
    input stream waits while a READ is under way. Registers answer each access after two cycles, always with OKAY;
    unknown registers read as 0.

    Parameters
    ----------
    config : Config
        What to build.
    build : str
        Hexadecimal name of the build, at most 16 digits; empty for the configuration's digest.

    Members
    -------
    s_axis_*
        AXI4-Stream of bytes into the memory of SPACE from ADDRESS on, which counts up. ``tlast`` is ignored.
    m_axis_*
        AXI4-Stream of the bytes read; ``tlast`` with the last of a READ.
    s_axil_*
        AXI4-Lite, 32 bits, addresses of 8 bits. All write strobes are assumed to be set.
    busy : Out(1)
        A program runs.
    """

    def __init__(self, config: Config, *, build: str = ""):
        if config.sdram is not None:
            raise ValueError(f"sdram must be None behind AXI, where memories are the design's, not {config.sdram!r}")
        self.config = config
        self.build = int(build or config.digest, 16)
        if self.build >> 64:
            raise ValueError(f"build must be at most 16 hexadecimal digits, not {build!r}")
        super().__init__(
            {
                "s_axis_tdata": In(8), "s_axis_tvalid": In(1), "s_axis_tready": Out(1), "s_axis_tlast": In(1),
                "m_axis_tdata": Out(8), "m_axis_tvalid": Out(1), "m_axis_tready": In(1), "m_axis_tlast": Out(1),
                "s_axil_awaddr": In(8), "s_axil_awprot": In(3), "s_axil_awvalid": In(1), "s_axil_awready": Out(1),
                "s_axil_wdata": In(32), "s_axil_wstrb": In(4), "s_axil_wvalid": In(1), "s_axil_wready": Out(1),
                "s_axil_bresp": Out(2), "s_axil_bvalid": Out(1), "s_axil_bready": In(1),
                "s_axil_araddr": In(8), "s_axil_arprot": In(3), "s_axil_arvalid": In(1), "s_axil_arready": Out(1),
                "s_axil_rdata": Out(32), "s_axil_rresp": Out(2), "s_axil_rvalid": Out(1), "s_axil_rready": In(1),
                "busy": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.engine = engine = create_engine(self.config)
        watchdog = guard(m, engine)
        space, address, left = Signal(3), Signal(24), Signal(24)
        running = Signal()
        """RUN was written, and the engine has not taken it yet."""
        m.d.comb += self.busy.eq(engine.busy | running)
        self._data(m, engine, space, address, left)
        written, register = self._writes(m)
        self._reads(m, {
            Register.MAGIC: MAGIC, Register.FORMAT: Identity.FORMAT, Register.BUILD_LOW: self.build & 0xFFFFFFFF,
            Register.BUILD_HIGH: self.build >> 32, Register.SPACE: space, Register.ADDRESS: address,
            Register.LAYOUT: self.config.layout_code, Register.LIMIT: watchdog.i.payload.limit,
            Register.STATUS: self.busy << StatusBit.RUNNING | (left != 0) << StatusBit.READING
            | watchdog.overtime << StatusBit.OVERTIME | watchdog.late << StatusBit.PLACE,
        })  # fmt: skip

        value, run, halt = self.s_axil_wdata, watchdog.i.payload, watchdog.halt
        count = value[RUN_COUNT:][: len(run.count)]
        with m.If(written):
            with m.Switch(register):
                with m.Case(Register.SPACE):
                    m.d.sync += space.eq(value)
                with m.Case(Register.ADDRESS):
                    m.d.sync += address.eq(value)
                with m.Case(Register.READ):
                    m.d.sync += left.eq(value)
                with m.Case(Register.RUN):
                    m.d.sync += [run.first.eq(value), run.count.eq(count), running.eq(count != 0)]
                with m.Case(Register.HALT):
                    m.d.sync += [halt.eq(1), running.eq(0), left.eq(0)]
                with m.Case(Register.LIMIT):
                    m.d.sync += run.limit.eq(value)
        with m.If(halt):
            m.d.sync += halt.eq(0)
        m.d.comb += watchdog.i.valid.eq(running)
        with m.If(running & watchdog.i.ready):
            m.d.sync += running.eq(0)
        return m

    def _data(self, m: Module, engine: wiring.Component, space: Signal, address: Signal, left: Signal) -> None:
        """The streams: a request for each byte, and a queue with room for all answers that are under way."""
        m.submodules.answers = answers = SyncFIFOBuffered(width=8, depth=ANSWERS)
        m.submodules.lasts = lasts = SyncFIFOBuffered(width=1, depth=ANSWERS)
        request, reading = engine.request.payload, Signal()
        # `lasts` has an entry for each byte that is requested and not yet taken.
        m.d.comb += [
            reading.eq(left != 0),
            engine.request.valid.eq((reading & lasts.w_rdy) | (~reading & self.s_axis_tvalid)),
            request.space.eq(space),
            request.address.eq(address),
            request.write.eq(~reading),
            request.data.eq(self.s_axis_tdata),
            self.s_axis_tready.eq(~reading & engine.request.ready),
            lasts.w_en.eq(reading & engine.request.ready),
            lasts.w_data.eq(left == 1),
            answers.w_en.eq(engine.response.valid),
            answers.w_data.eq(engine.response.payload),
            self.m_axis_tvalid.eq(answers.r_rdy & lasts.r_rdy),
            self.m_axis_tdata.eq(answers.r_data),
            self.m_axis_tlast.eq(lasts.r_data),
            answers.r_en.eq(self.m_axis_tvalid & self.m_axis_tready),
            lasts.r_en.eq(self.m_axis_tvalid & self.m_axis_tready),
        ]
        with m.If(engine.request.valid & engine.request.ready):
            m.d.sync += [address.eq(address + 1), left.eq(left - reading)]

    def _writes(self, m: Module) -> tuple[Signal, Signal]:
        """AXI4-Lite's write channels: whether a register is written in this cycle, and which."""
        written, register = Signal(), Signal(8)
        m.d.comb += [
            written.eq(self.s_axil_awvalid & self.s_axil_wvalid & ~self.s_axil_bvalid),
            self.s_axil_awready.eq(written),
            self.s_axil_wready.eq(written),
            register.eq(self.s_axil_awaddr),
            self.s_axil_bresp.eq(OKAY),
        ]
        with m.If(self.s_axil_bready):
            m.d.sync += self.s_axil_bvalid.eq(0)
        with m.If(written):
            m.d.sync += self.s_axil_bvalid.eq(1)
        return written, register

    def _reads(self, m: Module, values: dict) -> None:
        """AXI4-Lite's read channels."""
        m.d.comb += [self.s_axil_arready.eq(~self.s_axil_rvalid), self.s_axil_rresp.eq(OKAY)]
        with m.If(self.s_axil_rready):
            m.d.sync += self.s_axil_rvalid.eq(0)
        with m.If(self.s_axil_arvalid & self.s_axil_arready):
            m.d.sync += [self.s_axil_rvalid.eq(1), self.s_axil_rdata.eq(0)]
            with m.Switch(self.s_axil_araddr):
                for register, value in values.items():
                    with m.Case(register):
                        m.d.sync += self.s_axil_rdata.eq(value)
