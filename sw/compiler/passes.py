"""Passes over the tile: descriptors, and the weight words that they use."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sateen.compiler import means, sliding
from sateen.compiler.lowering import Kernel, LookUp, parameter_words, repeated, split
from sateen.compiler.shared_bytes import packed
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import ActivationStream, Descriptor, OutputStream, WeightStream
from sateen.hw.spec.nests import Dim
from sateen.hw.spec.parameters import BIAS_BYTES
from sateen.hw.spec.pe import ACTIVATION_POINT_BIT, SELECTS_BIT
from sateen.hw.spec.recurrent import Target
from sateen.hw.spec.residual import RESIDUAL_UNIT

__all__ = ["Pass", "alike", "block_rows", "look_up_passes", "mean_passes", "passes", "relocated", "sliding_passes"]


@dataclass(frozen=True, kw_only=True)
class Pass:
    """Descriptors that share weight words: those of some of a layer's channels, or of all."""

    weights: NDArray[np.int8]
    """[words, cols]."""
    descriptors: tuple[Descriptor, ...]
    """Their weight addresses count from the first word of ``weights``."""
    word_bytes: int = 0
    """Bytes of a word in the host's address space, if some descriptors write words."""

    def relocated(self, base: int) -> tuple[Descriptor, ...]:
        """The descriptors for weights that begin at word ``base``."""
        return tuple(relocated(descriptor, base, self.word_bytes) for descriptor in self.descriptors)

    def part(self, start: int, stop: int) -> Pass:
        """Some of the descriptors, with all weights."""
        return dataclasses.replace(self, descriptors=self.descriptors[start:stop])


def relocated(d: Descriptor, base: int, word_bytes: int) -> Descriptor:
    """A descriptor for weights that begin ``base`` words later; a word takes ``word_bytes`` of the host's address
    space."""
    output = d.output
    if output.to_weights:
        output = dataclasses.replace(output, address=output.address + base * word_bytes)
    return dataclasses.replace(d, weights=dataclasses.replace(d.weights, base=d.weights.base + base), output=output)


def _words(kernel: Kernel, config: Config) -> NDArray[np.int8]:
    """The weight store's words, group after group of channels: [groups, words of a group, cols]."""
    groups, zero_point = -(-kernel.channels // config.cols), kernel.weights_zero_point
    size = kernel.group_words(config) * config.weights_per_byte
    padded = np.full((groups * config.cols, size), zero_point, np.int8)
    if kernel.packing is None:
        rows, columns = kernel.weights.shape[1:3]
        runs = padded.reshape(len(padded), rows, columns, -1)
        runs[: kernel.channels, :, :, : kernel.run_length] = kernel.weights + zero_point
    else:
        padded[: kernel.channels] = kernel.packing.words(config, zero_point).reshape(kernel.channels, -1)
    weights = padded.reshape(groups, config.cols, -1).transpose(0, 2, 1)
    return np.concatenate([packed(weights, config.weights_per_byte), parameter_words(kernel, config)], axis=1)


def _descriptor(
    kernel: Kernel, config: Config, *, source: int, target: int, groups: tuple[int, int],
    y: tuple[int, int, int], x: tuple[int, int],
) -> Descriptor:  # fmt: skip
    """One descriptor: ``groups`` of channels, ``y`` = (first row, rows of a block, blocks), ``x`` = (first column,
    columns)."""
    first_group, group_count = groups
    first_row, rows, blocks = y
    first_column, columns = x
    out_line, out_step = kernel.result_steps
    channel = first_group * config.cols
    words = kernel.recurrent is not None and kernel.recurrent.target == Target.WORDS
    output = OutputStream(
        address=(0 if words else target) + kernel.target + first_row * out_line + first_column * out_step + channel,
        channels=min(kernel.channels - channel, group_count * config.cols),
        taps=kernel.pool_size,
        zero_point=kernel.zero_point,
        low=kernel.low,
        high=kernel.high,
        rounding=kernel.rounding,
        normalized=kernel.normalized,
        recurrent=kernel.recurrent,
        residual=None if kernel.residual is None else _units(kernel.apart),
        dims=(
            Dim(blocks, (rows * out_line,)),
            Dim(group_count, (config.cols,)),
            Dim(rows, (out_line,)),
            Dim(columns, (out_step,)),
        ),
    )
    settings = config.pe_kind.settings(kernel.precision).weights | (1 << SELECTS_BIT if kernel.packing else 0)
    return Descriptor(
        weights=WeightStream(
            base=0,
            blocks=blocks,
            groups=group_count,
            words=kernel.group_words(config),
            settings=settings,
            zero_point=kernel.weights_zero_point,
            residual=kernel.residual is not None,
        ),
        activations=_activations(kernel, config, source=source, groups=groups, y=y, x=x),
        output=output,
    )


def _activations(
    kernel: Kernel, config: Config, *, source: int, groups: tuple[int, int], y: tuple[int, int, int], x: tuple[int, int]
) -> ActivationStream:
    """The activations that :func:`_descriptor` reads."""
    first_group, group_count = groups
    first_row, rows, blocks = y
    first_column, columns = x
    windows, (kernel_y, kernel_x) = kernel.windows(config), kernel.reduction
    if windows.passes > 1:
        kernel_x = Dim(windows.passes, (0, 0))

    def at(row: int, byte: int) -> tuple[int, int, int]:
        address = row * kernel.width + byte
        return (0, address, address) if kernel.flat else (row, byte, address)

    start = at(
        kernel.origin[0] + first_row * kernel.stride[0],
        kernel.origin[1] + first_column * kernel.stride[1] + first_group * kernel.group_stride - windows.lead,
    )
    return ActivationStream(
        address=source + start[2],
        row=start[0],
        x=start[1],
        height=1 if kernel.flat else kernel.height,
        width=kernel.height * kernel.width if kernel.flat else kernel.width,
        padding=kernel.padding,
        settings=config.pe_kind.settings(kernel.precision).beats | _activation_point(kernel),
        dims=(
            Dim(blocks, at(rows * kernel.stride[0], 0)),
            Dim(group_count, at(0, kernel.group_stride)),
            *(Dim(dim.count, at(*dim.strides)) for dim in (kernel_y, kernel_x)),
            Dim(windows.count, at(0, windows.stride)),
            Dim(rows, at(kernel.stride[0], 0)),
            Dim(columns, at(0, kernel.stride[1])),
            *(Dim(dim.count, at(*dim.strides)) for dim in kernel.pooling),
        ),
    )


def _units(apart: int) -> int:
    """A distance between tensors as descriptors have it. In the largest scratchpads it wraps."""
    half = 1 << 15
    return (apart // RESIDUAL_UNIT + half) % (2 * half) - half


def _activation_point(kernel: Kernel) -> int:
    """The input's zero point as part of the beats' settings, if the tile subtracts it."""
    return 0 if kernel.zero_points is None else (kernel.zero_points[0] & 0xFF) << ACTIVATION_POINT_BIT


def passes(kernel: Kernel, config: Config, *, source: int, target: int, rows: int, words: int) -> list[Pass]:
    """A kernel's passes over the tile.

    Parameters
    ----------
    source, target : int
        Byte addresses of input and output.
    rows : int
        Rows of results in a block, or fewer if the accumulators hold fewer.
    words : int
        Limit on a pass's weight words: the weight store's depth.

    The kernel must come from :func:`~sateen.compiler.lowering.lower`.
    """
    store = _words(kernel, config)
    groups, group_words = store.shape[:2]
    results = config.positions // kernel.pool_size
    before = np.frombuffer(kernel.residual.words(config.cols, config.weight_rows) if kernel.residual else b"", np.int8)
    before = before.reshape(-1, config.cols)
    result = []
    for first, size, count in split(groups, min(groups, (words - len(before)) // group_words)):
        for part in range(count):
            pass_groups = (first + part * size, size)
            descriptors = []
            for column, columns, column_parts in split(kernel.out[1], results):
                for piece in range(column_parts):
                    for y in split(kernel.out[0], max(1, min(rows, results // columns))):
                        descriptors.append(
                            _descriptor(
                                kernel, config, source=source, target=target, groups=pass_groups, y=y,
                                x=(column + piece * columns, columns),
                            )
                        )  # fmt: skip
            result.append(_pass(store[pass_groups[0] : pass_groups[0] + size], descriptors, config, before))
    return result


def sliding_passes(
    kernel: Kernel, config: Config, walk: sliding.Walk, *, source: int, target: int, words: int
) -> list[Pass]:
    """As :func:`passes`, for a kernel whose window slides; none if a group's weights do not fit."""
    store = sliding.words(kernel, config, walk)
    groups, group_words = store.shape[:2]
    if group_words > words:
        return []
    result = []
    for first, size, count in split(groups, min(groups, words // group_words)):
        for part in range(count):
            start = first + part * size
            slid = sliding.descriptors(kernel, config, walk, source=source, target=target, groups=(start, size))
            result.append(_pass(store[start : start + size], slid, config))
    return result


def mean_passes(kernel: Kernel, config: Config, *, source: int, target: int, words: int) -> list[Pass]:
    """As :func:`passes`, for the mean of an image; none if it is none, or its weights do not fit."""
    first = means.together(kernel, config)
    store = None if first is None else sliding.words(first, config, means.WALK)
    if first is None or store is None or store.shape[1] > words:
        return []
    groups = kernel.channels // config.cols
    return [_pass(store, [means.descriptor(first, config, groups=groups, source=source, target=target)], config)]


def _pass(
    groups: NDArray[np.int8], descriptors: Iterable[Descriptor], config: Config, before: NDArray[np.int8] | None = None
) -> Pass:
    """A pass of weight words, [groups, words, cols], and descriptors that use all of them, and others ``before``.
    Repeated scales are left out, and repeated biases too, if the device reads them again: if each of the descriptors
    begins with the first group."""
    descriptors = list(descriptors)
    whole = not any(d.weights.base for d in descriptors)
    one_scale, same_biases = repeated(groups[:, -config.parameter_words :], config) if whole else (False, False)
    more = 0 if same_biases else BIAS_BYTES if one_scale else config.parameter_words
    behind = groups.shape[1] - config.parameter_words + more
    stored = [group[:behind] if index else group for index, group in enumerate(groups)]
    return Pass(
        weights=np.concatenate(stored if before is None else [before, *stored]),
        descriptors=tuple(
            dataclasses.replace(
                d, weights=dataclasses.replace(d.weights, one_scale=one_scale, same_biases=same_biases)
            ).in_quarters(config.positions, overlap=bool(config.overlap))
            for d in descriptors
        ),
    )


def look_up_passes(tables: LookUp, config: Config, *, sources: Sequence[int], target: int) -> list[Pass]:
    """As :func:`passes`, for tables; ``sources`` are the addresses of the operator's inputs."""
    first, second = (sources[index] for index in tables.sources)
    descriptor = tables.descriptor(config, sources=(first, second), target=target)
    return [Pass(weights=tables.words(config), descriptors=(descriptor,))]


def alike(kernel: Kernel, config: Config) -> Iterator[Kernel]:
    """The kernel with its groups of channels as columns of results, if there is but one result, and all groups are
    treated alike, as in the mean of an image. Groups take parts of the accumulators in turn, and short ones wait for
    the latency of a part; results of one part do not."""
    cols, groups = config.cols, kernel.channels // config.cols
    single = kernel.out == (1, 1) and groups > 1 and not kernel.channels % cols and kernel.group_stride == cols
    if not single or kernel.packing or kernel.recurrent or kernel.residual:
        return
    weights, parameters = (array.reshape(groups, cols, -1) for array in (kernel.weights, kernel.parameters))
    if (weights == weights[0]).all() and (parameters == parameters[0]).all():
        yield dataclasses.replace(
            kernel, out=(1, groups), channels=cols, stride=(kernel.stride[0], cols),
            spacing=(kernel.result_steps[0], cols), weights=kernel.weights[:cols], parameters=kernel.parameters[:cols],
            filters=None,
        )  # fmt: skip


def block_rows(kernel: Kernel, config: Config) -> list[int]:
    """Sensible numbers of rows in a block, largest first: the largest that fits, and those that leave no rest."""
    results = max(1, config.positions // kernel.pool_size)
    largest = max(1, min(kernel.out[0], results // min(kernel.out[1], results)))
    return [largest, *(rows for rows in range(largest - 1, 0, -1) if kernel.out[0] % rows == 0)]
