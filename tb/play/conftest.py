"""A player, and a client of its page."""

import numpy as np
import pytest
from starlette.testclient import TestClient

from sateen.cli.inputs import Preprocessing
from sateen.cli.play import _digits, _pictures
from sateen.cli.sources import load_source
from sateen.hw.spec.config import parse_config
from sateen.play import Player, application
from sateen.reference.inputs import real_range
from sateen.runtime import Device
from sateen.runtime.link import Link
from sateen.runtime.transport import ProbedTransport
from sateen.testing.graphs import Builder

CONFIG = "tiny"


@pytest.fixture(scope="module")
def player(tmp_path_factory):
    builder = Builder((6, 6, 3), np.random.default_rng(1), name="rgb").conv2d(4, (3, 3)).flatten().fully_connected(3)
    graph, file = builder.graph(), tmp_path_factory.mktemp("play") / "rgb.graph"
    graph.save(file)
    low, high = real_range(graph, graph.tensors[graph.inputs[0]])
    with Device(Link(ProbedTransport(parse_config(CONFIG)))) as device:
        how = Preprocessing(mean=str(-255 * low / (high - low)), scale=str(255 / (high - low)), resize=True)
        yield Player(device, f"sim:{CONFIG}", [_digits(device), _pictures(load_source(file), device, list("012"), how)])


@pytest.fixture
def client(player):
    return TestClient(application(player, hosts=["testserver"]))
