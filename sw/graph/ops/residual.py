"""Convolutions whose results are added to a tensor: residual connections."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from sateen.graph.ops.base import Int8Array, Shape, Tensor, Tensors, Values, require
from sateen.graph.ops.elementwise import Add
from sateen.graph.ops.weighted import Conv2D, Windowed

__all__ = ["ResidualConv2D"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ResidualConv2D(Windowed):
    """A :class:`Conv2D` and the :class:`Add` of its result and another tensor, which a device computes at once.

    ``low``, ``high`` and ``rounding`` are the convolution's. Nobody else reads its result.
    """

    between: Tensor
    """The convolution's result."""
    sum: Add
    """Of :attr:`between` and :attr:`residual`, in either order."""

    def __post_init__(self) -> None:
        super().__post_init__()
        operands = (self.sum.a, self.sum.b)
        require(operands.count(self.between.name) == 1, self, f"its sum must have {self.between} once, not {operands}")
        require(self.sum.output == self.output, self, f"its sum must give {self.output!r}, not {self.sum.output!r}")
        require(type(self.sum) is Add, self, "its sum must be an Add")

    @property
    def residual(self) -> str:
        """What is added to the convolution's result."""
        return self.sum.b if self.sum.a == self.between.name else self.sum.a

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.input, self.residual)

    @property
    def convolution(self) -> Conv2D:
        """The first half."""
        mine: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(Conv2D)}
        return Conv2D(**{**mine, "output": self.between.name})

    def check_types(self, tensors: Tensors) -> None:
        for tensor in (*(tensors[name] for name in self.inputs), self.between, tensors[self.output]):
            self._check_type(tensor, "int8")

    def infer(self, tensors: Tensors) -> Shape:
        shape = self.convolution.infer(tensors)
        for tensor in (self.between, tensors[self.residual]):
            what = f"{tensor} of {tensor.shape} must have its convolution's shape {shape}"
            require(tensor.shape == shape, self, what)
        return self.sum.infer({**tensors, self.between.name: self.between})

    def execute(self, tensors: Tensors, values: Values) -> Int8Array:
        known = {**tensors, self.between.name: self.between}
        results = self.convolution.execute(known, values)
        return self.sum.execute(known, {**values, self.between.name: results})
