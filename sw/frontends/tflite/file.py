"""TensorFlow Lite files as plain records, checked so that no damaged file takes long or much memory to read.

Nothing of the parser's leaves this module: whoever has a record meets none of its errors.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import tflite

from sateen.graph import Array, GraphError, require

__all__ = ["IDENTIFIER", "RawModel", "RawOperator", "RawTensor", "read"]

IDENTIFIER = b"TFL3"
"""Of a file, in its bytes 4 to 7."""


def _names(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


def _fields(schema: type) -> list[str]:
    """Names of a table's fields that hold one value: what reads them takes no argument."""
    readers = {name: inspect.signature(reader) for name, reader in vars(schema).items() if inspect.isfunction(reader)}
    return [
        name
        for name, way in readers.items()
        if len(way.parameters) == 1 and not name.endswith(("Length", "AsNumpy", "IsNone"))
    ]


KINDS = _names(tflite.BuiltinOperator)
TYPES = _names(tflite.TensorType)
OPTIONS = _names(tflite.BuiltinOptions)
DTYPES = {
    "INT8": "<i1",
    "UINT8": "<u1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FLOAT32": "<f4",
    "FLOAT64": "<f8",
    "BOOL": "?",
}


@dataclass(frozen=True, kw_only=True)
class RawTensor:
    """A tensor as the file has it."""

    index: int
    label: str
    shape: tuple[int, ...]
    type: str
    """A key of the schema's TensorType, as ``INT8``."""
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int
    """Along which scales differ."""
    data: Array | None
    """Of a constant."""

    def __str__(self) -> str:
        return f"tensor 't{self.index}'" + (f" ({self.label})" if self.label else "")


@dataclass(frozen=True, kw_only=True)
class RawOperator:
    """An operator as the file has it."""

    index: int
    kind: str
    """A key of the schema's BuiltinOperator, as ``CONV_2D``; of a custom operator ``CUSTOM``."""
    custom: str
    inputs: tuple[int, ...]
    """Indexes of tensors; −1 where an optional one is left out."""
    outputs: tuple[int, ...]
    table: SimpleNamespace | None
    """The options' single values, by the schema's names; ``None`` if there are no options."""
    table_kind: str
    """A key of the schema's BuiltinOptions, as ``Conv2DOptions``."""

    def __str__(self) -> str:
        return f"operator {self.index} ({self.custom or self.kind})"

    def options(self, kind: type) -> SimpleNamespace:
        """The options, which must be of a class of the schema."""
        require(self.table is not None, self, "its options are missing; convert the model anew")
        assert self.table is not None
        good = self.table_kind == kind.__name__
        require(
            good, self, f"its options are {self.table_kind}, not {kind.__name__}; convert or download the model anew"
        )
        return self.table


@dataclass(frozen=True, kw_only=True)
class RawModel:
    """What of a file matters."""

    tensors: Sequence[RawTensor]
    operators: Sequence[RawOperator]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def _text(name: bytes | None) -> str:
    """A name as one line."""
    return "".join(char if char.isprintable() else "?" for char in (name or b"").decode("utf-8", "replace"))


def read(data: bytes) -> RawModel:
    """The first subgraph of a file.

    Raises
    ------
    GraphError
        If the file is damaged or none of TensorFlow Lite.
    """
    require(data[4:8] == IDENTIFIER, "file", "it is no TensorFlow Lite model; its bytes 4 to 7 must be TFL3")
    with _guarded("file", "it is damaged"):
        return _Reader(data).model()


@contextmanager
def _guarded(who: object, what: str) -> Iterator[None]:
    """Turns whatever the parser raises into a :class:`GraphError`.

    The parser trusts its bytes: those of a damaged file make it raise nearly anything.
    """
    try:
        yield
    except GraphError:
        raise
    except Exception as error:
        raise GraphError(
            f"{who}: {what} ({type(error).__name__}: {error}); convert or download the model anew"
        ) from error


class _Reader:
    def __init__(self, data: bytes):
        self.data = data
        self.file = tflite.Model.GetRootAsModel(data, 0)

    def model(self) -> RawModel:
        """The records."""
        require(self.file.SubgraphsLength() > 0, "file", "it holds no graph")
        graph = self.file.Subgraphs(0)
        count = self._count(graph.TensorsLength())
        return RawModel(
            tensors=[self._tensor(index, graph.Tensors(index)) for index in range(count)],
            operators=[
                self._operator(index, graph.Operators(index), count)
                for index in range(self._count(graph.OperatorsLength()))
            ],
            inputs=self._indexes("graph", graph.InputsLength(), graph.Inputs, count),
            outputs=self._indexes("graph", graph.OutputsLength(), graph.Outputs, count),
        )

    def _count(self, length: int) -> int:
        """A vector's length, which no file is too small for."""
        if length > len(self.data):
            raise ValueError(f"a list of {length} entries in {len(self.data)} bytes")
        return length

    def _indexes(
        self, who: object, length: int, get: Callable[[int], int], count: int, least: int = 0
    ) -> tuple[int, ...]:
        indexes = tuple(int(get(place)) for place in range(self._count(length)))
        for index in indexes:
            require(
                least <= index < count, who, f"it names tensor {index}, but there are {count}; convert the model anew"
            )
        return indexes

    def _tensor(self, index: int, tensor: Any) -> RawTensor:
        require(tensor is not None, f"tensor {index}", "it is missing")
        kind = TYPES.get(tensor.Type(), f"type {tensor.Type()}")
        shape = tuple(int(tensor.Shape(axis)) for axis in range(self._count(tensor.ShapeLength())))
        quantization = tensor.Quantization()
        scales: tuple[float, ...] = ()
        zero_points: tuple[int, ...] = ()
        if quantization is not None:
            scales = tuple(float(quantization.Scale(i)) for i in range(self._count(quantization.ScaleLength())))
            zero_points = tuple(
                int(quantization.ZeroPoint(i)) for i in range(self._count(quantization.ZeroPointLength()))
            )
        label = _text(tensor.Name())
        who = f"tensor 't{index}'" + (f" ({label})" if label else "")
        require(tensor.Sparsity() is None, who, "it is sparse; convert the model without sparsity")
        return RawTensor(
            index=index, label=label, shape=shape, type=kind, scales=scales, zero_points=zero_points,
            axis=quantization.QuantizedDimension() if quantization is not None else 0,
            data=self._constant(who, tensor.Buffer(), kind, shape),
        )  # fmt: skip

    def _constant(self, who: str, buffer: int, kind: str, shape: tuple[int, ...]) -> Array | None:
        require(buffer < self.file.BuffersLength(), who, f"its buffer {buffer} is missing; convert the model anew")
        entry = self.file.Buffers(buffer)
        length = 0 if entry is None else entry.DataLength()
        if length == 0 or kind not in DTYPES:
            return None
        raw, dtype = bytes(entry.DataAsNumpy()), np.dtype(DTYPES[kind])
        good = len(raw) == int(np.prod(shape, dtype=object)) * dtype.itemsize and all(size >= 0 for size in shape)
        require(good, who, f"its {len(raw)} bytes do not fill its shape {shape} of {kind}; convert the model anew")
        return np.frombuffer(raw, dtype).reshape(shape)

    def _operator(self, index: int, operator: Any, count: int) -> RawOperator:
        code = self.file.OperatorCodes(operator.OpcodeIndex())
        require(operator.OpcodeIndex() < self.file.OperatorCodesLength(), f"operator {index}", "its code is missing")
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        kind = KINDS.get(number, f"kind {number}")
        who, custom = f"operator {index} ({kind})", _text(code.CustomCode())
        table_kind = OPTIONS.get(operator.BuiltinOptionsType(), f"kind {operator.BuiltinOptionsType()}")
        with _guarded(f"operator {index} ({custom or kind})", "its options are damaged"):
            table = self._options(table_kind, operator.BuiltinOptions())
        return RawOperator(
            index=index, kind=kind, custom=custom,
            inputs=self._indexes(who, operator.InputsLength(), operator.Inputs, count, -1),
            outputs=self._indexes(who, operator.OutputsLength(), operator.Outputs, count),
            table=table, table_kind=table_kind,
        )  # fmt: skip

    def _options(self, kind: str, table: Any) -> SimpleNamespace | None:
        """The single values of a table of options: no operator here needs a list of them."""
        if table is None or kind == "NONE":
            return None
        if kind not in OPTIONS.values():
            return SimpleNamespace()
        made = getattr(tflite, kind)()
        made.Init(table.Bytes, table.Pos)
        return SimpleNamespace(**{name: getattr(made, name)() for name in _fields(type(made))})
