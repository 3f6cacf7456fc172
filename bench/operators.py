"""The operators of model files, from the registries of the front ends, as the page ``docs/operators.md``.

    python bench/operators.py [docs/operators.md]

Where an operator runs is found by compiling the small files of it that the tests have (`tb/small_models.py`,
`tb/onnx_versions.py`) for `large`, and what it is equal to by running them beside the formats' interpreters. Without a
name the page is printed.
"""

from __future__ import annotations

import re
import sys
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tb"))

import numpy as np

from onnx_versions import file, schemas, trials
from sateen.compiler.lowering import lower
from sateen.compiler.rewrites import rewrite
from sateen.errors import SateenError
from sateen.frontends import onnx, tflite
from sateen.frontends.onnx.moves import REAL_MOVES
from sateen.frontends.onnx.operators import HANDLERS as ONNX
from sateen.frontends.onnx.reals import REALS
from sateen.frontends.tflite.handlers import BY_TYPE
from sateen.frontends.tflite.versions import newest
from sateen.frontends.torch.functions import POINTWISE
from sateen.frontends.torch.load import CALLS
from sateen.graph import Array, Dequantize, Graph, GraphError, Op, Quantize, Real, Recurrent, Reshape, Transpose, run
from sateen.graph.ops import Constant
from sateen.hw.spec.config import PRESETS
from sateen.reference import compare, interpreted, interpreter, random_inputs
from small_models import tflite_files

CONFIG = PRESETS["large"]
ITEMS = 16
"""Random items that each file is run with, times its batch."""
HEAD = """# Operators of model files

Made by `make docs-tables` from the registries of the front ends: do not edit.

**Runs on** says what became of small files with the operator on codes of 8 bits, compiled for `large`. *device*: the
device ran all of them. *host*: the host, exactly. *device or host*: that depends on the operands; the reasons for the
host are given where the device might have run it. *with others*: it becomes part of another operator, moves no value,
or is computed when the file is read. Sums, products and tables need `positions` of 256 or more, and the pipelined
engine; a layer that does not fit a device's memories runs on the host, with a warning that says so. Transpositions are
the device's between its other operators, and else the host's. Products of two tensors are the device's with
`products=1`, TensorFlow Lite's SOFTMAX of codes with `softmax=1`, onnxruntime's with `softmax=2`, TensorFlow Lite's
SQUARED_DIFFERENCE with `squares=1`, and its SVDF and UNIDIRECTIONAL_SEQUENCE_LSTM with states of int16 with
`recurrent=1024`. Layer normalizations of ONNX between codes are the device's with `layer_norm`, in rows of a multiple
of eight values.

Types: *codes* are int8 and uint8, in ONNX in QDQ or operator form; *real* is float32. Only codes are for the device:
operators on int16 and real numbers always run on the host. In ONNX, what operators on real numbers compute between a
DequantizeLinear and a QuantizeLinear is the device's, too, where each code's result follows from it alone (a table) or
is a line for each channel (a layer).

Activations of int16 with weights of int8 (16x8) are the host's in TensorFlow Lite: their sums are of 64 bits, the
array's of 32, and memories and multipliers for them would double. ONNX files with codes of 16 bits are refused, with
the advice to quantize to 8 bits.

**Equal to** names the interpreters that the same files were run with, on random codes of all values: tflite-micro's
portable kernels, LiteRT's reference kernels for types and operators that those lack, onnxruntime. All integers were the
same where nothing else is said, and real numbers agreed to five digits; else the largest distance is given. A RELU6 to
another scale is LiteRT's, since tflite-micro ignores the scale. onnxruntime makes one pair of two pairs of
QuantizeLinear and DequantizeLinear with different scales, which changes values, and computes some layers with real
numbers, whose results may be one apart next to a tie; `compile` warns of both by name, and so does what reads the
compiled file. A dash: no such file has the operator; it is tested inside others. What random networks found beyond
these files stands in [The machine](architecture.md). `sateen verify` compares all tensors of a model with its
interpreter.

LSTM, GRU and RNN of float ONNX models are [unrolled](model.md#recurrent-layers-and-streams) by `sateen quantize`, and
so stand in no table here.
"""

HEADER = ["| operator | versions | types | runs on | equal to |", "|---|---|---|---|---|"]
Where = dict[str, set[str]]
"""By kind of operator: ``device``, and reasons for the host."""


def equal_to(data: bytes, suffix: str, graph: Graph) -> Iterator[str]:
    """The interpreter whose tensors a file's are equal to, and if some are not, by how much they differ."""
    x, actual = sound(graph)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model{suffix}"
        path.write_bytes(data)
        try:
            reference = interpreter(path, graph)
            expected = interpreted(reference, graph, x, lambda done, count: None)
        except SateenError:
            return
    compared = compare(graph, actual, expected)
    largest = max((each.largest for each in compared), default=0.0)
    if compared:
        yield reference.name + (f", up to {largest:g} apart" if any(each.different for each in compared) else "")


def sound(graph: Graph) -> tuple[dict[str, Array], dict[str, Array]]:
    """Random inputs, and all tensors that follow from them. Some functions are defined for few real numbers, and what
    is no number cannot be quantized: such models get those."""
    x = random_inputs(graph, ITEMS * graph.tensors[graph.inputs[0]].shape[0])
    for change in (lambda v: v, np.abs, lambda v: np.abs(v) / max(1, np.abs(v).max()), lambda v: 1 + np.abs(v)):
        changed = {name: change(values).astype(values.dtype) for name, values in x.items()}
        try:
            return changed, computed(graph, changed)
        except ValueError:
            continue
    raise SateenError(f"{graph.name} is defined for none of the inputs that were tried")


def computed(graph: Graph, x: dict[str, Array]) -> dict[str, Array]:
    """All tensors by the golden model, in the layout and type of the file."""
    values = run(graph, {name: graph.tensors[name].from_file(given) for name, given in x.items()}, layers=True)
    return {name: graph.tensors[name].to_file(value) for name, value in values.items()}


def places(graph: Graph, ops: Iterable[Op]) -> Iterator[str]:
    """``device`` or why not, for each operator that computes something. Transpositions beside others, which bring axes
    into their order, do not count, nor what moves the states of recurrent layers."""
    lowered = lower(graph, CONFIG)
    computing = [op for op in ops if not isinstance(op, Reshape | Constant)]
    computing = [op for op in computing if isinstance(op, Recurrent)] or computing
    for op in [op for op in computing if not isinstance(op, Transpose)] or computing:
        if op.name in lowered.lowered:
            yield "device"
        elif op.name in lowered.refused:
            yield lowered.refused[op.name]
        else:
            yield "states of int16" if isinstance(op, Recurrent) else "host"


def rewritten(graph: Graph) -> Graph:
    return rewrite(graph, CONFIG, combine=False).graph


def tflite_places() -> tuple[Where, Where]:
    """By the operators' names in the graph, which begin with their kinds: where they run; what they are equal to."""
    found: Where = defaultdict(set)
    equal: Where = defaultdict(set)
    for builder, inputs, outputs in tflite_files():
        kinds = {op["kind"] for op in builder.ops}
        data = builder.build(inputs, outputs)
        try:
            loaded = tflite.load(data)
            graph = rewritten(loaded)
        except GraphError:
            continue
        same = set(equal_to(data, ".tflite", loaded))
        for kind in kinds:
            own = graph.ops if len(kinds) == 1 else [op for op in graph.ops if _kind(op) == kind.lower()]
            found[kind] |= set(places(graph, own))
            equal[kind] |= same
    return found, equal


def _kind(op: Op) -> str:
    return re.sub(r"_\d+(\..*)?$", "", op.name)


def onnx_places() -> tuple[Where, Where]:
    """By the name of the node that is tried: where operators run, and what they are equal to."""
    found: Where = defaultdict(set)
    equal: Where = defaultdict(set)
    every = schemas()
    for kind, operator in {**REAL_MOVES, **REALS, **ONNX}.items():
        group = every.get(kind, [])
        known = [schema for schema in group if schema.since_version in operator.versions and not schema.deprecated]
        # Attributes of the newest version are tried, too.
        for schema in known:
            for trial in trials(kind, schema, group, attributes=schema is known[-1]):
                data = file(trial)
                try:
                    loaded = onnx.load(data)
                    graph = rewritten(loaded)
                except (GraphError, SateenError):
                    continue
                equal[kind] |= set(equal_to(data, ".onnx", loaded))
                own = [op for op in graph.ops if op.name.split(".")[0] == "tried"]
                if kind not in ONNX and not any(isinstance(op, Real) for op in graph.ops):
                    # A table or a line for each channel, which bears the name of what quantizes it.
                    own = [op for op in graph.ops if not isinstance(op, Quantize | Dequantize)]
                found[kind] |= set(places(graph, own))
    return found, equal


def told(found: set[str]) -> str:
    """A cell of the table."""
    reasons = sorted(found - {"device", "host"})
    if not found:
        return "with others"
    if found == {"device"}:
        return "device"
    if "device" not in found:
        return "host"
    return "device or host" + (f": {'; '.join(_short(reason) for reason in reasons)}" if reasons else "")


def _short(reason: str) -> str:
    return re.sub(r"\s+", " ", reason).replace("|", r"\|")


def page() -> str:
    """The whole page."""
    with warnings.catch_warnings(action="ignore"):
        return "\n".join([HEAD, *tflite_lines(), *onnx_lines(), *torch_lines()]) + "\n"


def tflite_lines() -> list[str]:
    """TensorFlow Lite's table."""
    lines = []
    found, equal = tflite_places()
    lines += ["## TensorFlow Lite", "", *HEADER]
    kinds = sorted({kind for handlers in BY_TYPE.values() for kind in handlers})
    names = {"INT8": "codes", "FLOAT32": "real", "INT32": "int32", "INT16": "int16"}
    for kind in kinds:
        types = ", ".join(names.get(type, type) for type, handlers in BY_TYPE.items() if kind in handlers)
        where = told(found[kind]) if kind in BY_TYPE["INT8"] else "host"
        version = newest(kind)
        versions = "1" if version == 1 else f"1 to {version}"
        lines.append(f"| {kind} | {versions} | {types} | {where} | {_joined(equal[kind])} |")
    return lines


def _joined(names: set[str]) -> str:
    return "; ".join(sorted(names, reverse=True)) or "–"


def onnx_lines() -> list[str]:
    """ONNX's table."""
    lines, (found, equal) = [], onnx_places()
    lines += ["", "## ONNX", "", "A version is named after the opset that introduced it.", ""]
    lines += HEADER
    for kind in sorted({**REAL_MOVES, **REALS, **ONNX}):
        types = [name for name, kinds in (("codes", ONNX), ("real", {**REAL_MOVES, **REALS})) if kind in kinds]
        types = ["codes", "real"] if types == ["real"] and "device" in found[kind] else types
        operator = {**REAL_MOVES, **REALS, **ONNX}[kind]
        versions = ", ".join(map(str, sorted(operator.versions)))
        where = told(found[kind])
        lines.append(f"| {kind} | {versions} | {', '.join(types)} | {where} | {_joined(equal[kind])} |")
    return lines


def torch_lines() -> list[str]:
    """PyTorch's list."""
    functions = ", ".join(sorted(POINTWISE))
    others = ", ".join(sorted({kind.removeprefix("aten.").rpartition(".")[0] for kind in CALLS if "aten" in kind}))
    return [
        "", "## PyTorch", "",
        "Exported programs, quantized by PT2E (`quantized_decomposed`) or float. Their calls become operators of ONNX:",
        f"{others}.", "",
        "Functions of one tensor, value by value, in however many calls, become one table, which PyTorch computes:",
        f"{functions}.",
    ]  # fmt: skip


def main() -> None:
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(page())
    else:
        print(page(), end="")


if __name__ == "__main__":
    main()
