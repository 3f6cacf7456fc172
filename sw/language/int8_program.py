"""The program of a decoder in int8, which takes its position at run time.

The compiler makes descriptors and weights of everything but the attention. Keys and values stay on the device from
token to token, in the weight store, as the words of weights that the attention's products read: a token adds its own,
by two copies. Between them and the next layer stand a product for each head of keys, one softmax, and a product for
each head of values.

So a program depends on the number of keys and values in few words: where the two copies write, how many groups of
columns and tiles the products have, and how long the rows of the softmax are. :meth:`DecoderProgram.records` makes the
descriptors for any number; the driver writes the words that differ from those of the token before.
"""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np

from sateen.compiler import Layer, Model, Part, Segment
from sateen.compiler import compile as compile_graph
from sateen.compiler.model import Traffic
from sateen.compiler.verification.decoding import records
from sateen.errors import CompileError
from sateen.graph import Graph
from sateen.graph.ops import Concatenate, Op, Reshape, Slice, Tensor
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
    missing = [f"{name}=1" for name in ("products", "softmax") if not getattr(config, name)]
    return f"configure it with {' and '.join(missing)}" if missing else ""


PLACES = ("joined", "cut")
"""What stands in the place of an attention in :func:`body`, so that memory is planned for it."""


def body(model: Int8Model) -> Graph:
    """The decoder with operators in the place of each attention that read and write the same tensors."""
    tensors, s = dict(model.tensors), model.shape
    ops: list[Op] = []
    for number, layer in enumerate(model.layers):
        joined, cut = (f"{number}.{name}" for name in PLACES)
        width = 2 * (s.heads + 2 * s.kv_heads)
        tensors[joined] = Tensor(name=joined, shape=(1, width, s.head_dim))
        tensors[cut] = Tensor(name=cut, shape=(1, s.heads, s.head_dim))
        ranges = ((0, s.heads, 1), (0, s.head_dim, 1))
        ops += [
            *layer.before,
            Concatenate(name=joined, sources=(f"{number}.heads", f"{number}.turned"), output=joined, axis=1),
            Slice(name=cut, input=joined, output=cut, ranges=ranges),
            Reshape(name=f"{number}.mixed", input=cut, output=f"{number}.mixed"),
            *layer.after,
        ]
    return Graph(
        name=model.name, tensors=tensors, ops=[*ops, *model.last], inputs=["embedded", "rotation"], outputs=["logits"]
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
        self._fixed = self._alone(records(base.segments[0].program))
        self._store = Store(base.segments[0].weights)
        scores = -(-base.scratchpad_bytes // config.banks) * config.banks
        self._scratchpad_bytes = scores + s.heads * self.positions
        self._attention = [
            AttentionProgram(model, number, config, self.positions, self._store, base.addresses, scores)
            for number in range(s.layers)
        ]
        self.caches = [place for each in self._attention for place in each.places]
        """Words of the keys and values, (first, count), which a text begins with as they are in :attr:`compiled`."""
        self.compiled = self._compiled()
        """Program and weights for as many keys and values as there may be, as a model of one segment: no token takes
        longer."""
        self._check()

    def records(self, positions: int) -> list[bytes]:
        """The descriptors of a token, with so many keys and values, its own among them."""
        found: list[bytes] = []
        for name, part in self._order():
            if isinstance(name, int):
                found += [d.encode() for d in self._attention[name].descriptors(positions)]
            else:
                found += self._fixed[part.first : part.first + part.count]
        return found

    def _alone(self, program: list[Descriptor]) -> list[bytes]:
        """The compiler's descriptors. With ``overlap``, what stands behind those before an attention is another than
        the compiler knows, and waits for all of their results, as everything in an attention does."""
        for layer, following in pairwise(self._base.layers):
            if following.name.endswith(f".{PLACES[0]}"):
                last = layer.parts[-1].first + layer.parts[-1].count - 1
                output = dataclasses.replace(program[last].output, ahead=(0, 0, 0, 0))
                program[last] = dataclasses.replace(program[last], output=output)
        return [d.encode() for d in program]

    def cycles(self, positions: int) -> int:
        """What the cycle model expects of a token, with so many keys and values."""
        return sum(counters.cycles for counters in self._predicted(positions))

    def _predicted(self, positions: int) -> list[Counters]:
        return predict(records(np.frombuffer(b"".join(self.records(positions)), np.uint8)), self.config)

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
        program, found = self.records(self.positions), self._predicted(self.positions)
        layers, first, s = [], 0, self.model.shape
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
