"""``sateen play``."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from numpy.typing import NDArray

from sateen.cli.classes import load_labels
from sateen.cli.inputs import MeanOption, Preprocessing, ScaleOption, load_inputs
from sateen.cli.output import opened, status
from sateen.cli.printing import console
from sateen.cli.run import DEVICE
from sateen.cli.sources import MODEL, Source, load_source
from sateen.errors import InputError, SateenError
from sateen.extras import install_hint
from sateen.graph import Graph
from sateen.runtime import Device

if TYPE_CHECKING:
    from sateen.language import Quantized, Tokenizer
    from sateen.play import Playable

__all__ = ["play"]

SIMULATION = "sim:"


def play(
    model: Annotated[
        Path | None, typer.Argument(metavar="[MODEL]", help=f"A model of pictures, besides digits. {MODEL}")
    ] = None,
    device: Annotated[str, typer.Option("--device", "-d", help=DEVICE)] = "sim:small",
    labels: Annotated[
        Path | None, typer.Option("--labels", "-l", help="Names of the model's classes, one a line.")
    ] = None,
    mean: MeanOption = None,
    scale: ScaleOption = None,
    story: Annotated[
        Path | None, typer.Option(help="A language model that writes on the page, as sateen tell takes it.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; with another than 127.0.0.1, others may use the page.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = 7380,
) -> None:
    """Serves a page on which you draw digits, and see the device's answer and its array at work."""
    try:
        import uvicorn

        from sateen.play import MOST_BYTES, Player, Story, application
    except ImportError as error:
        raise SateenError(f"the page needs Starlette and Uvicorn ({error}); {install_hint('play')}") from error
    if labels is not None and model is None:
        raise InputError("--labels are those of a model; name one")
    if (mean is not None or scale is not None) and model is None:
        raise InputError("--mean and --scale are those of a model; name one")
    source = load_source(model) if model is not None else None
    how = Preprocessing(mean=mean, scale=scale, resize=True)
    classes = _classes(source, labels, how) if source is not None else []
    language = _language(story) if story is not None else None
    listening = _listen(host, port)
    with listening, _opened(device) as device_opened:
        offered = [_digits(device_opened)]
        if source is not None:
            offered.append(_pictures(source, device_opened, classes, how))
        player = Player(device_opened, device, offered)
        teller = Story(*language, device_opened, device) if language is not None else None
        if teller is not None:
            console.print(f"{teller.model.name}: {teller.where}")
        shown = f"http://{host if host != '0.0.0.0' else socket.gethostname()}:{listening.getsockname()[1]}/"
        console.print(f"open {shown}; Ctrl-C ends it")
        names = ["127.0.0.1", "localhost", host] if host != "0.0.0.0" else ["*"]
        served = application(player, hosts=names, story=teller)
        server = uvicorn.Server(uvicorn.Config(served, log_level="warning", ws_max_size=MOST_BYTES))
        server.run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise InputError(f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --port") from error


@contextmanager
def _opened(name: str) -> Iterator[Device]:
    """The device; of a simulation, one that records its array."""
    if not name.startswith(SIMULATION):
        with opened(name) as device:
            yield device
        return
    from sateen.hw.spec.config import parse_config
    from sateen.runtime.link import Link
    from sateen.runtime.transport import ProbedTransport

    with status(f"opening {name}"):
        device = Device(Link(ProbedTransport(parse_config(name.removeprefix(SIMULATION)))))
    with device:
        yield device


def _digits(device: Device) -> Playable:
    """The demonstration's network, of drawings."""
    from sateen.compiler import compile
    from sateen.play import Playable, pixels

    try:
        from sateen.digits import load_data, load_network

        calibration = load_data()[0]
    except ImportError as error:
        raise SateenError(f"digits need scikit-learn's data ({error}); {install_hint('play')}") from error
    model = compile(load_network(), device.config, calibration=calibration)
    tensor = model.graph.tensors[model.graph.inputs[0]]
    return Playable(
        name="digits", kind="digit", model=model, classes=[str(digit) for digit in range(10)],
        prepare=lambda strokes: tensor.quantize(pixels(strokes)[None]),
    )  # fmt: skip


def _language(path: Path) -> tuple[Quantized, Tokenizer]:
    """A language model, as integers."""
    from sateen.language import load, quantize

    with status(f"quantizing {path}"):
        model, words = load(path)
        return quantize(model), words


def _classes(source: Source, labels: Path | None, how: Preprocessing) -> list[str]:
    """Names of a model's classes; an :class:`InputError` if it is none of pictures, before a device is opened."""
    path, graph = source.path, source.graph
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise InputError(f"{path} has several inputs or outputs; a page of pictures needs one of each")
    shape = graph.tensors[graph.inputs[0]].shape
    if len(shape) != 4 or shape[3] not in (1, 3):
        raise InputError(f"{path} takes {'×'.join(map(str, shape[1:]))} values, not a picture of 1 or 3 colours")
    # Whether the options tell how a picture becomes an input, before anybody chooses one.
    how.numbers("picture", graph, graph.tensors[graph.inputs[0]], path)
    count = 1
    for size in graph.tensors[graph.outputs[0]].shape[1:]:
        count *= size
    names = load_labels(labels) if labels is not None else [str(place) for place in range(count)]
    if len(names) != count:
        raise InputError(f"the model has {count:,} classes, and there are {len(names):,} labels")
    return names


def _pictures(source: Source, device: Device, classes: list[str], how: Preprocessing) -> Playable:
    """A model of pictures, from a file."""
    from sateen.play import Playable

    model, name = source.compiled(device.config), source.path.stem
    return Playable(name=name, kind="picture", model=model, classes=classes, prepare=_reader(model.graph, how))


def _reader(graph: Graph, how: Preprocessing) -> Callable[[bytes], NDArray[Any]]:
    """What makes an input of a picture's bytes."""

    def read(data: bytes) -> NDArray[Any]:
        with tempfile.TemporaryDirectory(prefix="sateen-") as folder:
            # The name says that it is a picture; its content, of what kind.
            file = Path(folder) / "the picture.png"
            file.write_bytes(data)
            quiet, console.quiet = console.quiet, True
            try:
                return load_inputs([file], graph, how).values[graph.inputs[0]]
            except InputError as error:
                raise InputError(f"{str(error).replace(str(file), 'the picture')}") from error
            finally:
                console.quiet = quiet

    return read
