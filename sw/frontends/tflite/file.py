"""TensorFlow Lite files as plain records, checked so that no damaged file takes long or much memory to read."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tflite

from sateen.graph import Array, GraphError, require

__all__ = ["IDENTIFIER", "RawModel", "RawOperator", "RawTensor", "read"]

IDENTIFIER = b"TFL3"
"""Of a file, in its bytes 4 to 7."""

DAMAGED = (struct.error, IndexError, TypeError, ValueError, AttributeError, OverflowError, MemoryError)
"""What the parser raises for bytes that are no file."""


def _names(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


KINDS = _names(tflite.BuiltinOperator)
TYPES = _names(tflite.TensorType)
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
    table: Any
    """The options' table, or ``None``."""

    def __str__(self) -> str:
        return f"operator {self.index} ({self.custom or self.kind})"

    def options(self, kind: Callable[[], Any]) -> Any:
        """The options, read as of a kind of the schema."""
        require(self.table is not None, self, "its options are missing; convert the model anew")
        result = kind()
        result.Init(self.table.Bytes, self.table.Pos)
        return _Options(self, result)


class _Options:
    """A table of the schema, whose fields say which operator is damaged if they are."""

    def __init__(self, operator: RawOperator, table: Any):
        self._operator, self._table = operator, table

    def __getattr__(self, name: str) -> Callable[[], Any]:
        def value() -> Any:
            try:
                return getattr(self._table, name)()
            except DAMAGED as error:
                raise GraphError(
                    f"{self._operator}: its options are damaged ({error}); convert or download the model anew"
                ) from error

        return value


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
    try:
        return _Reader(data).model()
    except GraphError:
        raise
    except DAMAGED as error:
        raise GraphError(
            f"file: it is damaged ({type(error).__name__}: {error}); convert or download the model anew"
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
        who = f"operator {index} ({kind})"
        return RawOperator(
            index=index, kind=kind, custom=_text(code.CustomCode()),
            inputs=self._indexes(who, operator.InputsLength(), operator.Inputs, count, -1),
            outputs=self._indexes(who, operator.OutputsLength(), operator.Outputs, count),
            table=operator.BuiltinOptions(),
        )  # fmt: skip
