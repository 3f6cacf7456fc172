"""Affine nests of counters: the address generator of activations and results."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, ShapeLike, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from sateen.hw.spec.nests import COUNT_BITS
from sateen.hw.stream.slice import RegisterSlice
from sateen.hw.stream.view import view

__all__ = ["Nest"]


class Nest(wiring.Component):
    """Walks a nest of counters, innermost fastest, and computes affine coordinates.

    Coordinates start at ``origin`` and change by the step of the counter that advances (see
    :func:`sateen.hw.spec.nests.steps`), modulo their width. One item per cycle, full back-pressure; the first
    comes 4 cycles after ``start``.

    Parameters
    ----------
    dims : int
        Counters of the nest, 1 or more; 0 is the outermost.
    coordinates : dict of str to int
        Name and width in bits of each coordinate, all signed.
    entries, exits : dict of str to int
        Flags of an item's ``entry`` and ``exit`` and the counter of each: whether that counter or one outside it led
        here, or advances next. Registered, for decisions that hold the nest back.
    staged : bool
        Counters and origin can be set during a walk, for the next one. They are not kept for further walks.

    Members
    -------
    dim : In(stream), always ready
        Sets counter ``index``: ``count`` values (1 or more) and its ``steps``. Only while the nest is idle. Kept for
        further walks.
    origin : In
        The coordinates of the first item; to be held until the nest is done.
    start : In(1)
        Begins a walk. Only while the nest is idle.
    busy : Out(1)
        From the cycle after ``start`` until the last item is taken.
    o : Out(stream)
        ``at``: the coordinates; ``enter``: the counter whose advance led here, 0 for the first item; ``leave``: the
        counter that advances next, 0 for the ``last``.
    """

    def __init__(
        self,
        *,
        dims: int,
        coordinates: dict[str, int],
        entries: dict[str, int] | None = None,
        exits: dict[str, int] | None = None,
        staged: bool = False,
    ):
        if dims < 1:
            raise ValueError(f"dims must be 1 or more, not {dims!r}")
        if not coordinates:
            raise ValueError("coordinates must name at least one coordinate")
        self.dims, self.entries, self.exits, self.staged = dims, entries or {}, exits or {}, staged
        index = ceil_log2(max(dims, 2))
        item: dict[str, ShapeLike] = {"enter": index, "leave": index, "last": 1}
        item |= {
            "entry": data.StructLayout(dict.fromkeys(self.entries, 1)),
            "exit": data.StructLayout(dict.fromkeys(self.exits, 1)),
        }
        self.point = data.StructLayout({name: signed(width) for name, width in coordinates.items()})
        super().__init__(
            {
                "dim": In(
                    stream.Signature(
                        data.StructLayout({"index": index, "count": COUNT_BITS, "steps": self.point}), always_ready=True
                    )
                ),
                "origin": In(self.point),
                "start": In(1),
                "busy": Out(1),
                "o": Out(stream.Signature(data.StructLayout({"at": self.point, **item}))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        setting = self.dim.payload
        half = Signal()
        """The walk's half of the memory, if the other one can be set meanwhile."""
        of_walk, set_next = ([half], [~half]) if self.staged else ([], [])
        steps: Memory = Memory(shape=self.point, depth=1 << len(setting.index) + self.staged, init=[])
        m.submodules.steps = steps
        write, read = steps.write_port(), steps.read_port(domain="comb")
        m.d.comb += [
            write.addr.eq(Cat(setting.index, *set_next)),
            write.data.eq(setting.steps),
            write.en.eq(self.dim.valid),
        ]

        moves, running = self._counters(m)
        origin = self.origin
        if self.staged:
            origin = view(self.point, name="origin_of_walk")
            with m.If(self.start):
                m.d.sync += [half.eq(~half), origin.eq(self.origin)]
        stage, valid, step, enable = view(moves.o.payload.shape()), Signal(), view(self.point), Signal()
        m.d.comb += [
            enable.eq(~self.o.valid | self.o.ready),
            moves.o.ready.eq(enable),
            read.addr.eq(Cat(moves.o.payload.enter, *of_walk)),
            self.busy.eq(running | moves.o.valid | valid | self.o.valid),
        ]
        with m.If(enable):
            m.d.sync += [
                valid.eq(moves.o.valid),
                stage.eq(moves.o.payload),
                step.eq(read.data),
                self.o.valid.eq(valid),
                self.o.payload.enter.eq(stage.enter),
                self.o.payload.leave.eq(stage.leave),
                self.o.payload.last.eq(stage.last),
            ]
            for name, level in self.entries.items():
                m.d.sync += self.o.payload.entry[name].eq(stage.enter <= level)
            for name, level in self.exits.items():
                m.d.sync += self.o.payload.exit[name].eq(stage.leave <= level)
            with m.If(valid):
                for name in self.point.members:
                    here = self.o.payload.at[name]
                    with m.If(stage.first):
                        m.d.sync += here.eq(origin[name])
                    with m.Else():
                        m.d.sync += here.eq(here + step[name])
        return m

    def _counters(self, m: Module) -> tuple[RegisterSlice, Signal]:
        """The counters' moves, and whether more follow. A register slice separates them from the coordinates: the
        items' ready comes too late in the cycle for the counters."""
        setting = self.dim.payload
        # Counters run down past zero: their signs say which have more to come, so that a step depends on flags only.
        running, first = Signal(), Signal()
        enter, leave, last = Signal.like(setting.index), Signal.like(setting.index), Signal()
        limits = [Signal(signed(COUNT_BITS + 1), name=f"limit_{d}", reset_less=True) for d in range(self.dims)]
        counts = [Signal(signed(COUNT_BITS + 1), name=f"count_{d}", reset_less=True) for d in range(self.dims)]
        more = Cat(count >= 0 for count in counts)
        m.d.comb += last.eq(~more.any())
        for d in range(self.dims):
            with m.If(more[d]):
                m.d.comb += leave.eq(d)
        m.submodules.moves = moves = RegisterSlice(
            data.StructLayout({"first": 1, "enter": enter.shape(), "leave": leave.shape(), "last": 1})
        )
        go, move = Signal(), moves.i.payload
        m.d.comb += [
            moves.i.valid.eq(running),
            go.eq(running & moves.i.ready),
            move.first.eq(first),
            move.enter.eq(enter),
            move.leave.eq(leave),
            move.last.eq(last),
        ]
        with m.If(go):
            m.d.sync += [enter.eq(leave), first.eq(0), running.eq(~last)]
        # A counter moves when none inside it has more: it counts, or returns to its limit.
        following = [Mux(more[d], counts[d] - 1, limits[d]) for d in range(self.dims)]
        advance = [go & ~more[d + 1 :].any() for d in range(self.dims)]
        with m.If(self.start):
            m.d.sync += [running.eq(1), first.eq(1), enter.eq(0)]
        settings: list[Value] = [setting.count - 2] * self.dims
        comes: list[Value] = [self.dim.valid & (setting.index == d) for d in range(self.dims)]
        if self.staged:
            staged = [Signal(signed(COUNT_BITS + 1), name=f"staged_{d}", reset_less=True) for d in range(self.dims)]
            for value, given, now in zip(staged, settings, comes, strict=True):
                with m.If(now):
                    m.d.sync += value.eq(given)
            settings, comes = list(staged), [self.start] * self.dims
        for d in range(self.dims):
            with m.If(comes[d]):
                m.d.sync += limits[d].eq(settings[d])
            # Settings come late in a cycle, so that they only enable counters, which take them for want of a walk.
            with m.If(advance[d] | comes[d]):
                m.d.sync += counts[d].eq(Mux(running, following[d], settings[d]))
        return moves, running
