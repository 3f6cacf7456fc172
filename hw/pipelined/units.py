"""The parts of a pipelined engine."""

from __future__ import annotations

from amaranth.utils import ceil_log2

from sateen.hw.memory import BlockMemory
from sateen.hw.pe.shape import ArrayShape
from sateen.hw.pipelined.accumulate import Accumulators
from sateen.hw.pipelined.activations import ActivationUnit
from sateen.hw.pipelined.cells import Cells
from sateen.hw.pipelined.features import Features
from sateen.hw.pipelined.layer_norm import LayerNorm
from sateen.hw.pipelined.lookup import LookUp
from sateen.hw.pipelined.norms import InverseRoot
from sateen.hw.pipelined.operands import OperandWriter
from sateen.hw.pipelined.output import OutputUnit
from sateen.hw.pipelined.postprocess import PostProcess
from sateen.hw.pipelined.residual import ResidualUnit
from sateen.hw.pipelined.sequencer import CauseCounters, Sequencer
from sateen.hw.pipelined.shares import Shares
from sateen.hw.pipelined.softmax import Distances, RowScales
from sateen.hw.pipelined.weight_store import WeightStore
from sateen.hw.pipelined.weights import ChannelParameters, WeightUnit, parameter_word
from sateen.hw.requantize import CHANNEL, SETTINGS
from sateen.hw.scratchpad import Scratchpad
from sateen.hw.spec.config import Config, ceil_pow2
from sateen.hw.spec.counters import RECORD_WORDS
from sateen.hw.spec.descriptor import DESCRIPTOR_WORDS, SECTIONS
from sateen.hw.spec.pe import WEIGHT_SETTING_BITS
from sateen.hw.spec.timing import PARAMETER_QUEUE_DEPTH, residual_spare
from sateen.hw.stream.queue import Queue
from sateen.hw.tile import Tile

__all__ = ["Units"]


class Units:
    """The parts of a configuration's engine; each attribute is a submodule."""

    def __init__(self, config: Config):
        address_bits, position_bits = ceil_log2(config.scratchpad_bytes), ceil_log2(config.positions)
        weight_bits = ceil_log2(config.weight_words) + ceil_log2(config.cols)
        result_bits = max(address_bits, weight_bits) if config.products else address_bits
        self.scratchpad = Scratchpad(
            banks=config.banks, depth=config.scratchpad_bytes // config.banks, logic=bool(config.lutram),
            reads_back=bool(config.residual),
        )  # fmt: skip
        self.weight_store = WeightStore(config)
        self.program = BlockMemory(lanes=4, depth=config.descriptors * DESCRIPTOR_WORDS)
        self.records = BlockMemory(lanes=4, depth=config.descriptors * RECORD_WORDS)
        self.sequencer = Sequencer(descriptors=config.descriptors, read_latency=self.program.latency)
        self.weights = WeightUnit(
            cols=config.cols, address_bits=len(self.weight_store.r_address), read_latency=self.weight_store.latency,
            setting_bits=WEIGHT_SETTING_BITS, weight_rows=config.weight_rows, waits=bool(config.products),
            repeats=bool(config.products), direct=bool(config.direct), residual=bool(config.residual),
        )  # fmt: skip
        self.parameters = ChannelParameters(cols=config.cols, channel=CHANNEL, weight_rows=config.weight_rows)
        self.parameter_queue = Queue(parameter_word(config.cols, config.weight_rows), depth=PARAMETER_QUEUE_DEPTH)
        self.activations = ActivationUnit(
            lanes=config.rows * config.combine,
            group=config.group,
            address_bits=address_bits,
            position_bits=position_bits,
            read_latency=self.scratchpad.read_latency,
            write_latency=self.scratchpad.write_latency,
            overlap=bool(config.overlap),
        )
        self.tile = Tile(ArrayShape.of(config), position_bits=position_bits, in_place=bool(config.overlap))
        self.accumulators = Accumulators(
            cols=config.cols, positions=config.positions, sum_bits=self.tile.shape.sum_bits, tables=config.tables,
            apart=bool(config.direct), in_place=bool(config.overlap), logic=bool(config.lutram),
        )  # fmt: skip
        self.output = OutputUnit(
            cols=config.cols, lanes=config.lanes, position_bits=position_bits, address_bits=result_bits,
            sum_latency=self.accumulators.LATENCY, channel=CHANNEL, settings=SETTINGS, features=Features.of(config),
        )  # fmt: skip
        self.postprocess = PostProcess(
            lanes=config.lanes, tag=self.output.tag, shares=config.softmax == 2,
            float_rounding=bool(config.float_rounding),
        )  # fmt: skip
        if config.residual:
            self.residual = ResidualUnit(
                cols=config.cols, lanes=config.lanes, per_cycle=config.residual, weight_rows=config.weight_rows,
                tag=self.output.tag, address_bits=address_bits, item_latency=self.postprocess.latency,
                line_latency=1 + self.scratchpad.back_latency, spare=residual_spare(config),
                float_rounding=bool(config.float_rounding),
            )  # fmt: skip
        self.causes = CauseCounters(descriptors=config.descriptors, overlap=bool(config.overlap))
        self._add_optional(config, weight_bits)

    def _add_optional(self, config: Config, weight_bits: int) -> None:
        """The parts of which each is there for an option of the configuration; ``weight_bits`` is the width of a byte's
        address in the weight store."""
        if config.overlap:
            self.section_queue = Queue(32, depth=ceil_pow2(SECTIONS["weights"]))
        if config.tables:
            self.look_up = LookUp(
                cols=config.cols, beat_bytes=config.beat_bytes, softmax=bool(config.softmax),
                direct=bool(config.direct),
            )  # fmt: skip
        if config.layer_norm:
            self.layer_norm = LayerNorm(cols=config.cols, beat_bytes=config.beat_bytes, longest=config.layer_norm)
        if config.norms:
            self.norm = InverseRoot(lanes=config.lanes)
        if config.recurrent:
            self.cells = Cells(
                lanes=config.lanes, words=config.recurrent, item_latency=self.output.latency, tag=self.output.tag
            )  # fmt: skip
        if config.softmax:
            self.distances = Distances(width=config.cols, beat_bytes=config.beat_bytes)
            self.scales = RowScales(lanes=config.lanes)
        if config.softmax == 2:
            self.shares = Shares(lanes=config.lanes)
        if config.products:
            self.operands = OperandWriter(
                cols=config.cols, lanes=config.lanes, address_bits=weight_bits, weight_rows=config.weight_rows
            )
