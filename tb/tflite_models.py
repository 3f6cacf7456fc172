"""TensorFlow Lite files of a few operators, for tests."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
import tflite

DTYPES = {
    "INT8": np.int8,
    "UINT8": np.uint8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FLOAT32": np.float32,
}


class ModelBuilder:
    """A file in the making: tensors and operators are appended, :meth:`build` gives the bytes."""

    def __init__(self) -> None:
        self.tensors: list[dict[str, Any]] = []
        self.ops: list[dict[str, Any]] = []

    def tensor(self, shape, type="INT8", *, scale=None, zero_point=0, data=None, name="", axis=0) -> int:
        """A tensor; ``data`` makes it a constant, lists of scales differ along ``axis``."""
        self.tensors.append(
            dict(shape=shape, type=type, scale=scale, zero_point=zero_point, data=data, name=name, axis=axis)
        )
        return len(self.tensors) - 1

    def constant(self, data, type="INT32", **fields) -> int:
        """A constant tensor."""
        data = np.asarray(data, DTYPES[type])
        return self.tensor(data.shape, type, data=data, **fields)

    def op(self, kind, inputs, outputs, options="", *, custom="", **fields) -> None:
        """An operator; ``options`` names a table of the schema, ``fields`` are its fields."""
        self.ops.append(dict(kind=kind, inputs=inputs, outputs=outputs, options=options, fields=fields, custom=custom))

    def build(self, inputs, outputs) -> bytes:
        """The file."""
        b = flatbuffers.Builder(1024)
        buffers = [self._buffer(b, None), *(self._buffer(b, tensor["data"]) for tensor in self.tensors)]
        tensors = [self._tensor(b, tensor, index + 1) for index, tensor in enumerate(self.tensors)]
        codes = list(dict.fromkeys((op["kind"], op["custom"]) for op in self.ops))
        code_tables = [self._code(b, *code) for code in codes]
        ops = [self._operator(b, op, codes.index((op["kind"], op["custom"]))) for op in self.ops]
        vectors = [
            _offsets(b, tflite.SubGraphStartTensorsVector, tensors), _ints(b, inputs), _ints(b, outputs),
            _offsets(b, tflite.SubGraphStartOperatorsVector, ops),
        ]  # fmt: skip
        tflite.SubGraphStart(b)
        for field, vector in zip(("Tensors", "Inputs", "Outputs", "Operators"), vectors, strict=True):
            getattr(tflite, f"SubGraphAdd{field}")(b, vector)
        graphs = _offsets(b, tflite.ModelStartSubgraphsVector, [tflite.SubGraphEnd(b)])
        code_vector = _offsets(b, tflite.ModelStartOperatorCodesVector, code_tables)
        buffer_vector = _offsets(b, tflite.ModelStartBuffersVector, buffers)
        tflite.ModelStart(b)
        tflite.ModelAddVersion(b, 3)
        tflite.ModelAddOperatorCodes(b, code_vector)
        tflite.ModelAddSubgraphs(b, graphs)
        tflite.ModelAddBuffers(b, buffer_vector)
        b.Finish(tflite.ModelEnd(b), file_identifier=b"TFL3")
        return bytes(b.Output())

    def _buffer(self, b, data):
        vector = b.CreateByteVector(np.ascontiguousarray(data).tobytes()) if data is not None else None
        tflite.BufferStart(b)
        if vector is not None:
            tflite.BufferAddData(b, vector)
        return tflite.BufferEnd(b)

    def _tensor(self, b, tensor, buffer):
        shape, name, quantization = _ints(b, tensor["shape"]), b.CreateString(tensor["name"]), None
        if tensor["scale"] is not None:
            values = np.atleast_1d(np.asarray(tensor["scale"], np.float32))
            scales, points = (
                b.CreateNumpyVector(values),
                b.CreateNumpyVector(np.full(values.shape, tensor["zero_point"], np.int64)),
            )
            tflite.QuantizationParametersStart(b)
            tflite.QuantizationParametersAddScale(b, scales)
            tflite.QuantizationParametersAddZeroPoint(b, points)
            tflite.QuantizationParametersAddQuantizedDimension(b, tensor["axis"])
            quantization = tflite.QuantizationParametersEnd(b)
        tflite.TensorStart(b)
        tflite.TensorAddShape(b, shape)
        tflite.TensorAddType(b, getattr(tflite.TensorType, tensor["type"]))
        tflite.TensorAddBuffer(b, buffer)
        tflite.TensorAddName(b, name)
        if quantization is not None:
            tflite.TensorAddQuantization(b, quantization)
        return tflite.TensorEnd(b)

    def _code(self, b, kind, custom):
        name = b.CreateString(custom) if custom else None
        number = getattr(tflite.BuiltinOperator, kind)
        tflite.OperatorCodeStart(b)
        tflite.OperatorCodeAddDeprecatedBuiltinCode(b, min(number, 127))
        tflite.OperatorCodeAddBuiltinCode(b, number)
        tflite.OperatorCodeAddVersion(b, 1)
        if name is not None:
            tflite.OperatorCodeAddCustomCode(b, name)
        return tflite.OperatorCodeEnd(b)

    def _operator(self, b, op, code):
        table = None
        if op["options"]:
            getattr(tflite, f"{op['options']}Start")(b)
            for field, value in op["fields"].items():
                getattr(tflite, f"{op['options']}Add{field}")(b, value)
            table = getattr(tflite, f"{op['options']}End")(b)
        inputs, outputs = _ints(b, op["inputs"]), _ints(b, op["outputs"])
        tflite.OperatorStart(b)
        tflite.OperatorAddOpcodeIndex(b, code)
        tflite.OperatorAddInputs(b, inputs)
        tflite.OperatorAddOutputs(b, outputs)
        if table is not None:
            tflite.OperatorAddBuiltinOptionsType(b, getattr(tflite.BuiltinOptions, op["options"]))
            tflite.OperatorAddBuiltinOptions(b, table)
        return tflite.OperatorEnd(b)


def _ints(b, values):
    return b.CreateNumpyVector(np.asarray(values, np.int32))


def _offsets(b, start, items):
    start(b, len(items))
    for item in reversed(items):
        b.PrependUOffsetTRelative(item)
    return b.EndVector()


def small_tflite_model():
    """A convolution, a sum with its input and a softmax, as a TensorFlow Lite file."""
    b, rng = ModelBuilder(), np.random.default_rng(3)
    x = b.tensor((1, 5, 5, 3), scale=0.05, zero_point=-4, name="image")
    w = b.constant(rng.integers(-127, 128, (3, 3, 3, 3)), "INT8", scale=[0.01, 0.02, 0.03])
    c, s, p = (b.tensor(shape, scale=scale, zero_point=z) for shape, scale, z in (
        ((1, 5, 5, 3), 0.2, 7), ((1, 5, 5, 3), 0.3, -1), ((1, 5, 5, 3), 1 / 256, -128),
    ))  # fmt: skip
    b.op("CONV_2D", [x, w], [c], "Conv2DOptions", StrideH=1, StrideW=1, DilationHFactor=1, DilationWFactor=1)
    b.op("ADD", [x, c], [s], "AddOptions")
    b.op("SOFTMAX", [s], [p], "SoftmaxOptions", Beta=1.0)
    return b.build([x], [p])
