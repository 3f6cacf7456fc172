"""The whole accelerator, over its link: random layers and corner cases, every tensor equal to the golden model's."""

import dataclasses

import numpy as np
import pytest

import sateen
import seeds
from sateen.compiler.combining import Packer
from sateen.compiler.lowering import lower_operator
from sateen.digits import load_network
from sateen.graph import Add, Weighted
from sateen.graph import run as golden
from sateen.hw.spec.config import parse_config
from sateen.hw.spec.descriptor import Descriptor, Rounding
from sateen.hw.spec.pe import Encoding, TermBudget
from sateen.testing import check_layers
from sateen.testing.graphs import Builder, random_graph, random_input

CONFIGS = [
    "tiny",
    "tiny,rows=6,cols=5,lanes=3,positions=32",
    "tiny,pe=bitserial",
    "tiny,pe=interleaved",
    "tiny,pe=term,weight_bytes=32768",
    "micro,scratchpad_bytes=8192,weight_bytes=16384,descriptors=32",
    "micro,rows=6,cols=5,pe=bitserial,positions=32,scratchpad_bytes=8192,weight_bytes=16384",
    "small,weight_rows=2",
    "tiny,rows=16,cols=6,lanes=3,weight_rows=4,positions=256,weight_bytes=32768,overlap=1",
    "tiny,combine=4",
    "tiny,rows=6,cols=5,lanes=3,combine=5,pe=bitserial,scratchpad_bytes=8192",
    pytest.param("tiny,pe=term,combine=2,weight_bytes=32768", marks=pytest.mark.prove),
]


@pytest.fixture(params=CONFIGS)
def device(request):
    """A device of its own for each test: no other one's bytes are in its memories."""
    with sateen.open(f"sim:{request.param}") as opened:
        yield opened


def check(device, graph, x):
    """Runs a graph layer by layer and in one go; both must equal the golden model."""
    loaded = device.load(sateen.compile(graph, device.config))
    check_layers(loaded, x)
    return loaded


def corners(rng):
    """Graphs at the edges of what a descriptor can say."""
    yield Builder((1, 1, 1), rng, name="one").conv2d(1, (1, 1))
    yield Builder((5, 5, 3), rng, name="padding all round").conv2d(4, (3, 3), padding=((2, 2), (2, 2)))
    yield Builder((5, 6, 3), rng, name="padding after").conv2d(5, (3, 3), stride=(2, 2), padding=((0, 1), (0, 1)))
    yield Builder((9, 9, 2), rng, name="dilation").conv2d(7, (3, 3), dilation=(2, 3), padding=((2, 2), (3, 3)))
    yield Builder((1, 40, 3), rng, name="one line wider than a block").conv2d(3, (1, 5), padding=((0, 0), (2, 2)))
    yield Builder((40, 1, 3), rng, name="one column").conv2d(3, (5, 1))
    yield Builder((12, 2, 1), rng, name="narrow").conv2d(5, (5, 2), stride=(2, 1), padding=((2, 1), (1, 0)))
    yield Builder((9, 1, 1), rng, name="one byte a line").conv2d(6, (7, 1), padding=((3, 3), (0, 0)))
    yield Builder((8, 3, 1), rng, name="narrow, wider kernel").conv2d(
        7, (4, 2), dilation=(2, 1), padding=((3, 3), (1, 1))
    )
    yield Builder((7, 8, 3), rng, name="pixels side by side").conv2d(2, (3, 2), stride=(2, 1), padding=((1, 1), (1, 0)))
    yield Builder((5, 12, 2), rng, name="strided pixels side by side").conv2d(
        1, (2, 3), stride=(1, 3), padding=((0, 0), (1, 2))
    )
    yield Builder((6, 6, 9), rng, name="pool with overlap").max_pool2d((3, 3), stride=(2, 2), padding=((1, 1), (1, 1)))
    yield Builder((7, 5, 4), rng, name="pool of everything").max_pool2d((7, 4))
    full = {"weights": np.full((3, 1, 1, 64), -128, np.int8), "bias": np.array([2**30, -(2**30), 2**31 - 1], np.int32)}
    for rounding in (Rounding.DOUBLE, Rounding.SINGLE, Rounding.FLOAT32):
        yield Builder((2, 2, 64), rng, name="bias of 2^30").conv2d(
            3, (1, 1), **full, multiplier=np.full(3, 2**30, np.int32), shift=np.array([-22, -23, -24], np.int8),
            rounding=rounding,
        )  # fmt: skip
    half = {"multiplier": np.full(9, 2**30, np.int32), "shift": np.full(9, -4, np.int8)}
    for rounding in (Rounding.DOUBLE, Rounding.SINGLE, Rounding.FLOAT32):
        yield Builder((4, 4, 5), rng, name="ties").conv2d(9, (1, 1), **half, rounding=rounding)
    layers = Builder((4, 4, 8), rng, name="layers").conv2d(12, (3, 3), padding=((1, 1), (1, 1)))
    yield layers.max_pool2d((2, 2)).flatten().fully_connected(10)


def test_corners(device):
    rng = np.random.default_rng(1)
    for builder in corners(rng):
        graph = builder.graph()
        check(device, graph, random_input(graph, rng, 2))


@pytest.mark.parametrize("case", range(12))
def test_random(device, case):
    rng = np.random.default_rng([seeds.BASE, case])
    graph = random_graph(rng)
    check(device, graph, random_input(graph, rng))


def test_deep_accumulation():
    """4,608 products a sum, as deep as a 3×3 convolution over 512 channels, at the largest magnitudes."""
    rng = np.random.default_rng(2)
    with sateen.open("sim:small") as device:
        weights = np.full((4, 4608), -128, np.int8)
        weights[1], weights[2, ::2] = 127, 127
        builder = Builder((4608,), rng).fully_connected(
            4,
            weights=weights,
            bias=np.array([2**30, -(2**30), 0, -1], np.int32),
            multiplier=np.full(4, 2**30 + 7, np.int32),
            shift=np.full(4, -22, np.int8),
            low=-128,
            high=127,
            rounding=Rounding.DOUBLE,
        )
        graph = builder.graph()
        x = np.concatenate([np.full((1, 4608), -128, np.int8), random_input(graph, rng, 2)])
        check(device, graph, x)


def test_windows_before_the_run():
    """Tiles of a sparse layer that begin before its input's first byte, and in padding."""
    rng = np.random.default_rng(3)
    with sateen.open("sim:tiny,combine=4") as device:
        for graph in (
            Builder((300,), rng, density=0.03).fully_connected(9).graph(),
            Builder((5, 4, 64), rng, density=0.03).conv2d(6, (3, 3), padding=((1, 1), (1, 1))).graph(),
        ):
            check(device, graph, random_input(graph, rng, 2))
            (plain,) = lower_operator(graph.ops[0], graph.tensors, device.config).kernels
            (kernel,) = Packer(device.config).packed(plain)
            assert kernel.packing.windows.lead > 0


def test_streamed_equals_resident():
    """A model that exceeds the weight store and the program memory is streamed, with the same results."""
    rng = np.random.default_rng(3)
    graph = (
        Builder((6, 6, 8), rng)
        .conv2d(24, (3, 3))
        .conv2d(16, (3, 3), padding=((1, 1), (1, 1)))
        .flatten()
        .fully_connected(40)
        .graph()
    )
    with sateen.open("sim:tiny,scratchpad_bytes=1024,weight_bytes=4096,descriptors=4") as device:
        loaded = check(device, graph, random_input(graph, rng, 2))
        assert not loaded.model.resident
        assert any(len(layer.parts) > 1 for layer in loaded.model.layers)


def test_rows_at_a_time():
    """A model whose tensors exceed the scratchpad goes through it row by row, with the same results."""
    rng = np.random.default_rng(13)
    graph = (
        Builder((12, 9, 6), rng)
        .conv2d(20, (3, 2), padding=((1, 1), (0, 1)))
        .max_pool2d((3, 2), stride=(2, 1), padding=((1, 1), (0, 1)))
        .conv2d(9, (3, 3), dilation=(2, 1), stride=(2, 2), padding=((2, 2), (1, 1)))
        .flatten()
        .fully_connected(40)
        .graph()
    )
    with sateen.open("sim:tiny,scratchpad_bytes=1024,weight_bytes=4096,descriptors=4") as device:
        loaded = check(device, graph, random_input(graph, rng, 2))
        assert 1 < loaded.model.tiled < len(loaded.model.layers) and not loaded.model.fallbacks
        for layer in loaded.profile.layers:
            assert abs(layer.counters.cycles - layer.layer.predicted.cycles) <= 2 * len(layer.layer.parts), (
                layer.layer.name
            )


def test_repeats_of_two_models():
    """Every inference of two models in turn equals the first, without a reset between."""
    rng = np.random.default_rng(4)
    graphs = [Builder((5, 5, 4), rng, name=n).conv2d(6, (3, 3)).flatten().fully_connected(5).graph() for n in "ab"]
    inputs = [random_input(graph, rng, 3) for graph in graphs]
    with sateen.open("sim:tiny") as device:
        models = [device.load(sateen.compile(graph, device.config)) for graph in graphs]
        expected = [golden(graph, x)[graph.outputs[0]] for graph, x in zip(graphs, inputs, strict=True)]
        for repeat in range(100):
            which = repeat % 2
            np.testing.assert_array_equal(
                models[which].run(inputs[which]), expected[which], err_msg=f"inference {repeat}"
            )


def test_cycle_model(device):
    """Predicted cycles equal the device's counters within 1 % or a few cycles for each layer, and so do their causes,
    which add up."""
    few = 0 if device.config.engine == "sequential" else 2 if device.config.group == 1 else 6
    rng = np.random.default_rng([5, device.config.rows])
    for _ in range(12):
        graph = random_graph(rng)
        loaded = device.load(sateen.compile(graph, device.config))
        loaded.run(random_input(graph, rng))
        for layer in loaded.profile.layers:
            c, p = layer.counters, layer.layer.predicted
            assert c.cycles == c.busy + c.weights + c.activations + c.accumulators + c.output
            assert c.busy == p.busy
            for cause in ("weights", "activations", "accumulators", "output"):
                wrong = abs(getattr(p, cause) - getattr(c, cause))
                assert wrong <= (max(few + 10, 0.01 * c.cycles) if few else 0), (
                    f"{cause} of {layer.layer.op}: {c}, predicted {p}"
                )
            assert abs(p.cycles - c.cycles) <= (max(few, 0.01 * c.cycles) if few else 0), (
                f"{layer.layer.op}: {c}, predicted {p}"
            )


def test_layers_that_overlap():
    """Layers that begin before the one before has written its results: pointwise, sliding, a sum of tensors, strides,
    pooling, single positions; each in one go as layer by layer."""
    config = "tiny,rows=16,cols=6,lanes=3,weight_rows=4,positions=256,weight_bytes=32768,overlap=1"
    with sateen.open(f"sim:{config}") as device:
        for seed in range(6):
            rng = np.random.default_rng([19, seed])
            size = int(rng.integers(5, 10))
            builder = Builder((size, size, int(rng.integers(3, 9))), rng).conv2d(12, (1, 1))
            before = builder.last
            builder.depthwise_conv2d((3, 3), padding=((1, 1), (1, 1))).conv2d(12, (1, 1))
            output = builder._output((size, size, 12))
            builder.ops.append(Add(name="sum", a=before.name, b=builder.last.name, output=output.name))
            builder.last = output
            builder.conv2d(int(rng.integers(1, 20)), (3, 3), stride=(2, 2), padding=((1, 1), (1, 1)))
            graph = builder.max_pool2d((2, 2)).flatten().fully_connected(20).fully_connected(9).graph()
            loaded = check(device, graph, random_input(graph, rng))
            counted = sum(layer.counters.cycles for layer in loaded.profile.layers)
            predicted = sum(layer.layer.predicted.cycles for layer in loaded.profile.layers)
            assert abs(counted - predicted) <= 2 * len(loaded.profile.layers)


def test_rejects_another_layout(device):
    rng = np.random.default_rng(6)
    graph = Builder((3, 3, 2), rng).conv2d(2, (1, 1)).graph()
    model = sateen.compile(graph, parse_config("small"))
    with pytest.raises(sateen.ConfigMismatch, match=r"rows is \d+ here, \d in the model"):
        device.load(model)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((1, 3, 3, 2), np.float32), "must be int8, not float32; quantize it"),
        (np.zeros((1, 3, 2, 2), np.int8), r"must have shape \[N, 3, 3, 2\]"),
        (np.zeros((3, 2), np.int8), r"must have shape \[N, 3, 3, 2\]"),
        (np.zeros((0, 3, 3, 2), np.int8), "N of 1 or more"),
        ({"y": 1}, "the model's inputs are x; y came"),
    ],
)
def test_rejects_input(device, x, message):
    rng = np.random.default_rng(7)
    graph = Builder((3, 3, 2), rng).conv2d(2, (1, 1)).graph()
    loaded = device.load(sateen.compile(graph, device.config))
    with pytest.raises(sateen.InputError, match=message):
        loaded.run(x)


def with_terms(graph, budget):
    """The graph with a budget in every layer that has weights."""
    ops = [dataclasses.replace(op, terms=budget) if hasattr(op, "terms") else op for op in graph.ops]
    return dataclasses.replace(graph, ops=ops)


@pytest.mark.parametrize(
    "budget",
    [
        TermBudget(group=8, weight_terms=12, data_terms=2, encoding=Encoding.HESE),
        TermBudget(group=4, weight_terms=3, data_terms=3, encoding=Encoding.NAF),
        TermBudget(group=1, weight_terms=2, data_terms=1, encoding=Encoding.HESE),
        TermBudget(group=8, weight_terms=1, data_terms=1, encoding=Encoding.NAF),
    ],
    ids=lambda budget: f"g{budget.group}k{budget.weight_terms}s{budget.data_terms}",
)
def test_term_budgets(device, budget):
    """Reduced precision equals the golden model's, takes fewer cycles, and full precision is back with the next run."""
    rng = np.random.default_rng(9)
    # Channels that groups divide and others: groups do not reach over a pixel's end.
    graph = (
        Builder((6, 6, 8), rng)
        .conv2d(5, (3, 3), padding=((1, 1), (1, 1)))
        .conv2d(4, (2, 2))
        .flatten()
        .fully_connected(7)
        .graph()
    )
    x = random_input(graph, rng, 2)
    reduced = with_terms(graph, budget)
    if not device.config.pe_kind.budgets:
        with pytest.raises(sateen.CompileError, match="use pe=term"):
            sateen.compile(reduced, device.config)
        return
    full = check(device, graph, x)
    cycles = check(device, reduced, x).profile.cycles
    assert not np.array_equal(golden(graph, x)[graph.outputs[0]], golden(reduced, x)[graph.outputs[0]])
    assert cycles < full.profile.cycles
    check(device, graph, x)


@pytest.mark.parametrize(("compiled_for", "runs_on"), [("tiny", "tiny,pe=interleaved"), ("tiny,pe=bitserial", "tiny")])
def test_model_runs_on_other_elements(compiled_for, runs_on):
    """A compiled model is tied to what shapes its layout, not to the kind of PE."""
    rng = np.random.default_rng(11)
    graph = (
        Builder((5, 5, 4), rng)
        .conv2d(6, (3, 3), low=-8, high=7)
        .max_pool2d((2, 2))
        .flatten()
        .fully_connected(5)
        .graph()
    )
    x = random_input(graph, rng, 2)
    model = sateen.compile(graph, parse_config(compiled_for))
    with sateen.open(f"sim:{runs_on}") as other:
        np.testing.assert_array_equal(other.load(model).run(x), golden(graph, x)[graph.outputs[0]])


def depthwise(rng):
    """Graphs of a depthwise layer: corners first."""
    yield Builder((1, 1, 1), rng).depthwise_conv2d((1, 1))
    yield Builder((8, 7, 5), rng).depthwise_conv2d((3, 3), padding=((1, 1), (1, 1)))
    yield Builder((7, 8, 9), rng).depthwise_conv2d((3, 3), padding=((0, 1), (0, 1)), stride=(2, 2))
    yield Builder((9, 9, 4), rng).depthwise_conv2d((3, 3), padding=((1, 1), (1, 1)), each=2)
    # Narrow ones, whose lines share their padding.
    yield Builder((9, 2, 7), rng).depthwise_conv2d((3, 3), padding=((1, 1), (1, 1)))
    yield Builder((2, 9, 5), rng).depthwise_conv2d((3, 3), padding=((1, 1), (1, 1)))
    yield Builder((7, 1, 6), rng).depthwise_conv2d((2, 3), padding=((0, 1), (1, 2)), stride=(2, 1))
    yield Builder((40, 3, 4), rng).depthwise_conv2d((1, 3))
    yield Builder((3, 40, 4), rng).depthwise_conv2d((3, 1))
    for _ in range(12):
        height, width = (int(n) for n in rng.integers(3, 14, 2))
        kernel = int(rng.integers(1, min(height, 5) + 1)), int(rng.integers(1, min(width, 5) + 1))
        pads = tuple(tuple(int(v) for v in rng.integers(0, k, 2)) for k in kernel)
        stride = int(rng.integers(1, 4)), int(rng.integers(1, 4))
        yield Builder((height, width, int(rng.integers(1, 20))), rng).depthwise_conv2d(
            kernel, stride=stride, padding=pads
        )


def test_depthwise(device):
    """Where columns are filters, windows slide; cycles as predicted there too."""
    rng, slid = np.random.default_rng([seeds.BASE, device.config.rows]), 0
    for builder in depthwise(rng):
        graph = builder.graph()
        loaded = check(device, graph, random_input(graph, rng, 2))
        slid += any(Descriptor.slides(segment.program.tobytes()) for segment in loaded.model.segments)
        for layer in loaded.profile.layers:
            predicted, cycles = layer.layer.predicted.cycles, layer.counters.cycles
            assert abs(predicted - cycles) <= max(6, 0.01 * cycles)
    assert slid > 0 or not device.config.sliding


def test_sliding_windows_need_elements_that_have_them():
    rng = np.random.default_rng(13)
    graph = Builder((8, 8, 8), rng).depthwise_conv2d((3, 3)).graph()
    model = sateen.compile(graph, "tiny")
    with sateen.open("sim:tiny,pe=bitserial") as device:
        with pytest.raises(
            sateen.ConfigMismatch, match="pe is bitserial here, which has no sliding windows, mac in the model"
        ):
            device.load(model)


@pytest.mark.prove
def test_sliding_windows_need_their_rows():
    rng = np.random.default_rng(13)
    graph = Builder((8, 8, 8), rng).depthwise_conv2d((3, 3)).graph()
    with sateen.open("sim:tiny,pe=packed,multipliers=4") as device:
        with pytest.raises(sateen.ConfigMismatch, match="windows slide over 3 rows here, over 4 in the model"):
            device.load(sateen.compile(graph, "tiny"))
        check(device, graph, random_input(graph, rng, 2))


def test_narrow_weights():
    """A float network gets weights as wide as the device's PEs hold, and a graph with wider ones is refused."""
    rng = np.random.default_rng(12)
    name = "tiny,pe=balanced,weight_bits=3"
    config, network = parse_config(name), load_network()
    x = rng.random((1, *network.input_shape), np.float32)
    model = sateen.compile(network, config, calibration=x)
    weights = np.concatenate([op.weights.ravel() for op in model.graph.ops if isinstance(op, Weighted)])
    assert (weights.min(), weights.max()) == (-3, 3)
    with sateen.open(f"sim:{name}") as device:
        check(device, model.graph, model.graph.tensors["input"].quantize(x))
    wide = Builder((3, 3, 4), rng).conv2d(2, (1, 1), weights=np.full((2, 1, 1, 4), -5, np.int8)).graph()
    message = (
        "its weights reach from -5 to -5, but the configuration holds weights of 3 bits, -4 to 3; "
        "quantize with weight_bits=3"
    )
    with pytest.raises(sateen.CompileError, match=message):
        sateen.compile(wide, config, strict=True)
