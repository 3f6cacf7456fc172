"""Every text of an error or a warning, from the source: what stands in ``raise``, ``require``, ``warn`` and
``sys.exit``.

Values become ``…``. A text's part behind the first semicolon says what to do. The page of errors names the files of
each of its sections; a test compares them with the files that have texts.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sateen.extras import install_command, install_hint

ROOT = Path(__file__).parents[2]
FOLDERS = ("hw", "sim", "sw", "fpga")
SINGLE = ("setup_environment.py",)
RETURNED = ("refusal",)
"""Functions that return an error's text."""
LISTED = ("REASONS",)
"""Lists of (pattern, text) that an error's text is chosen from."""
TELLS = {"require": 2, "_require": 1, "_error": 1, "mistake": 1, "warn": 0, "exit": 0, "_fail": 1}
"""Functions that end in an error or a warning, and which of their arguments is its text."""
VALUE = "…"


@dataclass(frozen=True, order=True)
class Text:
    """One text."""

    path: str
    what: str
    """What happened."""
    remedy: str
    """What to do, if the text says so."""


class Unknown(ValueError):
    """An error's text that this module cannot find."""


def texts(path: str) -> list[Text]:
    """The texts of a source file, each once, in its order."""
    tree = ast.parse((ROOT / path).read_text())
    found = (text for scope, node in scopes(tree) for text in told(path, scope, node))
    return list(dict.fromkeys(text for text in found if len(text.what) > len(VALUE)))


@cache
def every() -> dict[str, list[Text]]:
    """The texts of all files that have any. Each page's section asks for them; they are read once a process."""
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    names = [*(path.relative_to(ROOT).as_posix() for path in paths), *SINGLE]
    return {name: found for name in names if (found := texts(name))}


def scopes(tree: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Every node with the function around it, in the order of the source."""
    waiting: list[tuple[ast.AST, ast.AST]] = [(tree, child) for child in ast.iter_child_nodes(tree)][::-1]
    while waiting:
        scope, node = waiting.pop()
        yield scope, node
        inner = node if isinstance(node, ast.FunctionDef) else scope
        waiting += [(inner, child) for child in ast.iter_child_nodes(node)][::-1]


def raises(node: ast.AST) -> bool:
    """Whether a node raises an error that it makes itself, with arguments."""
    made = node.exc if isinstance(node, ast.Raise) else None
    return isinstance(made, ast.Call) and bool(made.args) and _name(made) not in {*TELLS, "Exit"}


def told(path: str, scope: ast.AST, node: ast.AST) -> Iterator[Text]:
    """The texts that a node of the source tells, given the function around it."""
    if raises(node):
        yield from _split(path, scope, node.exc.args[0])  # type: ignore[union-attr]
    elif isinstance(node, ast.Call) and _name(node) in TELLS and len(node.args) > TELLS[_name(node)]:
        yield from _split(path, scope, node.args[TELLS[_name(node)]])
    elif isinstance(node, ast.Return) and getattr(scope, "name", "") in RETURNED and node.value:
        yield from _split(path, scope, node.value)
    elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in LISTED:
        for pair in getattr(node.value, "elts", []):
            yield from _split(path, scope, pair.elts[1])


def _name(call: ast.Call) -> str:
    return getattr(call.func, "id", "") or getattr(call.func, "attr", "")


def _split(path: str, scope: ast.AST, node: ast.expr) -> Iterator[Text]:
    for text in _values(scope, node):
        what, _, remedy = " ".join(text.split()).partition("; ")
        yield Text(path, what, remedy.rstrip("."))


def _values(scope: ast.AST, node: ast.expr, depth: int = 0) -> list[str]:
    """The texts that an expression may have; of a name, what the function around it assigns to it."""
    if isinstance(node, ast.Constant):
        return [str(node.value)] if isinstance(node.value, str) else []
    if isinstance(node, ast.JoinedStr):
        return [re.sub(rf"{VALUE}+", VALUE, "".join(_part(part) for part in node.values))]
    if isinstance(node, ast.BinOp):
        left, right = _values(scope, node.left, depth), _values(scope, node.right, depth)
        return [a + b for a in left or [VALUE] for b in right or [VALUE]]
    if isinstance(node, ast.IfExp):
        return _values(scope, node.body, depth) + _values(scope, node.orelse, depth)
    if isinstance(node, ast.Name) and depth < 2:
        assigned = (each for each in ast.walk(scope) if isinstance(each, ast.Assign | ast.AugAssign))
        return [
            text
            for each in assigned
            for target in (each.targets if isinstance(each, ast.Assign) else [each.target])
            if isinstance(target, ast.Name) and target.id == node.id
            for text in _values(scope, each.value, depth + 1)
        ]
    return []


def _part(part: ast.expr) -> str:
    """A piece of a formatted text: a hint of what to install is written out, other values are not known."""
    if isinstance(part, ast.Constant):
        return str(part.value)
    called = getattr(part, "value", None)
    if isinstance(called, ast.Call) and _name(called) in ("install_hint", "install_command"):
        extras = [extra.value for extra in called.args if isinstance(extra, ast.Constant)]
        if len(extras) == len(called.args):
            return {"install_hint": install_hint, "install_command": install_command}[_name(called)](*extras)
    return VALUE


def tables(*paths: str) -> str:
    """The texts of some files, and of all in folders, as a table."""
    found = every()
    chosen = [text for name, several in found.items() if within(name, paths) for text in several]
    if not chosen:
        raise Unknown(f"no error's text stands in {', '.join(paths)}")
    rows = dict.fromkeys((text.what, text.remedy) for text in sorted(chosen, key=lambda text: text.what.lower()))
    lines = ["| text | what to do |", "|---|---|"]
    return "\n".join([*lines, *(f"| {_cell(what)} | {_cell(remedy)} |" for what, remedy in rows)])


def within(name: str, paths: tuple[str, ...]) -> bool:
    """Whether a file is named, or lies in a folder that is."""
    return any(name == path or name.startswith(f"{path}/") for path in paths)


def _cell(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|{}~#])", r"\\\1", text)
