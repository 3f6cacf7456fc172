"""``sateen verify``."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from sateen.cli.output import load_arrays, opened, progress, running, status
from sateen.cli.printing import JsonFile, console, warned, write_document
from sateen.compiler import compile as compile_model
from sateen.errors import DifferenceError, SateenError
from sateen.frontends import load
from sateen.graph import Array, Graph
from sateen.graph import run as run_golden
from sateen.reference import Difference, compare, image, interpreted, interpreter, random_inputs
from sateen.reference.inputs import IMAGES

__all__ = ["Verification", "verify"]

GOLDEN = "golden"
SHOWN = 10
"""Tensors that differ, of which a line is printed."""


@dataclass(frozen=True, kw_only=True)
class TensorEntry:
    """A tensor that both sides have, compared value for value."""

    tensor: str
    label: str
    """The tensor's other name, for people."""
    op: str
    """The operator that makes it; empty for an input."""
    values: int
    different: int
    """Values that are not equal; what follows is 0 and empty if there are none."""
    largest: float | None
    """Their largest difference; ``null`` if it is no finite number."""
    index: list[int]
    """Where the first of them is, in the file's layout."""
    actual: float | None
    """Sateen's value there; ``null`` if it is no finite number."""
    expected: float | None
    """The interpreter's; ``null`` if it is no finite number."""


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What ``sateen verify`` compared."""

    FORMAT: ClassVar[str] = "sateen.verify/1"

    model: str
    reference: str
    """The interpreter's name."""
    device: str
    """``golden`` for the golden model."""
    items: int
    equal: bool
    """Whether there are tensors to compare, and all are equal."""
    tensors: list[TensorEntry]
    warnings: list[str]
    """Of reading the model and of compiling it, and what else is known of the interpreter's results."""


def verify(
    source: Annotated[Path, typer.Argument(metavar="MODEL", help="A quantized model (.tflite, .onnx).")],
    input: Annotated[
        Path | None,
        typer.Option(
            "--input", "-i", help="Batch of inputs (.npy, or .npz for several by name), or a picture; else random ones."
        ),
    ] = None,
    config: Annotated[
        str, typer.Option(help="Configuration of the simulated device: PRESET[,field=value…].")
    ] = "small",
    device: Annotated[
        str | None,
        typer.Option(
            "--device", "-d", help="golden (the golden model), or a device as for sateen run; else sim:CONFIG."
        ),
    ] = None,
    items: Annotated[int, typer.Option(min=1, help="Number of random inputs.")] = 1,
    json: JsonFile = None,
) -> None:
    """Compares every tensor with the model's own interpreter: tflite-micro or onnxruntime."""
    graph = load(source)
    if not isinstance(graph, Graph) or source.suffix not in (".tflite", ".onnx"):
        raise SateenError(f"{source} has no interpreter to compare with; give a quantized model (.tflite, .onnx)")
    x = _inputs(input, graph, items)
    with status("loading the interpreter"):
        reference = interpreter(source, graph)
    count = len(next(iter(x.values())))
    with progress(reference.name, count) as report:
        expected = interpreted(reference, graph, x, report)
    where = device or f"sim:{config}"
    compared = compare(graph, _tensors(graph, x, where, count), expected)
    differ = [each for each in compared if each.different]
    document = Verification(
        model=str(source), reference=reference.name, device=where, items=count, equal=bool(compared) and not differ,
        tensors=[_entry(each) for each in compared], warnings=[*warned, *filter(None, [reference.note])],
    )  # fmt: skip
    write_document(json, document)
    if reference.note:
        console.print(reference.note)
    for each in differ[:SHOWN]:
        console.print(str(each))
    if len(differ) > SHOWN:
        console.print(f"… and {len(differ) - SHOWN} more")
    of = f"{len(compared)} tensors of {count} item{'s'[: count != 1]} on {where}"
    if differ:
        raise DifferenceError(f"{len(differ)} of {of} differ from {reference.name}, first {differ[0]}")
    if not compared:
        raise SateenError(f"{reference.name} has no tensor in common with {source}")
    console.print(f"all {of} equal {reference.name}'s, value for value")


def _inputs(path: Path | None, graph: Graph, items: int) -> dict[str, Array]:
    if path is None:
        batch = graph.tensors[graph.inputs[0]].shape[0]
        console.print("no --input: random inputs, the same every time")
        return random_inputs(graph, items * batch)
    if path.suffix.lower() in IMAGES:
        return image(path, graph)
    return load_arrays(path, graph)


def _tensors(graph: Graph, x: dict[str, Array], where: str, count: int) -> dict[str, Array]:
    """All tensors by the golden model or a device, in the layout and type of the file."""
    if where == GOLDEN:
        with status("running the golden model"):
            values = run_golden(
                graph, {name: graph.tensors[name].from_file(given) for name, given in x.items()}, layers=True
            )
        return {name: graph.tensors[name].to_file(value) for name, value in values.items()}
    with opened(where) as opened_device:
        with status("compiling"):
            model = compile_model(graph, opened_device.config)
        loaded = opened_device.load(model)
        with running(f"running on {where}", loaded, count) as report:
            _, tensors = loaded.run(x, layers=True, progress=report)
    return tensors


def _entry(found: Difference) -> TensorEntry:
    """For JSON, which has no infinity and no NaN."""
    fields = asdict(found) | {"index": list(found.index)}
    for name in ("largest", "actual", "expected"):
        if not math.isfinite(fields[name]):
            fields[name] = None
    return TensorEntry(**fields)
