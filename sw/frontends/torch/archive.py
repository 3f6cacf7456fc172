"""Archives of exported programs, from anybody: ``torch.export.load`` would execute what stands in them.

It unpickles values, evaluates the text of sizes that are expressions, and imports modules that are named in the
structure of inputs. Here an archive is read without PyTorch, checked, and packed anew, so that PyTorch reads what was
checked; values are unpickled as weights only.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

from sateen.graph import require

__all__ = ["checked", "only_weights"]

LARGEST = 1 << 30
"""Bytes of all files of an archive."""
EXPRESSION, TARGET, IMPORTS = "expr_str", "target", {"__enum__", "default_factory_module"}
"""Fields whose texts PyTorch evaluates, looks up and imports."""
FUNCTIONS = "FloorDiv|Mod|PythonMod|Max|Min|Eq|Ne|Le|Lt|Ge|Gt"
TOKENS = rf"(?:[su]\d{{1,9}}|\d{{1,18}}|(?:{FUNCTIONS})(?=\()|//|\*(?!\*)|[-+(),<>=]|\s)+"
"""A size as an expression: symbols, whole numbers, sums, products and a few functions; no powers, which may take for
ever."""
NAMES = r"(?:torch\.ops\.\w+\.\w+(?:\.\w+)?|_operator\.\w+|math\.\w+|torch\.sym_\w+)"
"""Operators."""
LONGEST = 200
"""Characters of an expression."""
WHAT = "file"


def checked(archived: bytes) -> io.BytesIO:
    """An archive, with nothing in it that PyTorch would execute.

    Raises
    ------
    GraphError
        If it holds more than :data:`LARGEST` bytes, or something that would be executed.
    zipfile.BadZipFile, ValueError
        If it is damaged, or no archive.
    """
    result, left = io.BytesIO(), LARGEST
    with (
        zipfile.ZipFile(io.BytesIO(archived)) as archive,
        zipfile.ZipFile(result, "w", zipfile.ZIP_STORED) as copy,
    ):
        names = archive.namelist()
        require(len(names) == len(set(names)), WHAT, "two of its files have one name")
        for entry in archive.infolist():
            with archive.open(entry) as file:
                data = file.read(left + 1)
            left -= len(data)
            require(left >= 0, WHAT, f"it unpacks to more than {LARGEST:,} bytes; no device holds such a model")
            if data.lstrip()[:1] in (b"{", b"["):
                _check(data)
            copy.writestr(entry.filename, data)
    result.seek(0)
    return result


def _check(data: bytes) -> None:
    """Refuses a JSON file with something that would be executed; other data that only begin alike are left."""
    try:
        # As PyTorch reads it.
        waiting = [json.loads(data.decode())]
    except ValueError:
        return
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            for key, item in value.items():
                _check_field(key, item)
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str) and value.lstrip()[:1] in ("{", "[", '"'):
            # The structure of inputs and outputs is JSON in a text.
            with contextlib.suppress(ValueError):
                waiting.append(json.loads(value))


def _check_field(key: str, value: Any) -> None:
    require(key not in IMPORTS, WHAT, f"the structure of its inputs names a class ({key}); {_EXPORT}")
    if key == EXPRESSION:
        good = isinstance(value, str) and len(value) <= LONGEST and re.fullmatch(TOKENS, value) is not None
        require(good, WHAT, f"a size of its tensors is the expression {str(value)[:40]!r}; {_EXPORT}")
    if key == TARGET and isinstance(value, str):
        require(re.fullmatch(NAMES, value) is not None, WHAT, f"{value[:40]!r} is none of PyTorch's operators")


_EXPORT = "export the module with tensors as its inputs, and fixed sizes but the batch's"


@contextlib.contextmanager
def only_weights() -> Iterator[None]:
    """Lets PyTorch unpickle tensors, and nothing else."""
    forced = {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": None}
    before = {name: os.environ.get(name) for name in forced}
    _set(forced)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    """Sets the process's environment; variables without a value are removed."""
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
