"""Post-training quantization: a float network and a batch of calibration data become an int8 graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sateen.graph import Graph, Network, NetworkError, Tensor, network, ops
from sateen.hw.spec.descriptor import Rounding
from sateen.quantize.chains import equalized
from sateen.quantize.ranges import SCHEMES, Calibration, Range, activation_scale, find_ranges
from sateen.sim import golden

__all__ = ["prepared", "quantize", "weight_scales"]

_LARGEST_BIAS = 2**30
WEIGHTED = (network.Conv2D, network.FullyConnected)


def weight_scales(
    weights: NDArray[np.float32], bias: NDArray[np.float32], input_scale: float, *, most: int = 127
) -> NDArray[np.float64]:
    """The scale of each output channel's weights, for symmetric codes from −``most`` to ``most``.

    The scale is raised where the bias, in steps of input scale times weight scale, would need more than 30 bits. A
    channel without weights then has a bias of ±2^30, as in TensorFlow Lite's models. A channel without weights and bias
    takes the largest of the other channels' scales.
    """
    largest = np.abs(weights).reshape(len(weights), -1).max(axis=1).astype(np.float64)
    scales = np.maximum(largest / most, np.abs(bias.astype(np.float64)) / (input_scale * _LARGEST_BIAS))
    return np.where(scales > 0, scales, scales.max() or 1.0)


@dataclass
class _Builder:
    """The graph so far, and every result of the network on the calibration data."""

    scheme: str
    rounding: int
    weight_bits: int
    trace: dict[str, NDArray[np.float32]]
    ranges: dict[str, Range]
    corrected: bool
    """Whether biases make up for the mean error of rounded weights."""
    tensors: list[Tensor] = field(default_factory=list)
    ops: list[ops.Op] = field(default_factory=list)

    def tensor(self, name: str, *, like: Tensor | None = None, step: float = 0.0) -> Tensor:
        """Adds the tensor for the result of the layer ``name``, with scale and zero point from its range.

        ``like`` is a tensor to take them from instead; ``step`` is the smallest useful scale.
        """
        values = self.trace[name]
        if like is None:
            low, high = self.ranges[name]
            scale, zero_point = activation_scale(low, high, scheme=self.scheme, step=step)
        else:
            scale, zero_point = like.scale, like.zero_point
        self.tensors.append(Tensor(name=name, shape=(1, *values.shape[1:]), scale=scale, zero_point=zero_point))
        return self.tensors[-1]

    def real_tensor(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Adds a tensor of real numbers, under another name if a layer or a tensor has it."""
        taken = {*self.trace, *(tensor.name for tensor in self.tensors)}
        free = next(each for each in (name, *(f"{name}.{i}" for i in range(len(taken)))) if each not in taken)
        self.tensors.append(Tensor(name=free, shape=shape, scale=1.0, zero_point=0, dtype="float32"))
        return self.tensors[-1]

    def clamp(self, output: Tensor, relu: network.Relu | None) -> tuple[int, int]:
        """The smallest and largest result, in the output's codes."""
        low = -127 if self.scheme == "symmetric" else -128
        if relu is None:
            return low, 127
        limit = 127 if relu.limit is None else int(output.quantize(relu.limit))
        return max(low, output.zero_point), limit

    def add(self, layer: network.Layer, relu: network.Relu | None) -> None:
        """Adds a layer, with the ReLU after it; :class:`NetworkError` for a ReLU that stands alone."""
        if isinstance(layer, network.Conv2D | network.FullyConnected):
            self.weighted(layer, relu)
        elif isinstance(layer, network.MaxPool2D):
            self.pool(layer, relu)
        elif isinstance(layer, network.Flatten):
            self.flatten(layer)
        else:
            raise NetworkError(
                f"{layer}: it can be fused only into a Conv2D, FullyConnected or MaxPool2D right before it"
            )

    def weighted(self, layer: network.Conv2D | network.FullyConnected, relu: network.Relu | None) -> None:
        """Adds a convolution or fully connected layer, with the ReLU after it."""
        x, most = self.tensors[-1], (1 << (self.weight_bits - 1)) - 1
        scales = weight_scales(layer.weights, layer.bias, x.scale, most=most)
        per_channel = scales.reshape(-1, *[1] * (layer.weights.ndim - 1))
        # A scale of at least two steps of the sums means that no sum is shifted left, where it could overflow.
        y = self.tensor((relu or layer).name, step=2 * x.scale * float(scales.max()))
        codes = np.clip(np.rint(layer.weights / per_channel), -most, most).astype(np.int8)
        bias: NDArray[np.floating[Any]] = layer.bias
        if self.corrected:
            bias = bias - self._mean_error(codes * per_channel - layer.weights, self.trace[x.name])
        ratios = x.scale * scales / y.scale
        if self.rounding == Rounding.FLOAT32:
            ratios = ratios.astype(np.float32)
        scalings = [golden.quantize_multiplier(scale) for scale in ratios.tolist()]
        low, high = self.clamp(y, relu)
        fields: dict[str, Any] = {
            "name": layer.name, "input": x.name, "output": y.name,
            "weights": codes, "bias": np.rint(bias / (x.scale * scales)).astype(np.int32),
            "multiplier": np.array([multiplier for multiplier, _ in scalings], np.int32),
            "shift": np.array([shift for _, shift in scalings], np.int8),
            "low": low, "high": high, "rounding": self.rounding,
        }  # fmt: skip
        if isinstance(layer, network.Conv2D):
            fields |= {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
            self.ops.append(ops.Conv2D(**fields))
        else:
            self.ops.append(ops.FullyConnected(**fields))

    @staticmethod
    def _mean_error(errors: NDArray[np.float64], inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """What errors of weights [O, …, I] add to each result on average; padding counts as if it were image."""
        channels = errors.shape[-1]
        return errors.reshape(len(errors), -1, channels).sum(axis=1) @ inputs.reshape(-1, channels).mean(axis=0)

    def real(
        self, layer: network.Conv2D | network.FullyConnected, relu: network.Relu | None, *, quantized: bool
    ) -> None:
        """Adds a layer with its real weights, and the ReLU after it, for the host. Its result may be ``quantized``."""
        x, result = self.tensors[-1], (relu or layer).name
        if x.dtype != "float32":
            real = self.real_tensor(f"{x.name}.real", x.shape)
            self.ops.append(ops.Dequantize(name=f"{real.name}.dequantize", input=x.name, output=real.name))
            x = real
        y = self.real_tensor(f"{layer.name}.sums", (1, *self.trace[layer.name].shape[1:]))
        fields: dict[str, Any] = {"name": layer.name, "input": x.name, "output": y.name}
        fields |= {"weights": layer.weights, "bias": layer.bias}
        if isinstance(layer, network.Conv2D):
            fields |= {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
            self.ops.append(ops.RealConv2D(**fields))
        else:
            self.ops.append(ops.RealProduct(**fields))
        if relu is not None:
            x, y = y, self.real_tensor(f"{relu.name}.clamped", y.shape)
            limits = () if relu.limit is None else (0.0, float(relu.limit))
            fields = {"function": "clip" if limits else "relu", "parameters": limits}
            self.ops.append(ops.RealUnary(name=relu.name, input=x.name, output=y.name, **fields))
        if quantized:
            codes = self.tensor(result)
            fields = {"name": f"{result}.quantize", "input": y.name, "output": codes.name}
            self.ops.append(ops.Quantize(**fields, rounding=self.rounding))

    def pool(self, layer: network.MaxPool2D, relu: network.Relu | None) -> None:
        """Adds a max pool, with the ReLU after it."""
        x = self.tensors[-1]
        y = self.tensor((relu or layer).name, like=x)
        low, high = self.clamp(y, relu)
        fields: dict[str, Any] = {"size": layer.size, "stride": layer.stride, "padding": layer.padding}
        self.ops.append(ops.MaxPool2D(name=layer.name, input=x.name, output=y.name, low=low, high=high, **fields))

    def flatten(self, layer: network.Flatten) -> None:
        """Adds a reshape."""
        x = self.tensors[-1]
        y = self.tensor(layer.name, like=x)
        self.ops.append(ops.Reshape(name=layer.name, input=x.name, output=y.name))


def quantize(
    model: Network,
    calibration: ArrayLike,
    *,
    scheme: str = "asymmetric",
    rounding: int = Rounding.DOUBLE,
    weight_bits: int = 8,
    ranges: Calibration = Calibration(),  # noqa: B008
) -> Graph:
    """The network with int8 activations and weights of 8 bits or fewer.

    Batch normalization is folded into the layer before it, and ReLU is fused into the clamp of that layer's result.
    Activations take their range on the calibration data. Weights have one symmetric scale per output channel, and
    biases are int32 with input scale times weight scale. Everything is rounded to nearest, ties to even. Tensors are
    named after the layers whose results they hold; the first is ``"input"``.

    Parameters
    ----------
    calibration
        Representative inputs [N, *input_shape], N of 1 or more.
    scheme
        One of :data:`SCHEMES`.
    rounding
        Rounding of the requantization, a :class:`~sateen.hw.spec.descriptor.Rounding`.
    weight_bits
        Bits of the weights, 2 to 8.
    ranges
        How the ranges of activations are found; whether channels are equalized and biases corrected; and which
        convolutions and fully connected layers keep real weights, by the name of the layer or of the ReLU after it.
        Where such a layer is the last, the graph's output is real.

    Raises
    ------
    ValueError
        If the scheme is unknown, weight_bits is out of range, or the calibration data is empty or leads to values that
        are not finite.
    NetworkError
        If the network has a layer where it can be neither folded nor fused, or none of a name in ``ranges``.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"scheme must be {' or '.join(SCHEMES)}, not {scheme!r}")
    if not 2 <= weight_bits <= 8:
        raise ValueError(f"weight_bits must be 2 to 8, not {weight_bits!r}")
    folded = prepared(model, calibration, ranges)
    trace = _traced(folded, calibration)
    found = find_ranges(lambda: [trace], ranges, scheme=scheme)
    builder = _Builder(scheme, rounding, weight_bits, trace, found, ranges.correct_bias)
    builder.tensor("input")
    parts = list(_fused(folded.layers))
    kept = _kept(parts, ranges.keep_float)
    for place, (layer, relu) in enumerate(parts):
        if layer in kept and isinstance(layer, WEIGHTED):
            # Between two such layers nothing is quantized, nor behind the last of the network.
            following = parts[place + 1][0] if place + 1 < len(parts) else layer
            builder.real(layer, relu, quantized=following not in kept)
        else:
            builder.add(layer, relu)
    tensors = {tensor.name: tensor for tensor in builder.tensors}
    return Graph(
        name=model.name, tensors=tensors, ops=builder.ops, inputs=["input"], outputs=[builder.tensors[-1].name]
    )


def prepared(model: Network, calibration: ArrayLike, ranges: Calibration) -> Network:
    """The network that :func:`quantize` quantizes: without batch normalization, and equalized if that is asked for."""
    folded = model.fold()
    return equalized(folded, _traced(folded, calibration)) if ranges.equalize else folded


def _kept(parts: Sequence[tuple[network.Layer, network.Relu | None]], wanted: Sequence[str]) -> list[network.Layer]:
    """The layers that keep real weights."""
    known = {name: layer for layer, relu in parts for name in (layer.name, relu and relu.name)
             if name and isinstance(layer, WEIGHTED)}  # fmt: skip
    for name in wanted:
        if name not in known:
            layers = ", ".join(layer.name for layer, _ in parts if isinstance(layer, WEIGHTED))
            raise NetworkError(f"layer {name!r}: the network has none of this name with weights; such are {layers}")
    return [known[name] for name in wanted]


def _traced(model: Network, calibration: ArrayLike) -> dict[str, NDArray[np.float32]]:
    """Every result on the calibration data; ``ValueError`` if there is none or one is not finite."""
    if not np.size(calibration):
        raise ValueError("calibration must hold one item or more, not none")
    trace = model.trace(calibration)
    for name, values in trace.items():
        if not np.isfinite(values).all():
            raise ValueError(
                f"calibration leads to values in {name!r} that are not finite; remove NaN and infinity from it"
            )
    return trace


def _fused(layers: Sequence[network.Layer]) -> Iterator[tuple[network.Layer, network.Relu | None]]:
    """Each layer with the ReLU right after it, which becomes part of it."""
    left = list(layers)
    while left:
        layer, relu = left.pop(0), None
        if left and isinstance(left[0], network.Relu) and not isinstance(layer, network.Flatten | network.Relu):
            relu = left[0]
            del left[0]
        yield layer, relu
