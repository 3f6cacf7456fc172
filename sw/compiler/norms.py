"""Whether what is normalized is what the device has summed up the squares of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sateen.errors import CompileError
from sateen.hw.spec.descriptor import Descriptor, OutputStream

__all__ = ["check_norms"]


def check_norms(descriptors: Sequence[Descriptor]) -> None:
    """Checks a program's products of normalized tensors (:attr:`~sateen.hw.spec.descriptor.OutputStream.normalized`).

    Raises
    ------
    CompileError
        If one reads another tensor than the results of the last descriptor before that is not normalized itself.
    """
    before: Descriptor | None = None
    for number, d in enumerate(descriptors):
        if not d.output.normalized:
            before = d
            continue
        a = d.activations
        if before is None or not _gives(before.output, a.address, a.height * a.width):
            raise CompileError(
                f"descriptor {number}: it normalizes a tensor that the descriptor before does not give as a whole; "
                f"keep the tensor's operator right before, and its results in one part"
            )


def _gives(output: OutputStream, address: int, size: int) -> bool:
    """Whether a descriptor's results are so many bytes from an address on, each once."""
    if output.softmax or output.to_weights or output.recurrent:
        return False
    block, group, *inner = output.dims
    step = group.strides[0]
    channels = [min(step, output.channels - step * number) for number in range(group.count)] if step > 0 else []
    if group.count == 1:
        channels = [output.channels]
    starts = np.zeros(1, np.int64)
    for dim in (block, *inner):
        starts = (starts[:, None] + np.arange(dim.count) * dim.strides[0]).ravel()
    places = [output.address + starts + step * number + c for number, n in enumerate(channels) for c in range(n)]
    return len(places) > 0 and np.array_equal(np.sort(np.concatenate(places)), np.arange(address, address + size))
