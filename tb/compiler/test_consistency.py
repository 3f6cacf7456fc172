"""Models from files whose tensors would be written over on the device before they are read."""

import dataclasses
from unittest import mock

import numpy as np
import pytest

import sateen
from sateen.compiler import memory, placement
from sateen.compiler.consistency import check
from sateen.errors import ModelFileError
from sateen.graph import Add
from sateen.testing.graphs import Builder


def residual(wide):
    """Four layers, of which the second gives ``wide`` channels, and the sum of the first's result and the last's."""
    builder = Builder((8, 8, 4), np.random.default_rng(3)).conv2d(4, (1, 1))
    first = builder.last
    builder.conv2d(wide, (1, 1)).conv2d(4, (1, 1)).conv2d(4, (1, 1))
    output = builder._output(first.shape[1:])
    builder.ops.append(Add(name="sum", a=first.name, b=builder.last.name, output=output.name))
    builder.last = output
    return builder.graph()


@pytest.mark.parametrize(
    ("over", "message"),
    [(0, "the device lacks '{}', which Add 'sum' reads"), (1, "'op2' is written over '{}', which it reads")],
    ids=["another layer's", "its own input"],
)
def test_tensors_over_others(over, message):
    """Programs that are each right, but the third layer's result stands where another tensor is still needed."""
    graph = residual(4)
    moved, needed = graph.ops[2].output, graph.ops[over].output

    def plan(*arguments):
        made = memory.plan(*arguments)
        return dataclasses.replace(made, addresses={**made.addresses, moved: made.addresses[needed]})

    check(sateen.compile(graph, "tiny,positions=256"))
    with mock.patch.object(placement, "plan", plan):
        model = sateen.compile(graph, "tiny,positions=256")
    with pytest.raises(ModelFileError, match=message.format(needed)):
        check(model)


def test_tensors_under_stripes():
    """What is computed row by row takes the scratchpad: tensors that do not stay there are written again."""
    with mock.patch.object(placement.Search, "find", lambda self: {}):
        model = sateen.compile(residual(14), "tiny,scratchpad_bytes=1024,positions=256")
    before, middle, *_, last = model.steps
    assert middle.tiles and not before.tiles and set(before.reads) & set(last.writes)
    check(model)
    kept = tuple(name for name in last.writes if name not in before.reads)
    steps = (*model.steps[:-1], dataclasses.replace(last, writes=kept))
    with pytest.raises(ModelFileError, match="the device lacks"):
        check(dataclasses.replace(model, steps=steps))


def test_a_reshape_in_another_place():
    """What is written to the one would be read from the other."""
    graph = Builder((4, 4, 2), np.random.default_rng(3)).max_pool2d((2, 2)).flatten().fully_connected(3).graph()
    model = sateen.compile(graph, "tiny")
    check(model)
    pooled = graph.ops[0].output
    moved = dataclasses.replace(model, addresses={**model.addresses, pooled: model.addresses[pooled] + 64})
    # The layer that writes there would be refused, if its program were not changed, too.
    with pytest.raises(ModelFileError, match=f"does not stand where '{pooled}' does, of which it is a reshape"):
        check(moved)
