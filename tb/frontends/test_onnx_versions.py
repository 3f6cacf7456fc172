"""Every version of every ONNX operator, each attribute and optional input at its default and at other values: equal to
onnxruntime, or refused by name."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest

import needs
from onnx_models import MICROSOFT
from sateen.errors import SateenWarning
from sateen.frontends import onnx as frontend
from sateen.frontends.onnx.moves import REAL_MOVES
from sateen.frontends.onnx.operators import HANDLERS
from sateen.frontends.onnx.reals import REALS
from sateen.frontends.onnx.schemas import ADDED, CONTRIBUTED
from sateen.graph import GraphError, run

onnx = needs.package("onnx", extra="onnx")
onnxruntime = needs.package("onnxruntime", extra="reference")

from onnx_versions import STEP, Trial, file, newest, schemas, trials  # noqa: E402

SCHEMAS = schemas()
OPERATORS = {kind: found for kind, found in {**REAL_MOVES, **REALS, **HANDLERS}.items() if kind in SCHEMAS}
"""Those of ONNX and onnxruntime."""
MOST = 0.02
"""Part of the values that may differ, by one: next to ties of rounding."""


def reference(data: bytes, x: np.ndarray) -> list[np.ndarray] | None:
    """onnxruntime's results; ``None`` if it refuses a file. Some it takes only as they are."""
    levels = onnxruntime.GraphOptimizationLevel
    for level in (levels.ORT_ENABLE_ALL, levels.ORT_DISABLE_ALL):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level, options.graph_optimization_level = 1, 4, level
        try:
            session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
            return session.run(None, {"x": x})
        except Exception:
            continue
    return None


def check(trial: Trial) -> str:
    """What a trial came to: ``refused``, ``equal``, or ``unknown`` if onnxruntime refuses it."""
    data, x = file(trial), np.random.default_rng(1).normal(size=trial.shape, scale=1.3).astype(np.float32)
    if trial.kind in ("Div", "Log", "Sqrt"):
        x = np.abs(x) + np.float32(0.1)
    expected = reference(data, x)
    try:
        with warnings.catch_warnings():
            # A bias that is rounded.
            warnings.simplefilter("ignore", SateenWarning)
            graph = frontend.load(data)
    except GraphError as error:
        assert expected is None or trial.about, f"{trial}: {error}"
        said = re.sub(r"operator '\w+' \(\S+\): ", "", str(error))
        assert expected is None or _names(trial, said), f"{trial}: {error}"
        return "refused"
    if expected is None:
        return "unknown"
    actual = run(graph, {"x": graph.tensors["x"].from_file(x)})
    for name, wanted in zip(graph.outputs, expected, strict=True):
        codes = graph.tensors[name].to_file(actual[name])
        # Where the file's first axis is no batch, there is one in front.
        codes = codes[0] if codes.shape == (1, *wanted.shape) else codes
        assert codes.shape == wanted.shape and (wanted.dtype == np.int64 or codes.dtype == wanted.dtype), str(trial)
        step = STEP if wanted.dtype == np.float32 else 1
        difference = np.rint(np.abs(codes.astype(np.float64) - wanted.astype(np.float64)) / step)
        count, most = int((difference > 0).sum()), max(1, MOST * difference.size)
        assert difference.max() <= 1 and count <= most, f"{trial}: {count} differ, by up to {difference.max()}"
    return "equal"


def _names(trial: Trial, said: str) -> bool:
    """Whether a refusal names what is tried, or its value; or that it would change the batch, as no operator may."""
    value = trial.attributes.get(trial.about, trial.about)
    value = tuple(value) if isinstance(value, list) else value
    words = [trial.about, trial.about.rstrip("s"), *trial.about.split("_"), str(value), "the batch"]
    return any(word in said for word in words)


@pytest.mark.parametrize("kind", sorted(OPERATORS))
def test_every_version(kind):
    group, counts, seen = SCHEMAS[kind], {"equal": 0, "refused": 0, "unknown": 0}, []
    for schema in group:
        if newest(group, schema.since_version) < 7 or schema.deprecated:
            continue
        implemented = schema.since_version in OPERATORS[kind].versions
        told = (sorted(schema.attributes), [parameter.name for parameter in schema.inputs])
        for trial in trials(kind, schema, group, attributes=implemented and told not in seen):
            if implemented:
                counts[check(trial)] += 1
                continue
            with pytest.raises(GraphError, match=f"of version {schema.since_version} is not supported; export"):
                frontend.load(file(trial))
        seen += [told] * implemented
    assert counts["equal"] or not sum(counts.values()), counts


def test_versions_are_those_of_onnx():
    """No version is claimed that ONNX does not have."""
    for kind, operator in OPERATORS.items():
        known = {schema.since_version for schema in SCHEMAS[kind]}
        assert set(operator.versions) <= known, kind


@pytest.mark.parametrize("kind", sorted((*CONTRIBUTED, *ADDED)))
def test_onnxruntimes_own_operators(kind):
    """The table of their attributes is onnxruntime's."""
    (schema,) = SCHEMAS[kind if kind in ADDED else f"{MICROSOFT}.{kind}"]
    known = {**CONTRIBUTED, **ADDED}[kind]
    assert set(schema.attributes) == set(known)
    for name, attribute in schema.attributes.items():
        held, given = known[name], onnx.AttributeProto.FromString(attribute._default_value)
        assert str(attribute.type).rsplit(".", 1)[-1] == held.kind
        value = onnx.helper.get_attribute_value(given) if given.type else None
        assert (value.decode() if isinstance(value, bytes) else value) == held.default, name
