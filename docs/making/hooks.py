"""MkDocs' hooks: pages get what is made from the source, in place of lines ``<!-- made: KIND ARGUMENT… -->``.

Kinds are the keys of :data:`KINDS`. A line of an unknown kind, or of a name that the source does not have, ends the
build.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from making import boards, commands, errors, members, notebooks

ROOT, DOCS = Path(__file__).parents[2], Path(__file__).parents[1]
SHIM, OWN_SHIM = "https://unpkg.com/iframe-worker/shim", "styles/worker.js"
"""What the theme loads from elsewhere to search in pages without a server, and what it loads instead."""
SOURCES = ROOT / "build" / "sources" / "sateen"
"""The package as it is imported, for mkdocstrings, which reads files: folders are not where the package's names say."""
MADE = re.compile(r"^<!-- made: (.*?) -->$", re.MULTILINE)
CONFIGURATION = re.compile(r"(<td[^>]*><code>)(\w+(?:,\w+=\w+)+)(?=</code></td>)")
KINDS: dict[str, Callable[..., str]] = {
    "boards": boards.table,
    "commands": commands.reference,
    "contributing": lambda: linked((ROOT / "CONTRIBUTING.md").read_text(), ROOT, DOCS),
    "errors": errors.tables,
    "members": members.table,
    "notebook": notebooks.page,
    "presets": members.presets,
}


LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!\w+:|#)([^)#\s]+)(#[^)]*)?\)")


def linked(text: str, folder: Path, target: Path) -> str:
    """Markdown of a file in ``folder``, for a page in ``target``: links to other pages lead there from the page, and
    links to files of the repository are their names, since the site does not have those files."""

    def replaced(found: re.Match[str]) -> str:
        label, name, anchor = found[1], found[2], found[3] or ""
        path = (folder / name).resolve()
        if path.is_relative_to(DOCS):
            return f"[{label}]({os.path.relpath(path, target)}{anchor})"
        return label if path.exists() and name in label else f"{label} (`{path.relative_to(ROOT)}`)"

    return LINK.sub(replaced, text)


def made(text: str) -> str:
    """A page with everything in it that is made from the source."""

    def replaced(found: re.Match[str]) -> str:
        kind, *arguments = found[1].split()
        return KINDS[kind](*arguments)

    return MADE.sub(replaced, text)


def on_startup(**_: Any) -> None:
    """Copies the package's sources to where its names say, before plugins look for them. Files are replaced whole:
    several builds may run at once."""
    for folder in ("sw", "hw", "sim", "fpga"):
        target = SOURCES / ("" if folder == "sw" else folder)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, target, ignore=ignored, copy_function=_replace, dirs_exist_ok=True)


def _replace(source: str, target: str) -> None:
    part = f"{target}.{os.getpid()}"
    shutil.copyfile(source, part)
    Path(part).replace(target)


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    folder = Path(page.file.abs_src_path).parent
    return linked(made(markdown), folder, folder)


def on_page_content(html: str, **_: Any) -> str:
    """A configuration in a narrow column breaks after its commas."""
    return CONFIGURATION.sub(lambda found: found[1] + found[2].replace(",", ",<wbr>"), html)


def on_post_page(output: str, *, page: Any, **_: Any) -> str:
    return output.replace(SHIM, "../" * page.url.count("/") + OWN_SHIM)
