"""Dilated convolutions as TensorFlow writes them: SPACE_TO_BATCH_ND, a convolution without dilation, BATCH_TO_SPACE_ND.

The convolution sees every block-th pixel of the image, once for each place in a block. That is one convolution of the
whole image with the block as its dilation, and the padding of the first operator less what the last one cuts off.
Padding is the zero point, as in TensorFlow Lite; tflite-micro pads with memory that it does not set.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import tflite

from sateen.frontends.tflite.file import RawModel, RawOperator, RawTensor

__all__ = ["fuse_dilations"]

CONVOLUTIONS = {"CONV_2D": tflite.Conv2DOptions, "DEPTHWISE_CONV_2D": tflite.DepthwiseConv2DOptions}
RESHAPES = ("EXPAND_DIMS", "RESHAPE", "SQUEEZE")
Pads = tuple[tuple[int, int], tuple[int, int]]


def fuse_dilations(model: RawModel) -> RawModel:
    """The model with a dilated convolution in place of each group of operators that computes one."""
    tensors, operators = list(model.tensors), list(model.operators)
    for first in model.operators:
        if first.kind == "SPACE_TO_BATCH_ND":
            group = _Group(model, first)
            if group.matches():
                for tensor in group.tensors():
                    tensors[tensor.index] = tensor
                made = {operator.index: operator for operator in group.operators()}
                drop = {operator.index for operator in group.chain} - set(made)
                operators = [made.get(op.index, op) for op in operators if op.index not in drop]
    return dataclasses.replace(model, tensors=tensors, operators=operators)


class _Group:
    """The operators from a SPACE_TO_BATCH_ND to the BATCH_TO_SPACE_ND behind it, each the only reader of the one
    before; around the convolution there may be a reshape for the axis that an image has more than a line."""

    def __init__(self, model: RawModel, first: RawOperator):
        self.model = model
        self.chain = [first, *self._followers(first)]
        kinds = [operator.kind for operator in self.chain]
        self.convolution = next((op for op in self.chain if op.kind in CONVOLUTIONS), None)
        self.reshaped = len(kinds) == 5 and kinds[1] in RESHAPES and kinds[3] in RESHAPES
        self.complete = (
            self.convolution is not None
            and (self.reshaped and kinds[2] in CONVOLUTIONS or len(kinds) == 3 and kinds[1] in CONVOLUTIONS)
            and kinds[-1] == "BATCH_TO_SPACE_ND"
        )

    def _followers(self, operator: RawOperator) -> Iterator[RawOperator]:
        while operator.kind != "BATCH_TO_SPACE_ND" and len(operator.outputs) == 1:
            made = operator.outputs[0]
            readers = [op for op in self.model.operators if made in op.inputs]
            if len(readers) != 1 or readers[0].inputs[0] != made or made in self.model.outputs:
                return
            operator = readers[0]
            if operator.kind not in (*CONVOLUTIONS, *RESHAPES, "BATCH_TO_SPACE_ND"):
                return
            yield operator

    def _tensor(self, index: int) -> RawTensor:
        return self.model.tensors[index]

    def _numbers(self, operator: RawOperator, place: int) -> list[int]:
        data = self._tensor(operator.inputs[place]).data if place < len(operator.inputs) else None
        return [] if data is None or data.dtype.kind != "i" else [int(value) for value in data.reshape(-1)]

    def matches(self) -> bool:
        """Whether the group is a dilated convolution; if not, its operators are taken one by one."""
        if not self.complete or not all(self._is_whole(operator) for operator in self.chain):
            return False
        assert self.convolution is not None
        self.x, self.y = self._tensor(self.chain[0].inputs[0]), self._tensor(self.chain[-1].outputs[0])
        inner, outer = self._tensor(self.chain[0].outputs[0]), self._tensor(self.chain[-1].inputs[0])
        same = [
            (a.type, a.scales, a.zero_points) == (b.type, b.scales, b.zero_points)
            for a, b in ((self.x, inner), (self.y, outer))
        ]
        blocks = [self._numbers(operator, 1) for operator in (self.chain[0], self.chain[-1])]
        lines = 1 if self.reshaped else 2
        good = all(same) and blocks[0] == blocks[1] and len(blocks[0]) == lines and min(blocks[0]) >= 1
        return good and len(self.x.shape) == len(self.y.shape) == lines + 2 and self._pads(blocks[0])

    @staticmethod
    def _is_whole(operator: RawOperator) -> bool:
        """Whether an operator has the inputs and the output of its kind."""
        needed = 3 if operator.kind in ("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND") else 1
        needed = 2 if operator.kind in CONVOLUTIONS else needed
        inputs = operator.inputs[:needed]
        return len(inputs) == needed and min(inputs) >= 0 and len(operator.outputs) == 1

    def _pads(self, block: list[int]) -> bool:
        """Sets dilation and padding; whether there are such."""
        assert self.convolution is not None
        before, cut = self._numbers(self.chain[0], 2), self._numbers(self.chain[-1], 2)
        image = self._tensor(self.convolution.inputs[0]).shape
        weights = self._tensor(self.convolution.inputs[1]).shape
        table = self.convolution.table
        if len(before) != len(cut) or len(before) != 2 * len(block) or len(image) != 4 or len(weights) != 4:
            return False
        if table is None or self.convolution.table_kind != CONVOLUTIONS[self.convolution.kind].__name__:
            return False
        if [table.StrideH, table.StrideW, table.DilationHFactor, table.DilationWFactor] != [1, 1, 1, 1]:
            return False
        # The axis of images that lines lack has one row or column, and no block.
        axis = 0 if self.reshaped and image[1] == 1 else 1
        if self.reshaped:
            block = [1, *block] if axis == 0 else [*block, 1]
            before, cut = ([0, 0, *sizes] if axis == 0 else [*sizes, 0, 0] for sizes in (before, cut))
        self.at = axis + 1
        sizes, out = (self._as_image(tensor.shape) for tensor in (self.x, self.y))
        pads = []
        for side, (step, kernel) in enumerate(zip(block, weights[1:3], strict=True)):
            grown = sizes[side + 1] + before[2 * side] + before[2 * side + 1]
            # SAME, without stride.
            extra = (kernel - 1) // 2 if table.Padding == tflite.Padding.SAME else 0
            first = before[2 * side] + step * extra - cut[2 * side]
            last = out[side + 1] + step * (kernel - 1) - sizes[side + 1] - first
            part = grown // step + (kernel - 1 if table.Padding == tflite.Padding.SAME else 0) - kernel + 1
            whole = grown % step == 0 and step * part - cut[2 * side] - cut[2 * side + 1] == out[side + 1]
            if min(first, last, *before, *cut) < 0 or not whole or image[side + 1] * step != grown:
                return False
            pads.append((first, last))
        self.block, self.padding = (block[0], block[1]), (pads[0], pads[1])
        return bool(np.prod(image[:1]) == self.x.shape[0] * block[0] * block[1])

    def _as_image(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[: self.at], 1, *shape[self.at :]) if self.reshaped else shape

    def tensors(self) -> Iterator[RawTensor]:
        """The convolution's input and output in their new shapes, where reshapes make them."""
        if self.reshaped:
            assert self.convolution is not None
            for index, whole in ((self.convolution.inputs[0], self.x), (self.convolution.outputs[0], self.y)):
                yield dataclasses.replace(self._tensor(index), shape=self._as_image(whole.shape))

    def operators(self) -> Iterator[RawOperator]:
        """The dilated convolution, and reshapes around it."""
        assert self.convolution is not None
        assert self.convolution.table is not None
        table = self.convolution.table.changed(DilationHFactor=self.block[0], DilationWFactor=self.block[1])
        conv = dataclasses.replace(self.convolution, table=table, padding=self.padding, used=set())
        if not self.reshaped:
            places = (self.x.index, *conv.inputs[1:])
            yield dataclasses.replace(conv, inputs=places, outputs=(self.y.index,))
            return
        yield conv
        for operator, ends in (
            (self.chain[1], (self.x.index, conv.inputs[0])),
            (self.chain[3], (conv.outputs[0], self.y.index)),
        ):
            yield dataclasses.replace(
                operator, kind="RESHAPE", inputs=ends[:1], outputs=ends[1:], table=None, table_kind="NONE", used=set()
            )
