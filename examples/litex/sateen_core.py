"""The accelerator in a LiteX design: its registers on the SoC's bus, its data as LiteX streams.

    from sateen_core import SateenCore

    self.sateen = SateenCore(platform, preset="small")
    self.bus.add_slave("sateen", self.sateen.bus, SoCRegion(origin=0x9000_0000, size=0x100, cached=False))
    self.comb += dma_reader.source.connect(self.sateen.sink)
    self.comb += self.sateen.source.connect(dma_writer.sink)

``soc.py`` is a whole SoC. Several accelerators in one design have different names: ``SateenCore(platform,
preset="tiny", name="detector")``.

The registers are those of ``sateen.hw.spec.axi.Register``. ``sink`` takes the bytes that go into the accelerator's
memories, and ``source`` gives the bytes that are read from them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from litex.gen import LiteXModule
from litex.soc.interconnect import axi, stream
from migen import ClockSignal, Instance, ResetSignal, Signal

__all__ = ["SateenCore", "SateenError"]

PYTHON = os.environ.get("SATEEN_PYTHON", sys.executable)
"""The Python that has the package ``sateen``."""


class SateenError(Exception):
    """An accelerator cannot be made; the message says why, in a line."""


def write_verilog(file: Path, preset: str, name: str) -> None:
    """Writes the Verilog of a configuration by the command line, which may be another Python's than LiteX's."""
    file.parent.mkdir(parents=True, exist_ok=True)
    options = ["--preset", preset, "--part", "accelerator-axi", "--name", name, "--output", str(file)]
    result = subprocess.run([PYTHON, "-m", "sateen.cli", "verilog", *options], capture_output=True, text=True)
    if "No module named" in result.stderr:
        raise SateenError(
            f"{PYTHON} has no package sateen; install it there, or set SATEEN_PYTHON to a Python that has"
        )
    if result.returncode:
        raise SateenError(result.stderr.strip())


class SateenCore(LiteXModule):
    """Generates the Verilog of a configuration and adds it to the platform.

    Parameters
    ----------
    platform
        The LiteX platform, which takes the Verilog.
    preset : str
        ``PRESET[,field=value…]``.
    name : str
        Of the top module; the names of all other modules and of the file begin with it.
    folder : Path
        Where the Verilog is written.

    Raises
    ------
    SateenError
        If the Verilog cannot be written, or another accelerator of the design has the name.
    """

    def __init__(self, platform, *, preset: str = "small", name: str = "sateen", folder: Path = Path("build")):
        self.bus = axi.AXILiteInterface(data_width=32, address_width=32)
        self.sink = stream.Endpoint([("data", 8)])
        self.source = stream.Endpoint([("data", 8)])
        self.busy = Signal()

        verilog = folder / f"{name}.v"
        if any(Path(source) == verilog.absolute() for source, *_ in platform.sources):
            raise SateenError(f"two accelerators are named {name!r}; give each another name: SateenCore(…, name=…)")
        write_verilog(verilog, preset, name)
        platform.add_source(str(verilog.absolute()))

        channels = {"aw": ("addr", "prot"), "w": ("data", "strb"), "ar": ("addr", "prot")}
        lite: dict[str, object] = {}
        for channel, fields in channels.items():
            endpoint = getattr(self.bus, channel)
            lite |= {f"i_s_axil_{channel}valid": endpoint.valid, f"o_s_axil_{channel}ready": endpoint.ready}
            for field in fields:
                value = getattr(endpoint, field, 0)
                lite[f"i_s_axil_{channel}{field}"] = value[:8] if field == "addr" else value
        for channel, fields in {"b": ("resp",), "r": ("data", "resp")}.items():
            endpoint = getattr(self.bus, channel)
            lite |= {f"o_s_axil_{channel}valid": endpoint.valid, f"i_s_axil_{channel}ready": endpoint.ready}
            lite |= {f"o_s_axil_{channel}{field}": getattr(endpoint, field) for field in fields}
        self.specials += Instance(
            name, i_clk=ClockSignal(), i_rst=ResetSignal(), **lite,
            i_s_axis_tdata=self.sink.data, i_s_axis_tvalid=self.sink.valid, o_s_axis_tready=self.sink.ready,
            i_s_axis_tlast=self.sink.last,
            o_m_axis_tdata=self.source.data, o_m_axis_tvalid=self.source.valid, i_m_axis_tready=self.source.ready,
            o_m_axis_tlast=self.source.last, o_busy=self.busy,
        )  # fmt: skip
