"""Column combining: what is packed equals what it was packed from, in how many tiles, and the paper's own case."""

import dataclasses

import numpy as np
import pytest

import sateen
from sateen.compiler.combining import Packer
from sateen.compiler.lowering import lower_operator
from sateen.graph import run
from sateen.hw.spec.config import parse_config
from sateen.hw.spec.pe import Encoding, Precision, TermBudget
from sateen.sim.golden.terms import term_count
from sateen.sparsity import columns, permute_channels
from sateen.sparsity.packing import Windows, mask_to_fit, pack, pack_into
from sateen.testing.graphs import Builder, random_input


def sparse(rng, shape, density, *, spread=0.0):
    """Weights of which a share is not zero; with ``spread``, columns of very different densities."""
    share = np.clip(density * rng.lognormal(-spread * spread / 2, spread, shape[-1]), 0, 1) if spread else density
    return (rng.integers(1, 128, shape) * rng.choice([-1, 1], shape) * (rng.random(shape) < share)).astype(np.int8)


def structured(rng, filters, width):
    """Two weights of each four."""
    kept = np.argsort(rng.random((filters, width // 4, 4)), axis=2) < 2
    return (rng.integers(1, 128, (filters, width)) * kept.reshape(filters, width)).astype(np.int8)


@pytest.mark.parametrize(
    "config",
    ["small,combine=4", "small,rows=6,combine=5", "large,combine=16", "tiny,combine=2", "tiny,pe=term,combine=4"],
)
@pytest.mark.parametrize("density", [0.02, 0.1, 0.3])
def test_packed_equals_unpacked(config, density):
    """Of pointwise layers, kernel rows and long runs; tiles with selects are fewer, and no cell is used twice."""
    config, rng, packed = parse_config(config), np.random.default_rng(1), 0
    for shape in [(16, 1, 64), (24, 3, 96), (7, 2, 33), (5, 1, 500), (3, 1, 1)]:
        weights = sparse(rng, shape, density)
        packing = pack(weights, config)
        if packing is None:
            continue
        packed += 1
        assert packing.windows.tiles < -(-shape[-1] // config.tile_depth)
        assert np.count_nonzero(packing.weights) == np.count_nonzero(weights)
        np.testing.assert_array_equal(packing.unpacked(shape[-1], config), weights)
    # Few weights leave room in every one of these devices.
    assert packed or density > 0.1


def test_words_hold_selects_of_several_rows():
    config, rng = parse_config("small,rows=6,combine=5"), np.random.default_rng(2)
    packing = pack(sparse(rng, (4, 1, 30), 0.1), config)
    words = packing.words(config)
    assert words.shape == (4, 1, packing.windows.tiles, 6 + 3)
    selects = words[..., [0, 0, 3, 3, 6, 6]].view(np.uint8) >> np.array([0, 3] * 3) & 7
    np.testing.assert_array_equal(selects, packing.selects)
    np.testing.assert_array_equal(words[..., [1, 2, 4, 5, 7, 8]], packing.weights)


def test_keeps_the_largest():
    """What is kept fits; what is left out has no room beside what is larger."""
    config, rng = parse_config("small,combine=4"), np.random.default_rng(3)
    values, windows = rng.normal(size=(12, 64)), Windows(1, 2, 32)
    kept = mask_to_fit(values, windows, config)
    codes = np.where(kept, np.maximum(1, np.abs(values) * 20), 0).astype(np.int8)[:, None]
    np.testing.assert_array_equal(pack_into(codes, windows, config).unpacked(64, config), codes)
    # Every row of both tiles has found the largest of its four.
    assert (kept.sum(axis=1) == 16).all()
    for one, missing in np.argwhere(~kept):
        more = codes[one : one + 1].copy()
        smaller = kept[one] & (np.abs(values[one]) < abs(values[one, missing]))
        more[0, 0, smaller], more[0, 0, missing] = 0, 1
        assert pack_into(more, windows, config) is None


def test_structured_sparsity_takes_half_the_tiles():
    """Two of four, in any filter: neighbours brought to one row of the array, in two passes, without a conflict."""
    config, rng = parse_config("small,combine=4"), np.random.default_rng(4)
    matrix = structured(rng, 24, 64)
    groups = columns.structured_groups(matrix)
    assert groups[:2] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    np.testing.assert_array_equal(columns.prune_conflicts(matrix, groups, keep=2), matrix)
    order = columns.arrange(matrix, groups, rows=config.rows, combine=config.combine)
    packing = pack(np.ascontiguousarray(matrix[:, None, order]), config)
    assert packing.windows.tiles == 64 // config.rows // 2
    np.testing.assert_array_equal(packing.unpacked(64, config)[:, 0], matrix[:, order])
    assert columns.structured_groups(np.ones((2, 8))) is columns.structured_groups(np.ones((2, 7))) is None


def test_paper_case():
    """A layer of 96 filters and 94 columns with 16 % of weights: about 17 groups; 9 tiles of 32 × 32 become 3."""
    config, rng = parse_config("small,rows=32,cols=32,combine=8,scratchpad_bytes=65536"), np.random.default_rng(5)
    matrix = sparse(rng, (96, 94), 0.22, spread=1.0)
    assert abs(np.count_nonzero(matrix) / matrix.size - 0.16) < 0.015
    groups = columns.group_columns(matrix, alpha=8, gamma=0.5)
    assert 14 <= len(groups) <= 20 and max(map(len, groups)) <= 8
    grouped = columns.prune_conflicts(matrix, groups)
    # The array's rows see three columns each, and all of them are there for a tile's price: more weights stay than in
    # groups of eight.
    kept = np.where(mask_to_fit(matrix, Windows(1, 1, 0), config), matrix, 0)
    packing = pack(kept[:, None], config)
    assert (-(-94 // 32) * -(-96 // 32), packing.windows.tiles * -(-96 // 32)) == (9, 3)
    assert np.count_nonzero(kept) > 0.8 * np.count_nonzero(matrix) > np.count_nonzero(grouped)


def test_groups():
    """By hand: disjoint columns merge, the dense one first; conflicts up to gamma; empty columns are left out."""
    matrix = np.array([[1, 0, 0, 2, 0], [0, 3, 0, 0, 0], [0, 4, 0, 0, 5], [6, 0, 0, 0, 0]])
    assert columns.group_columns(matrix, alpha=8, gamma=0) == [[0, 1], [3, 4]]
    assert columns.group_columns(matrix, alpha=8, gamma=0.5) == [[0, 1, 3, 4]]
    assert columns.group_columns(matrix, alpha=1, gamma=9) == [[0], [1], [3], [4]]
    pruned = columns.prune_conflicts(matrix, [[0, 1, 3, 4]])
    assert pruned.tolist() == [[0, 0, 0, 2, 0], [0, 3, 0, 0, 0], [0, 0, 0, 0, 5], [6, 0, 0, 0, 0]]
    assert columns.prune_conflicts(np.array([[-128, 127]], np.int8), [[0, 1]]).tolist() == [[-128, 0]]
    with pytest.raises(ValueError, match="alpha must be 1 or more, not 0"):
        columns.group_columns(matrix, alpha=0)
    with pytest.raises(ValueError, match="gamma must be 0 or more, not -1"):
        columns.group_columns(matrix, gamma=-1)


def test_large_matrix():
    """A filter matrix of a 3 × 3 convolution over 512 channels, twice the same."""
    matrix = sparse(np.random.default_rng(6), (512, 4608), 0.16)
    assert columns.group_columns(matrix) == columns.group_columns(matrix)
    config = parse_config("large,combine=8")
    assert pack(matrix.reshape(512, 3, 1536), config).windows.tiles < 96
    # One long run has fewer edges, so that it takes no more.
    assert pack(matrix.reshape(512, 1, 4608), config).windows.tiles < 96


def test_precision_is_each_kernel_s_own():
    """What is known of a matrix is kept; how precisely it is multiplied is another matter. Packed groups keep every
    term."""
    config, rng = parse_config("tiny,pe=term,combine=4"), np.random.default_rng(8)
    graph = Builder((4, 4, 256), rng, density=0.05).conv2d(4, (1, 1)).graph()
    (op,) = graph.ops
    (kernel,) = lower_operator(op, graph.tensors, config).kernels
    packer, made = Packer(config), []
    for bits in (8, 4):
        made += packer.packed(
            dataclasses.replace(kernel, precision=Precision(activation_bits=bits, terms=TermBudget(weight_terms=1)))
        )
    assert [one.precision.activation_bits for one in made] == [8, 4]
    counts = term_count(made[0].packing.weights, Encoding.NAF).reshape(-1, 8).sum(axis=1)
    assert made[0].precision.terms.weight_terms == made[1].precision.terms.weight_terms == counts.max() > 1


def test_compiler_says_what_it_did():
    """Layers that gain are packed, others have a reason; dense layers take what they take on a device without combined
    columns."""
    rng = np.random.default_rng(7)
    graph = Builder((8, 8, 32), rng, density=0.1).conv2d(8, (1, 1)).conv2d(8, (3, 3)).graph()
    model = sateen.compile(graph, "small,combine=8")
    first, second = (layer.combining for layer in model.layers)
    assert first.tiles < first.dense_tiles == 4 and not first.reason
    assert 0 < first.density <= 1 and first.nonzeros == np.count_nonzero(graph.ops[0].weights)
    off = sateen.compile(graph, "small,combine=8", combine="off")
    plain = sateen.compile(graph, "small")
    slower = sateen.compile(graph, "small,combine=8").layers[0].predicted.cycles
    assert slower < off.layers[0].predicted.cycles
    # The scratchpad's bytes come two cycles later, through more banks.
    for one, other in zip(off.layers, plain.layers, strict=True):
        assert 0 <= one.predicted.cycles - other.predicted.cycles <= 4
    dense = sateen.compile(Builder((8, 8, 32), rng).conv2d(8, (1, 1)).graph(), "small,combine=8").layers[0].combining
    assert dense.reason.startswith("100% of its weights") or dense.reason.startswith("99% of its weights")
    with pytest.raises(sateen.CompileError, match="combine must be auto or off, not 'on'"):
        sateen.compile(graph, "small", combine="on")


def test_channels_are_permuted_where_they_may():
    """Two of four weights behind a layer take half the tiles; results stay what they are, through pools, sums and
    flattening."""
    rng = np.random.default_rng(8)
    second, third = structured(rng, 24, 64).reshape(24, 1, 1, 64), structured(rng, 10, 4 * 4 * 24)
    builder = (
        Builder((8, 8, 8), rng)
        .conv2d(64, (3, 3), padding=((1, 1), (1, 1)))
        .depthwise_conv2d((3, 3), padding=((1, 1), (1, 1)))
    )
    graph = (
        builder.conv2d(24, (1, 1), weights=second)
        .max_pool2d((2, 2))
        .flatten()
        .fully_connected(10, weights=third)
        .graph()
    )
    made, notes = permute_channels(graph, parse_config("small,combine=4"))
    assert notes["op2"] == "its input's channels are permuted" and not np.array_equal(
        made.ops[0].weights, graph.ops[0].weights
    )
    x = random_input(graph, rng, 3)
    expected = run(graph, x, layers=True)
    for name, values in run(made, x, layers=True).items():
        np.testing.assert_array_equal(made.tensors[name].to_file(values), expected[name], err_msg=name)
        np.testing.assert_array_equal(made.tensors[name].from_file(expected[name]), values, err_msg=name)
    combining = {layer.name: layer.combining for layer in sateen.compile(graph, "small,combine=4").layers}
    assert (combining["op2"].tiles, combining["op2"].dense_tiles) == (12, 24) and combining["op2"].density == 1
    lone = Builder((4, 4, 64), rng).conv2d(24, (1, 1), weights=second).graph()
    assert permute_channels(lone, parse_config("small,combine=4"))[1] == {
        "op0": "its input's channels stay in order: it is the model's input"
    }
