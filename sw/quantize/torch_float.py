"""Float PyTorch modules and programs, with what PyTorch computes for calibration data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sateen.errors import CompileError
from sateen.frontends import torch as frontend
from sateen.graph import Array, Graph, require
from sateen.quantize.float_model import FloatModel, Progress, Quantized, ignore
from sateen.quantize.ranges import Calibration

if TYPE_CHECKING:
    import torch

__all__ = ["float_model", "quantize_torch"]

ADVICE = "give calibration: representative inputs, as a tensor [N, …] or a loader of batches"


def quantize_torch(
    source: Any,
    calibration: Any = None,
    *,
    example_inputs: Sequence[Any] | torch.Tensor | None = None,
    ranges: Calibration = Calibration(),  # noqa: B008
    name: str = "",
    progress: Progress = ignore,
) -> Quantized | Graph:
    """A PyTorch module or exported program as a graph; a program that PT2E has quantized as it is.

    Parameters
    ----------
    source
        A ``torch.nn.Module`` in evaluation mode or a ``torch.export.ExportedProgram``.
    calibration
        For a float one: representative inputs, as a tensor [N, …], or a loader of batches. Of a batch that is a tuple
        (images and labels, say), the first parts are the inputs.
    example_inputs
        For a module: a tensor, or a tuple of them, with which it is exported. Without, the first calibration item.
    progress
        Called with (items done, items) whenever the module runs on the data.

    Raises
    ------
    CompileError
        If the source is float and there is no calibration data, or a module is in training mode.
    GraphError
        If an operator is not supported, or the calibration data does not fit.
    """
    if calibration is not None and not hasattr(calibration, "shape"):
        # A generator can be read once only.
        require(isinstance(calibration, Iterable), "calibration", "it must be a tensor or a loader of batches")
        calibration = list(calibration)
    if example_inputs is None and calibration is not None:
        first = _batches(calibration, 1)[0]
        example_inputs = tuple(_tensor(part[:1]) for part in first)
    program = frontend.program(source, example_inputs)
    if program.quantized:
        require(calibration is None, "program", "it is quantized already; give no calibration data")
        return frontend.graph(frontend.translate(program, name).model)
    if calibration is None:
        raise CompileError(f"a float PyTorch model is quantized first: {ADVICE}")
    return float_model(program, calibration, name=name, progress=progress).quantize(ranges)


def float_model(program: Any, calibration: Any, *, name: str = "", progress: Progress = ignore) -> FloatModel:
    """A float program with its calibration data; see :func:`quantize_torch`."""
    translation = frontend.translate(program, name)
    batches = _batches(calibration, len(program.inputs))
    shapes = [shape for _, shape in translation.model.inputs.values()]
    for shape, part in zip(shapes, batches[0], strict=True):
        fits = part.shape[1:] == shape[1:]
        require(fits, "calibration", f"its items are {part.shape[1:]}, but the program takes {shape[1:]}")
    return FloatModel(
        name=translation.model.name,
        model=translation.model,
        trace=lambda: _traced(translation, batches, progress),
        graph=frontend.graph,
        item_shape=shapes[0][1:],
    )


def _batches(calibration: Any, inputs: int) -> list[tuple[Array, ...]]:
    """Calibration data as batches, each with an array for each input."""
    if hasattr(calibration, "shape"):
        calibration = [calibration]
    batches = []
    for batch in calibration:
        good = hasattr(batch, "shape") or isinstance(batch, list | tuple)
        require(good, "calibration", f"its batches must be tensors or tuples of them, not {type(batch).__name__}")
        parts = (batch,) if hasattr(batch, "shape") else tuple(batch)
        require(len(parts) >= inputs, "calibration", f"a batch has {len(parts)} parts for {inputs} inputs")
        arrays = tuple(_tensor(part).detach().cpu().float().numpy() for part in parts[:inputs])
        require(all(array.ndim > 0 for array in arrays), "calibration", "its batches need a first axis for items")
        if len(arrays[0]):
            batches.append(arrays)
    require(len(batches) > 0, "calibration", "it holds no item; give one or more")
    return batches


def _tensor(values: Any) -> torch.Tensor:
    import torch

    return values if isinstance(values, torch.Tensor) else torch.from_numpy(np.asarray(values))


def _traced(
    translation: frontend.Translation, batches: list[tuple[Array, ...]], progress: Progress
) -> Iterator[Mapping[str, Array]]:
    """Every real tensor, in pieces as large as the program's batch; any size, if that is free."""
    size = translation.batch
    total, done = sum(len(batch[0]) for batch in batches), 0
    for batch in batches:
        step = size or len(batch[0])
        for start in range(0, len(batch[0]), step):
            parts = [part[start : start + step] for part in batch]
            count = len(parts[0])
            # A fixed batch is filled up with its last item. Other axes than items' may come first.
            yield {
                name: values[:count] if values.shape[:1] == (step,) else values
                for name, values in translation.run(
                    [np.concatenate([part, *[part[-1:]] * (step - count)]) for part in parts]
                ).items()
            }
            done += count
            progress(done, total)
