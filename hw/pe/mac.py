"""The parallel multiply-accumulator."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value, signed
from amaranth.lib import data, wiring

from sateen.hw.multiply import LogicMultiply, Multiply, MultiplyAdd
from sateen.hw.pe.contract import Feeder, PeArray, PeSignature, forward
from sateen.hw.spec.pe import ACTIVATION_POINT_BIT
from sateen.hw.stream.delay import delayed
from sateen.hw.stream.mux import dedicated_mux

__all__ = ["Array", "Mac"]


class Mac(wiring.Component):
    """One int8 product per cycle, of an activation or a sample, added to the partial sum.

    Contract: :class:`~sateen.hw.pe.contract.PeSignature`.

    With a hardware multiplier the latency is 6 cycles: a register of the factors, the multiplier's three, one of the
    product, since the multiplier is far away on the chip, and the sum. Else it is 3: a register of the factors, halves
    of the product, the sum.

    Parameters
    ----------
    weight_bits : int
        Width of the weight, 2 to 9; one of 9 bits is -255 or more, so that its products have 16 bits, too.
    activation_bits : int
        Width of an activation: 8, or 9 of a hardware multiplier only; one of 9 bits is -255 or more, too. Samples have
        8.
    sum_bits : int
        Width of a partial sum.
    multiplier : bool
        Use a hardware multiplier; else adders make the product.
    slides : bool
        It takes samples.
    """

    LATENCY = {True: 6, False: 3}
    """By ``multiplier``."""

    def __init__(
        self,
        *,
        weight_bits: int = 8,
        activation_bits: int = 8,
        sum_bits: int,
        multiplier: bool = True,
        slides: bool = True,
    ):
        if activation_bits > 8 and not multiplier:
            raise ValueError(f"activation_bits must be 8 without a hardware multiplier, not {activation_bits!r}")
        self.activation_bits, self.multiplier, self.slides = activation_bits, multiplier, slides
        signature = PeSignature(
            activation=signed(activation_bits), weight=signed(weight_bits), sum_bits=sum_bits,
            sample=signed(8) if slides else None,
        )
        super().__init__(signature)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        slide = ["slide"] if self.slides else []
        forward(m, platform, self, "activation", *slide, "swap", "weight", "capture")
        following, current = (
            Signal.like(self.weight_i, name=name, reset_less=True) for name in ("following", "current")
        )
        with m.If(self.capture_i.valid):
            m.d.sync += following.eq(self.weight_i)
        with m.If(self.swap_i):
            m.d.sync += current.eq(following)
        bits = len(self.weight_i)
        product_bits = self.activation_bits + min(8, bits)
        factor = self._factor(m, platform)
        if self.multiplier and getattr(platform, "sateen_technology", None) == "up5k":
            # The adder is in the multiplier, too, which saves a cycle.
            m.submodules.multiply = multiply_add = MultiplyAdd(
                a_bits=self.activation_bits, b_bits=bits, sum_bits=len(self.sum_i)
            )
            m.d.comb += [
                multiply_add.a.eq(delayed(m, factor, name="delayed_factor")),
                multiply_add.b.eq(delayed(m, current, name="delayed_weight")),
            ]
            m.d.comb += [multiply_add.c.eq(self.sum_i), self.sum_o.eq(multiply_add.o)]
            return m
        multiply: Multiply | LogicMultiply
        if self.multiplier:
            m.submodules.multiply = multiply = Multiply(a_bits=self.activation_bits, b_bits=bits)
            product = delayed(m, multiply.product[:product_bits].as_signed(), name="product")
        else:
            m.submodules.multiply = multiply = LogicMultiply(b_bits=bits)
            # `keep`: of a sum of three terms, synthesis makes more than two adders.
            product = Signal(signed(product_bits), attrs={"keep": 1})
            m.d.comb += product.eq(multiply.low + (multiply.high << 4))
        m.d.comb += [
            multiply.a.eq(factor),
            multiply.b.eq(current),
            self.sum_o.eq(delayed(m, self.sum_i + product, name="sum")),
        ]
        return m

    def _factor(self, m: Module, platform: object) -> Value:
        """The activation of the cycle before, or the sample in its place, which the PE below gets a beat later."""
        if not self.slides:
            return self.activation_o
        held, below = Signal.like(self.sample_i, reset_less=True), Signal.like(self.sample_i, reset_less=True)
        with m.If(self.slide_i):
            m.d.sync += [held.eq(self.sample_i), below.eq(held)]
        m.d.comb += self.sample_o.eq(below)
        sample = self.sample_i
        if self.activation_bits > 8:
            sample = Signal.like(self.activation_i, name="sample")
            m.d.comb += sample.eq(self.sample_i)
        chosen = dedicated_mux(m, platform, self.slide_i, sample, self.activation_i, name="chosen")
        return delayed(m, chosen, name="factor")


class Offset(Feeder):
    """A feeder that subtracts the activations' zero point, which is in the beat's settings."""

    def activations(self, beat: data.View) -> Any:
        zero_point = beat.settings[ACTIVATION_POINT_BIT:].as_signed()
        return Cat(beat.data[row] - zero_point for row in range(self.rows))


class Array(PeArray):
    """The upper rows have hardware multipliers, as many as there are for whole rows."""

    def pe(self, row: int, column: int) -> Mac:
        return Mac(
            weight_bits=self.weight_bits, activation_bits=self.shape.activation_bits, sum_bits=self.sum_bits,
            multiplier=self._multiplies(row), slides=self.slides(row),
        )  # fmt: skip

    def feeder(self) -> Feeder:
        if self.shape.activation_bits == 8:
            return super().feeder()  # type: ignore[return-value]
        return Offset(rows=self.rows, tag=self.tag, activation=signed(self.shape.activation_bits))

    def latency(self, row: int) -> int:
        return Mac.LATENCY[self._multiplies(row)]

    def _multiplies(self, row: int) -> bool:
        return (row + 1) * self.cols <= self.shape.hardware
