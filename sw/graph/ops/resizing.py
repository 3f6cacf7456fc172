"""Images of another size, interpolated; :class:`~sateen.graph.ops.layout.Resize` takes the nearest pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sateen.graph.ops.base import Array, Int8Array, Shape, Tensors, Unary, Values, require
from sateen.graph.ops.real import Real
from sateen.sim import golden

__all__ = ["RealResize", "ResizeBilinear"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ResizeBilinear(Unary):
    """An image whose pixels lie between those of the input; see :func:`sateen.sim.golden.resize_bilinear`."""

    align_corners: bool = False
    half_pixel_centers: bool = False
    real: bool = False
    """Whether codes larger by 128 are interpolated in float32; see :func:`sateen.sim.golden.real_resize_bilinear`."""

    def __post_init__(self) -> None:
        both = self.align_corners and self.half_pixel_centers
        require(not both, self, "align_corners and half_pixel_centers exclude each other; set one of them")

    def infer(self, tensors: Tensors) -> Shape:
        x, y = self._image(tensors), tensors[self.output]
        self._check_same_quantization(tensors)
        require(len(y.shape) == 4, self, f"its output must be (N, H, W, C), but {y} is {y.shape}")
        return (x.shape[0], *y.shape[1:3], x.shape[3])

    def places(self, tensors: Tensors) -> tuple[golden.Between, golden.Between]:
        """Where the rows and the columns of results lie."""
        find = golden.real_between if self.real else golden.between
        flags = {"align_corners": self.align_corners, "half_pixel_centers": self.half_pixel_centers}
        sizes = zip(tensors[self.input].shape[1:3], tensors[self.output].shape[1:3], strict=True)
        rows, columns = (find(size, wanted, **flags) for size, wanted in sizes)
        return rows, columns

    def execute(self, tensors: Tensors, values: Values) -> Int8Array:
        resize = golden.real_resize_bilinear if self.real else golden.resize_bilinear
        return resize(values[self.input], *self.places(tensors))


@dataclass(frozen=True, kw_only=True, eq=False)
class RealResize(Real, Unary):
    """An image of real numbers, interpolated as ONNX defines it; see :func:`sateen.sim.golden.interpolate`."""

    scales: tuple[float, float]
    """(y, x): the factors that the model states."""
    coordinates: str
    """One of ``golden.COORDINATES``."""

    def __post_init__(self) -> None:
        known = ", ".join(golden.COORDINATES)
        require(
            self.coordinates in golden.COORDINATES,
            self,
            f"coordinates must be one of {known}, not {self.coordinates!r}",
        )
        good = len(self.scales) == 2 and all(math.isfinite(scale) and scale > 0 for scale in self.scales)
        require(good, self, f"scales must be two finite numbers above 0, not {self.scales!r}")

    def infer(self, tensors: Tensors) -> Shape:
        x, y = self._image(tensors), tensors[self.output]
        require(len(y.shape) == 4, self, f"its output must be (N, H, W, C), but {y} is {y.shape}")
        return (x.shape[0], *y.shape[1:3], x.shape[3])

    def execute(self, tensors: Tensors, values: Values) -> Array:
        sizes = zip(tensors[self.input].shape[1:3], tensors[self.output].shape[1:3], self.scales, strict=True)
        rows, columns = (golden.positions(*size, self.coordinates) for size in sizes)
        return golden.interpolate(values[self.input], rows, columns)
