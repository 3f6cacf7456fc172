"""The walk over the sums of a group of channels."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["GroupWalk"]


class GroupWalk(wiring.Component):
    """Walks over the sums of one group of channels: window by window, ``lanes`` channels at a time, tap by tap.

    The first item is there in the cycle after ``begin``, the next one in the cycle after ``advance``.

    Parameters
    ----------
    cols, lanes : int
        Of the configuration.
    position_bits : int
        Width of an accumulator's position.

    Members
    -------
    channels : In
        Output channels from this group on, 1 or more; steady from ``begin`` to the group's end.
    taps : In
        Positions of a window, 1 or more; steady likewise.
    begin : In(1), start : In
        Begins a group, whose first sum is at ``start``.
    advance : In(1)
        Goes on to the next item.
    o : Out
        The item: ``position`` of its sums; ``lane_group``, the number of its lanes in the group, which begin at column
        ``offset``; ``mask`` of lanes that hold channels; whether it is the ``first`` and ``last`` tap of a window, and
        of the window's ``last_lanes``.
    """

    def __init__(self, *, cols: int, lanes: int, position_bits: int):
        self.cols, self.lanes = cols, lanes
        item = {
            "position": position_bits,
            "lane_group": range(max(2, -(-cols // lanes))),
            "offset": range(cols + lanes),
            "mask": lanes,
            "first": 1,
            "last": 1,
            "last_lanes": 1,
        }
        super().__init__(
            {
                "channels": In(16),
                "taps": In(16),
                "begin": In(1),
                "start": In(position_bits),
                "advance": In(1),
                "o": Out(data.StructLayout(item)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        o = self.o
        # The window's position, the taps from this one on, the channels from these lanes on.
        window, tap, left = Signal.like(o.position), Signal.like(self.taps), Signal.like(self.channels)
        # `last` and `last_lanes` hold the nest back: they are registers.
        one_tap, one_lane_group = Signal(), Signal()
        m.d.comb += [
            one_tap.eq(self.taps == 1),
            one_lane_group.eq((self.channels <= self.lanes) | (self.cols <= self.lanes)),
            o.first.eq(tap == self.taps),
            *(o.mask[lane].eq((left > lane) & (o.offset < self.cols - lane)) for lane in range(self.lanes)),
        ]
        to_first_tap = [tap.eq(self.taps), o.last.eq(one_tap)]
        to_first_lanes = [left.eq(self.channels), o.offset.eq(0), o.lane_group.eq(0), o.last_lanes.eq(one_lane_group)]
        with m.If(self.begin):
            m.d.sync += [o.position.eq(self.start), window.eq(self.start), *to_first_tap, *to_first_lanes]
        with m.If(self.advance):
            m.d.sync += [o.position.eq(o.position + 1), tap.eq(tap - 1), o.last.eq(tap == 2)]
            with m.If(o.last):
                m.d.sync += [o.position.eq(window), *to_first_tap]
                m.d.sync += [
                    left.eq(left - self.lanes),
                    o.offset.eq(o.offset + self.lanes),
                    o.lane_group.eq(o.lane_group + 1),
                    o.last_lanes.eq((left <= 2 * self.lanes) | (o.offset >= self.cols - 2 * self.lanes)),
                ]
                with m.If(o.last_lanes):
                    m.d.sync += [o.position.eq(o.position + 1), window.eq(o.position + 1), *to_first_lanes]
        return m
