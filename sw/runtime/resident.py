"""Which model a device holds: told by its program and its first weights, as models that ran from here are known."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from platformdirs import user_cache_path

from sateen.compiler import Model
from sateen.errors import SateenError
from sateen.files import atomic_write, read_bytes
from sateen.hw.spec.descriptor import DESCRIPTOR_WORDS
from sateen.hw.spec.wire import Space
from sateen.runtime.device import Device
from sateen.runtime.link import read

__all__ = ["UNKNOWN", "remember", "resident"]

log = logging.getLogger(__name__)

KEPT = 100
"""Models that are remembered."""
WEIGHT_BYTES = 512
"""Bytes of weights that are compared, since models of one shape have one program."""
DESCRIPTOR_BYTES = 4 * DESCRIPTOR_WORDS
UNKNOWN = "a model that did not run from here"


def remember(model: Model) -> None:
    """Notes in the user's cache what a resident model looks like on a device."""
    if not model.resident or not model.segments:
        return
    segment, config = model.segments[0], model.config
    words = np.zeros((min(len(segment.weights), WEIGHT_BYTES), config.weight_word_bytes), np.int8)
    words[:, : config.cols] = segment.weights[: len(words)]
    program, weights = segment.program.tobytes(), words.tobytes()[:WEIGHT_BYTES]
    entry = {
        "name": model.graph.name,
        "program": len(program),
        "weights": len(weights),
        "sha256": _digest(program, weights),
    }
    entries = [entry, *(each for each in _known() if each["sha256"] != entry["sha256"])]
    try:
        _file().parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(_file()) as file:
            json.dump(entries[:KEPT], file)
    except (OSError, SateenError) as error:
        log.info("models are not remembered: %s", error)


def resident(device: Device) -> str | None:
    """The model that a device holds: its name, :data:`UNKNOWN`, or ``None`` if there is none."""
    config, known = device.config, _known()
    size = min(max((each["program"] for each in known), default=0), config.descriptors * DESCRIPTOR_BYTES)
    program = device.link.transaction([read(Space.PROGRAM, 0, max(size, DESCRIPTOR_BYTES))])
    if not any(program[:DESCRIPTOR_BYTES]):
        return None
    weights = device.link.transaction([read(Space.WEIGHTS, 0, min(WEIGHT_BYTES, config.weight_bytes))])
    for each in known:
        if _digest(program[: each["program"]], weights[: each["weights"]]) == each["sha256"]:
            return str(each["name"])
    return UNKNOWN


def _digest(program: bytes, weights: bytes) -> str:
    return hashlib.sha256(len(program).to_bytes(4, "little") + program + weights).hexdigest()


def _file() -> Path:
    return user_cache_path("sateen") / "models.json"


def _known() -> list[dict[str, Any]]:
    try:
        entries = json.loads(read_bytes(_file()))
        return [each for each in entries if {"name", "program", "weights", "sha256"} <= set(each)]
    except (OSError, ValueError, TypeError, RecursionError, SateenError):
        return []
