"""What quantization costs a model: noise layer by layer, accuracy, and what to try where the noise is high."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from sateen.graph import Array, Graph, Tensor, run
from sateen.quantize.float_model import Progress, Quantized, ignore
from sateen.quantize.ranges import Calibration, activation_scale, find_ranges

__all__ = ["Assessment", "LayerNoise", "Predict", "assess", "decibels"]

Predict = Callable[[Array], Array]
"""Answers for inputs [N, …] in the float model's layout."""
LOW = 20.0
"""dB below which a layer gets a suggestion: a noise of a tenth of the signal."""
GAIN = 3.0
"""dB that a suggestion must gain."""
APART = 8.0
"""Ratio of channels' ranges from which equalization is suggested."""
KEPT = 1 << 18
"""Values of a tensor that are kept to try other ranges on."""
TRIED = (
    Calibration(method="mse"),
    *(Calibration(method="percentile", percentile=share) for share in (99.99, 99.9, 99.0)),
)
"""Ranges to suggest, the mildest first."""


@dataclass(frozen=True, kw_only=True)
class LayerNoise:
    """A layer's result, as codes beside float."""

    layer: str
    operator: str
    snr: float
    """Signal to noise in dB with the noise of all layers before: the median of all items, so that one with values
    beyond all others does not hide the rest."""
    own: float
    """Signal to noise in dB of the float result in this tensor's codes: what its range and 8 bits cost alone."""
    suggestion: str = ""


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """What quantization costs a model."""

    layers: tuple[LayerNoise, ...]
    items: int
    """Items of data that the noise was measured on."""
    accuracy: Mapping[str, float] = field(default_factory=dict)
    """Share of right answers: of ``float``, ``int8`` (golden model), and of others by name."""


def decibels(signal: float, noise: float) -> float:
    """10 · log10(signal / noise); infinite without noise, NaN without a signal."""
    if signal <= 0:
        return float("nan")
    return 10 * float(np.log10(signal / noise)) if noise > 0 else float("inf")


class _Tensor:
    """What is known of one tensor."""

    def __init__(self) -> None:
        self.snr: list[float] = []
        self.own: list[float] = []
        self.items: list[Array] = []
        self.channels: Array | None = None

    def add(self, expected: Array, found: Array, tensor: Tensor) -> None:
        """Takes some items of the float model, and the same of the graph."""
        self.snr += _noise(expected, found)
        self.own += _noise(expected, tensor.dequantize(tensor.quantize(expected)))
        if sum(item.size for item in self.items) < KEPT:
            self.items += list(expected)
        if expected.ndim == 4:
            largest = np.abs(expected).max(axis=(0, 2, 3))
            self.channels = largest if self.channels is None else np.maximum(self.channels, largest)

    @property
    def apart(self) -> float:
        """The ratio of channels' ranges."""
        used = np.zeros(0) if self.channels is None else self.channels[self.channels > 0]
        return float(used.max() / used.min()) if len(used) else 1.0

    def gain(self, calibration: Calibration) -> float:
        """dB that another range would gain for the tensor's own noise."""
        low, high = find_ranges(lambda: [{"": item} for item in self.items], calibration)[""]
        scale, zero_point = activation_scale(low, high, scheme="asymmetric")
        tensor = Tensor(name="tried", shape=(1,), scale=scale, zero_point=zero_point)
        tried = [_noise(item[None], tensor.dequantize(tensor.quantize(item))[None])[0] for item in self.items]
        return _median(tried) - _median(self.own[: len(tried)])

    def suggestion(
        self, name: str, before: Mapping[str, _Tensor], scalable: Set[str], spread: Callable[[str], list[str]]
    ) -> str:
        """What to try; ``before`` are the tensors from which it is computed, ``scalable`` those that can be equalized.
        ``spread`` gives the layers up to one that have channels apart."""
        if not _median(self.snr) < LOW:
            return ""
        gains = [self.gain(calibration) for calibration in TRIED]
        if max(gains) >= GAIN:
            # The mildest of those that gain nearly as much as the best.
            gain, chosen = next((g, c) for g, c in zip(gains, TRIED, strict=True) if g >= max(gains) - 1)
            option = f"--method {chosen.method}"
            option += f" --percentile {chosen.percentile:g}" if chosen.method == "percentile" else ""
            return f"few values take most of its range: {option} gains {gain:.0f} dB here"
        widest = max(before, key=lambda each: before[each].apart, default="")
        if widest and before[widest].apart >= APART:
            apart = f"ranges of channels lie {before[widest].apart:.0f} times apart in its input"
            layers = [*spread(widest), name]
            if widest in scalable:
                return f"{apart}: try --equalize"
            if len(layers) > 1:
                return f"{apart}: {' '.join(f'--float {each}' for each in layers)} leave them to the host"
            return f"{apart}, which is the model's: give its channels one range"
        if _median(self.own) < LOW:
            return f"8 bits are too few for its values: --float {name}, and the layer behind it, too"
        if before and _median(self.snr) < min(_median(tensor.snr) for tensor in before.values()) - GAIN:
            return f"its weights lose the most here: --correct-bias, or --float {name} leaves it to the host"
        return "its noise comes from the layers before it"


def _noise(expected: Array, found: Array) -> list[float]:
    """Signal to noise of each item, in dB."""
    real = expected.reshape(len(expected), -1).astype(np.float64)
    errors = real - found.reshape(real.shape)
    return [decibels(signal, noise) for signal, noise in zip((real**2).sum(1), (errors**2).sum(1), strict=True)]


def _median(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.sort(known)[len(known) // 2]) if known else float("nan")


def assess(
    quantized: Quantized,
    *,
    labels: ArrayLike | None = None,
    others: Mapping[str, Predict] | None = None,
    items: int | None = None,
    progress: Progress = ignore,
) -> Assessment:
    """Runs a float model and its graph side by side on the calibration data.

    Parameters
    ----------
    labels
        The class of each item [N]; then answers are counted.
    others
        Further ways to compute the model, such as a device, whose answers are counted.
    items
        Of the data, how many are used; all, if left out.
    progress
        Called with (items done, items).

    Raises
    ------
    ValueError
        If there are not as many labels as items.
    """
    graph, found = quantized.graph, {name: _Tensor() for name in quantized.names}
    inputs, answers = list[Array](), dict[str, list[Array]]({"float": [], "int8": []})
    done = 0
    for tensors in quantized.trace():
        count = len(tensors[quantized.input])
        x = tensors[quantized.input][: None if items is None else items - done]
        values = run(graph, _input(graph, x), layers=True)
        for name, made in quantized.names.items():
            whole = name in tensors and tensors[name].shape[:1] == (count,)
            if whole or name in tensors and count == 1:
                tensor = graph.tensors[made]
                # The axis of a single item may be elsewhere, or missing.
                expected = tensors[name] if whole else tensors[name][None]
                found[name].add(expected[: len(x)], _real(tensor, values[made]), tensor)
        inputs.append(x)
        answers["float"].append(tensors[quantized.output][: len(x)])
        answers["int8"].append(values[graph.outputs[0]])
        done += len(x)
        progress(done, items or done)
        if items is not None and done >= items:
            break
    accuracy = {}
    if labels is not None:
        for name, predict in (others or {}).items():
            answers[name] = [predict(x) for x in inputs]
        accuracy = {name: _accuracy(np.concatenate(parts), np.asarray(labels)) for name, parts in answers.items()}
    return Assessment(layers=tuple(_layers(quantized, found)), items=done, accuracy=accuracy)


def _layers(quantized: Quantized, found: Mapping[str, _Tensor]) -> Iterator[LayerNoise]:
    makers = {op.output: op for op in quantized.graph.ops}
    floats = {made: name for name, made in quantized.names.items()}

    def sources(name: str) -> list[str]:
        maker = makers.get(quantized.names[name])
        return [floats[x] for x in (maker.inputs if maker else ()) if x in floats]

    def spread(name: str) -> list[str]:
        # Up to where they come to lie so far apart.
        layers, waiting, least = list[str](), [name], max(APART, found[name].apart ** 0.5)
        while waiting:
            layer = waiting.pop()
            if layer not in layers and found[layer].apart >= least and sources(layer):
                layers.insert(0, layer)
                waiting += sources(layer)
        return layers

    for name, made in quantized.names.items():
        maker = makers.get(made)
        yield LayerNoise(
            layer=name,
            operator="input" if maker is None else type(maker).__name__,
            snr=_median(found[name].snr),
            own=_median(found[name].own),
            suggestion=found[name].suggestion(
                name, {each: found[each] for each in sources(name)}, quantized.scalable, spread
            ),
        )


def _input(graph: Graph, x: Array) -> dict[str, Array]:
    tensor = graph.tensors[graph.inputs[0]]
    return {graph.inputs[0]: tensor.from_file(x if tensor.dtype == "float32" else tensor.quantize(x))}


def _real(tensor: Tensor, codes: Array) -> Array:
    """The real values of codes, in the file's layout."""
    values = tensor.dequantize(codes)
    return values if tensor.file_layout is None else tensor.file_layout.to_file(values)


def _accuracy(answers: Array, labels: Array) -> float:
    if len(labels) != len(answers):
        raise ValueError(f"give a label for each item: there are {len(labels)} for {len(answers)}")
    return float((answers.reshape(len(answers), -1).argmax(axis=1) == labels.reshape(-1)).mean())
