"""The host's access to memories of words, which units of the engine use."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.utils import ceil_log2

from sateen.hw.host import MemoryPort
from sateen.hw.memory import BlockMemory
from sateen.hw.pipelined.operands import OperandWriter
from sateen.hw.pipelined.sequencer import Sequencer
from sateen.hw.pipelined.weight_store import WeightStore
from sateen.hw.pipelined.weights import WeightUnit
from sateen.hw.spec.timing import mux_stages
from sateen.hw.stream.delay import delayed
from sateen.hw.stream.mux import pipelined_mux

__all__ = ["byte_latency", "share_with_host"]


def byte_latency(memory: BlockMemory | WeightStore) -> int:
    """Cycles from an address to one byte of the word there."""
    return memory.latency + mux_stages(memory.lanes)


def share_with_host(
    m: Module, port: MemoryPort, memory: BlockMemory | WeightStore, unit: Sequencer | WeightUnit | None,
    operands: OperandWriter | None = None,
) -> None:  # fmt: skip
    """Gives the host's byte port access to a memory of words: to write it, unless there is no ``unit``, and to read it
    while ``unit`` does not. ``operands`` are written before.

    Writes pass a register: it is far to the block RAMs.
    """
    lane_bits = ceil_log2(memory.lanes)
    lane, word = port.address[:lane_bits], port.address[lane_bits:]
    m.d.comb += port.write_ready.eq(1)
    if unit is None:
        m.d.comb += [port.read_ready.eq(1), memory.r_address.eq(word)]
    else:
        m.d.comb += [
            port.read_ready.eq(~unit.reading),
            memory.r_address.eq(Mux(unit.reading, unit.address, word)),
        ]
        address, value = delayed(m, word, name="w_address"), delayed(m, port.write, name="w_data")
        copies = -(-8 * memory.lanes // len(value))
        m.d.comb += [memory.w_address.eq(address), memory.w_data.as_value().eq(value.replicate(copies))]
        if operands is None:
            m.d.sync += memory.w_enable.eq(port.write_enable << lane)
        else:
            enable = Signal.like(memory.w_enable, name="host_enable")
            m.d.sync += enable.eq(port.write_enable << lane)
            m.d.comb += [memory.w_enable.eq(enable), port.write_ready.eq(~operands.busy)]
            with m.If(operands.w_enable.any()):
                for name in ("address", "enable", "data"):
                    m.d.comb += getattr(memory, f"w_{name}").eq(getattr(operands, f"w_{name}"))
    lane = delayed(m, lane, memory.latency, name="lane")
    m.d.comb += port.read.eq(pipelined_mux(m, list(memory.r_data), lane, name="byte"))
