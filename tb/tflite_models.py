"""TensorFlow Lite files of a few operators, for tests."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
import tflite

DTYPES = {
    "INT4": np.int8,
    "INT8": np.int8,
    "UINT8": np.uint8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FLOAT32": np.float32,
    "BOOL": np.bool_,
}


class ModelBuilder:
    """Builds a file: tensors and operators are appended, and :meth:`build` returns the bytes."""

    def __init__(self, old_codes: bool = True) -> None:
        """``old_codes``: number kinds of operators also in the older field of 8 bits, which some tools leave out."""
        self.old_codes = old_codes
        self.tensors: list[dict[str, Any]] = []
        self.ops: list[dict[str, Any]] = []

    def tensor(
        self,
        shape,
        type="INT8",
        *,
        scale=None,
        zero_point=0,
        data=None,
        name="",
        axis=0,
        details=0,
        outside=None,
        **fields,
    ) -> int:
        """A tensor; ``data`` makes it a constant, lists of scales differ along ``axis``. ``fields`` are those of the
        schema's table that this has no name for, ``details`` its quantization's kind, ``outside`` a constant behind the
        file's tables."""
        self.tensors.append(
            dict(
                shape=shape, type=type, scale=scale, zero_point=zero_point, data=data, name=name, axis=axis,
                details=details, outside=outside, fields=fields,
            )
        )  # fmt: skip
        return len(self.tensors) - 1

    def constant(self, data, type="INT32", **fields) -> int:
        """A constant tensor."""
        data = np.asarray(data, DTYPES[type])
        return self.tensor(data.shape, type, data=data, **fields)

    def op(self, kind, inputs, outputs, options="", *, custom="", version=1, more=None, **fields) -> None:
        """An operator; ``options`` names a table of the schema, ``fields`` are its fields, ``more`` the operator's
        own."""
        self.ops.append(
            dict(
                kind=kind, inputs=inputs, outputs=outputs, options=options, fields=fields, custom=custom,
                version=version, more=more or {},
            )
        )  # fmt: skip

    def build(self, inputs, outputs, graphs=1, once=None) -> bytes:
        """The file, whose graph stands there several times. Behind them stands that of another builder, ``once``."""
        tables, behind = self._tables(inputs, outputs, graphs, 2, once), b""
        if any(tensor["outside"] is not None for tensor in self.tensors):
            tables = self._tables(inputs, outputs, graphs, len(tables), once)
            behind = b"".join(tensor["outside"].tobytes() for tensor in self.tensors if tensor["outside"] is not None)
        return tables + behind

    def _tables(self, inputs, outputs, graphs, place, once) -> bytes:
        """The file without what stands behind its tables, at ``place``."""
        b = flatbuffers.Builder(1024)
        buffers = [self._buffer(b, None)]
        builders = [self, once] if once else [self]
        for tensor in (tensor for builder in builders for tensor in builder.tensors):
            data = halves(tensor["data"]) if tensor["type"] == "INT4" else tensor["data"]
            buffers.append(self._buffer(b, data, tensor["outside"], place))
            place += 0 if tensor["outside"] is None else tensor["outside"].nbytes
        codes = list(dict.fromkeys(_code(op) for builder in builders for op in builder.ops))
        code_tables = [self._code(b, *code) for code in codes]
        tables = [self._subgraph(b, inputs, outputs, codes, 1)] * graphs
        if once:
            tables.append(once._subgraph(b, [], [], codes, 1 + len(self.tensors)))
        subgraphs = _offsets(b, tflite.ModelStartSubgraphsVector, tables)
        code_vector = _offsets(b, tflite.ModelStartOperatorCodesVector, code_tables)
        buffer_vector = _offsets(b, tflite.ModelStartBuffersVector, buffers)
        tflite.ModelStart(b)
        tflite.ModelAddVersion(b, 3)
        tflite.ModelAddOperatorCodes(b, code_vector)
        tflite.ModelAddSubgraphs(b, subgraphs)
        tflite.ModelAddBuffers(b, buffer_vector)
        b.Finish(tflite.ModelEnd(b), file_identifier=b"TFL3")
        return bytes(b.Output())

    def _subgraph(self, b, inputs, outputs, codes, buffer):
        """The graph, whose tensors' buffers begin with number ``buffer``."""
        tensors = [self._tensor(b, tensor, index + buffer) for index, tensor in enumerate(self.tensors)]
        ops = [self._operator(b, op, codes.index(_code(op))) for op in self.ops]
        vectors = [
            _offsets(b, tflite.SubGraphStartTensorsVector, tensors), _ints(b, inputs), _ints(b, outputs),
            _offsets(b, tflite.SubGraphStartOperatorsVector, ops),
        ]  # fmt: skip
        tflite.SubGraphStart(b)
        for field, vector in zip(("Tensors", "Inputs", "Outputs", "Operators"), vectors, strict=True):
            getattr(tflite, f"SubGraphAdd{field}")(b, vector)
        return tflite.SubGraphEnd(b)

    def _buffer(self, b, data, outside=None, place=0):
        vector = b.CreateByteVector(np.ascontiguousarray(data).tobytes()) if data is not None else None
        tflite.BufferStart(b)
        if vector is not None:
            tflite.BufferAddData(b, vector)
        if outside is not None:
            tflite.BufferAddOffset(b, place)
            tflite.BufferAddSize(b, outside.nbytes)
        return tflite.BufferEnd(b)

    def _tensor(self, b, tensor, buffer):
        shape, name, quantization = _ints(b, tensor["shape"]), b.CreateString(tensor["name"]), None
        if tensor["scale"] is not None:
            values = np.atleast_1d(np.asarray(tensor["scale"], np.float32))
            scales, points = (
                b.CreateNumpyVector(values),
                b.CreateNumpyVector(np.full(values.shape, tensor["zero_point"], np.int64)),
            )
            if tensor["details"]:
                tflite.CustomQuantizationStart(b)
                details = tflite.CustomQuantizationEnd(b)
            tflite.QuantizationParametersStart(b)
            tflite.QuantizationParametersAddScale(b, scales)
            tflite.QuantizationParametersAddZeroPoint(b, points)
            tflite.QuantizationParametersAddQuantizedDimension(b, tensor["axis"])
            if tensor["details"]:
                tflite.QuantizationParametersAddDetailsType(b, tensor["details"])
                tflite.QuantizationParametersAddDetails(b, details)
            quantization = tflite.QuantizationParametersEnd(b)
        tflite.TensorStart(b)
        for field, value in tensor["fields"].items():
            getattr(tflite, f"TensorAdd{field}")(b, value)
        tflite.TensorAddShape(b, shape)
        tflite.TensorAddType(b, getattr(tflite.TensorType, tensor["type"]))
        tflite.TensorAddBuffer(b, buffer)
        tflite.TensorAddName(b, name)
        if quantization is not None:
            tflite.TensorAddQuantization(b, quantization)
        return tflite.TensorEnd(b)

    def _code(self, b, kind, custom, version):
        name = b.CreateString(custom) if custom else None
        number = getattr(tflite.BuiltinOperator, kind)
        tflite.OperatorCodeStart(b)
        if self.old_codes:
            tflite.OperatorCodeAddDeprecatedBuiltinCode(b, min(number, 127))
        tflite.OperatorCodeAddBuiltinCode(b, number)
        tflite.OperatorCodeAddVersion(b, version)
        if name is not None:
            tflite.OperatorCodeAddCustomCode(b, name)
        return tflite.OperatorCodeEnd(b)

    def _operator(self, b, op, code):
        table = None
        if op["options"]:
            lists = {field: _ints(b, value) for field, value in op["fields"].items() if isinstance(value, list)}
            lists |= {field: b.CreateString(value) for field, value in op["fields"].items() if isinstance(value, str)}
            getattr(tflite, f"{op['options']}Start")(b)
            for field, value in {**op["fields"], **lists}.items():
                getattr(tflite, f"{op['options']}Add{field}")(b, value)
            table = getattr(tflite, f"{op['options']}End")(b)
        inputs, outputs = _ints(b, op["inputs"]), _ints(b, op["outputs"])
        more = {field: _ints(b, value) if isinstance(value, list) else value for field, value in op["more"].items()}
        tflite.OperatorStart(b)
        for field, value in more.items():
            getattr(tflite, f"OperatorAdd{field}")(b, value)
        tflite.OperatorAddOpcodeIndex(b, code)
        tflite.OperatorAddInputs(b, inputs)
        tflite.OperatorAddOutputs(b, outputs)
        if table is not None:
            tflite.OperatorAddBuiltinOptionsType(b, getattr(tflite.BuiltinOptions, op["options"]))
            tflite.OperatorAddBuiltinOptions(b, table)
        return tflite.OperatorEnd(b)


def halves(values):
    """Values of 4 bits, two in a byte, the lower half first."""
    codes = np.append(np.asarray(values, np.uint8).reshape(-1) & 15, np.zeros(np.size(values) % 2, np.uint8))
    return codes[::2] | codes[1::2] << 4


def _code(op):
    """What the table of an operator's code has."""
    return op["kind"], op["custom"], op["version"]


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
