"""Compiled models as C: constant arrays, and the steps of an inference that the driver takes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sateen.compiler import Model, Part, Segment, Step, runs
from sateen.embedded.constants import constants
from sateen.errors import CompileError
from sateen.graph import Reshape, Tensor
from sateen.hw.spec.wire import limit_code
from sateen.runtime import allowed_cycles

__all__ = ["export"]

FOLDER = Path(__file__).parent
DRIVER = ("sateen.h", "sateen.c")
KEYWORDS = """
    auto break case char const continue default do double else enum extern float for goto if inline int long register
    restrict return short signed sizeof static struct switch typedef union unsigned void volatile while
"""
"""Of C99."""
MOST_STEPS, MOST_BUFFERS = 65535, 255


@dataclass(frozen=True, kw_only=True)
class _Step:
    """A step of the driver, ``sateen_step`` in ``sateen.h``."""

    kind: str
    which: int
    count: int = 0
    offset: int = 0
    size: int = 0
    address: int = 0

    def __str__(self) -> str:
        fields = f"{self.count}, {self.which}, {self.offset}, {self.size}, {self.address}"
        return f"{{SATEEN_STEP_{self.kind}, {fields}}}"


def export(model: Model, name: str, *, device_part: bool = False) -> dict[str, str]:
    """A model and the driver as C files.

    Parameters
    ----------
    model
        What to export.
    name
        What the model's files and all names in them begin with.
    device_part
        Leave out what the host computes before the device's first layer and after its last: inputs and outputs are
        then the device's.

    Returns
    -------
    Texts by the names of their files: ``sateen.h``, ``sateen.c``, ``NAME.h`` and ``NAME.c``.

    Raises
    ------
    CompileError
        If the host computes an operator, other than those left out; or ``name`` is no name in C.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or name in KEYWORDS.split() or name == "sateen":
        raise CompileError(f"{name!r} names no model in C; use letters, digits and _, a letter first, no keyword")
    parts = _Parts(model, device_part=device_part)
    driver = {each: (FOLDER / each).read_text().replace("@CONSTANTS@", constants()) for each in DRIVER}
    return {**driver, f"{name}.h": _header(parts, name), f"{name}.c": _source(parts, name)}


class _Parts:
    """What the C of a model consists of: its tensors, and the steps of an inference with the buffers that they use."""

    def __init__(self, model: Model, *, device_part: bool):
        self.model = model
        graph = model.graph
        if graph.states:
            raise CompileError(f"the model keeps states ({', '.join(graph.states)}), and the driver in C keeps none")
        self.ops = {op.name: op for op in graph.ops}
        # A Reshape's tensors are the same bytes.
        self.roots: dict[str, str] = {}
        for op in graph.ops:
            if isinstance(op, Reshape):
                self.roots[op.output] = self.root(op.input)
        steps = self._device_steps(device_part)
        sent = [self.root(name) for step in steps for name in self.sent(step)]
        fetched = [self.root(name) for step in steps for name in self.fetched(step)]
        self.inputs, self.outputs = list(graph.inputs), list(graph.outputs)
        if device_part:
            wanted = {self.root(name) for step in model.steps if step.host for name in self.ops[step.host].inputs}
            wanted |= {self.root(name) for name in graph.outputs}
            self.inputs = [name for name in dict.fromkeys(sent) if name not in fetched]
            self.outputs = [name for name in dict.fromkeys(fetched) if name in wanted]
        self._check(fetched)
        given = {self.root(name) for name in (*self.inputs, *self.outputs)}
        self.work: dict[str, int] = {}
        self.work_bytes = 0
        for name in dict.fromkeys((*sent, *fetched)):
            if name not in given:
                self.work[name] = self.work_bytes
                self.work_bytes += model.size(name)
        self.steps = [each for step in steps for each in self._lowered(step)]
        if len(self.steps) > MOST_STEPS or len(self.inputs) + len(self.outputs) > MOST_BUFFERS:
            raise CompileError("the model has too many steps or tensors for the driver; compile it for a larger device")

    def root(self, name: str) -> str:
        """The tensor whose bytes a tensor has."""
        return self.roots.get(name, name)

    def sent(self, step: Step) -> Sequence[str]:
        """Tensors that go to the device before a step."""
        if step.tiles:
            return [name for name in self.ops[self.model.layers[step.first].name].inputs if name not in step.inside]
        return step.writes

    def fetched(self, step: Step) -> Sequence[str]:
        """Tensors that come from the device after a step."""
        if step.tiles:
            output = self.model.layers[step.first + step.count - 1].output
            return [] if output in step.inside else [output]
        return step.reads

    def _device_steps(self, device_part: bool) -> list[Step]:
        """The steps without the host's."""
        steps = list(self.model.steps)
        if device_part:
            while steps and steps[0].host:
                del steps[0]
            while steps and steps[-1].host:
                del steps[-1]
        host = [step for step in steps if step.host]
        if host:
            named = ", ".join(f"{type(self.ops[step.host]).__name__} {step.host!r}" for step in host[:3])
            more = " and more" if len(host) > 3 else ""
            ends = "" if device_part else "; --device-part leaves out those before the first and after the last layer"
            raise CompileError(
                f"an embedded host has no Python, which computes {named}{more}{ends}; sateen info lists such operators"
            )
        if not steps:
            raise CompileError("the device computes nothing of this model")
        return steps

    def _check(self, fetched: Iterable[str]) -> None:
        for name in (*self.inputs, *self.outputs):
            tensor = self.model.graph.tensors[name]
            if tensor.dtype != "int8" or tensor.channel_order is not None:
                raise CompileError(
                    f"{tensor} holds {tensor.dtype} or channels in another order, which C has no place for"
                )
        for name in self.outputs:
            if self.root(name) not in fetched:
                raise CompileError(f"the output {name!r} is not the device's; leave it out of the model")

    def _buffers(self, name: str) -> list[tuple[int, int]]:
        """Numbers and first bytes of the buffers that hold a tensor."""
        name = self.root(name)
        listed = [*self.inputs, *self.outputs]
        found = [(number, 0) for number, other in enumerate(listed) if self.root(other) == name]
        return found or [(len(listed), self.work[name])]

    def _lowered(self, step: Step) -> list[_Step]:
        if step.tiles:
            return [each for tile in step.tiles for each in self._tile(step, tile)]
        model = self.model
        before = [self._send(name, 0, model.size(name), model.addresses[name]) for name in step.writes]
        after = [
            _Step(kind="FETCH", which=which, offset=offset, size=model.size(name), address=model.addresses[name])
            for name in step.reads
            for which, offset in self._buffers(name)
            if which >= len(self.inputs)
        ]
        layers = model.layers[step.first : step.first + step.count]
        return _run([part for layer in layers for part in layer.parts], before, after)

    def _tile(self, step: Step, tile: Any) -> list[_Step]:
        (first, size), (start, count) = tile.source, tile.target
        address = tile.pieces[0].source_address
        before = [self._send(name, first, size, address + place * size) for place, name in enumerate(self.sent(step))]
        after = [
            _Step(kind="FETCH", which=which, offset=offset + start, size=count, address=tile.address)
            for name in self.fetched(step)
            for which, offset in self._buffers(name)
        ]
        return _run(tile.parts, before, after)

    def _send(self, name: str, first: int, size: int, address: int) -> _Step:
        which, offset = self._buffers(name)[0]
        return _Step(kind="SEND", which=which, offset=offset + first, size=size, address=address)


def _run(parts: Sequence[Part], before: list[_Step], after: list[_Step]) -> list[_Step]:
    """Steps that run parts, with others before the first and after the last."""
    steps: list[_Step] = []
    for number, part in enumerate(runs(parts)):
        steps.append(_Step(kind="LOAD", which=part.segment))
        steps += before if number == 0 else []
        steps.append(_Step(kind="RUN", which=part.first, count=part.count))
    return steps + after


def _header(parts: _Parts, name: str) -> str:
    model, upper = parts.model, name.upper()
    cycles = sum(layer.predicted.cycles for layer in model.layers)
    lines = [
        f"/* {_comment(model.graph.name)}: {model.macs:,} multiply-accumulates, about {cycles:,} cycles an inference.",
        " * Written by `sateen export-c`; see sateen.h. */",
        "", f"#ifndef {upper}_H", f"#define {upper}_H", "", '#include "sateen.h"', "",
        "#ifdef __cplusplus", 'extern "C" {', "#endif", "",
    ]  # fmt: skip
    for kind, names in (("INPUT", parts.inputs), ("OUTPUT", parts.outputs)):
        for number, each in enumerate(names):
            tensor = model.graph.tensors[each]
            scale, zero_point, _ = _quantization(tensor)
            macro = f"#define {upper}_{kind}{number}"
            lines += [
                f"/* {_comment(each)}: {_described(tensor)}. */",
                f"{macro}_BYTES {model.size(each)}u",
                f"{macro}_SCALE {scale}",
                f"{macro}_ZERO_POINT ({zero_point})",
                "",
            ]
    lines += [
        "/* Of the work area that sateen_run takes. */", f"#define {upper}_WORK_BYTES {parts.work_bytes}u", "",
        f"extern const sateen_model {name}_model;", "", "#ifdef __cplusplus", "}", "#endif", "", "#endif", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _described(tensor: Tensor) -> str:
    shape = " x ".join(map(str, tensor.shape[1:])) or "1"
    # Images are in this order in every model of the device.
    order = ", as rows, columns, channels, other than in the model's file" if tensor.file_layout is not None else ""
    return f"{'uint8_t' if tensor.unsigned else 'int8_t'}, {shape}{order}"


def _source(parts: _Parts, name: str) -> str:
    model = parts.model
    lines = [f"/* Written by `sateen export-c`; see {name}.h. */", "", f'#include "{name}.h"', ""]
    for number, segment in enumerate(model.segments):
        lines += _array(f"weights_{number}", _words(model, segment))
        lines += _array(f"program_{number}", segment.program.tobytes())
    lines += ["static const sateen_segment segments[] = {"]
    for number in range(len(model.segments)):
        sizes = f"sizeof weights_{number}, sizeof program_{number}"
        lines.append(f"    {{weights_{number}, program_{number}, {sizes}}},")
    lines += ["};", "", "/* Kind, count, which, offset, size, address. */", "static const sateen_step steps[] = {"]
    lines += [f"    {step}," for step in parts.steps]
    lines += ["};", ""]
    for kind, names in (("inputs", parts.inputs), ("outputs", parts.outputs)):
        lines.append(f"static const sateen_tensor {kind}[] = {{")
        for each in names:
            scale, zero_point, unsigned = _quantization(model.graph.tensors[each])
            lines.append(f"    {{{_literal(each)}, {model.size(each)}, {scale}, {zero_point}, {unsigned}}},")
        lines += ["};", ""]
    fields = {
        "name": _literal(model.graph.name),
        **{each: each for each in ("segments", "steps", "inputs", "outputs")},
        "layout": f"0x{model.config.layout_code:08X}u",
        "work_bytes": parts.work_bytes,
        "frame_bytes": model.config.frame_bytes,
        "segment_count": len(model.segments),
        "step_count": len(parts.steps),
        "input_count": len(parts.inputs),
        "output_count": len(parts.outputs),
        "limit": limit_code(allowed_cycles(model, model.config)),
    }
    lines += [
        f"const sateen_model {name}_model = {{",
        *(f"    .{key} = {value}," for key, value in fields.items()),
        "};",
    ]
    return "\n".join([*lines, ""])


def _words(model: Model, segment: Segment) -> bytes:
    """Weights as the device's memory has them."""
    words = np.zeros((len(segment.weights), model.config.weight_word_bytes), np.int8)
    words[:, : model.config.cols] = segment.weights
    return words.tobytes()


def _array(name: str, data: bytes) -> list[str]:
    rows = [data[start : start + 20] for start in range(0, len(data), 20)]
    # C has no empty arrays.
    body = [f"    {', '.join(f'0x{byte:02X}' for byte in row)}," for row in rows or [b"\0"]]
    return [f"static const uint8_t {name}[] = {{", *body, "};", ""]


def _quantization(tensor: Tensor) -> tuple[str, int, str]:
    """Scale, zero point and whether bytes are unsigned, of the model's file, in C."""
    scale = f"{tensor.scale:.9g}"
    scale += "" if set(scale) & set(".e") else ".0"
    return f"{scale}f", tensor.zero_point + tensor.base, "true" if tensor.unsigned else "false"


def _literal(text: str) -> str:
    """A string of C. What is not plain is written in octal."""
    plain = (
        chr(byte) if chr(byte).isalnum() and byte < 128 or byte in b" _-/:;.," else f"\\{byte:03o}"
        for byte in text.encode()
    )
    return f'"{"".join(plain)}"'


def _comment(text: str) -> str:
    """A text that ends no comment."""
    return re.sub(r"[^ -~]|\*|\\", "?", text)
