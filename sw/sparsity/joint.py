"""Joint optimization: rounds of pruning a PyTorch network to what few tiles with selects hold, and of training it
further.

This follows Kung, McDanel and Zhang (ASPLOS 2019), with this machine's tiles as the groups. In each round, every kernel
row of every filter keeps the largest weights that fit together into a given number of tiles
(:func:`sateen.sparsity.packing.mask_to_fit`). The number falls each round. The result needs no permutation of channels,
so any network will do. Needs the extra ``train``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from sateen.errors import SateenError
from sateen.hw.spec.config import Config
from sateen.sparsity.packing import Windows, arrangements, mask_to_fit

__all__ = ["ROUNDS", "FilterMatrix", "combine_jointly", "filter_matrices"]

ROUNDS = 10
"""The authors' number of rounds."""

Track = Callable[[Iterable[Any], str], Iterator[Any]]
Fit = Callable[[nn.Module, int, Track], None]


@dataclass(frozen=True)
class FilterMatrix:
    """A layer's weights as a filter matrix: one row for each kernel row of each filter, with the bytes of a kernel row
    in the device's order."""

    layer: nn.Conv2d | nn.Linear
    flattened: tuple[int, int, int] | None = None
    """For a linear layer behind a flattened image: the image's channels, rows and columns."""

    def from_weights(self, values: torch.Tensor) -> np.ndarray:
        """Values in the shape of the layer's weights, as a matrix."""
        return self._moved(values).reshape(-1, self.row_bytes).detach().numpy()

    def to_weights(self, matrix: np.ndarray) -> torch.Tensor:
        """The inverse of :meth:`from_weights`."""
        moved = torch.from_numpy(matrix).reshape(self._moved(self.layer.weight).shape)
        return moved.permute(0, 3, 1, 2).reshape(self.layer.weight.shape)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of the matrix."""
        if isinstance(self.layer, nn.Conv2d):
            return self.layer.kernel_size[1] * self.layer.in_channels
        return self.layer.in_features

    def _moved(self, values: torch.Tensor) -> torch.Tensor:
        """The values with channels last."""
        shape = values.shape if values.ndim == 4 else (len(values), *(self.flattened or (values.shape[1], 1, 1)))
        return values.reshape(shape).permute(0, 2, 3, 1)


def filter_matrices(
    model: nn.Module, flattened: Mapping[str, tuple[int, int, int]] | None = None
) -> dict[str, FilterMatrix]:
    """The layers that fit tiles with selects, by name: linear layers, and convolutions without groups or dilation."""
    flattened, found = flattened or {}, {}
    for name, layer in model.named_modules():
        if (
            isinstance(layer, nn.Linear)
            or isinstance(layer, nn.Conv2d)
            and layer.groups == 1
            and layer.dilation[1] == 1
        ):
            found[name] = FilterMatrix(layer, flattened.get(name))
    return found


def combine_jointly(
    model: nn.Module, fit: Fit, config: Config, *, rounds: int = ROUNDS, reduction: int | None = None,
    flattened: Mapping[str, tuple[int, int, int]] | None = None, checkpoint: Path | None = None, show: bool = True,
) -> dict[str, Windows]:  # fmt: skip
    """Prunes and trains a network, in place, until its layers fit few tiles of a configuration.

    Parameters
    ----------
    fit
        ``fit(model, round, track)`` trains the model further in place, with a new optimizer. ``for item in track(items,
        "title")`` shows the progress. Pruned weights get no gradients meanwhile.
    config
        The configuration that gives the tiles' ``rows`` and ``combine``.
    reduction
        The factor by which layers take fewer tiles in the end; at most ``combine``, which is the default.
    flattened
        Linear layers that take an image flattened by PyTorch, by name: channels, rows, columns.
    checkpoint
        A file that is written after each round, from which an interrupted run continues.

    Returns
    -------
    dict
        For each layer, the windows of its tiles.
    """
    if config.combine == 1:
        raise SateenError("the configuration combines no columns; give it combine=2 to 16")
    reduction = config.combine if reduction is None else reduction
    layers, first = filter_matrices(model, flattened), 0
    masks = {name: torch.ones_like(one.layer.weight) for name, one in layers.items()}
    if checkpoint is not None and checkpoint.exists():
        first, masks = _resume(checkpoint, model, rounds)
    windows: dict[str, Windows] = {}
    with _tracking(show) as track:
        for number in track(range(rounds), "rounds"):
            # The last rounds have the final number of tiles, and choose again which weights to keep.
            share = min(1.0, (number + 1) / max(1, rounds - 2))
            for name, one in layers.items():
                windows[name] = _windows(one, config, reduction, share)
            if number < first:
                continue
            for name, one in layers.items():
                masks[name] = _prune(one, windows[name], config)
            with _masked(layers, masks):
                fit(model, number, track)
            if checkpoint is not None:
                _save(checkpoint, {"round": number + 1, "rounds": rounds, "model": model.state_dict(), "masks": masks})
    return windows


def _windows(one: FilterMatrix, config: Config, reduction: int, share: float) -> Windows:
    dense = -(-one.row_bytes // config.tile_depth)
    final = max(-(-dense // reduction), -(-one.row_bytes // config.beat_bytes))
    tiles = max(final, round(dense * (final / dense) ** share))
    return next(arrangements(one.row_bytes, tiles, config))


def _prune(one: FilterMatrix, windows: Windows, config: Config) -> torch.Tensor:
    """Sets weights without room to zero, and returns the mask of the others. Zeros fill the free cells, and may grow
    again."""
    values = np.abs(one.from_weights(one.layer.weight)).astype(np.float64)
    kept = mask_to_fit(values + np.finfo(np.float64).tiny, windows, config)
    mask = one.to_weights(kept).to(one.layer.weight.dtype)
    with torch.no_grad():
        one.layer.weight *= mask
    return mask


@contextmanager
def _masked(layers: Mapping[str, FilterMatrix], masks: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Masks the gradients of pruned weights, which therefore stay zero with an optimizer that starts inside."""
    hooks = [
        one.layer.weight.register_hook(lambda gradient, mask=masks[name]: gradient * mask)
        for name, one in layers.items()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        with torch.no_grad():
            for name, one in layers.items():
                one.layer.weight *= masks[name]


def _save(path: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    torch.save(state, partial)
    os.replace(partial, path)


def _resume(path: Path, model: nn.Module, rounds: int) -> tuple[int, dict[str, torch.Tensor]]:
    try:
        state = torch.load(path, weights_only=True)
        if state["rounds"] != rounds:
            raise ValueError(f"it is of {state['rounds']} rounds, not {rounds}")
        model.load_state_dict(state["model"])
        return state["round"], state["masks"]
    except Exception as error:
        what = " ".join(str(error).split())[:200]
        raise SateenError(f"{path} is no checkpoint of this training ({what}); delete it to start over") from error


@contextmanager
def _tracking(show: bool) -> Iterator[Track]:
    # Brackets in a title are not markup.
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not show) as progress:

        def track(items: Iterable[Any], title: str) -> Iterator[Any]:
            listed = list(items)
            task = progress.add_task(title, total=len(listed))
            for item in listed:
                yield item
                progress.advance(task)
            if title != "rounds":
                progress.remove_task(task)

        yield track
