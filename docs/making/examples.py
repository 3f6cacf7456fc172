"""The commands and programs of the site's pages: found, run, and compared with what the page shows.

A block of ``console`` holds commands behind ``$`` and their output. In the output a ``…`` stands for anything, in a
line or, alone, for any number of lines. A block of ``python`` is a program. The blocks of a page run in its order and
in one folder. A line before a block can change that:

``<!-- not run here: REASON -->``
    The block is shown only: it needs a board, changes the machine, or is run elsewhere.
``<!-- with: FILE… -->``
    The reader's own files, which whoever runs the page puts into the folder.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(r"((?:^<!-- [^\n]* -->\n)*)^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ANYTHING = "…"


@dataclass(frozen=True)
class Block:
    """One block of a page."""

    line: int
    language: str
    text: str
    reason: str = ""
    """Why it is not run."""
    files: tuple[str, ...] = ()
    """What must be there."""

    @property
    def commands(self) -> list[tuple[str, str]]:
        """(command, output) of a console's block."""
        parts = re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:]
        return [(first, rest) for first, _, rest in (part.replace("\\\n", " ").partition("\n") for part in parts)]


def blocks(text: str) -> list[Block]:
    """The blocks of a page, in their order."""
    found = []
    for match in BLOCK.finditer(text):
        marks = match[1]
        reason = re.search(r"not run here: (.*?) -->", marks)
        files = re.search(r"with: (.*?) -->", marks)
        line = text[: match.start(2)].count("\n") + 1
        named = tuple(files[1].split()) if files else ()
        found.append(Block(line, match[2], match[3], reason[1] if reason else "", named))
    return found


def matches(shown: str, printed: str) -> bool:
    """Whether the output is what the page shows; ``…`` is anything. Spaces at the ends of lines do not count."""
    pattern = "".join(_pattern(line) for line in shown.splitlines() if line.strip())
    lines = "".join(f"{line.strip()}\n" for line in printed.splitlines() if line.strip())
    return re.fullmatch(pattern, lines) is not None


def _pattern(line: str) -> str:
    if line.strip() == ANYTHING:
        return r"(?:[^\n]*\n)*?"
    words = re.sub(r"\s+", " ", line.strip()).split(ANYTHING)
    return "[^\n]*".join(re.escape(word).replace(r"\ ", " +") for word in words) + "\n"


Shell = Callable[[str], tuple[int, str]]
"""Runs a line of a console: its exit code, and what it prints."""


def run(block: Block, folder: Path, environment: dict[str, str], shell: Shell | None = None) -> Iterator[str]:
    """Runs a block in a folder and yields what differs from the page. ``shell`` stands for Bash."""
    if block.language == "python":
        command = [sys.executable, "-c", block.text]
        result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        if result.returncode:
            yield f"line {block.line}: {result.stderr}"
        return
    for command, shown in block.commands:
        code, printed = (shell or (lambda line: bash(line, folder, environment)))(command)
        if shown and not matches(shown, printed) or not shown and code:
            ended = f"printed, and ended with {code}"
            yield f"line {block.line}: {command}\nshown:\n{shown}\n{ended}:\n{printed}"


def bash(line: str, folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    """A :data:`Shell`, in a folder."""
    result = subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    return result.returncode, result.stdout
