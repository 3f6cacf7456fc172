"""The tile: a weight-stationary systolic array."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect
from amaranth.utils import ceil_log2

from sateen.hw.pe import create
from sateen.hw.pe.contract import beat_shape
from sateen.hw.pe.skip import Skip
from sateen.hw.spec.pe import PE_KINDS, SKIP_BIT, SKIP_BITS, skip_rows
from sateen.hw.spec.timing import EDGE_STAGES, LONG_PASSAGE
from sateen.hw.stream.delay import FANOUT, dedicated_register, delayed, delayed_together
from sateen.hw.stream.view import view
from sateen.hw.sums import partial_sums, tag_shape

__all__ = ["Tile"]


class Tile(wiring.Component):
    """Multiplies vectors of activations by a matrix of weights, which stays in place while the next one is loaded.

    A beat takes the kind's cycles (:attr:`sateen.hw.spec.pe.PeKind.beat_cycles`, one for the MAC). Column 0's sum of a
    beat is out ``latency`` cycles after the beat's last cycle, column ``c``'s ``c`` cycles later. Loading a matrix
    takes ``rows`` / ``weight_rows`` times the kind's row cycles, while the matrix before computes: if its beats take at
    least as long, there is no bubble. Model: ``beat @ weights``.

    How it works: weights flow down the columns, one row per cycle, and each row captures its own; with ``weight_rows``
    above 1, as many flow side by side, and each row captures one of them. Activations flow to the right. Rows and
    columns are skewed by a cycle each, so that ``capture``, ``swap`` and activations are one diagonal wave, which the
    next cycle's wave never overtakes. Whatever is special about a kind of PE is at the edges
    (:class:`~sateen.hw.pe.contract.PeArray`): how beats become waves, words become weights, and partial sums become
    sums.

    Kinds with sliding windows use the same multipliers for depthwise layers: with ``slide``, byte ``c`` of a beat
    enters column ``c`` at the top, and each row delays it by one such beat, so that a column is a filter over the beats
    (:class:`sateen.hw.spec.descriptor.Sliding`). Where the upper rows' PEs are in pairs, or not of the
    ``window_rows``, it enters at the first row below them; the rows above take the beat's bytes as ever.

    Parameters
    ----------
    rows, cols : int
        Of PEs, 1 or more.
    pe : str
        Kind of PE.
    position_bits : int
        Width of the tag's address.
    weight_bits : int
        Width of the weights, within the kind's :attr:`~sateen.hw.spec.pe.PeKind.weight_bits`. Below 8, ``word`` keeps
        to that range. With 9, the weights are ``word`` less the zero point in the settings.
    multipliers : int or None
        PEs that may use hardware multipliers, rounded down to whole rows; None for all.
    combine : int
        Column combining: activations side by side in a row, 1 to 16; each weight selects one of them. Which those are
        for each row, :func:`sateen.hw.spec.pe.window` says.
    weight_rows : int
        Rows whose weights are loaded in one cycle: a divisor of ``rows``; above 1 only for kinds of one element a PE,
        without ``combine``.
    weights_per_byte : int
        Weights in a byte of a word, of as many neighbouring rows, the first one in the lowest bits: a divisor of
        ``weight_rows``, 1, 2 or 4, of at most 8 bits together.
    in_place : bool
        The tag is that of :func:`~sateen.hw.sums.tag_shape` with ``in_place``.
    edge_stages : int
        Pipeline registers before the array's edges.
    window_rows : int or None
        Rows over which windows slide, the last ones, at most; None: all that can.
    window_skip : int
        Beats that samples may be kept before each of the :func:`~sateen.hw.spec.pe.skip_rows`, a power of two; 0: none.
        How many they are is in the beats' settings (:data:`~sateen.hw.spec.pe.SKIP_BIT`). Only where windows slide over
        3 rows or more, without ``combine``.

    Members
    -------
    weights : In(stream)
        ``word``: ``weight_rows × cols / weights_per_byte`` int8, those of the first row first; a matrix has
        ``rows × group / weight_rows`` words, row 0 first; ``settings`` of the layer. With
        ``combine`` above 1 and :data:`~sateen.hw.spec.pe.SELECTS_BIT` in the settings, words of selects stand between
        them (:func:`~sateen.hw.spec.pe.select_bits`); without that bit all selects are 0. Taken while the next matrix
        is incomplete, and together with a beat that swaps.
    i : In(stream)
        Beats: ``data``, ``rows × combine × group`` int8; ``slide``: they go to the columns; ``swap``: this beat is the
        first for the next matrix, and waits until that is complete; ``settings`` of the layer; ``tag``.
    o : Out(stream), always ready
        ``sums`` and ``tag`` of beats with ``keep``; valid and tag are column 0's.
    busy : Out(1)
        The PEs take something this cycle.
    waiting : Out(1)
        A beat waits for its weights.
    """

    def __init__(
        self,
        *,
        rows: int,
        cols: int,
        pe: str = "mac",
        position_bits: int,
        weight_bits: int = 8,
        multipliers: int | None = None,
        combine: int = 1,
        weight_rows: int = 1,
        weights_per_byte: int = 1,
        activation_bits: int = 8,
        in_place: bool = False,
        edge_stages: int = EDGE_STAGES,
        window_rows: int | None = None,
        window_skip: int = 0,
    ):
        for name, value in (("rows", rows), ("cols", cols), ("position_bits", position_bits)):
            if value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value!r}")
        if pe not in PE_KINDS:
            raise ValueError(f"pe must be one of {', '.join(PE_KINDS)}, not {pe!r}")
        low, high = PE_KINDS[pe].weight_bits
        if not low <= weight_bits <= high:
            allowed = f"{low} to {high}" if low < high else f"{low} with pe={pe}"
            raise ValueError(f"weight_bits must be {allowed}, not {weight_bits!r}")
        if multipliers is not None and not 0 <= multipliers <= rows * cols:
            raise ValueError(f"multipliers must be 0 to {rows * cols} (rows × cols), not {multipliers!r}")
        if cols % PE_KINDS[pe].columns:
            raise ValueError(f"cols must be a multiple of {PE_KINDS[pe].columns} with pe={pe}, not {cols!r}")
        if not 1 <= combine <= 16:
            raise ValueError(f"combine must be 1 to 16, not {combine!r}")
        if combine > 1 and PE_KINDS[pe].columns > 1:
            raise ValueError(f"combine must be 1 with pe={pe}, not {combine!r}")
        if weight_rows < 1 or rows % weight_rows or (weight_rows > 1 and (combine > 1 or PE_KINDS[pe].group > 1)):
            raise ValueError(
                f"weight_rows must be a divisor of rows ({rows}), and 1 with combine or pe=term, not {weight_rows!r}"
            )
        whole = weights_per_byte in (2, 4) and weight_rows % weights_per_byte == 0
        if weights_per_byte != 1 and not (whole and weights_per_byte * weight_bits <= 8):
            raise ValueError(
                f"weights_per_byte must be 1, or 2 or 4, a divisor of weight_rows ({weight_rows}), with at most 8 bits "
                f"of weights in a byte, not {weights_per_byte!r}"
            )
        products = pe == "mac" and combine == 1 and weight_bits == 9 and multipliers in (None, rows * cols)
        if activation_bits != 8 and not (activation_bits == 9 and products):
            raise ValueError(
                "activation_bits must be 8, or 9 with pe=mac, weight_bits=9, combine=1 and a multiplier for each PE, "
                f"not {activation_bits!r}"
            )
        if window_rows is not None and not 0 <= window_rows <= rows:
            raise ValueError(f"window_rows must be 0 to {rows} (rows), not {window_rows!r}")
        self.window_skip = window_skip
        self.rows, self.cols, self.kind, self.combine = rows, cols, PE_KINDS[pe], combine
        self.weight_rows, self.weights_per_byte = weight_rows, weights_per_byte
        self.weight_bits = weight_bits
        # A weight of 9 bits is the difference of two bytes, hence -255 or more: its product has 16 bits, too.
        self.sum_bits = activation_bits + min(8, weight_bits) + ceil_log2(rows * self.kind.group)
        self.edge_stages = edge_stages
        self.latency = edge_stages + rows + self.kind.latency + self.kind.foot
        tag = tag_shape(position_bits, in_place=in_place)
        multipliers = rows * cols if multipliers is None else multipliers
        self.array = create(
            pe,
            rows=rows,
            cols=cols,
            weight_bits=weight_bits,
            sum_bits=self.sum_bits,
            multipliers=multipliers,
            combine=combine,
            activation_bits=activation_bits,
            weight_rows=weight_rows,
            weights_per_byte=weights_per_byte,
            window_rows=window_rows,
            tag=tag,
        )
        if window_skip and not (combine == 1 and self._sliding_rows >= 3):
            raise ValueError(
                f"window_skip must be 0 without combine=1 and 3 rows over which windows slide, not {window_skip!r}"
            )
        self.feeder, self.loader = self.array.feeder(), self.array.loader()
        sums = partial_sums(cols=cols, sum_bits=self.sum_bits, tag=tag)
        super().__init__(
            {
                "weights": In(stream.Signature(self.loader.i.payload.shape())),
                "i": In(stream.Signature(beat_shape(rows * combine * self.kind.group, tag))),
                "o": Out(stream.Signature(sums, always_ready=True)),
                "busy": Out(1),
                "waiting": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.feeder, m.submodules.loader = feeder, loader = self.feeder, self.loader
        connect(m, wiring.flipped(self.weights), loader.i)
        connect(m, wiring.flipped(self.i), feeder.i)

        # The rows of the next matrix that are loaded, one-hot, ``weight_rows`` a bit; the last bit: the matrix is
        # complete. A swap makes room in the same cycle, and only when complete: so only the first and the last bit
        # depend on it, which is known late in the cycle.
        steps = self.rows // self.weight_rows
        loading, step = Signal(steps + 1, init=1), Signal(steps)
        taken, swap, complete = Signal(), Signal(), loading[-1]
        wave, part = feeder.o.payload, loader.o.payload
        row_ends = loader.o.valid & part.last
        m.d.comb += [
            feeder.o.ready.eq(complete | ~wave.swap),
            taken.eq(feeder.o.valid & feeder.o.ready),
            swap.eq(feeder.o.valid & wave.swap & complete),
            loader.o.ready.eq(~complete | (feeder.o.valid & wave.swap)),
            step.eq(Cat(loading[0] | swap, loading[1:-1])),
            self.busy.eq(taken),
            self.waiting.eq(feeder.o.valid & ~feeder.o.ready),
        ]
        for index in range(steps):
            m.d.sync += loading[index].eq((step[index] & ~row_ends) | ((step[index - 1] & row_ends) if index else 0))
        m.d.sync += complete.eq((step[-1] & row_ends) | (complete & ~swap))

        skips = self._skips(m, taken & wave.slide) if self.window_skip else {}
        pes = self._array(m, platform, self._entering_weights(m, platform), skips)
        self._edges(m, platform, pes, taken=taken, swap=swap, captured=step & loader.o.valid.replicate(steps))
        self._feet(m, pes, first=taken & wave.first)

        valid = taken & wave.last & wave.tag.keep
        m.d.comb += [
            self.o.valid.eq(delayed(m, valid, self.latency, name="valid", reset=True)),
            self.o.payload.tag.eq(delayed(m, wave.tag, self.latency, name="tag")),
        ]
        return m

    @property
    def _sliding_rows(self) -> int:
        """Rows over which windows slide, the last ones."""
        return sum(self.array.slides(row) for row in range(self.rows))

    def _skips(self, m: Module, slides: Value) -> dict[int, list[Skip]]:
        """What keeps samples on their way into some rows, by row; each is told where in the cycle in which the PE above
        takes a sample. The feeder of a kind that slides forwards beats unchanged."""
        beats, place = self.i.payload.settings[SKIP_BIT : SKIP_BIT + SKIP_BITS], Signal(range(self.window_skip))
        with m.If(slides):
            m.d.sync += place.eq(Mux(place + 1 < beats, place + 1, 0))
        found = {}
        for row in (self.rows - self._sliding_rows + each for each in skip_rows(self._sliding_rows)):
            cycles = self.edge_stages + row + self._row_delay(row - 1)
            where = delayed(m, Cat(place, beats == 0), cycles, name=f"skip_{row}")
            found[row] = [Skip(depth=self.window_skip) for _ in range(self.cols)]
            for column, skip in enumerate(found[row]):
                m.submodules[f"skip_{row}_{column}"] = skip
                where = delayed(m, where, name=f"skip_{row}_{column}") if column else where
                m.d.comb += Cat(skip.place, skip.direct).eq(where)
        return found

    def _array(
        self, m: Module, platform: object, weights: list[list[Value]], skips: dict[int, list[Skip]]
    ) -> list[list[wiring.Component]]:
        """The PEs, each wired to its neighbours. ``weights`` are those of the first rows, [weight_rows][cols]."""
        pes: list[list[wiring.Component]] = []
        for row in range(self.rows):
            right, down = ["activation", "swap", "capture"], ["sum"]
            if self.array.slides(row):
                right = [*right, "slide"]
                down = [*down, "sample"] if row and self.array.slides(row - 1) else down
            line: list[wiring.Component] = []
            for column in range(self.cols):
                m.submodules[f"pe_{row}_{column}"] = pe = self.array.pe(row, column)
                for name in right if column else ():
                    m.d.comb += getattr(pe, f"{name}_i").eq(getattr(line[-1], f"{name}_o"))
                for name in down if row else ():
                    above = pes[-1][column]
                    value = getattr(above, f"{name}_o")
                    if name == "sample" and row in skips:
                        skip = skips[row][column]
                        m.d.comb += [skip.slide.eq(above.slide_i), skip.sample.eq(above.sample_i)]
                        value = skip.o
                    delay = 0 if name == "sum" else self._row_delay(row) - self._row_delay(row - 1)
                    m.d.comb += getattr(pe, f"{name}_i").eq(delayed(m, value, delay, name=f"{name}_{row}_{column}"))
                m.d.comb += pe.weight_i.eq(weights[row % self.weight_rows][column])
                line.append(pe)
            self.array.join(m, row, line)
            pes.append(line)
            if row + self.weight_rows < self.rows:
                weights[row % self.weight_rows] = self._passed_weights(m, platform, line, row)
        return pes

    def _passed_weights(self, m: Module, platform: object, line: list[wiring.Component], row: int) -> list[Value]:
        """The weights that the PEs of a row get, when the row that is next to take one of them gets them."""
        cycles = self.weight_rows + self._row_delay(row + self.weight_rows) - self._row_delay(row)
        if self.weight_rows == 1:
            return [
                delayed(m, pe.weight_o, cycles - 1, name=f"weight_{row}_{column}") for column, pe in enumerate(line)
            ]
        passed: list[Value] = []
        for first in range(0, self.cols, FANOUT):
            here = {
                f"weight_{row}_{first + place}": pe.weight_i for place, pe in enumerate(line[first : first + FANOUT])
            }
            passed += delayed_together(m, platform, here, cycles, long=LONG_PASSAGE)
        return passed

    def _entering_weights(self, m: Module, platform: object) -> list[list[Value]]:
        """The weights of the first rows, [weight_rows][cols], skewed as :meth:`_edges` says."""
        weights, entering = self.loader.o.payload.weights, []
        for column, zero_point in enumerate(self._zero_points(m)):
            places = range(column, self.weight_rows * self.cols, self.cols)
            here = {f"weight_of_{place}": weights[place] for place in places}
            cycles = self.edge_stages + column + 1 + self._row_delay(0)
            arriving = delayed_together(m, platform, here, cycles)
            entering.append([self.array.column_input(weight, zero_point) for weight in arriving])
        # Those for the rows after the first wait for these.
        waits = [row + self._row_delay(row) - self._row_delay(0) for row in range(self.weight_rows)]
        return [
            [delayed(m, column[row], wait, name=f"weight_{row}_{place}") for place, column in enumerate(entering)]
            for row, wait in enumerate(waits)
        ]

    def _edges(
        self,
        m: Module,
        platform: object,
        pes: list[list[wiring.Component]],
        *,
        taken: Signal,
        swap: Signal,
        captured: Value,
    ) -> None:
        """Skews the inputs of row ``r`` and column ``c`` by ``edge_stages`` + 1 + ``r`` or ``c`` cycles, and those of a
        row by :meth:`_row_delay`. ``captured`` has a bit for each ``weight_rows`` rows."""
        part, wave = self.loader.o.payload, self.feeder.o.payload
        for row, line in enumerate(pes):
            capture = view(line[0].capture_i.shape(), name=f"capture_{row}")
            m.d.comb += [capture.valid.eq(captured[row // self.weight_rows]), capture.slot.eq(part.slot)]
            entering = {"activation": self.array.row_inputs(wave.activations, row), "swap": swap, "capture": capture}
            if self.array.slides(row):
                entering["slide"] = taken & wave.slide
            cycles = self.edge_stages + row + 1 + self._row_delay(row)
            named = {f"{name}_{row}": value for name, value in entering.items()}
            for name, value in zip(entering, delayed_together(m, platform, named, cycles), strict=True):
                m.d.comb += getattr(line[0], f"{name}_i").eq(value)
        if self._sliding_rows:
            first = self.rows - self._sliding_rows
            self._samples(m, platform, pes[first], first)

    def _samples(self, m: Module, platform: object, pes: list[wiring.Component], row: int) -> None:
        """Bytes of a beat into the columns' PEs of the first row that slides. Near the array, they take another path
        than the activations of the row with the same number."""
        activations = self.feeder.o.payload.activations
        for column, pe in enumerate(pes[: self.rows * self.combine]):
            cycles = column + 1 + row + self._row_delay(row)
            (sample,) = delayed_together(m, platform, {f"sample_of_{column}": activations[column]}, cycles)
            for stage in range(self.edge_stages):
                sample = dedicated_register(m, platform, sample, name=f"sample_of_{column}_edge_{stage}")
            m.d.comb += pe.sample_i.eq(sample)

    def _zero_points(self, m: Module) -> list[Value]:
        """The zero point of the weights that enter each column. It moves from column to column, as they do in time."""
        if self.weight_bits <= 8:
            return [Const(0)] * self.cols
        cycles = self.edge_stages + 1 + self._row_delay(0)
        value = delayed(m, self.loader.o.payload.zero_point, cycles, name="zero_point")
        result: list[Value] = [value]
        while len(result) < self.cols:
            result.append(delayed(m, result[-1], name=f"zero_point_of_{len(result)}"))
        return result

    def _row_delay(self, row: int) -> int:
        """Cycles by which a row starts later because its PEs are faster than the kind's latency: all sums arrive as if
        they were not."""
        return self.kind.latency - self.array.latency(row)

    def _feet(self, m: Module, pes: list[list[wiring.Component]], *, first: Value) -> None:
        """The foot below each column, which is told when a beat begins there."""
        if not self.kind.foot:
            for column, pe in enumerate(pes[-1]):
                m.d.comb += self.o.payload.sums[column].eq(pe.sum_o)
            return
        first = delayed(m, first, self.edge_stages + self.rows + self.kind.latency, name="first")
        for column, pe in enumerate(pes[-1]):
            m.submodules[f"foot_{column}"] = foot = self.array.foot()
            m.d.comb += [foot.i.eq(pe.sum_o), foot.first.eq(first), self.o.payload.sums[column].eq(foot.o)]
            first = delayed(m, first, name=f"first_of_{column + 1}")
