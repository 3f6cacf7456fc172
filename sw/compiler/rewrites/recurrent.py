"""Recurrent layers with states of 16 bits, on bytes: a device that has a unit for them computes those."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

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
    Shape,
    Slice,
    Tensor,
    TimeBytes,
    TimeProduct,
    ToBytes,
    WideningProduct,
)
from sateen.hw.spec.config import Config

__all__ = ["recurrent_bytes", "recurrent_codes"]

MOVES = (Slice, Concatenate, Reshape)
"""What moves codes of 16 bits, along other axes than the last."""
KINDS: dict[type[Op], type[Op]] = {WideningProduct: FeatureBytes, TimeProduct: TimeBytes}
"""Operators of an SVDF on codes, and those on bytes."""
CODES = {on_bytes: on_codes for on_codes, on_bytes in KINDS.items()}
BYTES, LINES, LAST, CELL, STEPS = ".bytes", ".lines", ".last", ".cell", ".steps"
"""How names of tensors end: as bytes; an LSTM's results with its last cell; of these the last step and the cell; its
cells behind each step."""


def recurrent_codes(given: Rewritten, config: Config, combine: bool) -> Rewritten:
    """The inverse of :func:`recurrent_bytes`, for the graph of a compiled model: another device may lack the unit."""
    if not any(isinstance(op, (LstmBytes, FeatureBytes)) for op in given.graph.ops):
        return given
    work = _Inverse(given.graph)
    ops = [each for op in given.graph.ops for each in work.operator(op)]
    return replace(given, graph=_graph(given.graph, work.tensors, ops))


def recurrent_bytes(given: Rewritten, config: Config, combine: bool) -> Rewritten:
    """Turns each SVDF and LSTM with codes of 16 bits into operators on bytes, if the device has a unit for them. The
    host turns states into bytes before all others, and back behind them."""
    if not config.recurrent:
        return given
    work = _Rewrite(given.graph)
    ops = [each for op in given.graph.ops for each in work.operator(op)]
    if not work.found:
        return given
    return replace(given, graph=_graph(given.graph, work.tensors, [*work.before, *ops, *work.behind]))


def _graph(given: Graph, tensors: Mapping[str, Tensor], ops: list[Op]) -> Graph:
    """A graph of other operators, and of those tensors that these use."""
    used = {name for op in ops for name in (*op.inputs, op.output)} | {*given.sources}
    return replace(given, tensors={name: tensor for name, tensor in tensors.items() if name in used}, ops=ops)


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
        return _renamed(op, KINDS, {name: _bytes(name) for name in self.bytes}, lambda values: 2 * values)

    def _lstm(self, cells: LstmCells, hidden: LstmHidden, last: Sequence[LastStep]) -> Iterator[Op]:
        """Both halves as one, and parts of its results."""
        state, results = self._tensor(cells.cell), self.tensors[hidden.output]
        _, steps, size = results.shape
        self.before.append(ToBytes(name=state.name, input=cells.cell, output=state.name))
        lines = self._lines(results, LINES, steps + 2)
        yield LstmBytes(**{**_fields(cells), "name": hidden.name, "cell": state.name, "output": lines.name})

        def part(first: int, count: int, output: str) -> Slice:
            ranges = ((first, first + count, 1), (0, size, 1))
            return Slice(name=f"{output}.part", input=lines.name, output=output, ranges=ranges)

        yield part(0, steps, results.name)
        for op in last:
            if op.input == hidden.output:
                line = self._lines(results, LAST, 1)
                yield part(steps - 1, 1, line.name)
                yield Reshape(name=op.name, input=line.name, output=op.output)
            else:
                line = self._lines(results, CELL, 2)
                yield part(steps, 2, line.name)
                # Bytes of no scale: they keep that of the lines.
                flat = replace(line, name=_bytes(op.output), shape=(results.shape[0], 2 * size))
                self.tensors[flat.name] = flat
                yield Reshape(name=op.name, input=line.name, output=flat.name)
                self.behind.append(FromBytes(name=f"{op.output}.codes", input=flat.name, output=op.output))

    def _lines(self, results: Tensor, suffix: str, count: int) -> Tensor:
        shape = (results.shape[0], count, results.shape[2])
        made = replace(results, name=f"{results.name}{suffix}", shape=shape, file_layout=None)
        self.tensors[made.name] = made
        return made


class _Inverse:
    """The way back of one graph, operator by operator."""

    def __init__(self, graph: Graph):
        self.graph, self.tensors = graph, dict(graph.tensors)
        self.readers = {op.input: op for op in graph.ops if isinstance(op, (Reshape, FromBytes))}
        self.lstms = [op for op in graph.ops if isinstance(op, LstmBytes)]
        self.codes = {
            name: name.removesuffix(BYTES) for name in _linked(graph.ops, FeatureBytes, TimeBytes)
        }  # fmt: skip
        self.dropped = {
            op.name for op in graph.ops
            if isinstance(op, (ToBytes, FromBytes)) or isinstance(op, Slice) and op.input in self._outputs()
        }  # fmt: skip
        for name, codes in self.codes.items():
            self._tensor(codes, graph.tensors[name], lambda shape: (*shape[:-1], shape[-1] // 2), "int16")

    def operator(self, op: Op) -> Iterator[Op]:
        """What takes an operator's place."""
        if isinstance(op, LstmBytes):
            yield from self._lstm(op)
        elif op.name in self.dropped:
            return
        elif self.codes.keys() & {*op.inputs, op.output}:
            yield _renamed(op, CODES, self.codes, lambda values: values // 2)
        elif not isinstance(op, Reshape) or op.input not in self._ends():
            yield op

    def _outputs(self) -> set[str]:
        return {op.output for op in self.lstms}

    def _ends(self) -> set[str]:
        return {f"{name.removesuffix(LINES)}{suffix}" for name in self._outputs() for suffix in (LAST, CELL)}

    def _tensor(self, name: str, like: Tensor, shaped: Callable[[Shape], Shape], kind: str) -> None:
        """Enters a tensor, unless the graph has it."""
        made = replace(like, name=name, shape=shaped(like.shape), dtype=kind, file_layout=None)
        self.tensors.setdefault(name, made)

    def _lstm(self, op: LstmBytes) -> Iterator[Op]:
        """Both halves, and what is behind the last step."""
        results, state = op.output.removesuffix(LINES), op.cell.removesuffix(BYTES)
        cells, shape = f"{state}{STEPS}", self.tensors[results].shape
        self._tensor(cells, self.tensors[state], lambda _: shape, "int16")
        fields = _fields(op)
        # As the front end has it.
        first = f"{op.name.removesuffix('_hidden')}_cells"
        yield LstmCells(**{**fields, "name": first, "cell": state, "output": cells})
        yield LstmHidden(**{**fields, "cell": cells, "output": results})
        if hidden := self.readers.get(f"{results}{LAST}"):
            yield LastStep(name=hidden.name, input=results, output=hidden.output)
        if flat := self.readers.get(f"{results}{CELL}"):
            yield LastStep(name=flat.name, input=cells, output=self.readers[flat.output].output)


def _bytes(name: str) -> str:
    return f"{name}{BYTES}"


def _fields(op: Op) -> dict[str, Any]:
    return {field.name: getattr(op, field.name) for field in dataclasses.fields(op)}


def _renamed(
    op: Op, kinds: Mapping[type[Op], type[Op]], names: Mapping[str, str], length: Callable[[int], int]
) -> Op:  # fmt: skip
    """An operator of an SVDF on tensors of other names, whose last axis is another length."""
    fields = _fields(op)
    for name in ("input", "output"):
        if name in fields:
            fields[name] = names.get(fields[name], fields[name])
    if isinstance(op, Concatenate):
        fields["sources"] = tuple(names[name] for name in op.sources)
    if isinstance(op, Slice):
        *others, (first, last, step) = op.ranges
        fields["ranges"] = (*others, (first, length(last), step))
    return kinds.get(type(op), type(op))(**fields)


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
    names = _linked(graph.ops, WideningProduct, TimeProduct)
    for op in graph.ops:
        whole = not isinstance(op, Slice) or op.ranges[-1] == (0, graph.tensors[op.input].shape[-1], 1)
        inner = not isinstance(op, Concatenate) or op.axis < len(graph.tensors[op.output].shape) - 1
        plain = isinstance(op, (*MOVES, WideningProduct, TimeProduct)) and whole and inner
        if names & {*op.inputs, op.output} and not plain:
            return set()
    return names


def _linked(ops: Sequence[Op], makes: type[WideningProduct], takes: type[TimeProduct]) -> set[str]:
    """Tensors that operators of one kind make, those of another take, and what moves them has on either side."""
    names = {op.output for op in ops if isinstance(op, makes)} | {op.input for op in ops if isinstance(op, takes)}
    for op in (*ops, *reversed(ops)):
        around = {*op.inputs, op.output} if isinstance(op, MOVES) else set()
        names |= around if around & names else set()
    return names
