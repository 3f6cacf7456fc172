"""Dataclasses from documents that anybody may have written: every value is of the type that its field has."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

__all__ = ["RecordError", "read", "short"]

T = TypeVar("T")
NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
LONGEST = 60
"""Characters of a value in an error's text."""


class RecordError(ValueError):
    """A value is of another type than its field, a field is missing, or there is none of this name."""


def read(kind: type[T], value: Any, where: str) -> T:
    """A value of a type from the dictionaries, lists, numbers, texts and arrays of a document.

    Parameters
    ----------
    kind
        A dataclass, or any type of a dataclass's field here: numbers, texts, enumerations, arrays, other dataclasses,
        and tuples, sequences, mappings and unions of these. A list becomes a tuple. A class with ``from_document``
        reads itself.
    value
        The document.
    where
        What it is, for messages.

    Raises
    ------
    RecordError
        If it is no such value. What a dataclass itself raises is left as it is.
    """
    result: T = _read(kind, value, where)
    return result


def _read(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        return _read_union(arguments, value, where)
    if hasattr(kind, "from_document"):
        _require(isinstance(value, dict), where, f"a {kind.__name__}", value)
        return kind.from_document(value)
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, value, where)
    if origin is np.ndarray:
        scalar = get_args(arguments[1])[0]
        fits = isinstance(value, np.ndarray) and (scalar is Any or issubclass(value.dtype.type, scalar))
        _require(fits, where, "an array" if scalar is Any else f"an array of {scalar.__name__}", value)
        return value
    if origin is tuple or origin is Sequence:
        _require(isinstance(value, list | tuple), where, "a list", value)
        kinds = arguments[:1] * len(value) if origin is Sequence or arguments[-1:] == (Ellipsis,) else arguments
        _require(len(kinds) == len(value), where, f"a list of {len(kinds)}", value)
        return tuple(_read(each, item, f"{where}[{place}]") for place, (each, item) in enumerate(zip(kinds, value)))  # noqa: B905
    if origin is list:
        _require(isinstance(value, list), where, "a list", value)
        return [_read(arguments[0], item, f"{where}[{place}]") for place, item in enumerate(value)]
    if origin in (dict, Mapping):
        _require(isinstance(value, dict), where, "a dictionary", value)
        return {key: _read(arguments[1], item, f"{where}[{key!r}]") for key, item in value.items()}
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(value)
        except ValueError:
            raise RecordError(f"{where} must be one of {[each.value for each in kind]}, not {short(value)}") from None
    return _read_plain(kind, value, where)


def _read_plain(kind: Any, value: Any, where: str) -> Any:
    if kind is None or kind is types.NoneType:
        _require(value is None, where, "nothing", value)
        return None
    if kind not in NAMES:
        raise TypeError(f"{where} is of a type that documents do not have, {kind!r}")
    number = isinstance(value, int | float) and not isinstance(value, bool)
    _require(number if kind is float else type(value) is kind, where, NAMES[kind], value)
    return kind(value)


def _read_union(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    errors = []
    for kind in kinds:
        try:
            return _read(kind, value, where)
        except RecordError as error:
            errors.append(error)
    raise next((error for error, kind in zip(errors, kinds, strict=True) if kind is not types.NoneType), errors[0])


def _read_dataclass(kind: Any, value: Any, where: str) -> Any:
    _require(isinstance(value, dict), where, f"a {kind.__name__}", value)
    hints, fields = _hints(kind), {field.name: field for field in dataclasses.fields(kind) if field.init}
    for name in value:
        if name not in fields:
            raise RecordError(f"{where} has a field {short(name)}, which a {kind.__name__} has not")
    for name, field in fields.items():
        optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if name not in value and not optional:
            raise RecordError(f"{where} lacks its {name}")
    return kind(**{name: _read(hints[name], item, f"{where}.{name}") for name, item in value.items()})


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _require(fits: bool, where: str, what: str, value: Any) -> None:
    if not fits:
        raise RecordError(f"{where} must be {what}, not {short(value)}")


def short(value: Any) -> str:
    """A value in one short line."""
    text = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else repr(value).replace("\n", " ")
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
