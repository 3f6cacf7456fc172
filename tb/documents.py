"""Damaged files of Sateen with valid checksums: models, graphs, networks, arrays and records whose content somebody
changed, and the identities of devices.

:func:`check` serves the tests and the long searches. A failure is one line, which repeats its file.
"""

from __future__ import annotations

import copy
import io
import json
import math
import random
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

import sateen
from sateen import archive
from sateen.archive import ArchiveError
from sateen.arrays import read_array, read_arrays
from sateen.cli.bitstream import _recorded
from sateen.digits import load_network
from sateen.errors import SateenError
from sateen.fpga.build import Recipe
from sateen.frontends import tflite
from sateen.graph import Graph, GraphError, MatrixProduct, Network, Op, Softmax, Tensor
from sateen.graph.network import NetworkError
from sateen.hw.spec.config import parse_config
from sateen.hw.spec.identity import Identity
from sateen.reference.inputs import image
from sateen.report.limits import limit
from sateen.report.page import page
from sateen.runtime import Device, Profile, RunRecord
from sateen.runtime.device import LayerProfile
from sateen.runtime.link import Link
from sateen.runtime.transport import SimulationTransport
from sateen.sim.golden import quantize_multiplier
from sateen.testing.checks import check_tensors, golden
from sateen.testing.graphs import Builder
from small_models import sources

__all__ = ["KINDS", "check"]

CONFIG = "tiny"
NUMBERS = [-1, 0, 1, 2, 3, 7, 127, 255, 256, 65535, 65536, 2**31 - 1, -(2**31), 2**32, 2**63, 10**30]
ODD = [None, True, "", "x", "[/x]", 0.5, math.inf, math.nan, [], {}, [1], {"$array": "array0"}, {"$array": "none"}]


@cache
def _graph() -> Graph:
    rng = np.random.default_rng(11)
    builder = Builder((5, 5, 3), rng).conv2d(4, (3, 3)).max_pool2d((2, 2), stride=(1, 1))
    return builder.depthwise_conv2d((2, 2)).flatten().fully_connected(5).graph()


@cache
def _device(config: str = CONFIG) -> Device:
    return Device(Link(SimulationTransport(parse_config(config))))


@cache
def _model(case: str = "layers") -> sateen.Model:
    graph, config = _made(case)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sateen.compile(graph, config)


def _layer() -> Graph:
    return Builder((6,), np.random.default_rng(12)).fully_connected(4).graph()


def _sparse() -> Graph:
    """Weights that are mostly zeros, which are packed."""
    builder = Builder((4, 4, 9), np.random.default_rng(13), density=0.2)
    return builder.conv2d(12, (2, 2)).flatten().fully_connected(6).graph()


def _striped() -> Graph:
    """Tensors that no small scratchpad holds, and weights of several segments."""
    builder = Builder((10, 10, 6), np.random.default_rng(14)).conv2d(12, (3, 3)).conv2d(20, (3, 3))
    return builder.conv2d(20, (1, 1)).max_pool2d((3, 3), stride=(3, 3)).flatten().fully_connected(10).graph()


def _attention() -> Graph:
    """Products of two tensors and a softmax."""
    shapes = {"q": (3, 8), "k": (4, 8), "v": (4, 8), "scores": (3, 4), "shares": (3, 4), "y": (3, 8)}
    tensors = {name: Tensor(name=name, shape=(1, *shape), scale=0.05) for name, shape in shapes.items()}
    tensors["shares"] = Tensor(name="shares", shape=(1, 3, 4), scale=1 / 256, zero_point=-128)
    multiplier, shift = quantize_multiplier(1 / 256)
    product = partial(MatrixProduct, bias=np.zeros(1, np.int32), multiplier=multiplier, shift=shift)
    ops: list[Op] = [
        product(name="scores", a="q", b="k", output="scores", transpose_b=True),
        Softmax(name="shares", input="scores", output="shares"),
        product(name="mixed", a="shares", b="v", output="y"),
    ]
    return Graph(name="attention", tensors=tensors, ops=ops, inputs=["q", "k", "v"], outputs=["y"])


CASES: dict[str, tuple[Callable[[], Graph], str]] = {
    "layers": (_graph, CONFIG),
    "layer": (_layer, "micro"),
    "sparse": (_sparse, "tiny,combine=4"),
    "striped": (_striped, "tiny,sdram=as4c32m16sb,scratchpad_bytes=1024,weight_bytes=4096"),
    "attention": (_attention, "tiny,products=1,softmax=1,squares=1,positions=256,descriptors=12"),
}
"""Graphs and configurations: all that a model may consist of."""


def _case(rng: random.Random) -> str:
    """What is damaged: one of :data:`CASES`, or the file of an operator."""
    return rng.choice([*CASES]) if rng.random() < 0.6 else f"file {rng.randrange(len(sources('tflite')))}"


def _made(case: str) -> tuple[Graph, str]:
    """The graph and the configuration of a case."""
    if case in CASES:
        graph, config = CASES[case]
        return graph(), config
    return tflite.load(sources("tflite")[int(case.removeprefix("file "))], name="file"), CONFIG


@cache
def _source(kind: str, case: str) -> tuple[dict[str, Any], str]:
    """A sound document of a kind, and its format."""
    source: Any = _model(case) if kind == "model" else _made(case)[0] if kind == "graph" else load_network()
    with tempfile.TemporaryDirectory() as folder:
        source.save(path := Path(folder) / "sound")
        document = archive.restore(read_arrays(path.read_bytes()))
    return document, document.pop("format")


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container of a document, and a key in it."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in entries:
        yield value, key
        yield from _places(item)


def _damaged(document: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """A copy with a few values changed, left out, or taken from elsewhere."""
    result = copy.deepcopy(document)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        if not (places := list(_places(result))):
            break
        container, key = rng.choice(places)
        old, what = container[key], rng.random()
        if what < 0.1:
            del container[key]
        elif what < 0.3:
            other, place = rng.choice(places)
            container[key] = copy.deepcopy(other[place])
        elif what < 0.4:
            container[key] = copy.deepcopy(rng.choice(ODD))
        elif isinstance(old, np.ndarray):
            container[key] = _damaged_array(old, rng)
        elif isinstance(old, bool) or not isinstance(old, int | float):
            container[key] = copy.deepcopy(rng.choice([*NUMBERS, *ODD]))
        else:
            container[key] = rng.choice([old + 1, old - 1, 2 * old, *NUMBERS])
    return result


def _damaged_array(old: np.ndarray, rng: random.Random) -> np.ndarray:
    what, array = rng.randrange(6), old.copy()
    if what == 0:
        return array.astype(rng.choice(["<i1", "<u1", "<i4", "<f4", "<f8", "<U3"]))
    if what == 1:
        return array.reshape(-1)[: rng.randrange(array.size + 1)]
    if what == 2:
        return array[..., None]
    if array.size and array.dtype.kind in "iu":
        raw = bytearray(array.tobytes())
        for _ in range(rng.choice([1, 1, 4, 64])):
            place = rng.randrange(len(raw))
            raw[place] = rng.choice([0, 1, 255, rng.randrange(256)])
        return np.frombuffer(bytes(raw), array.dtype).reshape(array.shape)
    if what == 3 or array.dtype.kind == "U":
        return np.zeros_like(array)
    return array * 0 + rng.choice([math.nan, math.inf, 1e38, -1.0])


def _check_document(kind: str, rng: random.Random, folder: Path) -> str:
    case = kind if kind == "network" else _case(rng)
    document, format = _source(kind, case)
    path = folder / f"damaged.{kind}"
    archive.save(path, _damaged(document, rng), format=format)
    if kind == "network":
        Network.load(path)
        sateen.compile(path, CONFIG, calibration=load_calibration())
        return "run"
    config = CASES[case][1] if case in CASES else CONFIG
    model = sateen.Model.load(path) if kind == "model" else sateen.compile(path, config)
    graph, given = model.graph, _inputs(model.graph)
    result = _device(config).load(model).run(given)
    results, expected = result if isinstance(result, dict) else {graph.outputs[0]: result}, golden(graph, given)
    check_tensors(graph, results, {name: expected[name] for name in results})
    return "run"


def _inputs(graph: Graph) -> dict[str, np.ndarray]:
    """Random values for each input."""
    rng, given = np.random.default_rng(1), {}
    for name in graph.inputs:
        tensor = graph.tensors[name]
        given[name] = rng.integers(0, 100, tensor.file_shape).astype("u1" if tensor.unsigned else tensor.dtype)
    return given


@cache
def load_calibration() -> np.ndarray:
    """Inputs of the network."""
    return np.random.default_rng(2).random((2, *load_network().input_shape)).astype(np.float32)


def _check_arrays(rng: random.Random, folder: Path) -> str:
    """Bytes of ``.npy`` and ``.npz`` changed; sizes in headers, too."""
    del folder
    if rng.random() < 0.2:
        read_array(_odd_header(rng))
        return "run"
    buffer = io.BytesIO()
    if rng.random() < 0.5:
        np.save(buffer, np.arange(24, dtype=rng.choice(["<i1", "<f4", "<i8"])).reshape(2, 3, 4))
        reader: Any = read_array
    else:
        with zipfile.ZipFile(buffer, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as file:
            for name in ("a", "b"):
                content = io.BytesIO()
                np.save(content, np.arange(24).reshape(2, 3, 4))
                file.writestr(f"{name}.npy", content.getvalue())
        reader = read_arrays
    reader(_changed(buffer.getvalue(), rng))
    return "run"


def _odd_header(rng: random.Random) -> bytes:
    """An ``.npy`` whose header nobody would write."""
    sizes = ["0", "1", "True", "-1", "2.0", "None", "10**9", "4294967296", "9" * 30, "(1,)"]
    shape = "".join(f"{rng.choice(sizes)}," for _ in range(rng.choice([0, 1, 1, 2, 70])))
    kind = rng.choice(["<i1", "<U0", "|S0", "<f4", "O", "<m8[ns]", "|V0", "<i1,<i1", "[('a','<i1')]"])
    header = f"{{'descr':'{kind}','fortran_order':{rng.choice(['False', 'True', '7'])},'shape':({shape})}}".encode()
    deep = rng.choice([b"", b"", b"", b"(" * 3000, b"[" * 20000, b"-" * 9000])
    size = len(deep + header).to_bytes(2, "little")
    return b"\x93NUMPY\1\0" + size + deep + header + rng.randbytes(rng.choice([0, 1, 4]))


def _check_image(rng: random.Random, folder: Path) -> str:
    """Bytes of pictures changed, or their size."""
    from PIL import Image

    path, buffer = folder / "damaged.png", io.BytesIO()
    format = rng.choice(["PNG", "BMP", "GIF", "PPM", "JPEG", "WEBP"])
    picture = Image.frombytes("RGB", (7, 5), rng.randbytes(7 * 5 * 3))
    picture.save(buffer, format)
    path.write_bytes(_bomb(rng) if rng.random() < 0.1 else _changed(buffer.getvalue(), rng))
    image(path, _graph())
    return "run"


def _bomb(rng: random.Random) -> bytes:
    """A small file with a large picture, or a large text."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    if rng.random() < 0.5:
        return f"P6 {rng.choice([9999, 10_001, 65_535, 10**9])} {rng.choice([1, 9999, 99_999])} 255\n".encode()
    buffer, text = io.BytesIO(), PngInfo()
    text.add_text("a", "x" * (1 << rng.choice([10, 21, 24])), zip=True)
    Image.new("RGB", (3, 3)).save(buffer, "PNG", pnginfo=text)
    return buffer.getvalue()


@cache
def _run_record() -> dict[str, Any]:
    """The record of a run of the model, with the figures of the cycle model."""
    model: Any = _model()
    layers = tuple(LayerProfile(layer=layer, counters=layer.predicted, pes=16) for layer in model.layers)
    device: Any = SimpleNamespace(config=model.config, identity=SimpleNamespace(build="x"))
    profile = Profile(layers=layers, inferences=1, link_bytes=1)
    record = RunRecord.of(model, device, f"sim:{CONFIG}", profile, equal=True)
    document: dict[str, Any] = json.loads(json.dumps(record.document()))
    return document


def _check_record(rng: random.Random, folder: Path) -> str:
    """Fields of the records of runs and builds changed, or of what a device says of itself."""
    what = rng.randrange(3)
    if what == 0:
        (folder / "record.json").write_text(_text(_run_record(), rng))
        record = RunRecord.load(folder / "record.json")
        config = parse_config(CONFIG)
        causes = [limit(layer, config) for layer in record.layers]
        # Pages take long.
        return "run" if len(causes) and rng.random() < 0.9 else f"page of {len(page(record)) >> 20} MiB"
    config = parse_config("micro")
    if what == 1:
        recipe = Recipe(board="icebreaker", config=config, gateware="x", tools={"yosys": "1"}).document()
        (folder / "build.json").write_text(_text({"recipe": recipe}, rng))
        _recorded(folder / "build.json")
        return "run"
    identity = json.loads(Identity(config, "board/build").encode())
    Identity.decode(_text(identity, rng).encode()).board.encode()
    return "run"


def _text(document: dict[str, Any], rng: random.Random) -> str:
    """A damaged document as JSON."""
    if rng.random() < 0.05:
        return rng.choice(["", "null", "[]", "[" * 100_000, '{"format": "sateen.run/2"}', "1" * 5000, '"\\ud800"'])
    return json.dumps(_damaged(document, rng), default=repr)


def _changed(content: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, left out or added, or the end left out."""
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 4])):
        place = rng.randrange(len(data))
        if rng.random() < 0.2:
            data[:] = data[:place] if rng.random() < 0.5 else data[:place] + rng.randbytes(4) + data[place:]
        else:
            data[place : place + 1] = rng.choice([b"\xff", b"9", b"0", b"(", rng.randbytes(1)])
        if not data:
            break
    return bytes(data)


KINDS = ("model", "graph", "network", "arrays", "image", "record")


def check(kind: str, seed: int, folder: Path) -> str:
    """Reads a damaged file, and uses what it holds.

    Raises
    ------
    AssertionError
        If it is neither refused in one line nor used without an error.
    """
    rng = random.Random(seed)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if kind in ("image", "record"):
                return (_check_image if kind == "image" else _check_record)(rng, folder)
            return _check_arrays(rng, folder) if kind == "arrays" else _check_document(kind, rng, folder)
    except (SateenError, GraphError, NetworkError, ArchiveError) as error:
        text = str(error)
        outcome = "ended by the device" if isinstance(error, sateen.OvertimeError) else "refused"
    except ValueError as error:
        expected = kind in ("arrays", "record") or str(error).startswith("calibration leads to values")
        assert expected, f"documents.check({kind!r}, {seed}): {error!r}"
        text, outcome = str(error), "refused"
    except Exception as error:
        raise AssertionError(f"documents.check({kind!r}, {seed}): {error!r}") from error
    assert "\n" not in text and "internal" not in text, f"documents.check({kind!r}, {seed}): {text!r}"
    return outcome
