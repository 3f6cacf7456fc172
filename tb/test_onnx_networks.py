"""Random ONNX networks: every tensor equals onnxruntime's, in the golden model and on simulated devices through the driver."""

from __future__ import annotations

import os
import warnings

import numpy as np
import pytest

import weft
from weft.frontends import onnx as frontend
from weft.graph import Graph, run

onnx = pytest.importorskip("onnx", reason="needs onnx; pip install 'weft[onnx]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime; pip install 'weft[reference]'")

from onnx_networks import random_network  # noqa: E402

ONE = os.environ.get("WEFT_SEED")
"""A network to run alone."""
GROUPS, GROUP = 8, 40
"""Networks for the golden model."""
EACH = 7
"""Networks for every configuration."""
CONFIGS = [
    "micro", "tiny", "small", "large", "tiny,positions=256", "tiny,rows=6,cols=5,lanes=3,positions=32", "tiny,pe=bitserial",
    "tiny,pe=balanced", "tiny,pe=interleaved", "tiny,pe=term,weight_bytes=32768", "tiny,combine=4",
    "micro,scratchpad_bytes=8192,weight_bytes=16384,descriptors=32", "tiny,positions=256,scratchpad_bytes=512",
    "tiny,scratchpad_bytes=512,weight_bytes=8192", "tiny,scratchpad_bytes=1024,weight_bytes=4096,descriptors=4",
]  # fmt: skip


def reference(data: bytes, x: dict[str, np.ndarray], graph: Graph) -> dict[str, np.ndarray]:
    """onnxruntime's tensors of codes, and all outputs.

    It is asked for all of them: of tensors that nobody asks for it leaves out the rounding, where two follow each other. By its default
    optimizations it computes in integers; without any it does so in float32, which differs next to a tie.
    """
    model = onnx.ModelProto.FromString(data)
    outputs = {value.name for value in model.graph.output}
    # Of a constant the graph has the codes, whichever tensor gives it its name.
    for node in [node for node in model.graph.node if node.op_type not in ("Constant", "DequantizeLinear")]:
        for name in node.output:
            tensor = graph.tensors.get(name)
            if tensor is not None and tensor.dtype == "int8" and name not in outputs:
                kind = onnx.TensorProto.UINT8 if tensor.unsigned else onnx.TensorProto.INT8
                model.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, None))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip((value.name for value in session.get_outputs()), session.run(None, x), strict=True))


def check(seed: int, config: str = "") -> None:
    """Compares the network of a seed with onnxruntime, as the golden model computes it, or a simulated device.

    Raises
    ------
    AssertionError
        If a tensor differs; the message says how to repeat it.
    """
    test = f"test_on_a_device[{config}]" if config else "test_golden_model[0]"
    again = f"repeat with WEFT_SEED={seed} python -m pytest 'tb/test_onnx_networks.py::{test}'"
    data, x = random_network(np.random.default_rng(seed))
    try:
        graph = frontend.load(data)
        expected = reference(data, x, graph)
        if config:
            _check_device(graph, x, expected, config, every=seed % 2 == 0)
        else:
            results = run(graph, {name: graph.tensors[name].from_own(value) for name, value in x.items()}, layers=True)
            _check_equal({name: graph.tensors[name].to_own(value) for name, value in results.items()}, expected)
    except Exception as error:
        raise AssertionError(f"network {seed} on {config or 'the golden model'}: {type(error).__name__}: {error}; {again}") from error


def _check_device(graph: Graph, x: dict[str, np.ndarray], expected: dict[str, np.ndarray], config: str, *, every: bool) -> None:
    with warnings.catch_warnings(), weft.open(f"sim:{config}") as device:
        # What a small device lacks is the host's.
        warnings.simplefilter("ignore", weft.WeftWarning)
        loaded = device.load(weft.compile(graph, device.config))
        y = loaded.run(x)
        _check_equal(y if isinstance(y, dict) else {graph.outputs[0]: y}, {name: expected[name] for name in graph.outputs})
        if every:
            _check_equal(loaded.run(x, layers=True)[1], expected)


def _check_equal(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    for name, wanted in expected.items():
        assert actual[name].shape == wanted.shape, f"{name} is {actual[name].shape}, not {wanted.shape}"
        count = int((actual[name] != wanted).sum())
        assert not count, f"{count} of {wanted.size} values of {name} differ from onnxruntime's"


@pytest.mark.parametrize("group", range(GROUPS))
def test_golden_model(group):
    for seed in [int(ONE)] if ONE else range(group * GROUP, (group + 1) * GROUP):
        check(seed)


@pytest.mark.parametrize("config", CONFIGS)
def test_on_a_device(config):
    first = 10_000 + EACH * CONFIGS.index(config)
    for seed in [int(ONE)] if ONE else range(first, first + EACH):
        check(seed, config)


def soak(seed: int) -> str:
    """Compares the network of a seed on a configuration that the seed draws; what it came to, in a word."""
    check(seed, CONFIGS[int(np.random.default_rng([seed, 1]).integers(len(CONFIGS)))])
    return "equal"
