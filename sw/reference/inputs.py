"""Inputs of a model: pictures, and random numbers."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from sateen.errors import InputError
from sateen.extras import install_hint
from sateen.graph import Array, Graph, Quantize, Tensor

__all__ = ["IMAGES", "image", "picture", "random_inputs", "real_range"]

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm")
"""Suffixes of pictures."""
SEED = 1


def random_inputs(graph: Graph, count: int) -> dict[str, Array]:
    """``count`` items of each input in the layout and type of the model's file, the same every time: integers of all
    values; real numbers that fill the range of the codes that the model turns them into."""
    rng = np.random.default_rng(SEED)
    return {name: _random(graph, graph.tensors[name], count, rng) for name in graph.inputs}


def _random(graph: Graph, tensor: Tensor, count: int, rng: np.random.Generator) -> Array:
    shape, (low, high) = (count, *tensor.shape[1:]), tensor.limits
    if tensor.dtype != "float32":
        codes = rng.integers(low, high + 1, shape)
        return tensor.to_file(codes > 0 if tensor.dtype == "bool" else codes.astype(tensor.dtype))
    made = _codes_of(graph, tensor)
    scale, zero_point = made.quantization if made else (1 / 64, 0)
    low, high = made.limits if made else (low, high)
    real = (rng.uniform(low - 0.5, high + 0.5, shape) - zero_point) * scale
    return tensor.to_file(real.astype(np.float32))


def _codes_of(graph: Graph, tensor: Tensor) -> Tensor | None:
    """The codes that a real input is turned into."""
    readers = [op for op in graph.ops if isinstance(op, Quantize) and op.input == tensor.name]
    return graph.tensors[readers[0].output] if readers else None


def real_range(graph: Graph, tensor: Tensor) -> tuple[float, float] | None:
    """The real values that an input's least and largest code stand for; ``None`` if it has no codes."""
    made = tensor if tensor.dtype in ("int8", "int16") else _codes_of(graph, tensor)
    if made is None:
        return None
    low, high = ((code - made.zero_point) * made.scale for code in made.limits)
    return low, high


def image(path: Path, graph: Graph) -> dict[str, Array]:
    """A picture as the only input, resized: 0 to 255 for uint8, smaller by 128 for int8, 0 to 1 for real numbers.

    Raises
    ------
    InputError
        If the model takes no picture of one or three colours, or the file is none.
    """
    tensor = graph.tensors[graph.inputs[0]]
    if len(graph.inputs) > 1:
        raise InputError(f"the model takes {len(graph.inputs)} inputs; give a NumPy file (.npz) in place of {path}")
    values = picture(path, tensor, resize=True)
    if tensor.dtype == "int8":
        return {tensor.name: tensor.to_file((values.astype(np.int16) - 128).astype(np.int8))}
    if tensor.dtype != "float32":
        raise InputError(f"the model takes {tensor.dtype}; give a NumPy file in place of {path}")
    return {tensor.name: tensor.to_file((values / np.float32(255)).astype(np.float32))}


def picture(path: Path, tensor: Tensor, *, resize: bool) -> Array:
    """A picture's pixels, uint8 [1, height, width, channels] in the sizes of an input; grey for one channel.

    Raises
    ------
    InputError
        If the file is no picture, or the input takes none of one or three colours, or, without ``resize``, of another
        size.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise InputError(f"reading pictures needs Pillow ({error}); {install_hint('images')}") from error
    if len(tensor.shape) != 4 or tensor.shape[3] not in (1, 3):
        sizes = "×".join(map(str, tensor.shape[1:]))
        raise InputError(
            f"the model takes {sizes} values, not a picture of 1 or 3 colours; give a NumPy file in place of {path}"
        )
    _, height, width, channels = tensor.shape
    try:
        with warnings.catch_warnings():
            # Of pictures that are too large; far larger ones are an error anyway.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            opened = Image.open(path)
        with opened:
            size = opened.size
            pixels = np.asarray(opened.convert("L" if channels == 1 else "RGB").resize((width, height)))
    except Exception as error:  # Pillow's readers raise all kinds.
        raise InputError(f"cannot read {path} as a picture: {' '.join(str(error).split())}") from error
    if size != (width, height) and not resize:
        there = "×".join(map(str, size))
        raise InputError(f"{path} is {there} pixels, and the model takes {width}×{height}; give --resize")
    return pixels.reshape(1, height, width, channels)
