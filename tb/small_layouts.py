"""Small TensorFlow Lite files of operators that put values in other places or make larger or smaller tensors, and
functions of one value."""

from __future__ import annotations

import numpy as np

from small_models import IMAGE, Builder, File, X

__all__ = ["computed_shape", "layout_files", "pair_files"]


def layout_files() -> list[Builder]:
    """A file for each kind of operator."""
    return [
        File().to("SPACE_TO_DEPTH", (1, 2, 2, 8), "SpaceToDepthOptions", BlockSize=2),
        File((1, 2, 2, 8)).to("DEPTH_TO_SPACE", (1, 4, 4, 2), "DepthToSpaceOptions", BlockSize=2),
        File().to("MIRROR_PAD", (1, 6, 4, 2), "MirrorPadOptions", [[[0, 0], [1, 1], [0, 0], [0, 0]]], Mode=1),
        File().to("TILE", (1, 8, 4, 4), constants=[[1, 2, 1, 2]]),
        File((1, 1, 4, 1)).to("BROADCAST_TO", IMAGE, constants=[list(IMAGE)], version=2),
        File().to("REVERSE_V2", IMAGE, constants=[[1]]),
        File().to("GATHER", (1, 4, 3, 2), "GatherOptions", [[3, 0, 0]], Axis=2),
        File().to("GATHER_ND", (2, 4, 2), constants=[[[0, 3], [0, 1]]]),
        File().to("SPACE_TO_BATCH_ND", (4, 2, 2, 2), "SpaceToBatchNDOptions", [[2, 2], [[0, 0], [0, 0]]]),
        File((4, 2, 2, 2)).to("BATCH_TO_SPACE_ND", (1, 3, 4, 2), "BatchToSpaceNDOptions", [[2, 2], [[1, 0], [0, 0]]]),
        File().to("RESIZE_BILINEAR", (1, 8, 8, 2), "ResizeBilinearOptions", [[8, 8]], HalfPixelCenters=True),
        *(File((1, 8), numbers=(0.05, -9)).to(kind, (1, 8)) for kind in ("ABS", "ELU", "EXP", "LOG")),
        File((1, 8), numbers=(0.05, 0)).to("NEG", (1, 8), numbers=(0.05, 0)),
        *(File((1, 8), numbers=(0.05, -128)).to(kind, (1, 8)) for kind in ("RSQRT", "SQRT")),
        File((1, 8)).to("GELU", (1, 8), "GeluOptions"),
        File().to("SUM", (1, 4, 1, 1), "ReducerOptions", [[2, 3]], (0.3, 1), KeepDims=True),
        *(
            File().to(kind, (1, 4, 1, 2), "ReducerOptions", [[2]], KeepDims=True)
            for kind in ("REDUCE_MAX", "REDUCE_MIN")
        ),
    ]


def pair_files() -> list[Builder]:
    """A file for each kind of operator on several tensors."""
    row, files = (1, 8), []
    squared, quotient = (0.3, 1), (0.01, 1)
    for kind, options, numbers in (
        ("PRELU", "", squared),
        ("SQUARED_DIFFERENCE", "", squared),
        ("MAXIMUM", "", X),
        ("MINIMUM", "", X),
        ("DIV", "DivOptions", quotient),
    ):
        f = File(row)
        other = f.like(row, data=np.arange(10, 18, dtype=np.int8).reshape(row))
        files.append(f.ends(kind, [f.given, other], [f.like(row, numbers)], options))
    for type, numbers in (("INT8", (0.2, 1)), ("FLOAT32", X)):
        f = File((1, 2, 3, 4), type, X)
        result = f.like((1, 2, 3, 3), numbers)
        files.append(f.ends("BATCH_MATMUL", [f.given, f.given], [result], "BatchMatMulOptions", version=2, AdjY=True))
    files.append(File(row).to("L2_NORMALIZATION", row, "L2NormOptions", numbers=(1 / 128, 0)))
    f = File(row)
    other = f.like((1, 1), (0.02, 0), data=np.int8([[5]]))
    kinds = ("EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL")
    flags = [f.tensor(row, "BOOL") for _ in range(9)]
    for kind, flag in zip(kinds, flags, strict=False):
        f.op(kind, [f.given, other], [flag])
    f.op("LOGICAL_AND", flags[:2], [flags[6]])
    f.op("LOGICAL_OR", flags[2:4], [flags[7]])
    f.op("LOGICAL_NOT", [flags[7]], [flags[8]])
    y = f.like(row)
    f.op("SELECT_V2", [flags[8], f.given, f.given], [y])
    first = File(row)
    flag, chosen = first.tensor(row, "BOOL"), first.like(row)
    first.op("LESS", [first.given, first.like(row, data=np.full(row, 7, np.int8))], [flag])
    first.op("SELECT", [flag, first.given, first.given], [chosen])
    return [*files, (f, [f.given], [y, flags[4], flags[5], flags[6]]), (first, [first.given], [chosen])]


def computed_shape() -> Builder:
    """A shape that the model computes, by every operator that is folded."""
    f = File((1, 4, 6))
    wanted, first, last, half, sum_, axes = (f.tensor(shape, "INT32") for shape in ((3,), (), (), (), (), (1, 3)))
    f.op("SHAPE", [f.given], [wanted], "ShapeOptions", OutType=2)
    f.op(
        "STRIDED_SLICE",
        [wanted, f.constant([0]), f.constant([1]), f.constant([1])],
        [first],
        "StridedSliceOptions",
        ShrinkAxisMask=1,
    )
    f.op("GATHER", [wanted, f.constant(2)], [last], "GatherOptions")
    f.op("FLOOR_DIV", [last, f.constant(2)], [half], "FloorDivOptions")
    f.op("ADD", [half, f.constant(5)], [sum_], "AddOptions")
    f.op("EXPAND_DIMS", [wanted, f.constant(0)], [axes], "ExpandDimsOptions")
    product, flat, all_, y = (
        f.tensor((1,), "INT32"),
        f.tensor((3,), "INT32"),
        f.tensor((3,), "INT32"),
        f.like((1, 3, 8)),
    )
    f.op("REDUCE_PROD", [axes, f.constant([1])], [product], "ReducerOptions")
    f.op("SQUEEZE", [axes], [flat], "SqueezeOptions")
    f.op("PACK", [first, half, sum_], [all_], "PackOptions", ValuesCount=3)
    f.op("RESHAPE", [f.given, all_], [y], "ReshapeOptions")
    return f, [f.given], [y]
