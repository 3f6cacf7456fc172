"""Recurrent layers with states of 16 bits, on bytes: a device that has a unit for them computes those."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from sateen.compiler.rewrites.base import Rewritten
from sateen.graph import (
    Concatenate,
    FeatureBytes,
    FromBytes,
    Graph,
    LastStep,
    LstmBytes,
    LstmCells,
    LstmHidden,
    Op,
    Reshape,
    Slice,
    Tensor,
    TimeBytes,
    TimeProduct,
    ToBytes,
    WideningProduct,
)
from sateen.hw.spec.config import Config

__all__ = ["recurrent_bytes"]

MOVES = (Slice, Concatenate, Reshape)
"""What moves codes of 16 bits, along other axes than the last."""


def recurrent_bytes(given: Rewritten, config: Config, combine: bool) -> Rewritten:
    """Turns each SVDF and LSTM with codes of 16 bits into operators on bytes, if the device has a unit for them. The
    host turns states into bytes before all others, and back behind them."""
    if not config.recurrent:
        return given
    work = _Rewrite(given.graph)
    ops = [each for op in given.graph.ops for each in work.operator(op)]
    if not work.found:
        return given
    ops = [*work.before, *ops, *work.behind]
    used = {name for op in ops for name in (*op.inputs, op.output)} | {*given.graph.sources}
    tensors = {name: tensor for name, tensor in work.tensors.items() if name in used}
    graph = replace(given.graph, tensors=tensors, ops=ops)
    return replace(given, graph=graph)


class _Rewrite:
    """A rewrite of one graph, operator by operator."""

    def __init__(self, graph: Graph):
        self.graph, self.tensors = graph, dict(graph.tensors)
        self.before: list[Op] = []
        self.behind: list[Op] = []
        self.halves = _halves(graph.ops)
        self.dropped = {op.name for _, hidden, last in self.halves.values() for op in (hidden, *last)}
        self.bytes = _svdf_tensors(graph)
        self.found = bool(self.halves or self.bytes)
        for name in self.bytes:
            self._tensor(name)
            if name in graph.sources:
                self.before.append(ToBytes(name=f"{name}.bytes", input=name, output=_bytes(name)))
            elif name in graph.results:
                self.behind.append(FromBytes(name=f"{name}.codes", input=_bytes(name), output=name))

    def operator(self, op: Op) -> Iterator[Op]:
        """What takes an operator's place."""
        if op.name in self.halves:
            yield from self._lstm(*self.halves[op.name])
        elif op.name in self.dropped:
            return
        elif self.bytes & {*op.inputs, op.output}:
            yield self._on_bytes(op)
        else:
            yield op

    def _tensor(self, name: str) -> Tensor:
        """The bytes of a tensor."""
        old = self.graph.tensors[name]
        made = replace(
            old, name=_bytes(name), dtype="int8", shape=(*old.shape[:-1], 2 * old.shape[-1]), file_layout=None
        )
        self.tensors[made.name] = made
        return made

    def _on_bytes(self, op: Op) -> Op:
        """An operator of an SVDF."""
        fields = {field.name: getattr(op, field.name) for field in dataclasses.fields(op)}
        kinds: Mapping[type[Op], type[Op]] = {WideningProduct: FeatureBytes, TimeProduct: TimeBytes}
        for name in ("input", "output"):
            if fields.get(name) in self.bytes:
                fields[name] = _bytes(fields[name])
        if isinstance(op, Concatenate):
            fields["sources"] = tuple(map(_bytes, op.sources))
        if isinstance(op, Slice):
            *others, (first, last, step) = op.ranges
            fields["ranges"] = (*others, (first, 2 * last, step))
        return kinds.get(type(op), type(op))(**fields)

    def _lstm(self, cells: LstmCells, hidden: LstmHidden, last: Sequence[LastStep]) -> Iterator[Op]:
        """Both halves as one, and parts of its results."""
        state, results = self._tensor(cells.cell), self.tensors[hidden.output]
        _, steps, size = results.shape
        self.before.append(ToBytes(name=state.name, input=cells.cell, output=state.name))
        fields = {field.name: getattr(cells, field.name) for field in dataclasses.fields(cells)}
        lines = self._lines(results, "lines", steps + 2)
        yield LstmBytes(**{**fields, "name": hidden.name, "cell": state.name, "output": lines.name})

        def part(first: int, count: int, output: str) -> Slice:
            ranges = ((first, first + count, 1), (0, size, 1))
            return Slice(name=f"{output}.part", input=lines.name, output=output, ranges=ranges)

        yield part(0, steps, results.name)
        for op in last:
            if op.input == hidden.output:
                line = self._lines(results, "last", 1)
                yield part(steps - 1, 1, line.name)
                yield Reshape(name=op.name, input=line.name, output=op.output)
            else:
                line = self._lines(results, "cell", 2)
                yield part(steps, 2, line.name)
                # Bytes of no scale: they keep that of the lines.
                flat = replace(line, name=_bytes(op.output), shape=(results.shape[0], 2 * size))
                self.tensors[flat.name] = flat
                yield Reshape(name=op.name, input=line.name, output=flat.name)
                self.behind.append(FromBytes(name=f"{op.output}.codes", input=flat.name, output=op.output))

    def _lines(self, results: Tensor, suffix: str, count: int) -> Tensor:
        shape = (results.shape[0], count, results.shape[2])
        made = replace(results, name=f"{results.name}.{suffix}", shape=shape, file_layout=None)
        self.tensors[made.name] = made
        return made


def _bytes(name: str) -> str:
    return f"{name}.bytes"


def _halves(ops: Sequence[Op]) -> dict[str, tuple[LstmCells, LstmHidden, list[LastStep]]]:
    """Both halves of each LSTM and their last steps, by the name of the first half; all that read its cells are among
    them."""
    found = {}
    hidden = {op.cell: op for op in ops if isinstance(op, LstmHidden)}
    for op in ops:
        if isinstance(op, LstmCells) and op.output in hidden:
            other = hidden[op.output]
            last = [each for each in ops if isinstance(each, LastStep) and each.input in (op.output, other.output)]
            readers = [each for each in ops if op.output in each.inputs]
            same = all(
                getattr(op, field.name) is getattr(other, field.name)
                for field in dataclasses.fields(op)
                if field.name not in ("name", "output", "cell")
            )
            if same and all(each is other or each in last for each in readers):
                found[op.name] = (op, other, last)
    return found


def _svdf_tensors(graph: Graph) -> set[str]:
    """Tensors of 16 bits that SVDFs make and read; none if others do, too."""
    names = {op.output for op in graph.ops if isinstance(op, WideningProduct)}
    names |= {op.input for op in graph.ops if isinstance(op, TimeProduct)}
    for op in (*graph.ops, *reversed(graph.ops)):
        around = {*op.inputs, op.output} if isinstance(op, MOVES) else set()
        names |= around if around & names else set()
    for op in graph.ops:
        whole = not isinstance(op, Slice) or op.ranges[-1] == (0, graph.tensors[op.input].shape[-1], 1)
        inner = not isinstance(op, Concatenate) or op.axis < len(graph.tensors[op.output].shape) - 1
        plain = isinstance(op, (*MOVES, WideningProduct, TimeProduct)) and whole and inner
        if names & {*op.inputs, op.output} and not plain:
            return set()
    return names
