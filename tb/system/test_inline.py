"""Commands that the documentation names in its text, or shows and does not run: each is one that exists, with options
that it has. Those that pages run stand in :mod:`test_pages`."""

import importlib.util
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer

from making import examples
from sateen.cli.main import app

ROOT = Path(__file__).parents[2]
COMMANDS = typer.main.get_command(app).commands
OF_ALL = ("--install-completion", "--show-completion", "--version", "--verbose", "--quiet", "--help")
PAGES = [
    ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").glob("*/README.md")),
]  # fmt: skip
PROGRAMS = ("sateen", "make", "pytest", "python", "pip", "fusesoc")
ASSIGNMENTS = re.compile(r"^(?:[A-Z_]+=\S* )+")


def mentioned(path):
    """The commands of a page that no other test runs."""
    text = path.read_text()
    for block in examples.blocks(text):
        if block.language == "console" and block.reason:
            yield from (command for command, _ in block.commands)
    plain = r"^```(?:|bash|text)\n(.*?)^```$"
    if path.name in ("README.md", "CONTRIBUTING.md"):
        for block in re.findall(plain, text, re.MULTILINE | re.DOTALL):
            yield from block.splitlines()
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from (" ".join(found.split()) for found in re.findall(r"`([^`]+)`", text))


def words(command):
    """The words of a command, without what stands for others."""
    command = ASSIGNMENTS.sub("", command.strip().removeprefix("$ "))
    if not re.match(rf"(?:{'|'.join(PROGRAMS)})(?: |$)", command):
        return []
    found = shlex.split(re.sub(r"[\[\]](?!')", "", command) if "'" not in command else command, comments=True)
    return [word for word in found if word != "…"]


def mistake(program, *given):
    """What a command names that there is not; empty if all is well."""
    return CHECKS[program](list(given))


def of_sateen(given):
    if not given or given[0] in OF_ALL or given[0] == "COMMAND":
        return ""
    name, *arguments = given
    if name not in COMMANDS:
        return f"there is no command {name!r}"
    command = COMMANDS[name]
    if "--help" in arguments:
        return ""
    # An option at the end, which the text speaks of, without its value.
    options = {option: each for each in command.params for option in (*each.opts, *each.secondary_opts)}
    last = options.get(arguments[-1]) if arguments else None
    if last is not None and last.param_type_name == "option" and not getattr(last, "is_flag", False):
        arguments.append("VALUE")
    between = [word for place, word in enumerate(arguments) if word in options and word.startswith("-")]
    if any(word.startswith("-") and word.partition("=")[0] not in options for word in arguments):
        return f"{name} has no such option"
    taken = len(arguments) - len(between) - sum(1 for word in between if not getattr(options[word], "is_flag", False))
    places = [each for each in command.params if each.param_type_name == "argument"]
    most = sum(99 if each.nargs < 0 else each.nargs for each in places)
    return f"{name} takes {most} arguments, not {taken}" if taken > most else ""


def of_make(given):
    folder = ROOT
    if given[:1] == ["-C"]:
        folder, given = ROOT / given[1], given[2:]
    makefiles = [folder] if folder != ROOT else [ROOT, *(path.parent for path in ROOT.glob("examples/*/Makefile"))]
    targets = "".join((each / "Makefile").read_text() for each in makefiles).replace("$(BUILD)", "build")
    named = [word for word in given if "=" not in word]
    missing = [word for word in named if not re.search(rf"^{re.escape(word)}\b.*:", targets, re.MULTILINE)]
    return f"there is no target {missing[0]!r}" if missing else ""


def of_pytest(given):
    files = [word for word in given if word.endswith(".py")]
    here = [ROOT, *(ROOT / "examples").iterdir()]
    missing = [word for word in files if not any((folder / word).exists() for folder in here)]
    return f"there is no {missing[0]}" if missing else ""


def of_python(given):
    if given[:1] == ["-m"]:
        return "" if importlib.util.find_spec(given[1]) else f"there is no module {given[1]}"
    return of_pytest(given[:1])


def of_pip(given):
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = {extra for word in given for extra in "".join(re.findall(r"^\.\[(.*)\]$", word)).split(",") if extra}
    return f"there is no extra {sorted(asked - set(known))}" if asked - set(known) else ""


def of_fusesoc(given):
    core = given[-1].rpartition(":")[2]
    cores = {path.stem for path in (ROOT / "examples" / "fusesoc").glob("*.core")}
    return "" if given[:1] != ["--cores-root"] or core in cores else f"there is no core {core}"


CHECKS = {
    "sateen": of_sateen, "make": of_make, "pytest": of_pytest, "python": of_python, "pip": of_pip,
    "fusesoc": of_fusesoc,
}  # fmt: skip


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).with_suffix("").as_posix())
def test_commands_exist(path):
    named = [(command, given) for command in mentioned(path) if (given := words(command))]
    wrong = [f"{command}: {said}" for command, given in named if (said := mistake(*given))]
    assert not wrong, "\n".join(wrong)


def test_options_exist():
    """Those that a text names without a command."""
    known = {option for command in COMMANDS.values() for each in command.params for option in each.opts} | {*OF_ALL}
    for path in PAGES:
        text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
        for option in re.findall(r"`(--?[a-z][\w-]*)", text):
            assert option in known, f"{path.name}: no command has {option}"


def test_every_extra_is_explained():
    """In the table of the first page."""
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    rows = re.findall(r"^\| (`[a-z`, ]+`) \|", (ROOT / "docs" / "index.md").read_text(), re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(known)


def test_commands_are_found():
    assert sum(1 for path in PAGES for command in mentioned(path) if words(command)) > 100


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("sateen tyle", "no command 'tyle'"),
        ("sateen run MODEL --inputs X.npy", "no such option"),
        ("sateen info A B", "takes 1 arguments, not 2"),
        ("make tests", "no target 'tests'"),
        ("make -C examples/litex walk", "no target 'walk'"),
        ("pytest tb/hw/test_tyle.py", "no tb/hw/test_tyle.py"),
        ("python bench/board.py", "no bench/board.py"),
        ("python -m sateen.digit", "no module sateen.digit"),
        ("pip install '.[onyx]'", "no extra ['onyx']"),
        ("fusesoc --cores-root examples/fusesoc run sateen:accelerators:sateen_axl", "no core sateen_axl"),
    ],
)
def test_mistakes_are_seen(command, said):
    assert said in mistake(*words(command))
