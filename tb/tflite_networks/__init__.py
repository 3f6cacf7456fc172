"""Random quantized TensorFlow Lite models: graphs of a few operators of every kind that the front end reads, corners
first.

What is left out, and why:

- RELU_N1_TO_1 and RELU_0_TO_1 as operators, which tflite-micro lacks; the former is there as a fused activation.
- Whatever mixes a model's items: axis 0 of a tensor that begins with the batch is neither cut, padded, moved nor
  reduced.
- What tflite-micro has not: TILE, REVERSE_V2 and functions such as GELU; more axes than its kernels take; RELU6 with
  another scale behind than before; depthwise convolutions that name a bias of −1, for which it reads address 0; a
  softmax over 512 values or more, whose sum may exceed what it asserts.
- What it leaves undefined or stops at: DIV, RSQRT below zero, padding of SPACE_TO_BATCH_ND.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np

from sateen.frontends.tflite.file import read
from tflite_networks.changes import change
from tflite_networks.functions import Functions
from tflite_networks.images import Images
from tflite_networks.layers import Layers
from tflite_networks.moves import Moves
from tflite_networks.wide import Wide

__all__ = ["changed_network", "random_network"]


def random_network(rng: np.random.Generator) -> tuple[bytes, list[np.ndarray]]:
    """A model of 2 to 9 operators, or a few more if an operator needs others before it.

    Returns
    -------
    The file, and the values of each input: [times, …], with the file's shape behind.
    """
    return _Network(rng).network()


def changed_network(rng: np.random.Generator) -> tuple[bytes, list[np.ndarray], str]:
    """A random network in which one thing is changed, so that it may be wrong: the file, the values of each input,
    and what was changed, which is nothing now and then."""
    network = _Network(rng)
    data, given = network.network()
    model = read(data)
    what = change(network.b, random.Random(int(rng.integers(2**32))))
    return network.b.build(model.inputs, model.outputs), given, what


class _Network(Images, Layers, Moves, Functions, Wide):
    def network(self) -> tuple[bytes, list[np.ndarray]]:
        rng = self.rng
        for place in range(int(rng.choice([1, 1, 1, 2, 3]))):
            self._input(place)
        kinds: list[Callable[[], bool]] = [
            *[self.convolution] * 2,
            *[self.depthwise] * 2,
            self.fully_connected,
            self.pool,
            *[self.arithmetic] * 4,
            self.limit,
            self.concatenation,
            self.pack,
            self.pad,
            self.slice,
            self.strided_slice,
            self.pieces,
            self.resize,
            self.transpose,
            self.reshape,
            self.computed_reshape,
            *[self.function] * 2,
            self.softmax,
            self.arg_max,
            self.mean,
            self.requantize,
            self.real,
            self.wide,
            self.transposed,
            self.interpolated,
            self.blocks,
            self.mirrored,
            self.gathered,
            self.reduced,
            self.table,
            self.slopes,
            *[self.pair] * 2,
            self.product,
            self.lengths,
            self.choice,
        ]
        wanted = int(rng.integers(2, 10))
        for _ in range(1000):
            if len(self.b.ops) >= wanted:
                break
            kinds[rng.integers(len(kinds))]()
        return self.b.build([x.index for x in self.inputs], self._outputs()), self.given

    def _outputs(self) -> list[int]:
        """What nothing reads, now and then without some, which makes dead operators, or with what others read as
        well."""
        ends = [x.index for x in self.made if x.index not in self.read]
        if self._chance(0.2):
            ends = [index for index in ends if self._chance(0.6)] or ends[-1:]
        if self._chance(0.3):
            ends += [x.index for x in self.made if x.index in self.read and self._chance(0.4)]
        self.rng.shuffle(ends)
        return ends
