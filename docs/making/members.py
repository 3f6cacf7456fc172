"""Tables of what a class holds: its fields or values, each with the text that stands under it in the source."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterator
from pathlib import Path

from making.roles import plain
from sateen.hw.spec.config import PRESETS

ROOT = Path(__file__).parents[2]


def documented(path: str, name: str) -> Iterator[tuple[str, str, str]]:
    """(name, value as written or its type, text) of each field of a class; the text is empty where there is none."""
    tree = ast.parse((ROOT / path).read_text())
    body = next(node.body for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == name)
    for place, node in enumerate(body):
        if isinstance(node, ast.Assign):
            field, value = ast.unparse(node.targets[0]), _value(node.value)
        elif isinstance(node, ast.AnnAssign):
            field, value = ast.unparse(node.target), _value(node.value or node.annotation)
        else:
            continue
        after = body[place + 1] if place + 1 < len(body) else None
        text = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
        yield field, value, cell(str(text))


def _value(node: ast.expr) -> str:
    """As the source writes it; addresses stay hexadecimal."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int) and not isinstance(node.value, bool):
        return f"{node.value:,}" if node.value > 9999 else str(node.value)
    return ast.unparse(node)


def cell(text: str) -> str:
    """A docstring in one cell of a table."""
    return plain(" ".join(text.split())).replace("|", "\\|")


def table(path: str, name: str, heading: str = "value") -> str:
    """The fields of a class as a table. ``heading`` names the second column; ``address`` makes it hexadecimal."""
    lines = [f"| name | {heading} | |", "|---|---|---|"]
    for field, value, text in documented(path, name):
        shown = f"{int(value):#04x}" if heading == "address" else value
        lines.append(f"| `{field}` | `{shown}` | {text} |")
    return "\n".join(lines)


def presets() -> str:
    """Every preset with the fields in which presets differ."""
    configs = [dataclasses.asdict(config) for config in PRESETS.values()]
    differing = [name for name in configs[0] if len({repr(config[name]) for config in configs}) > 1]
    lines = [f"| | {' | '.join(f'`{name}`' for name in PRESETS)} |", "|---|" + "---|" * len(PRESETS)]
    for name in differing:
        cells = (f"{value:,}" if isinstance(value, int) else str(value) for value in (c[name] for c in configs))
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)
