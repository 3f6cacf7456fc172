"""Exported programs of PyTorch from files (``.pt2``)."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import re
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sateen.errors import CompileError
from sateen.extras import install_hint
from sateen.files import read_bytes
from sateen.frontends.onnx import guarded
from sateen.frontends.torch.archive import checked, only_weights
from sateen.frontends.torch.load import graph, program, translate
from sateen.graph import Graph, GraphError

if TYPE_CHECKING:
    import torch

__all__ = ["SUFFIX", "load_file", "open_program", "recognizes"]

SUFFIX = ".pt2"
PICKLED = (".pt", ".pth")
"""Suffixes of modules and weights as Python objects, which are none of a program."""
REGISTRY = "torch.ao.quantization.fx._decomposed"
"""Its import makes the operators of PT2E known, without which PyTorch does not read programs that have them."""
EXPORT = "export the module: torch.export.save(torch.export.export(module, (x,)), 'model.pt2')"


def recognizes(head: bytes, suffix: str) -> bool:
    """Whether a file with this suffix is one of PyTorch, or claims to be."""
    return suffix == SUFFIX or suffix in PICKLED


def open_program(path: str | os.PathLike[str]) -> torch.export.ExportedProgram:
    """The program in a file that ``torch.export.save`` wrote.

    Raises
    ------
    OSError
        If the file cannot be read.
    CompileError
        If the ``torch`` package is missing.
    GraphError
        If the file is damaged, or no exported program.
    """
    if os.fspath(path).endswith(PICKLED):
        raise GraphError(f"file: it holds Python objects, which may do anything when they are read; {EXPORT}")
    data = read_bytes(path)
    try:
        import torch
    except ImportError as error:
        raise CompileError(
            f"reading PyTorch programs needs the torch package ({error}); {install_hint('torch')}"
        ) from error
    with contextlib.suppress(ImportError), warnings.catch_warnings(action="ignore"):
        importlib.import_module(REGISTRY)
    with guarded("file", "it is no exported program, or damaged", EXPORT), _causes(), only_weights():
        return torch.export.load(checked(data))


def load_file(path: str | os.PathLike[str]) -> Graph:
    """The graph of a quantized program in a file; :class:`CompileError` for a float one."""
    read = program(open_program(path))
    if not read.quantized:
        raise CompileError(f"{path}: a float PyTorch program is quantized first; give calibration data")
    return graph(translate(read, os.path.splitext(os.path.basename(path))[0]).model)


class _Heard(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text += self.format(record)


@contextlib.contextmanager
def _causes() -> Iterator[None]:
    """Errors of ``torch.export.load`` name their cause, which PyTorch only logs; its logs are not shown."""
    logger, heard = logging.getLogger("torch.export"), _Heard()
    propagate, logger.propagate = logger.propagate, False
    handlers, logger.handlers = logger.handlers, [heard]
    try:
        yield
    except RuntimeError as error:
        unknown = re.search(r"failed to resolve (?:torch\.ops\.)?([\w.]+)", heard.text)
        if unknown is None:
            raise
        raise GraphError(
            f"file: PyTorch does not know its operator {unknown[1]}; import what defines it, and give the program to "
            "sateen.compile in Python, or export without it"
        ) from error
    finally:
        logger.propagate, logger.handlers = propagate, handlers
