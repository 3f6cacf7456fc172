"""A LiteX SoC with an accelerator: ``python soc.py PRESET FOLDER`` writes its Verilog, and a C header of its registers.

The bus has three masters: the two DMAs, and a port that a CPU would have. LiteX's CPUs and bridges come in its place:
``cpu_type="vexriscv"``, or ``self.add_uartbone()``. Here a program drives the port in a simulation.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from pathlib import Path

from litex.build.generic_platform import Pins, Subsignal
from litex.build.sim import SimPlatform
from litex.gen import ClockDomain, LiteXModule
from litex.soc.cores.dma import WishboneDMAReader, WishboneDMAWriter
from litex.soc.integration.export import get_csr_header
from litex.soc.integration.soc import SoCRegion
from litex.soc.integration.soc_core import SoCCore
from litex.soc.interconnect import wishbone
from sateen_core import SateenCore, SateenError

CLOCK_HZ = 100_000_000
MEMORY, SATEEN = 0x4000_0000, 0x9000_0000
"""Bus addresses of the memory for weights and tensors, and of the accelerator's registers."""
MEMORY_BYTES = 0x8000


class Clock(LiteXModule):
    def __init__(self, platform: SimPlatform):
        self.cd_sys = ClockDomain()
        self.comb += [self.cd_sys.clk.eq(platform.request("clk")), self.cd_sys.rst.eq(platform.request("rst"))]


class AcceleratorSoC(SoCCore):
    """An SoC whose DMAs carry bytes between its memory and the accelerator."""

    def __init__(self, platform: SimPlatform, *, preset: str, folder: Path):
        SoCCore.__init__(
            self, platform, CLOCK_HZ, cpu_type=None, with_uart=False, with_timer=False, ident="",
            integrated_sram_size=0, integrated_main_ram_size=MEMORY_BYTES,
        )  # fmt: skip
        self.clock = Clock(platform)

        self.sateen = SateenCore(platform, preset=preset, folder=folder)
        self.bus.add_slave("sateen", self.sateen.bus, SoCRegion(origin=SATEEN, size=0x100, cached=False))

        # The accelerator's streams carry bytes, in any number. A DMA of 8 bits counts bytes, too.
        self.reader = WishboneDMAReader(self._dma_bus("reader"), with_csr=True)
        self.writer = WishboneDMAWriter(self._dma_bus("writer"))
        # Bytes wait for the writer: by default one that is idle would drop them.
        self.writer.add_ctrl(ready_on_idle=0)
        self.writer.add_csr()
        self.comb += [
            self.reader.source.connect(self.sateen.sink),
            self.sateen.source.connect(self.writer.sink),
        ]

        # Where a CPU would be.
        host = wishbone.Interface(data_width=32, address_width=32, addressing="word")
        self.bus.add_master("host", master=host)
        self.comb += host.connect_to_pads(platform.request("host"), mode="slave")
        self.comb += platform.request("busy").eq(self.sateen.busy)

    def _dma_bus(self, name: str) -> wishbone.Interface:
        bus = wishbone.Interface(data_width=8, address_width=32, addressing="word")
        self.bus.add_master(name, master=bus)
        return bus


def main(preset: str, folder: str) -> None:
    logging.disable(logging.INFO)  # LiteX describes the SoC at length.
    build = Path(folder)
    host = [Subsignal(name, Pins(width)) for name, width, _ in wishbone.Interface().layout]
    platform = SimPlatform("SIM", [(name, 0, Pins(1)) for name in ("clk", "rst", "busy")] + [("host", 0, *host)])
    soc = AcceleratorSoC(platform, preset=preset, folder=build)
    soc.finalize()
    with contextlib.chdir(build):  # Contents of memories are written where one stands.
        platform.get_verilog(soc, name="soc").write("soc.v")
    # Addresses alone: how a word is read and written is up to the host.
    header = get_csr_header(soc.csr.regions, soc.constants, soc.mem_regions["csr"].origin, with_access_functions=False)
    addresses = {"MEMORY_BASE": MEMORY, "MEMORY_BYTES": MEMORY_BYTES, "SATEEN_BASE": SATEEN}
    header += "".join(f"#define {name} 0x{value:08X}u\n" for name, value in addresses.items())
    (build / "csr.h").write_text(header)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except SateenError as error:
        sys.exit(f"soc.py: {error}")
