"""Schedules and plans of random graphs, against what they are defined to be, one operator and one byte at a time; and
what the host gets where the scratchpad is full."""

import dataclasses
import math

import numpy as np
import pytest

from sateen.compiler.lowering import Lowered, LoweredGraph, lower
from sateen.compiler.memory import plan
from sateen.compiler.placement import place
from sateen.compiler.schedule import DevicePhase, HostPhase, build_schedule
from sateen.graph import Add, Broadcast, Concatenate, Graph, Reshape, Tensor
from sateen.hw.spec.config import parse_config
from sateen.testing.graphs import Builder

CASES = [(seed, spill) for seed in range(40) for spill in (False, True)]


class Random(Builder):
    """Layers on any of the tensors before, that join two of them or give one another shape."""

    def __init__(self, rng):
        super().__init__((int(rng.integers(1, 9)),), rng)
        point = self.last.zero_point
        for index in range(int(rng.integers(1, 12))):
            self.last = self.tensors[str(rng.choice(list(self.tensors)))]
            size = math.prod(self.last.shape)
            kind, output = rng.integers(3), f"t{index}"
            if kind == 0:
                self._join(str(rng.choice(list(self.tensors))), output, point)
            elif kind == 1:
                self._shaped(output, (1, size), point)
                self.ops.append(Reshape(name=f"op{index}", input=self.last.name, output=output))
            else:
                self.fully_connected(int(rng.integers(1, 9)))
                self._shaped(output, self.last.shape, point)

    def _shaped(self, name, shape, point):
        self.tensors[name] = Tensor(name=name, shape=shape, scale=0.05, zero_point=point)

    def _join(self, other, output, point):
        size = self.last.shape[1] + self.tensors[other].shape[1]
        self._shaped(output, (1, size), point)
        self.ops.append(Concatenate(name=f"op{len(self.ops)}", sources=(self.last.name, other), output=output, axis=1))

    def graph(self):
        """Some of the tensors are outputs, the last one and the input among them."""
        graph = super().graph()
        some = self.rng.choice(list(self.tensors), int(self.rng.integers(0, 3)))
        graph.outputs[:] = dict.fromkeys([list(self.tensors)[-1], *map(str, some)])
        return graph


def drawn(seed, spill):
    """A graph, the operators that the device runs, and the schedule."""
    rng = np.random.default_rng(seed)
    graph = Random(rng).graph()
    share = rng.choice([0.5, 0.9, 1.0])
    device = [op.name for op in graph.ops if not isinstance(op, Reshape) and rng.random() < share]
    return graph, device, build_schedule(graph, device, spill=spill)


def roots(graph):
    """The tensor that each one is a Reshape of."""
    found = {name: name for name in graph.inputs}
    for op in graph.ops:
        found[op.output] = found[op.input] if isinstance(op, Reshape) else op.output
    return found


@pytest.mark.parametrize(("seed", "spill"), CASES)
def test_schedule(seed, spill):
    """Who runs an operator has its inputs, nothing is moved for nothing, and the host ends with the outputs."""
    graph, device, schedule = drawn(seed, spill)
    root = roots(graph)
    assert schedule.buffer_of == root and schedule.spill == spill
    host, resident, ran = {root[name] for name in graph.inputs}, set(), []
    on_device = [isinstance(phase, DevicePhase) for phase in schedule.phases]
    assert not any(a and b for a, b in zip(on_device, on_device[1:], strict=False))
    for phase in schedule.phases:
        if isinstance(phase, HostPhase):
            op = graph.ops[phase.op]
            assert op.name not in device and {root[name] for name in op.inputs} <= host
            host.add(root[op.output])
            ran.append(phase.op)
            continue
        ops = [graph.ops[index] for index in phase.ops]
        made = [root[op.output] for op in ops]
        needed = dict.fromkeys(root[name] for op in ops for name in op.inputs)
        assert phase.writes == tuple(name for name in needed if name not in made and name not in resident)
        assert set(phase.writes) <= host and all(op.name in device for op in ops)
        resident |= {*phase.writes, *made}
        later = graph.ops[phase.ops[-1] + 1 :]
        wanted = {root[name] for name in graph.outputs} | {
            root[name]
            for op in later
            if not isinstance(op, Reshape) and (spill or op.name not in device)
            for name in op.inputs
        }
        assert phase.reads == tuple(name for name in made if name in wanted)
        host |= set(phase.reads)
        resident = set() if spill else resident
        ran += phase.ops
    assert ran == [index for index, op in enumerate(graph.ops) if not isinstance(op, Reshape)]
    assert {root[name] for name in graph.outputs} <= host


@pytest.mark.parametrize(("seed", "spill"), CASES)
def test_bytes_stay(seed, spill):
    """Every byte of the scratchpad belongs to whom it should, when the device reads it and when the host does."""
    graph, _, schedule = drawn(seed, spill)
    memory, root = plan(graph, schedule), roots(graph)
    size = {name: math.prod(graph.tensors[name].shape) for name in root}
    owner = np.full(memory.peak, None)

    def place(name):
        return slice(memory.addresses[name], memory.addresses[name] + size[name])

    def check(name):
        assert (owner[place(name)] == root[name]).all()

    for phase in schedule.phases:
        if isinstance(phase, HostPhase):
            continue
        if spill:
            owner[:] = None
        for name in phase.writes:
            owner[place(name)] = name
        for index in phase.ops:
            op = graph.ops[index]
            owner[place(op.output)] = root[op.output]
            for name in op.inputs:
                check(name)
        for name in phase.reads:
            check(name)


@pytest.mark.parametrize(("seed", "spill"), CASES)
def test_first_fit(seed, spill):
    """The largest first, each at the lowest address that is free while it is needed; and what is said of it is so."""
    graph, _, schedule = drawn(seed, spill)
    memory, root = plan(graph, schedule), roots(graph)
    needed = {}
    for phase in schedule.phases:
        if isinstance(phase, HostPhase):
            continue
        uses = {name: [phase.ops[0]] for name in phase.writes}
        for index in phase.ops:
            for name in (*graph.ops[index].inputs, graph.ops[index].output):
                uses.setdefault(root[name], []).append(index)
        for name in phase.reads:
            uses[name].append(phase.ops[-1])
        for name, when in uses.items():
            needed.setdefault(name, []).append((min(when), max(when)))
    if not spill:
        needed = {name: [(spans[0][0], spans[-1][1])] for name, spans in needed.items()}
    assert memory.live_ranges == {name: tuple(spans) for name, spans in needed.items()}
    assert set(memory.addresses) == {name for name in root if root[name] in needed}
    live = {name: {op for first, last in spans for op in range(first, last + 1)} for name, spans in needed.items()}
    size = {name: math.prod(graph.tensors[name].shape) for name in needed}
    taken = {}
    for name in sorted(needed, key=lambda name: (-size[name], needed[name][0])):
        others = {byte for other, there in taken.items() if live[other] & live[name] for byte in there}
        address = next(at for at in range(10**6) if not others & set(range(at, at + size[name])))
        taken[name] = range(address, address + size[name])
    assert memory.addresses == {name: taken[root[name]].start for name in memory.addresses}
    assert memory.peak == max((there.stop for there in taken.values()), default=0)
    for index, op in enumerate(graph.ops):
        assert memory.bytes_in_use[op.name] == sum(size[name] for name in needed if index in live[name])


@pytest.mark.parametrize("seed", range(10))
def test_without_a_schedule(seed):
    """The device runs every operator, and keeps what it has."""
    graph, _, _ = drawn(seed, False)
    everything = [op.name for op in graph.ops if not isinstance(op, Reshape)]
    assert plan(graph) == plan(graph, build_schedule(graph, everything))
    assert build_schedule(graph, everything[:1]) == build_schedule(graph, everything[:1], spill=False)


def test_items_of_a_batch_take_turns():
    """A model's batch needs no more memory than one item."""
    graph, _, _ = drawn(3, False)
    tensors = {
        name: dataclasses.replace(tensor, shape=(3, *tensor.shape[1:])) for name, tensor in graph.tensors.items()
    }
    assert plan(dataclasses.replace(graph, tensors=tensors)) == plan(graph)


def chain_of_bytes(*sizes):
    """Fully connected layers between tensors of so many bytes."""
    builder = Builder((sizes[0],), np.random.default_rng(1))
    for size in sizes[1:]:
        builder.fully_connected(size)
    return builder.graph()


def placed(graph, **config):
    config = dataclasses.replace(parse_config("tiny"), scratchpad_bytes=1024, **config)
    return place(lower(graph, config), config)


def test_exactly_fits():
    """What takes the whole scratchpad stays there; with a byte more, the host holds tensors between phases."""
    fits, more = (placed(chain_of_bytes(300, 400, size, 400)) for size in (624, 625))
    assert fits.memory.peak == 1024 and not fits.stripes and not fits.schedule.spill
    assert more.memory.peak <= 1024 and more.stripes.keys() | more.refused.keys() and more.schedule.spill


def test_the_layer_of_most_bytes_is_cut():
    """And the others stay whole; one that cannot be cut is the host's, for the reason that cutting gave."""
    builder = Builder((8, 8, 4), np.random.default_rng(2))
    graph = builder.conv2d(4, (1, 1)).conv2d(14, (1, 1)).conv2d(2, (1, 1)).graph()
    cut = placed(graph)
    # Its neighbours join it, so that its own tensors move nowhere.
    assert cut.chains == (("op0", "op1", "op2"),) and list(cut.device) == ["op0", "op1", "op2"] and not cut.refused
    assert len(cut.stripes["op1"]) > 1
    host = placed(chain_of_bytes(20, 600, 600, 20))
    assert list(host.refused) == ["op1"] and list(host.device) == ["op0", "op2"] and not host.stripes
    assert host.refused["op1"].startswith("one row of results takes 1200 bytes")


@pytest.mark.parametrize(
    ("refused", "device", "reasons"),
    [
        ((), ("wide", "sum"), {}),
        (("wide",), (), {"sum": "wide is refused"}),
        (("sum",), (), {"sum": "sum is refused"}),
        (("wide", "sum"), (), {"sum": "sum is refused"}),
    ],
)
def test_a_repeated_tensor_is_where_its_sum_is(refused, device, reasons):
    tensors = {
        name: Tensor(name=name, shape=shape, scale=0.05, zero_point=0)
        for name, shape in {"x": (1, 4), "b": (1, 1), "repeated": (1, 4), "y": (1, 4)}.items()
    }
    ops = [Broadcast(name="wide", input="b", output="repeated"), Add(name="sum", a="x", b="repeated", output="y")]
    graph = Graph(name="g", tensors=tensors, ops=ops, inputs=["x", "b"], outputs=["y"])
    lowered = LoweredGraph(
        graph=graph,
        lowered={op.name: Lowered() for op in ops if op.name not in refused},
        refused={name: f"{name} is refused" for name in refused},
    )
    found = place(lowered, parse_config("tiny"))
    assert tuple(found.device) == device and found.refused == reasons


def test_a_layer_stays_where_the_one_before_is_refused():
    graph = chain_of_bytes(3, 4, 5)
    lowered = LoweredGraph(graph=graph, lowered={"op1": Lowered()}, refused={"op0": "of no use"})
    found = place(lowered, parse_config("tiny"))
    assert list(found.device) == ["op1"] and found.refused == {"op0": "of no use"}
