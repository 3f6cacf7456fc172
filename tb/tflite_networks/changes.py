"""One thing changed in a file of random operators: an option, a scale, a shape, an input or a constant."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import tflite

from sateen.frontends.tflite.options import _fields
from tflite_models import ModelBuilder

__all__ = ["change"]

NUMBERS = [0, 1, 2, 3, 5, -1]


def change(b: ModelBuilder, rng: random.Random) -> str:
    """Changes a file, and returns what was changed; nothing if that does not fit."""
    kinds: list[Callable[[ModelBuilder, random.Random], str]] = [_option, _option, _number, _shape, _input, _constant]
    return rng.choice(kinds)(b, rng)


def _option(b: ModelBuilder, rng: random.Random) -> str:
    """A field of an operator's options."""
    found = [(op, name) for op in b.ops if op["options"] for name in sorted(_fields(getattr(tflite, op["options"])))]
    if not found:
        return ""
    op, name = rng.choice(found)
    reader = getattr(tflite, op["options"])()
    reader.Init(b"\4\0\4\0\4\0\0\0", 4)
    value = [] if hasattr(reader, f"{name}Length") else op["fields"].get(name, getattr(reader, name)())
    if isinstance(value, bool):
        op["fields"][name] = not value
    elif isinstance(value, list):
        op["fields"][name] = [rng.choice(NUMBERS)]
    else:
        op["fields"][name] = rng.choice([0.5, 2.0]) if isinstance(value, float) else rng.choice(NUMBERS)
    return f"{op['kind']} has {name} = {op['fields'][name]}"


def _number(b: ModelBuilder, rng: random.Random) -> str:
    """A tensor's scale, zero point, or axis of scales."""
    index = rng.randrange(len(b.tensors))
    tensor, what = b.tensors[index], rng.choice(["scale", "zero_point", "axis"])
    if tensor["scale"] is None:
        return ""
    if what == "scale":
        tensor["scale"] = (np.asarray(tensor["scale"]) * rng.choice([2, 0.5, 1.1, 1.01])).tolist()
    else:
        tensor[what] = rng.choice([0, 1, -128, 127] if what == "zero_point" else [0, 1, 2, 3])
    return f"t{index} has {what} = {tensor[what]}"


def _shape(b: ModelBuilder, rng: random.Random) -> str:
    """A tensor's axes in another order, or flat."""
    index = rng.randrange(len(b.tensors))
    tensor = b.tensors[index]
    shape = [int(size) for size in tensor["shape"]]
    rng.shuffle(shape)
    tensor["shape"] = shape if rng.random() < 0.7 else [int(np.prod(shape))]
    return f"t{index} has the shape {tensor['shape']}"


def _input(b: ModelBuilder, rng: random.Random) -> str:
    """An operator's inputs in another order, one more, or one less."""
    op = rng.choice(b.ops)
    choices = [rng.sample(op["inputs"], len(op["inputs"])), [*op["inputs"], rng.randrange(len(b.tensors))]]
    op["inputs"] = rng.choice([*choices, op["inputs"][:-1]])
    return f"{op['kind']} reads {op['inputs']}"


def _constant(b: ModelBuilder, rng: random.Random) -> str:
    """One value of a constant."""
    index = rng.randrange(len(b.tensors))
    data = b.tensors[index]["data"]
    if data is None or np.size(data) == 0:
        return ""
    data = np.array(data)
    data.reshape(-1)[rng.randrange(data.size)] = rng.choice([0, 1, -1, 2, 3])
    b.tensors[index]["data"] = data
    return f"t{index} has another value"
