"""``sateen schema``: JSON Schemas of what commands write, made from the dataclasses of the documents."""

from __future__ import annotations

import ast
import dataclasses
import enum
import inspect
import json
import textwrap
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer

from sateen.cli import documents
from sateen.cli.printing import console
from sateen.errors import InputError

__all__ = ["schema", "schema_of"]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
SCALARS = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def schema(
    name: Annotated[str, typer.Argument(help="The kind of document; without, they are listed.")] = "",
) -> None:
    """Prints the JSON Schema of what a command writes with --json."""
    if not name:
        for kind, document in documents.DOCUMENTS.items():
            console.print(f"{kind}: {document.FORMAT}")
        return
    if name not in documents.DOCUMENTS:
        raise InputError(f"{name!r} is no document; there are {', '.join(documents.DOCUMENTS)}")
    console.print(json.dumps(schema_of(documents.DOCUMENTS[name]), indent=2))


def schema_of(document: Any) -> dict[str, Any]:
    """The schema of a dataclass with a FORMAT. Descriptions are the docstrings of classes and fields."""
    definitions: dict[str, Any] = {}
    own = _object(document, definitions)
    own["properties"] = {"format": {"const": document.FORMAT}, **own["properties"]}
    own["required"] = ["format", *own["required"]]
    return {"$schema": DIALECT, "title": document.FORMAT, **own, "$defs": definitions}


def _object(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    hints, texts = get_type_hints(kind), _docstrings(kind)
    properties = {}
    for field in dataclasses.fields(kind):
        text = {"description": texts[field.name]} if field.name in texts else {}
        properties[field.name] = {**_type(hints[field.name], definitions), **text}
    return {
        "description": inspect.cleandoc(kind.__doc__ or ""),
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _type(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return {}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_type(each, definitions) for each in arguments]}
    if origin in (list, tuple):
        return {"type": "array", "items": _type(arguments[0], definitions)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _type(arguments[1], definitions)}
    if isinstance(hint, enum.EnumMeta):
        members: list[enum.Enum] = list(hint)
        return {"enum": [member.value for member in members]}
    if dataclasses.is_dataclass(hint):
        name = hint.__name__  # type: ignore[union-attr]
        if name not in definitions:
            definitions[name] = {}
            definitions[name] = _object(hint, definitions)
        return {"$ref": f"#/$defs/{name}"}
    return {"type": SCALARS[hint]}


def _docstrings(kind: type) -> dict[str, str]:
    """The strings below a class's fields, and below those of the classes that it builds on."""
    found: dict[str, str] = {}
    for base in kind.__bases__:
        if dataclasses.is_dataclass(base):
            found |= _docstrings(base)
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    for before, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name) and isinstance(after, ast.Expr):
            found[before.target.id] = inspect.cleandoc(ast.literal_eval(after.value))
    return found
