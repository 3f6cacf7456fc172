"""The commands and programs of the documentation are run, and print what the pages show."""

import os
import shlex
import sys
from pathlib import Path

import pytest

from command_line import here
from making import examples
from page_files import FILES

ROOT = Path(__file__).parents[2]

RUN = ("console", "python")
NO_COMMANDS = ("text", "verilog", "make", "yaml", "json", "c", "ini")
"""Languages of blocks that hold nothing to run."""
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(path):
    return examples.blocks(path.read_text())


def shell(line, folder, environment):
    """A line of a console; the project's command in this process, which has imported it."""
    if not line.startswith("sateen ") or set(line) & set("|>&;$*"):
        return examples.bash(line, folder, environment)
    words = shlex.split(line, comments=True)[1:]
    result = here(*words, folder=folder, columns=environment["COLUMNS"], together=True)
    return result.returncode, result.stdout


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).with_suffix("").as_posix())
def test_commands(path, tmp_path):
    environment = {
        **os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "COLUMNS": "120", "SATEEN_CHECKOUT": str(ROOT),
    }  # fmt: skip
    for block in blocks(path):
        if block.language not in RUN or block.reason:
            continue
        for name in block.files:
            if not (tmp_path / name).exists():
                FILES[name](tmp_path / name)
        differences = list(examples.run(block, tmp_path, environment, lambda line: shell(line, tmp_path, environment)))
        assert not differences, f"{path.relative_to(ROOT)}: " + "\n".join(differences)


def test_every_block_is_known():
    """A block is run, or holds nothing to run; what is not run says why."""
    for path in PAGES:
        for block in blocks(path):
            assert block.language in RUN + NO_COMMANDS, f"{path.name}:{block.line}: {block.language}"
            assert block.language != "console" or block.commands, f"{path.name}:{block.line}: no line begins with $"


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a\n", "a\n", True),
        ("a\n", "a\nb\n", False),
        ("a\n…\n", "a\nb\nc\n", True),
        ("…\nc\n", "a\nb\nc\n", True),
        ("a … cycles\n", "a  12 cycles\n", True),
        ("a … cycles\n", "a 12 MHz\n", False),
    ],
)
def test_comparison(shown, printed, same):
    assert examples.matches(shown, printed) is same
