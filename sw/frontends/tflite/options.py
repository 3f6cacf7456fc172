"""Operators' options, which remember what was read of them.

A handler reads the fields that it implements, and names those that cannot change its result. The importer refuses what
is left, unless it has the schema's default: no field is ignored for want of a line in a handler, nor one that a later
schema has added.
"""

from __future__ import annotations

import inspect
import struct
from functools import cache
from typing import Any

import tflite

__all__ = ["Options", "newer_fields"]

EMPTY = struct.pack("<HHi", 4, 4, 4)
"""A table without fields, at byte 4 behind its list of fields."""
LONGEST = 4096
"""Entries of the longest list. Lists hold shapes and axes."""


class Options:
    """The fields of an operator's table, by the schema's names."""

    def __init__(self, kind: str, values: dict[str, Any], defaults: dict[str, Any]):
        self._kind, self._values, self._defaults = kind, values, defaults
        self._read: set[str] = set()

    @classmethod
    def of(cls, kind: str, table: Any) -> Options:
        """The fields of a table of flatbuffers, which are checked for lists that are too long.

        Parameters
        ----------
        kind
            A name in the schema's BuiltinOptions.
        """
        schema = getattr(tflite, kind)
        values = _values(schema, table.Bytes, table.Pos)
        values |= dict.fromkeys(newer_fields(table, kind), "set")
        return cls(kind, values, _values(schema, EMPTY, 4))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._values:
            raise AttributeError(f"{self._kind} has no field {name!r}")
        self._read.add(name)
        return self._values[name]

    def changed(self, **values: Any) -> Options:
        """A copy that nobody has read, with other values of fields."""
        return Options(self._kind, {**self._values, **values}, self._defaults)

    def ignore(self, *names: str) -> None:
        """Marks fields as read that cannot change the result."""
        for name in names:
            getattr(self, name)

    def unread(self) -> dict[str, Any]:
        """Fields that differ from the schema's default and that nobody has read."""
        return {
            name: value
            for name, value in self._values.items()
            if name not in self._read and value != self._defaults.get(name)
        }


@cache
def _fields(schema: type) -> dict[str, bool]:
    """The names of a table's fields, and whether each is a list: its reader takes a place."""
    readers = {name: inspect.signature(reader) for name, reader in vars(schema).items() if inspect.isfunction(reader)}
    return {
        name: f"{name}Length" in readers
        for name in readers
        if name not in ("Init",) and not name.endswith(("Length", "AsNumpy", "IsNone")) and not name.startswith("_")
    }


def _values(schema: type, data: bytes, place: int) -> dict[str, Any]:
    options = schema()
    options.Init(data, place)
    return {
        name: _list(options, name) if is_list else getattr(options, name)() for name, is_list in _fields(schema).items()
    }


def _list(options: Any, name: str) -> tuple[Any, ...]:
    length = getattr(options, f"{name}Length")()
    if length > LONGEST:
        raise ValueError(f"a list of {length} entries")
    return tuple(getattr(options, name)(place) for place in range(length))


class _Counter:
    """Stands for a builder, and learns how many fields a table has."""

    count = 0

    def StartObject(self, count: int) -> None:  # noqa: N802
        self.count = count


@cache
def _known(kind: str) -> int:
    counter = _Counter()
    getattr(tflite, f"{kind}Start")(counter)
    return counter.count


def newer_fields(table: Any, kind: str) -> list[str]:
    """Names for the fields of a table of flatbuffers that are set and that the schema of this version lacks."""
    data, place = table.Bytes, table.Pos
    (back,) = struct.unpack_from("<i", data, place)
    (size,) = struct.unpack_from("<H", data, place - back)
    slots = struct.unpack_from(f"<{(size - 4) // 2}H", data, place - back + 4)
    return [f"field {slot} of {kind}" for slot in range(_known(kind), len(slots)) if slots[slot]]
