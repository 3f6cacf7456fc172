"""MkDocs' hooks: pages get what is made from the source, in place of lines ``<!-- made: KIND ARGUMENT… -->``.

Kinds are the keys of :data:`KINDS`. A line of an unknown kind, or of a name that the source does not have, ends the
build.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from making import boards, commands, errors, members, notebooks

ROOT = Path(__file__).parents[2]
SHIM, OWN_SHIM = "https://unpkg.com/iframe-worker/shim", "styles/worker.js"
"""What the theme loads from elsewhere to search in pages without a server, and what it loads instead."""
SOURCES = ROOT / "build" / "sources" / "sateen"
"""The package as it is imported, for mkdocstrings, which reads files: folders are not where the package's names say."""
MADE = re.compile(r"^<!-- made: (.*?) -->$", re.MULTILINE)
KINDS: dict[str, Callable[..., str]] = {
    "boards": boards.table,
    "commands": commands.reference,
    "contributing": lambda: (ROOT / "CONTRIBUTING.md").read_text(),
    "errors": errors.tables,
    "members": members.table,
    "notebook": notebooks.page,
    "presets": members.presets,
}


def made(text: str) -> str:
    """A page with everything in it that is made from the source."""

    def replaced(found: re.Match[str]) -> str:
        kind, *arguments = found[1].split()
        return KINDS[kind](*arguments)

    return MADE.sub(replaced, text)


def on_config(config: Any) -> Any:
    """Copies the package's sources to where its names say."""
    shutil.rmtree(SOURCES, ignore_errors=True)
    for folder in ("sw", "hw", "sim", "fpga"):
        target = SOURCES / ("" if folder == "sw" else folder)
        shutil.copytree(ROOT / folder, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    return made(markdown)


def on_post_page(output: str, *, page: Any, **_: Any) -> str:
    return output.replace(SHIM, "../" * page.url.count("/") + OWN_SHIM)
