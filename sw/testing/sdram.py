"""A chip of SDR SDRAM at the pins of a device under test."""

from __future__ import annotations

import random
from typing import Any

from cocotb.triggers import RisingEdge

from sateen.hw.spec.sdram import Command
from sateen.sim.sdram import Pins, Sdram

__all__ = ["SdramDevice"]

NAMES = ("ras", "cas", "we", "ba", "a", "dqm", "dq_o", "dq_oe", "dq_i")


class SdramDevice:
    """Connects a :class:`sateen.sim.sdram.Sdram` to ports: samples them at each rising edge of the clock, and drives
    what it reads.

    Start it with ``cocotb.start_soon(device.run())``; a broken rule fails the test. While the chip drives nothing, the
    input has random bits.

    Parameters
    ----------
    dut
        The device under test; its clock is ``dut.clk``, unless ``clock`` is given.
    model : Sdram
        The chip.
    names : dict, optional
        The ports, by ``ras``, ``cas``, ``we``, ``ba``, ``a``, ``dqm``, ``dq_o``, ``dq_oe`` and ``dq_i``; by default
        ``pins__ras`` and so on.
    active_low : bool
        Whether ``ras``, ``cas`` and ``we`` have the levels of the pins, as in most Verilog; else they are 1 where the
        pin is low.
    clock
        The handle of the clock.
    """

    def __init__(
        self, dut: Any, model: Sdram, *, names: dict[str, str] | None = None, active_low: bool = False,
        clock: Any = None,
    ):  # fmt: skip
        self.model, self.clock = model, dut.clk if clock is None else clock
        self.ports = {name: getattr(dut, (names or {}).get(name, f"pins__{name}")) for name in NAMES}
        self.invert = 0b111 if active_low else 0

    async def run(self) -> None:
        """Until it is cancelled.

        Raises
        ------
        sateen.sim.sdram.SdramViolation
            If the device under test breaks a rule of the chip.
        """
        bits = self.model.chip.data_bits
        while True:
            await RisingEdge(self.clock)
            word = self.model.step(self._sampled())
            self.ports["dq_i"].value = random.getrandbits(bits) if word is None else word

    def _sampled(self) -> Pins:
        ports = self.ports
        command = (int(ports["ras"].value) << 2 | int(ports["cas"].value) << 1 | int(ports["we"].value)) ^ self.invert
        return Pins(
            command=Command(command),
            bank=int(ports["ba"].value),
            address=int(ports["a"].value),
            dq=int(ports["dq_o"].value) if ports["dq_oe"].value else None,
            mask=int(ports["dqm"].value),
        )
