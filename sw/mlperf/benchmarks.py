"""The benchmarks of MLPerf Tiny: what bytes their runner sends, and what numbers it wants back.

Source: the reference submissions in https://github.com/mlcommons/tiny (``th_load_tensor`` and ``th_results``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sateen.errors import InputError
from sateen.graph import Tensor

__all__ = ["BENCHMARKS", "Benchmark"]


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One of the benchmarks."""

    name: str
    """As the runner knows it."""
    title: str
    sent: Literal["pixels", "codes", "floats"]
    """Bytes of 0 to 255 of a picture; the input's own int8 codes; float32 values, least significant byte first."""
    values: int
    """Numbers of an input of its data."""
    reconstructs: bool = False
    """The output is to equal the input, and the result is the mean squared error; else the results are the output."""

    def size(self, tensor: Tensor) -> int:
        """Bytes of an input."""
        return int(np.prod(tensor.file_shape[1:], dtype=np.int64)) * (4 if self.sent == "floats" else 1)

    def check(self, source: Tensor, result: Tensor) -> None:
        """Whether a model's input and output can be this benchmark's.

        Raises
        ------
        InputError
            If they cannot; the message says which.
        """
        if source.dtype != "int8":
            raise InputError(f"{self.name} needs an input of int8 or uint8; {source.name!r} is {source.dtype}")
        if result.dtype not in ("int8", "int16", "float32"):
            raise InputError(f"{self.name} needs an output of numbers; {result.name!r} is {result.dtype}")
        if self.reconstructs and self._count(source) != self._count(result):
            raise InputError(
                f"{self.name} compares the output with the input, and they have {self._count(result):,} and "
                f"{self._count(source):,} values"
            )

    def decode(self, data: bytes, tensor: Tensor) -> NDArray[Any]:
        """The model's input, [1, …] in the file's layout and type, for the bytes that came.

        Raises
        ------
        InputError
            If there are too few or too many of them, or one is no number.
        """
        if len(data) != self.size(tensor):
            raise InputError(f"the input has {self.size(tensor):,} bytes, and {len(data):,} came")
        shape = (1, *tensor.file_shape[1:])
        if self.sent == "floats":
            values = np.frombuffer(data, "<f4").reshape(shape)
            if not np.isfinite(values).all():
                raise InputError("the input has values that are no numbers")
            codes = tensor.quantize(values)
            return (codes.astype(np.int16) + 128).astype(np.uint8) if tensor.unsigned else codes
        values = np.frombuffer(data, np.uint8).reshape(shape)
        if self.sent == "codes":
            return values.view(np.int8)
        return values if tensor.unsigned else (values.astype(np.int16) - 128).astype(np.int8)

    def results(self, data: bytes, output: NDArray[Any], tensor: Tensor) -> list[float]:
        """The numbers that the runner wants, for an input's bytes and the model's output in the file's layout."""
        real = output if output.dtype == np.float32 else self._real(output, tensor)
        if not self.reconstructs:
            return [float(value) for value in real.ravel()]
        given = np.frombuffer(data, "<f4").astype(np.float64)
        return [float(np.mean((real.ravel() - given) ** 2))]

    @staticmethod
    def _real(output: NDArray[Any], tensor: Tensor) -> NDArray[np.float32]:
        codes = output.astype(np.int16) - 128 if output.dtype == np.uint8 else output
        return tensor.dequantize(codes)

    @staticmethod
    def _count(tensor: Tensor) -> int:
        return int(np.prod(tensor.shape[1:], dtype=np.int64))


BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(name="ic01", title="image classification", sent="pixels", values=3072),
        Benchmark(name="vww01", title="visual wake words", sent="pixels", values=27648),
        Benchmark(name="kws01", title="keyword spotting", sent="codes", values=490),
        Benchmark(name="ad01", title="anomaly detection", sent="floats", values=640, reconstructs=True),
    )
}
"""By name."""
