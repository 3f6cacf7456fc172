"""Post-processing: sums become results, several channels at a time."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from sateen.hw.requantize import CHANNEL, SETTINGS, Requantize
from sateen.hw.stream.delay import FANOUT, delayed, delayed_item, replicated
from sateen.hw.stream.view import view

__all__ = ["PostProcess"]


class PostProcess(wiring.Component):
    """Requantizes ``lanes`` sums a cycle; where beats are pooled, the largest result counts.

    One beat per cycle, no back-pressure, ``latency`` = :attr:`Requantize.LATENCY` + 1 cycles. The beats from one with
    ``first`` to one with ``last`` give one result: their largest, with the tag of the ``last``.

    Parameters
    ----------
    lanes : int
        Channels side by side.
    tag : StructLayout
        What accompanies a beat.
    shares : bool
        Results may come from elsewhere.
    float_rounding : bool
        As that of :class:`~sateen.hw.requantize.Requantize`.

    Members
    -------
    settings : In
        Of the layer, steady while values are in flight, and before the first by one cycle for every four lanes.
    i : In(stream), always ready
        ``sums`` and ``channels`` per lane; ``first``, ``last``, ``tag``.
    shared : In(1), shares : In
        Beats give these results, :attr:`Requantize.LATENCY` cycles after they came. ``shared`` is steady like the
        settings. Only with ``shares``.
    o : Out(stream), always ready
        ``data`` per lane, ``tag``.
    """

    def __init__(
        self, *, lanes: int, tag: data.StructLayout, shares: bool = False, float_rounding: bool = True
    ) -> None:
        if lanes < 1:
            raise ValueError(f"lanes must be 1 or more, not {lanes!r}")
        self.lanes, self.tag, self.has_shares, self.float_rounding = lanes, tag, shares, float_rounding
        self.latency = Requantize.LATENCY + 1
        beat = data.StructLayout(
            {
                "sums": data.ArrayLayout(signed(32), lanes),
                "channels": data.ArrayLayout(CHANNEL, lanes),
                "first": 1,
                "last": 1,
                "tag": tag,
            }
        )
        results = data.ArrayLayout(signed(8), lanes)
        result = data.StructLayout({"data": results, "tag": tag})
        super().__init__(
            {
                "settings": In(SETTINGS),
                "i": In(stream.Signature(beat, always_ready=True)),
                **({"shared": In(1), "shares": In(results)} if shares else {}),
                "o": Out(stream.Signature(result, always_ready=True)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beat = self.i.payload
        control = view(data.StructLayout({"valid": 1, "first": 1, "last": 1, "tag": self.tag}))
        m.d.comb += [
            control.valid.eq(self.i.valid),
            control.first.eq(beat.first),
            control.last.eq(beat.last),
            control.tag.eq(beat.tag),
        ]
        control = delayed_item(m, control, Requantize.LATENCY - 1, name="control")
        # Lanes are spread over the chip: every few have registers of their own.
        largest_of = replicated(
            m, platform, Cat(control.valid, control.first), -(-self.lanes // FANOUT), name="largest_of"
        )
        control = delayed_item(m, control, name="last_control")
        m.d.comb += self.o.payload.tag.eq(delayed(m, control.tag, name="tag"))
        m.d.sync += self.o.valid.eq(control.valid & control.last)
        settings, shared = self.settings, self.shared if self.has_shares else None
        for lane in range(self.lanes):
            # Settings are there long before values.
            settings = delayed(m, settings, name=f"settings_{lane}") if lane % FANOUT == 0 else settings
            m.submodules[f"lane_{lane}"] = requantize = Requantize(float_rounding=self.float_rounding)
            m.d.comb += [
                requantize.settings.eq(settings),
                requantize.i.eq(beat.sums[lane]),
                requantize.channel.eq(beat.channels[lane]),
            ]
            result: Value = requantize.o
            if shared is not None:
                shared = delayed(m, shared, name=f"shared_{lane}") if lane % FANOUT == 0 else shared
                result = Mux(shared, self.shares[lane], result).as_signed()
            largest = self.o.payload.data[lane]
            valid, first = largest_of[lane // FANOUT]
            with m.If(valid):
                m.d.sync += largest.eq(Mux(first | (largest < result), result, largest))
        return m
