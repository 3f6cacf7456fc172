"""Layer normalization of rows, as onnxruntime rounds it."""

from __future__ import annotations

import random

import cocotb
import numpy as np
from amaranth.hdl import signed
from amaranth.lib import data
from cocotb.triggers import RisingEdge

from sateen.compiler.lowering import layer_norm as lowering
from sateen.graph import Graph, Tensor, run
from sateen.graph import LayerNorm as Operator
from sateen.hw.pipelined.layer_norm import LayerNorm
from sateen.hw.spec.config import Config
from sateen.hw.spec.layer_norm import record_words
from sateen.testing.bench import Bench
from sateen.testing.dut import parameters, reset
from sateen.testing.streams import receive, send


def layer_norm(*, cols=8, beat_bytes=8, longest=32):
    return LayerNorm(cols=cols, beat_bytes=beat_bytes, longest=longest)


def layers(rng):
    """Rows of one value of each sum and of several; with the mean subtracted and without; codes that are equal, zero,
    and all there are."""
    for length, rows, centred in ((8, 3, True), (16, 2, False), (32, 3, True)):
        names = {"x": (float(rng.uniform(0.01, 0.1)), int(rng.integers(-128, 128))), "y": (0.03, -7)}
        tensors = {
            name: Tensor(name=name, shape=(1, rows, length), scale=scale, zero_point=point)
            for name, (scale, point) in names.items()
        }
        scale, bias = rng.normal(size=(2, length)).astype(np.float32)
        op = Operator(name="op", input="x", output="y", scale=scale, bias=bias, epsilon=1e-5, centred=centred)
        codes = rng.integers(-128, 128, (1, rows, length)).astype(np.int8)
        codes[0, 0] = names["x"][1] if centred else 127
        yield Graph(name="g", tensors=tensors, ops=[op], inputs=["x"], outputs=["y"]), codes


@cocotb.test()
@cocotb.parametrize(("give", [0.0, 0.4]), ("take", [0.0, 0.4]))
async def normalizes_rows(dut, give, take):
    """Several layers; between them, words and lines that pass unchanged."""
    p, rng = parameters(), np.random.default_rng(cocotb.RANDOM_SEED)
    cols, beat_bytes = p["cols"], p["beat_bytes"]
    word, line = data.ArrayLayout(signed(8), cols), data.ArrayLayout(signed(8), beat_bytes)
    config = Config(cols=cols, rows=beat_bytes, lanes=1, layer_norm=p["longest"], positions=256)
    dut.on.value = dut.go.value = 0
    await reset(dut)
    for graph, codes in layers(rng):
        dut.on.value = dut.go.value = 0
        for stream, out, layout in (("words", "passed", word), ("i", "o", line)):
            given = rng.integers(-128, 128, (5, layout.length))
            cocotb.start_soon(send(dut, stream, given.tolist(), layout=layout, pause=give))
            assert (np.array(await receive(dut, out, len(given), layout=layout, pause=take)) == given).all()

        (op,), length = graph.ops, codes.shape[-1]
        made = lowering.layer_norm(op, graph.tensors["x"], graph.tensors["y"], config)
        dut.on.value = 1
        words = made.words(config)
        tables = words[record_words(cols, length) :]
        cocotb.start_soon(send(dut, "words", words.tolist(), layout=word, pause=give))
        assert (np.array(await receive(dut, "passed", len(tables), layout=word, pause=take)) == tables).all()

        width = lowering.line_width(length, config)
        lines = np.pad(codes.reshape(-1, width), ((0, 0), (0, beat_bytes - width))).repeat(2, axis=0)
        cocotb.start_soon(send(dut, "i", lines.tolist(), layout=line, pause=give))
        for _ in range(random.randrange(20)):
            await RisingEdge(dut.clk)
            assert not dut.i__ready.value and not dut.o__valid.value
        dut.go.value = 1
        got = np.array(await receive(dut, "o", len(lines), layout=line, pause=take))[:, :width]
        wanted = run(graph, codes)["y"].reshape(-1, width).repeat(2, axis=0)
        np.testing.assert_array_equal(got, wanted)


BENCHES = [
    Bench(name="layer-norm", title="layer normalization of rows as onnxruntime rounds it", create=layer_norm),
]
