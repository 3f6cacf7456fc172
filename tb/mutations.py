"""Damaged model files: each is refused in one line that names what is wrong, or compiled.

:func:`check_mutated` serves the tests and :func:`run` longer searches. A failure is one line, which repeats its file.
"""

from __future__ import annotations

import contextlib
import copy
import math
import random
import resource
import struct
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import sateen
from needs import MODELS
from sateen.errors import CompileError
from sateen.graph import GraphError
from small_models import Builder, sources, tflite_files
from small_onnx import CALIBRATION

__all__ = [
    "FORMATS",
    "check_mutated",
    "mutated",
    "rebuilt",
    "rewritten",
    "run",
]

FORMATS = ("tflite", "onnx", "float onnx")

MEMORY = 8 << 30
"""Bytes of address space that a compilation may have."""
LONGEST = 120.0
"""Seconds of processor time of a file: a guard against loops without end."""


WORDS = [0, 1, 2, 3, 5, 8, 127, 128, 255, 256, 65536, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1]
"""Odd contents of four bytes."""
REALS = [0.0, -1.0, 1e-45, 1e-38, 1e-30, 1e30, 3e38, math.inf, -math.inf, math.nan]

INTEGERS = [*range(-3, 24), 127, 128, 255, 4096, 2**31 - 1, -(2**31)]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A file with some bytes changed, or also cut, moved or repeated, so that little of its structure remains."""
    result, rough = bytearray(data), rng.random() < 0.2
    for _ in range(rng.choice([1, 1, 2, 4, 16] if rough else [1, 1, 1, 2, 3])):
        place = rng.randrange(len(result))
        what = rng.random() * (1 if rough else 0.6)
        if what < 0.25:
            result[place] = rng.randrange(256)
        elif what < 0.6:
            place -= place % 4 if rng.random() < 0.8 else 0
            real, word = (
                struct.pack("<f", rng.choice(REALS)),
                rng.choice([*WORDS, rng.randrange(2**32)]).to_bytes(4, "little"),
            )
            result[place : place + 4] = real if rng.random() < 0.3 else word
        elif what < 0.7:
            del result[place:]
        elif what < 0.8:
            del result[place : place + rng.randrange(1, 32)]
        elif what < 0.9:
            result[place:place] = rng.randbytes(rng.randrange(1, 32))
        else:
            source = rng.randrange(len(result))
            result[place : place + 16] = result[source : source + 16]
        if len(result) < 16:
            break
    return bytes(result)


def rewritten(data: bytes, rng: random.Random) -> bytes:
    """An ONNX file with some fields changed, left out, repeated or filled from others of their kind."""
    import onnx

    model = onnx.ModelProto.FromString(data)
    for _ in range(rng.choice([1, 1, 2, 3])):
        places = list(_places(model.graph))
        message, field, index = rng.choice(places)
        values, repeated = getattr(message, field.name), index is not None
        if repeated and rng.random() < 0.3:
            if rng.random() < 0.5:
                del values[index]
            else:
                values.append(values[index])
        elif field.message_type is not None:
            if not repeated:
                message.ClearField(field.name)
        elif not repeated and rng.random() < 0.2:
            message.ClearField(field.name)
        else:
            alike = [(m, i) for m, f, i in places if f.full_name == field.full_name]
            same = [getattr(m, field.name) if i is None else getattr(m, field.name)[i] for m, i in alike]
            value = _odd(field, values[index] if repeated else values, same, rng)
            if repeated:
                values[index] = value
            else:
                setattr(message, field.name, value)
    return model.SerializeToString()


def rebuilt(file: Builder, rng: random.Random) -> bytes:
    """A TensorFlow Lite file with some fields of its tensors and operators changed; its structure is sound."""
    builder, inputs, outputs = copy.deepcopy(file)
    for _ in range(rng.choice([1, 1, 2, 3])):
        tensor, op = rng.choice(builder.tensors), rng.choice(builder.ops)
        what = rng.randrange(8)
        if what == 0:
            tensor["shape"] = _odd_list(tensor["shape"], rng)
        elif what == 1:
            tensor["type"] = rng.choice(["INT8", "UINT8", "INT16", "INT32", "INT64", "FLOAT32"])
        elif what == 2:
            tensor["scale"] = rng.choice([None, *REALS, [0.1, 0.2], [], tensor["scale"]])
        elif what == 3:
            tensor["zero_point"] = rng.choice([*INTEGERS, 2**40])
        elif what == 4:
            data = None if tensor["data"] is None else np.array(tensor["data"])
            if data is not None and data.size and rng.random() < 0.8:
                data.reshape(-1)[rng.randrange(data.size)] = np.array(rng.choice(INTEGERS)).astype(data.dtype)
            tensor["data"] = (
                data if data is not None else np.zeros([abs(size) % 64 for size in tensor["shape"]], np.int8)
            )
        elif what == 5:
            op[rng.choice(["inputs", "inputs", "outputs"])][:] = _odd_list(
                op["inputs"], rng, range(-1, len(builder.tensors))
            )
        elif what == 6 and op["fields"]:
            name = rng.choice(list(op["fields"]))
            values = {bool: [False, True], float: REALS}.get(type(op["fields"][name]), [0, 1, 2, 3, 7, 15])
            op["fields"][name] = rng.choice(values)
        elif what == 7:
            op["kind"] = rng.choice([other["kind"] for file in tflite_files() for other in file[0].ops])
    return builder.build(inputs, outputs)


def _odd_list(values: Any, rng: random.Random, allowed: Sequence[int] = ()) -> list[int]:
    """A list with one entry more or less, or another one."""
    result, place = list(values), rng.randrange(len(values) + 1)
    new = rng.choice(allowed or INTEGERS)
    what = rng.random()
    if what < 0.25:
        result.insert(place, new)
    elif what < 0.5:
        del result[place : place + 1]
    else:
        result[place : place + 1] = [new]
    return result


def _places(message: Any) -> Iterator[tuple[Any, Any, int | None]]:
    """Every field that is set, as (message, field, index if it is repeated)."""
    for field, value in message.ListFields():
        if isinstance(value, (str, bytes, int, float)) or hasattr(value, "ListFields"):
            yield message, field, None
            values = [value]
        else:
            yield from ((message, field, index) for index in range(len(value)))
            values = list(value)
        for item in values:
            if hasattr(item, "ListFields"):
                yield from _places(item)


def _odd(field: Any, value: Any, same: list[Any], rng: random.Random) -> Any:
    """Another value of a field; it may be wrong."""
    if rng.random() < 0.4:
        return rng.choice(same)
    if field.enum_type is not None:
        return rng.choice(field.enum_type.values).number
    if isinstance(value, float):
        return rng.choice(REALS)
    if isinstance(value, int):
        wide = field.cpp_type == field.CPPTYPE_INT64
        return rng.choice([*INTEGERS, *((2**40, 2**63 - 1, -(2**63)) if wide else ())])
    if isinstance(value, bytes):
        changed = bytearray(value or b"\0")
        changed[rng.randrange(len(changed))] = rng.randrange(256)
        return rng.choice([bytes(changed), value[:-1], value + b"\0", b"", struct.pack("<f", rng.choice(REALS))])
    return rng.choice(["", "x", f"{value}x"])


@contextlib.contextmanager
def _little_memory() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (min(MEMORY, limits[1]) if limits[1] > 0 else MEMORY, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def check_mutated(format: str, seed: int, count: int, *, models: bool = False) -> int:
    """Compiles ``count`` mutated files, and returns how many were refused.

    Each file follows from a seed of its own: ``seed``, ``seed + 1`` and so on.

    Parameters
    ----------
    format
        One of :data:`FORMATS`; float ONNX models are quantized, by :data:`CALIBRATION`.
    models
        Mutate the reference models, too, and not only files made here.

    Raises
    ------
    AssertionError
        If a file is neither refused in one line that names it nor compiled, or NumPy warns.
    """
    whole, refused = sources(format, models=models), 0
    calibration = CALIBRATION if format == "float onnx" else None
    with tempfile.TemporaryDirectory() as folder, _little_memory():
        path = Path(folder) / f"m.{format.split()[-1]}"
        for number in range(seed, seed + count):
            path.write_bytes(_file(format, whole, random.Random(number)))
            try:
                refused += _refused(path, calibration)
            except Exception as error:
                line = f"{type(error).__name__}: {error}".replace("\n", " ")
                again = f"check_mutated({format!r}, {number}, 1{', models=True' * models})"
                raise AssertionError(f"{again}: {line}") from error
    return refused


def _file(format: str, whole: Sequence[bytes], rng: random.Random) -> bytes:
    if rng.random() < (0.5 if format == "tflite" else 0.2):
        return mutated(rng.choice(whole), rng)
    return rebuilt(rng.choice(tflite_files()), rng) if format == "tflite" else rewritten(rng.choice(whole), rng)


def run(seed: int, count: int = 1000) -> str:
    """Checks mutated files of every format, and returns a summary in one line."""
    parts = []
    for format in FORMATS:
        refused = check_mutated(format, seed, count, models=MODELS.is_dir())
        parts.append(f"{format}: {refused} of {count} refused")
    return f"mutated files of seed {seed}: {'; '.join(parts)}"


def _refused(path: Path, calibration: Any) -> bool:
    begin = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # NumPy's are checks that are missing.
        warnings.simplefilter("error", RuntimeWarning)
        try:
            sateen.compile(path, "tiny", calibration=calibration)
            error = None
        except (GraphError, CompileError) as caught:
            error = caught
    seconds = time.process_time() - begin
    if seconds > LONGEST:
        raise AssertionError(f"it took {seconds:.0f} s of processor time")
    if error is not None and ("\n" in str(error) or isinstance(error, GraphError) and str(path) not in str(error)):
        raise AssertionError(f"refused in other words than one line with the file's name: {str(error)!r}")
    return error is not None
