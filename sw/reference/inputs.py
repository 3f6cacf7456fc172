"""Inputs of a model: pictures, and random numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sateen.errors import InputError
from sateen.extras import install_hint
from sateen.graph import Array, Graph, Quantize, Tensor

__all__ = ["IMAGES", "image", "random_inputs"]

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm")
"""Suffixes of pictures."""
SEED = 1


def random_inputs(graph: Graph, count: int) -> dict[str, Array]:
    """``count`` items of each input in the layout and type of the model's file, the same every time: integers of all
    values; real numbers that fill the range of the codes that the model turns them into."""
    rng = np.random.default_rng(SEED)
    return {name: _random(graph, graph.tensors[name], count, rng) for name in graph.inputs}


def _random(graph: Graph, tensor: Tensor, count: int, rng: np.random.Generator) -> Array:
    codes = rng.integers(-128, 128, (count, *tensor.shape[1:])).astype(np.int8)
    if tensor.dtype == "int8":
        return tensor.to_file(codes)
    if tensor.dtype == "int16":
        low, high = tensor.limits
        return tensor.to_file(rng.integers(low, high + 1, codes.shape).astype(np.int16))
    if tensor.dtype == "int32":
        return tensor.to_file(codes.astype(np.int32))
    readers = [op for op in graph.ops if isinstance(op, Quantize) and op.input == tensor.name]
    scale, zero_point = graph.tensors[readers[0].output].quantization if readers else (1 / 64, 0)
    real = (codes - float(zero_point) + rng.uniform(-0.5, 0.5, codes.shape)) * scale
    return tensor.to_file(real.astype(np.float32))


def image(path: Path, graph: Graph) -> dict[str, Array]:
    """A picture as the only input, resized: 0 to 255 for uint8, smaller by 128 for int8, 0 to 1 for real numbers.

    Raises
    ------
    InputError
        If the model takes no picture of one or three colours, or the file is none.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise InputError(f"reading pictures needs Pillow ({error}); {install_hint('reference')}") from error
    tensor = graph.tensors[graph.inputs[0]]
    if len(graph.inputs) > 1 or len(tensor.shape) != 4 or tensor.shape[3] not in (1, 3):
        raise InputError(f"the model does not take one picture of 1 or 3 colours; give a NumPy file in place of {path}")
    _, height, width, channels = tensor.shape
    try:
        with Image.open(path) as opened:
            pixels = np.asarray(opened.convert("L" if channels == 1 else "RGB").resize((width, height)))
    except (OSError, UnidentifiedImageError) as error:
        raise InputError(f"cannot read {path} as a picture: {error}") from error
    values = pixels.reshape(1, height, width, channels)
    if tensor.dtype == "int8":
        return {tensor.name: tensor.to_file((values.astype(np.int16) - 128).astype(np.int8))}
    return {tensor.name: tensor.to_file((values / np.float32(255)).astype(np.float32))}
