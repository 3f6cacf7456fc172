"""Random ONNX networks: every tensor equals onnxruntime's, in the golden model and on simulated devices through the
driver."""

from __future__ import annotations

import os
import warnings

import numpy as np
import pytest

import needs
import sateen
from sateen.frontends import onnx as frontend
from sateen.frontends.onnx.differences import open_codes, open_means, quantized_reals
from sateen.frontends.onnx.file import read
from sateen.frontends.onnx.load import imported
from sateen.graph import Graph, run

onnx = needs.package("onnx", extra="onnx")
onnxruntime = needs.package("onnxruntime", extra="reference")

from onnx_networks import random_network  # noqa: E402

ONE = os.environ.get("SATEEN_SEED")
"""A network to run alone."""
GROUPS, GROUP = 8, 24
"""Networks for the golden model."""
FRESH = 100_000
"""From this seed on networks are of later versions of ONNX, too: those of the soak test."""
EACH = 5
"""Networks for every configuration."""
CONFIGS = [
    "micro",
    "tiny",
    "small",
    "large",
    "tiny,products=1,softmax=1,squares=1,positions=256,descriptors=12,overlap=1",
    "tiny,rows=6,cols=5,lanes=3,positions=32",
    "tiny,pe=bitserial",
    "tiny,pe=balanced,overlap=1",
    "tiny,pe=interleaved",
    "tiny,pe=term,weight_bytes=32768",
    "tiny,combine=4",
    "micro,scratchpad_bytes=8192,weight_bytes=16384,descriptors=32",
    "tiny,positions=256,scratchpad_bytes=512,overlap=1,softmax=1",
    "tiny,scratchpad_bytes=512,weight_bytes=8192",
    "tiny,scratchpad_bytes=1024,weight_bytes=4096,descriptors=4",
]


def with_all_outputs(data: bytes, graph: Graph) -> bytes:
    """A file whose quantized tensors are outputs, too. onnxruntime computes it in another way: kernels of codes depend
    on who reads them."""
    model = onnx.ModelProto.FromString(data)
    outputs = {value.name for value in model.graph.output}
    # Of a constant the graph has the codes, whichever tensor gives it its name.
    for node in [node for node in model.graph.node if node.op_type not in ("Constant", "DequantizeLinear")]:
        for name in node.output:
            tensor = graph.tensors.get(name)
            if tensor is not None and tensor.dtype == "int8" and name not in outputs:
                kind = onnx.TensorProto.UINT8 if tensor.unsigned else onnx.TensorProto.INT8
                model.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, None))
    return model.SerializeToString()


def reference(data: bytes, x: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs by onnxruntime with its default optimizations."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return dict(zip((value.name for value in session.get_outputs()), session.run(None, x), strict=True))


def check(seed: int, config: str = "") -> str:
    """Compares the network of a seed with onnxruntime, as the golden model computes it, and a simulated device if one
    is named: its outputs, then those of the file in which all quantized tensors are outputs. Says ``"equal"``, or
    ``"told"`` where a warning says that a result may differ and one does.

    Raises
    ------
    AssertionError
        If a tensor differs, or a network is refused; the message says how to repeat it.
    """
    test = f"test_on_a_device[{config}]" if config else "test_golden_model[0]"
    again = f"repeat with SATEEN_SEED={seed} python -m pytest 'tb/frontends/test_onnx_networks.py::{test}'"
    data, x = random_network(np.random.default_rng(seed), (14, 17) if seed < FRESH else (14, 17, 20))
    try:
        told = False
        for whole in (False, True):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", sateen.SateenWarning)
                graph = frontend.load(data)
            values = run(graph, {name: graph.tensors[name].from_file(value) for name, value in x.items()}, layers=True)
            expected = reference(data, x)
            results = {name: graph.tensors[name].to_file(value) for name, value in values.items()}
            try:
                _check_equal(results, expected)
            except AssertionError:
                if not any("order of its own" in str(warning.message) for warning in caught):
                    raise
                _check_told(data, graph, results, expected)
                told = True
            if config and whole == seed % 2:
                _check_device(graph, x, {name: results[name] for name in expected}, config, every=seed % 4 < 2)
            data = with_all_outputs(data, graph)
    except Exception as error:
        raise AssertionError(
            f"network {seed} on {config or 'the golden model'}: {type(error).__name__}: {error}; {again}"
        ) from error
    return "told" if told else "equal"


def _check_told(data: bytes, graph: Graph, results: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """Differences begin at tensors of which the front end says that they may differ, and by one."""
    opened = imported(read(data), graph.name)[1].open
    first = {*open_codes(graph, opened), *quantized_reals(graph, opened), *(op.output for op in open_means(graph))}
    reached = set[str]()
    for op in graph.ops:
        if op.output not in first or reached & {*op.inputs}:
            reached |= {op.output} if reached & {*op.inputs} else set()
            continue
        reached.add(op.output)
        if op.output in expected:
            distance = results[op.output].astype(np.int64) - expected[op.output]
            assert np.abs(distance).max() <= 1, f"{op.output} differs by more than one"
    _check_equal(results, {name: wanted for name, wanted in expected.items() if name not in reached})


def _check_device(
    graph: Graph, x: dict[str, np.ndarray], expected: dict[str, np.ndarray], config: str, *, every: bool
) -> None:
    with warnings.catch_warnings(), sateen.open(f"sim:{config}") as device:
        # What a small device lacks is the host's.
        warnings.simplefilter("ignore", sateen.SateenWarning)
        loaded = device.load(sateen.compile(graph, device.config))
        y = loaded.run(x)
        _check_equal(
            y if isinstance(y, dict) else {graph.outputs[0]: y}, {name: expected[name] for name in graph.outputs}
        )
        if every:
            _check_equal(loaded.run(x, layers=True)[1], expected)


def _check_equal(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    for name, wanted in expected.items():
        assert actual[name].shape == wanted.shape, f"{name} is {actual[name].shape}, not {wanted.shape}"
        different = actual[name] != wanted
        if wanted.dtype == np.float32:
            # Functions of real numbers are approximated.
            different &= np.abs(actual[name] - wanted) > 1e-6 * max(1, np.abs(wanted).max())
        count = int(different.sum())
        assert not count, f"{count} of {wanted.size} values of {name} differ"


@pytest.mark.parametrize("group", range(GROUPS))
def test_golden_model(group):
    needs.exact_sums()
    for seed in [int(ONE)] if ONE else range(group * GROUP, (group + 1) * GROUP):
        check(seed)


@pytest.mark.parametrize(
    "config", [pytest.param(each, marks=[pytest.mark.prove] if each == "large" else []) for each in CONFIGS]
)
def test_on_a_device(config):
    """The large one takes minutes to build."""
    needs.exact_sums()
    first = 10_000 + EACH * CONFIGS.index(config)
    for seed in [int(ONE)] if ONE else range(first, first + EACH):
        check(seed, config)


def soak(seed: int) -> str:
    """Compares the network of a seed on a configuration that the seed draws; what it came to, in a word."""
    return check(seed, CONFIGS[int(np.random.default_rng([seed, 1]).integers(len(CONFIGS)))])
