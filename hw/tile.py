"""The tile: a weight-stationary systolic array."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect

from sateen.hw.pe import create
from sateen.hw.pe.contract import beat_shape
from sateen.hw.pe.shape import ArrayShape
from sateen.hw.pe.skip import Skip
from sateen.hw.spec.pe import SKIP_BIT, SKIP_BITS, skip_rows
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
    above 1, as many flow side by side, somewhat faster (:meth:`_load_skew`), and each row captures one of them.
    Activations flow to the right. Rows and columns are skewed by a cycle each, so that ``capture``, ``swap`` and
    activations are one diagonal wave, which the next cycle's wave never overtakes. Whatever is special about a kind of
    PE is at the edges (:class:`~sateen.hw.pe.contract.PeArray`): how beats become waves, words become weights, and
    partial sums become sums.

    Kinds with sliding windows use the same multipliers for depthwise layers: with ``slide``, byte ``c`` of a beat
    enters column ``c`` at the top, and each row delays it by one such beat, so that a column is a filter over the beats
    (:class:`sateen.hw.spec.descriptor.Sliding`). Where the upper rows' PEs are in pairs, or not of the
    ``window_rows``, it enters at the first row below them; the rows above take the beat's bytes as ever.

    Parameters
    ----------
    shape : ArrayShape
        The array.
    position_bits : int
        Width of the tag's address, 1 or more.
    in_place : bool
        The tag is that of :func:`~sateen.hw.sums.tag_shape` with ``in_place``.
    edge_stages : int
        Pipeline registers before the array's edges.

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
        self, shape: ArrayShape, *, position_bits: int, in_place: bool = False, edge_stages: int = EDGE_STAGES
    ):
        if position_bits < 1:
            raise ValueError(f"position_bits must be 1 or more, not {position_bits!r}")
        self.shape, self.rows, self.cols, self.kind = shape, shape.rows, shape.cols, shape.kind
        self.edge_stages, self.weight_rows = edge_stages, shape.weight_rows
        self.latency = edge_stages + shape.rows + shape.kind.latency + shape.kind.foot
        tag = tag_shape(position_bits, in_place=in_place)
        self.array = create(shape, tag=tag)
        self.feeder, self.loader = self.array.feeder(), self.array.loader()
        sums = partial_sums(cols=shape.cols, sum_bits=shape.sum_bits, tag=tag)
        super().__init__(
            {
                "weights": In(stream.Signature(self.loader.i.payload.shape())),
                "i": In(stream.Signature(beat_shape(shape.rows * shape.combine * shape.kind.group, tag))),
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

        skips = self._skips(m, taken & wave.slide) if self.shape.window_skip else {}
        pes = self._array(m, platform, self._entering_weights(m, platform), skips)
        self._edges(m, platform, pes, taken=taken, swap=swap, captured=step & loader.o.valid.replicate(steps))
        self._feet(m, pes, first=taken & wave.first)

        valid = taken & wave.last & wave.tag.keep
        m.d.comb += [
            self.o.valid.eq(delayed(m, valid, self.latency, name="valid", reset=True)),
            self.o.payload.tag.eq(delayed(m, wave.tag, self.latency, name="tag")),
        ]
        return m

    def _skips(self, m: Module, slides: Value) -> dict[int, list[Skip]]:
        """What keeps samples on their way into some rows, by row; each is told where in the cycle in which the PE above
        takes a sample. The feeder of a kind that slides forwards beats unchanged."""
        beats, place = self.i.payload.settings[SKIP_BIT : SKIP_BIT + SKIP_BITS], Signal(range(self.shape.window_skip))
        with m.If(slides):
            m.d.sync += place.eq(Mux(place + 1 < beats, place + 1, 0))
        found = {}
        for row in (self.rows - self.shape.sliding_rows + each for each in skip_rows(self.shape.sliding_rows)):
            cycles = self.edge_stages + row + self._row_delay(row - 1)
            where = delayed(m, Cat(place, beats == 0), cycles, name=f"skip_{row}")
            found[row] = [Skip(depth=self.shape.window_skip) for _ in range(self.cols)]
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
        following = row + self.weight_rows
        cycles = self._load_skew(following) - self._load_skew(row) + self._row_delay(following) - self._row_delay(row)
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
        waits = [self._load_skew(row) + self._row_delay(row) - self._row_delay(0) for row in range(self.weight_rows)]
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
        """Skews the inputs of row ``r`` and column ``c`` by ``edge_stages`` + 1 + ``r`` or ``c`` cycles, captures by
        :meth:`_load_skew` in place of ``r``, and those of a row by :meth:`_row_delay`. ``captured`` has a bit for each
        ``weight_rows`` rows."""
        part, wave = self.loader.o.payload, self.feeder.o.payload
        for row, line in enumerate(pes):
            capture = view(line[0].capture_i.shape(), name=f"capture_{row}")
            m.d.comb += [capture.valid.eq(captured[row // self.weight_rows]), capture.slot.eq(part.slot)]
            entering = {"activation": self.array.row_inputs(wave.activations, row), "swap": swap, "capture": capture}
            if self.array.slides(row):
                entering["slide"] = taken & wave.slide
            skews = {name: self._load_skew(row) if name == "capture" else row for name in entering}
            for skew in sorted(set(skews.values()), reverse=True):
                names = [name for name in entering if skews[name] == skew]
                named = {f"{name}_{row}": entering[name] for name in names}
                cycles = self.edge_stages + skew + 1 + self._row_delay(row)
                for name, value in zip(names, delayed_together(m, platform, named, cycles), strict=True):
                    m.d.comb += getattr(line[0], f"{name}_i").eq(value)
        if self.shape.sliding_rows:
            first = self.rows - self.shape.sliding_rows
            self._samples(m, platform, pes[first], first)

    def _samples(self, m: Module, platform: object, pes: list[wiring.Component], row: int) -> None:
        """Bytes of a beat into the columns' PEs of the first row that slides. Near the array, they take another path
        than the activations of the row with the same number."""
        activations = self.feeder.o.payload.activations
        for column, pe in enumerate(pes[: self.rows * self.shape.combine]):
            cycles = column + 1 + row + self._row_delay(row)
            (sample,) = delayed_together(m, platform, {f"sample_of_{column}": activations[column]}, cycles)
            for stage in range(self.edge_stages):
                sample = dedicated_register(m, platform, sample, name=f"sample_of_{column}_edge_{stage}")
            m.d.comb += pe.sample_i.eq(sample)

    def _zero_points(self, m: Module) -> list[Value]:
        """The zero point of the weights that enter each column. It moves from column to column, as they do in time."""
        if self.shape.weight_bits <= 8:
            return [Const(0)] * self.cols
        cycles = self.edge_stages + 1 + self._row_delay(0)
        value = delayed(m, self.loader.o.payload.zero_point, cycles, name="zero_point")
        result: list[Value] = [value]
        while len(result) < self.cols:
            result.append(delayed(m, result[-1], name=f"zero_point_of_{len(result)}"))
        return result

    def _load_skew(self, row: int) -> int:
        """Cycles by which a row captures its weights later than the first one would those of the same word.

        Row ``r`` captures those of word ``r // weight_rows``. With more than one row a word, it may do so when the
        swap before the first word arrives, which takes ``r`` cycles; a word then moves faster than the wave.
        """
        return row if self.weight_rows == 1 else row - row // self.weight_rows

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
