"""``sateen tune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sateen import archive
from sateen.archive import ArchiveError
from sateen.cli.output import load_array, progress
from sateen.cli.printing import console
from sateen.errors import InputError
from sateen.graph import Graph
from sateen.kinds import describe
from sateen.quantize import tune as search

__all__ = ["tune"]


def tune(
    graph_file: Annotated[Path, typer.Argument(metavar="GRAPH", help="A quantized graph (.npz).")],
    input: Annotated[
        Path,
        typer.Option("--input", "-i", help="Calibration inputs (.npy), int8 or real values; not the training data."),
    ],
    labels: Annotated[Path, typer.Option("--labels", "-l", help="The class of each input (.npy).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The graph with a term budget per layer (.npz).")],
    loss: Annotated[
        float, typer.Option(help="Share of correct answers that may be lost, as 0.005.", min=0.0, max=1.0)
    ] = 0.005,
) -> None:
    """Finds the fewest terms per layer that keep the accuracy, for devices with pe=term."""
    try:
        graph = Graph.load(graph_file)
    except OSError as error:
        raise InputError(f"cannot read {graph_file}: {error.strerror or error}") from error
    except ArchiveError as error:
        if archive.kind(graph_file):
            raise
        raise InputError(
            f"{graph_file} is {describe(graph_file)}; give a graph, as sateen quantize writes it"
        ) from error
    x, truth = load_array(input), load_array(labels)
    if x.dtype != "int8":
        x = graph.tensors[graph.inputs[0]].quantize(x)
    if truth.shape != (len(x),):
        raise InputError(
            f"labels must hold one number for each of the {len(x)} inputs, not an array of shape {truth.shape}"
        )
    with progress("tuning", sum(hasattr(op, "terms") for op in graph.ops)) as report:
        found = search(graph, x, truth, loss=loss, progress=report)
    found.graph.save(output)
    for op in found.graph.ops:
        budget = getattr(op, "terms", None)
        if budget is not None:
            console.print(
                f"{op.name:12} g={budget.group} k={budget.weight_terms} s={budget.data_terms} {budget.encoding.name}"
            )
    console.print(
        f"{output}: accuracy {found.accuracy:.2%} of {found.baseline:.2%}, "
        f"{found.pairs:,} term pairs of {found.baseline_pairs:,} "
        f"({found.baseline_pairs / found.pairs:.1f} times fewer)"
    )
