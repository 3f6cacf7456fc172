"""The program of a decoder in int8, which takes its position at run time.

The compiler makes descriptors and weights of everything but the attention. Keys and values stay on the device from
token to token, in the weight store, as the words of weights that the attention's products read: a token adds its own,
by two copies. Between them and the next layer stand a product for each head of keys, one softmax, and a product for
each head of values.

Before a text's first token, tables are loaded that then stay: the softmax's exponentials, and SiLU.

So a program depends on the number of keys and values in few words: where the two copies write, how many groups of
columns and tiles the products have, and how long the rows of the softmax are. :meth:`DecoderProgram.records` makes the
descriptors for any number; the driver writes the words that differ from those of the token before.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sateen.compiler import Layer, Model, Part, Segment
from sateen.compiler import compile as compile_graph
from sateen.compiler.ahead import overlapped
from sateen.compiler.model import Traffic
from sateen.compiler.norms import check_norms
from sateen.compiler.verification.decoding import records
from sateen.errors import CompileError
from sateen.graph import Graph
from sateen.graph.ops import MatrixProduct, Op, Reshape, Slice, TableProduct, Tensor
from sateen.hw.spec.config import Config, parse_config
from sateen.hw.spec.counters import Counters
from sateen.hw.spec.descriptor import DESCRIPTOR_WORDS, Descriptor
from sateen.language.int8 import Int8Model
from sateen.language.int8_attention import AttentionProgram, Store
from sateen.sim.cycles import predict

__all__ = ["RECORD_BYTES", "DecoderProgram", "body", "device_refusal"]

RECORD_BYTES = 4 * DESCRIPTOR_WORDS
"""Bytes of a descriptor."""
ZERO = Counters(0, 0, 0, 0, 0, 0, 0)


def device_refusal(config: Config) -> str:
    """Why a device cannot run a whole decoder; empty if it can."""
    missing = [f"{name}=1" for name in ("products", "softmax", "direct", "norms") if not getattr(config, name)]
    return f"configure it with {', '.join(missing)}" if missing else ""


PLACES = ("joined", "cut")
"""What stands in the place of an attention in :func:`body`, so that memory is planned for it. The first one's result
stands where the attention leaves the heads that are turned."""


@lru_cache(maxsize=4096)
def _overlapped(before: Descriptor, after: Descriptor, config: Config) -> Descriptor:
    return overlapped([before, after], config)[0]


def body(model: Int8Model) -> Graph:
    """The decoder with operators in the place of each attention, with the turning before it, that read and write the
    same tensors; and with tables that are there already."""
    tensors, s = dict(model.tensors), model.shape
    ops: list[Op] = []
    for number, layer in enumerate(model.layers):
        joined, cut = (f"{number}.{name}" for name in PLACES)
        width = s.heads + 2 * s.kv_heads
        full = (0, width, 1), (0, s.head_dim, 1)
        tensors[joined] = Tensor(name=joined, shape=(1, width, s.head_dim))
        tensors[cut] = Tensor(name=cut, shape=(1, s.heads, s.head_dim))
        ranges = ((0, s.heads, 1), (0, s.head_dim, 1))
        ops += [
            *(op for op in layer.before if not isinstance(op, MatrixProduct)),
            Slice(name=joined, input=f"{number}.heads", output=joined, ranges=full),
            Slice(name=cut, input=joined, output=cut, ranges=ranges),
            Reshape(name=f"{number}.mixed", input=cut, output=f"{number}.mixed"),
            *(dataclasses.replace(op, loaded=True) if isinstance(op, TableProduct) else op for op in layer.after),
        ]
    return Graph(
        name=model.name, tensors=tensors, ops=[*ops, *model.last], outputs=["logits"],
        inputs=[name for name in model.inputs if name != "rotation"],
    )


class DecoderProgram:
    """A decoder's program and weights for a configuration.

    Parameters
    ----------
    positions
        Tokens that the cache of keys and values takes, rounded up to whole groups and tiles.

    Raises
    ------
    CompileError
        If the device lacks an operator, or a memory is too small: which, how much over, and what to change.
    """

    def __init__(self, model: Int8Model, config: Config | str, positions: int):
        self.model, self.config = model, parse_config(config) if isinstance(config, str) else config
        s, config = model.shape, self.config
        if refusal := device_refusal(config):
            raise CompileError(f"the device cannot compute the attention of {model.name}; {refusal}")
        if s.head_dim > config.cols:
            raise CompileError(
                f"{model.name} has heads of {s.head_dim} channels, {s.head_dim - config.cols} more than the array has "
                f"columns ({config.cols}); use a configuration with cols={s.head_dim}, or let the host compute all but "
                f"the products with weights, by a device without products=1"
            )
        unit = int(np.lcm(config.cols, config.tile_depth))
        self.positions = -(-positions // unit) * unit
        # With the largest memories that there may be; what is needed is compared with the device's at the end.
        largest = dataclasses.replace(config, weight_bytes=1 << 22, descriptors=255, scratchpad_bytes=1 << 20)
        base = compile_graph(body(model), largest, strict=True)
        if not base.resident or len(base.steps) != 1:
            raise CompileError(
                f"{model.name} is larger than any device's memories; let the host compute all but the products with "
                f"weights, by a device without products=1"
            )
        self._base = base
        self._fixed = records(base.segments[0].program)
        self._store = Store(base.segments[0].weights)
        scores = -(-base.scratchpad_bytes // config.banks) * config.banks
        self._scratchpad_bytes = scores + s.heads * self.positions
        self._attention = [
            AttentionProgram(model, number, config, self.positions, self._store, base.addresses, scores)
            for number in range(s.layers)
        ]
        self.caches = [place for each in self._attention for place in each.places]
        """Words of the keys and values, (first, count), which a text begins with as they are in :attr:`compiled`."""
        loader = self._attention[0].loader(self._silu())
        self._loader = loader.relocated(self._store.add(loader.weights))
        first = self._attention[0].rotation
        self.rotation = first * config.weight_word_bytes
        """Byte address in the weight store of the matrix that turns heads: a word for each channel of a head."""
        self.compiled = self._compiled()
        """Program and weights for as many keys and values as there may be, as a model of one segment: no token takes
        longer."""
        self._check()

    def records(self, positions: int) -> list[bytes]:
        """The descriptors of a token, with so many keys and values, its own among them. The first one loads tables, and
        is for a text's first token."""
        return [d.encode() for d in self._descriptors(positions)]

    def _descriptors(self, positions: int) -> list[Descriptor]:
        found = [*self._loader]
        for name, part in self._order():
            if isinstance(name, int):
                found += self._attention[name].descriptors(positions)
            else:
                found += self._fixed[part.first : part.first + part.count]
        if not self.config.overlap:
            return found
        # Each depends on the one behind it alone.
        return [*(self._ahead(before, after) for before, after in pairwise(found)), found[-1]]

    def _ahead(self, before: Descriptor, after: Descriptor) -> Descriptor:
        return _overlapped(before, after, self.config)

    def _silu(self) -> NDArray[np.int64]:
        """The table of the feed-forward part, by code as byte."""
        ops = [op for layer in self.model.layers for op in layer.after if isinstance(op, TableProduct)]
        tables = {op.table.tobytes(): op.table for op in ops}
        if len(tables) > 1:
            raise CompileError(f"{self.model.name} has {len(tables)} tables of its feed-forward parts; one can stay")
        return np.roll(next(iter(tables.values())), -128).astype(np.int64) if tables else np.zeros(256, np.int64)

    def cycles(self, positions: int) -> int:
        """What the cycle model expects of a token, with so many keys and values."""
        return sum(counters.cycles for counters in self._predicted(positions)[positions > 1 :])

    def _predicted(self, positions: int) -> list[Counters]:
        """Those of all records; of a first token all, of others all but the first."""
        skipped = int(positions > 1)
        found = predict(self._descriptors(positions)[skipped:], self.config)
        return [*([ZERO] * skipped), *found]

    def _order(self) -> list[tuple[str | int, Part]]:
        """Layers in order: names of those of the compiler with their descriptors, and numbers of attentions."""
        first, then = ({f"{n}.{name}": n for n in range(self.model.shape.layers)} for name in PLACES)
        order: list[tuple[str | int, Part]] = []
        for layer in self._base.layers:
            if layer.name in first:
                order.append((first[layer.name], Part(segment=0, first=0, count=0)))
            elif layer.name not in then:
                order += [(layer.name, part) for part in layer.parts]
        return order

    def _compiled(self) -> Model:
        descriptors, found = self._descriptors(self.positions), self._predicted(self.positions)
        check_norms(descriptors)
        program, first, s = [d.encode() for d in descriptors], len(self._loader), self.model.shape
        layers = [
            Layer(
                name="tables", op="Tables", output="embedded", macs=0, parts=(Part(segment=0, first=0, count=first),),
                predicted=sum(self._predicted(1)[:first], ZERO), traffic=Traffic(), memory_bytes=0,
            )
        ]  # fmt: skip
        macs = 2 * s.heads * s.head_dim * self.positions
        by_name = {layer.name: layer for layer in self._base.layers}
        for name, part in self._order():
            if isinstance(name, int):
                count = len(self._attention[name].descriptors(self.positions))
                layer = Layer(
                    name=f"{name}.attention", op="Attention", output=f"{name}.mixed", macs=macs,
                    parts=(), predicted=sum(found[first : first + count], ZERO), traffic=Traffic(), memory_bytes=0,
                )  # fmt: skip
            else:
                count, layer = part.count, by_name[name]
            layers.append(dataclasses.replace(layer, parts=(Part(segment=0, first=first, count=count),)))
            first += count
        segment = Segment(
            program=np.frombuffer(b"".join(program), np.uint8), weights=self._store.all(), count=len(program)
        )
        return dataclasses.replace(
            self._base, config=self.config, segments=(segment,), layers=tuple(layers),
            scratchpad_bytes=self._scratchpad_bytes,
        )  # fmt: skip

    def _check(self) -> None:
        """Raises unless everything fits."""
        segment, config, name = self.compiled.segments[0], self.config, self.model.name
        size, scratchpad = len(segment.weights) * config.weight_word_bytes, self.compiled.scratchpad_bytes
        if size > config.weight_bytes:
            raise CompileError(
                f"{name} has {size:,} bytes of weights, tables, and keys and values of {self.positions} positions, "
                f"{size - config.weight_bytes:,} more than the weight store has ({config.weight_bytes:,}); use a "
                f"configuration with weight_bytes={size}, or write fewer tokens"
            )
        if segment.count > config.descriptors:
            raise CompileError(
                f"{name} takes {segment.count} descriptors, {segment.count - config.descriptors} more than the program "
                f"memory has ({config.descriptors}); use a configuration with descriptors={segment.count}"
            )
        if scratchpad > config.scratchpad_bytes:
            raise CompileError(
                f"the activations of {name} take {scratchpad:,} bytes with {self.positions} positions, "
                f"{scratchpad - config.scratchpad_bytes:,} more than the scratchpad has ({config.scratchpad_bytes:,}); "
                f"raise scratchpad_bytes, or write fewer tokens"
            )
