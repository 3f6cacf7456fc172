"""Makes operators of ONNX that no file has."""

from __future__ import annotations

from typing import Any

from sateen.errors import CompileError
from sateen.extras import install_hint
from sateen.frontends.onnx.file import Node
from sateen.frontends.onnx.schemas import Schema, find

__all__ = ["Maker"]

OPSET = 18
"""The version of ONNX whose operators are made."""


class Maker:
    """Makes operators by their definitions in one version of ONNX.

    Parameters
    ----------
    extra
        The extra whose installation a :class:`~sateen.errors.CompileError` names if the ``onnx`` package is missing.
    """

    def __init__(self, extra: str = "onnx"):
        try:
            import onnx
        except ImportError as error:
            raise CompileError(f"this needs the onnx package ({error}); {install_hint(extra)}") from error
        self._onnx = onnx
        self.schemas: dict[str, Schema | None] = {}
        """Definitions by kind; further ones may be added."""

    def schema(self, kind: str) -> Schema | None:
        """An operator's definition; ``None`` if ONNX has none."""
        if kind not in self.schemas:
            self.schemas[kind] = find(self._onnx, "", kind, OPSET)
        return self.schemas[kind]

    def node(self, kind: str, name: str, inputs: list[str], outputs: list[str], **attributes: Any) -> Node:
        """An operator."""
        plain = {title: tuple(value) if isinstance(value, list) else value for title, value in attributes.items()}
        return Node(
            kind=kind,
            name=name,
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            attributes=plain,
            schema=self.schema(kind),
        )
