"""What commands print and write: tables in any width, documents and their schemas, examples, exit codes."""

import ast
import io
import json
import re
import shlex
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import typer

import sateen
from command_line import CONFIG, cli, here, parsed
from sateen.cli import documents, exits, printing, tables
from sateen.cli.examples import EXAMPLES
from sateen.cli.main import app
from sateen.cli.output import memory_text
from sateen.cli.schema import schema_of
from sateen.errors import DeviceError, DifferenceError, InternalError, SateenError
from sateen.hw.spec.config import parse_config
from sateen.testing.graphs import Builder

NAMES = ["conv_2d_transposed_with_a_name", "a[/b]:cat:", "esc\x1b[31m"]
COMMANDS = typer.main.get_command(app).commands
SOURCES = sorted((Path(sateen.__file__).parent / "cli").glob("*.py"))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("output"), np.random.default_rng(1)
    Builder((5, 5, 3), rng, name="[red]net").conv2d(6, (3, 3)).flatten().fully_connected(4).graph().save(
        folder / "example.npz"
    )
    np.save(folder / "x.npy", rng.integers(-128, 128, (1, 5, 5, 3)).astype(np.int8))
    return folder


def printed(monkeypatch, columns, rows, *, width, **options):
    """A table as a terminal of a width shows it; ``None``: without a terminal."""
    file = io.StringIO()
    monkeypatch.delenv("COLUMNS", raising=False)
    terminal = {"force_terminal": True, "width": width, "color_system": None} if width else {}
    console = printing.Printer(file=file, highlight=False, markup=False, emoji=False, soft_wrap=True, **terminal)
    for module in (printing, tables):
        monkeypatch.setattr(module, "console", console)
    tables.print_table(columns, rows, **options)
    return file.getvalue()


@pytest.mark.parametrize("width", [None, 200, 80, 60, 20])
def test_names_are_never_cut(monkeypatch, width):
    columns = [
        tables.Column("layer"), tables.Column("op", rank=3), tables.number("cycles", 1),
        tables.Column("install with", rank=2, fold=True), *(tables.number(f"figure {place}", 9) for place in range(6)),
    ]  # fmt: skip
    rows = [[name, "DepthwiseConv2D", "1,234,567", f"get '.[{name}]'", *["123,456,789"] * 6] for name in NAMES]
    text = printed(monkeypatch, columns, rows, width=width, total=["total"])
    for name in NAMES:
        assert printing.printable(name) in text and f".[{printing.printable(name)}]'" in text
    assert "…" not in text and "\x1b" not in text and "\\x1b[31m" in text
    assert ("123,456,789" in text) == (width in (None, 200)) and ("1,234,567" in text) == (width != 20)
    if width in (200, 80):
        assert max(len(line) for line in text.splitlines() if not line.startswith("(")) <= width
    assert ("left out in this width: " in text) == (width not in (None, 200))


def test_all_output_is_printed_as_it_is():
    """Commands print through the one console, which knows no markup, and make no other."""
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rich"):
                allowed = {"printing.py": {"Console"}, "progress.py": None, "tables.py": {"cell_len", "Style", "Text"}}
                names = allowed.get(path.name, set())
                assert names is None or {each.name for each in node.names} <= names, f"{path.name}: {node.module}"
            if isinstance(node, ast.Call):
                text = ast.unparse(node)
                assert not text.startswith(("rprint(", "rich.")), f"{path.name}: {text}"
                assert "markup=True" not in text and "from_markup" not in text, f"{path.name}: {text}"
                if text.startswith("print("):
                    assert "_line(" in text or "printable(" in text or "'sateen: interrupted'" in text, text
                if text.startswith("typer.echo("):
                    assert path.name == "main.py" and "version(" in text, text
    assert not app.rich_markup_mode


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (["boards"], "boards"),
        (["doctor"], "doctor"),
        (["devices"], "devices"),
        (["info", "{}/example.npz", "--config", CONFIG], "info"),
        (["compile", "{}/example.npz", "-o", "{}/json.sateen", "--config", CONFIG], "info"),
    ],
)
def test_documents_have_schemas(files, command, kind):
    """With ``--json -`` the standard output is the document and nothing else."""
    result = here(*(argument.format(files) for argument in command), "--json", "-")
    assert result.returncode == 0 and not result.stderr, result.stderr
    document = json.loads(result.stdout)
    jsonschema.validate(document, schema_of(documents.DOCUMENTS[kind]))
    assert document["format"] == documents.DOCUMENTS[kind].FORMAT


def test_schemas(files):
    """Every document has a sound schema that refuses what is not in it; ``sateen schema`` prints it."""
    for kind, document in documents.DOCUMENTS.items():
        schema = schema_of(document)
        jsonschema.Draft202012Validator.check_schema(schema)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"format": document.FORMAT}, schema)
        assert kind == "demo" or document.FORMAT.startswith(f"sateen.{kind}/")
    assert json.loads(here("schema", "boards").stdout) == schema_of(documents.Boards)
    assert here("schema").stdout.splitlines()[0] == f"boards: {documents.Boards.FORMAT}"
    assert "'[/x]' is no document; there are boards, doctor" in here("schema", "[/x]").stderr


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_document_has_a_schema(name):
    """What a command writes with ``--json`` is one of the documents."""
    writes = any(parameter.name == "json" for parameter in COMMANDS[name].params)
    kind = {"compile": "info"}.get(name, name)
    assert writes is (kind in documents.DOCUMENTS), f"{name}: enter its document in sw/cli/documents.py"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_examples(name):
    """Every command's help ends with two examples or more that it accepts."""
    assert len(EXAMPLES[name]) >= 2
    help_text = COMMANDS[name].get_help(typer.Context(COMMANDS[name], info_name=f"sateen {name}"))
    for example in EXAMPLES[name]:
        assert f"\n    {example}\n" in help_text + "\n"
        program, command, *arguments = shlex.split(example)
        assert (program, command) == ("sateen", name)
        parsed(COMMANDS[name], arguments)


def test_json_on_the_standard_output_is_alone():
    """Every ``--json`` is the same option, which silences what people read if it goes to the standard output."""
    for name, command in COMMANDS.items():
        for parameter in command.params:
            if "--json" in parameter.opts:
                assert parameter.metavar == "FILE" and "- is the standard output" in parameter.help, name


def test_exit_codes(files, tmp_path):
    assert cli("info", files / "none.sateen").returncode == exits.ExitCode.ERROR
    for usage in (["no-such-command"], ["boards", "--no-such-option"], ["run"]):
        assert here(*usage).returncode == exits.ExitCode.USAGE
    taken = ["demo", "-d", "tcp:127.0.0.1:1"]
    assert cli(*taken).returncode == exits.ExitCode.DEVICE
    codes = {SateenError: 1, ValueError: 1, DifferenceError: 3, DeviceError: 4, InternalError: 70}
    assert {kind: exits.exit_code(kind("text")) for kind in codes} == codes


def test_other_encodings():
    """A terminal without the characters shows their numbers."""
    result = cli("info", "no\u0308\udc80[/x].sateen", PYTHONIOENCODING="ascii")
    assert result.returncode == 1 and "no\\u0308\\udc80[/x].sateen" in result.stderr


def test_what_is_said_of_sdram(tmp_path):
    """The bytes that move, the least that they take, and for how many cycles the array waits for them."""
    config = parse_config("tiny,sdram=as4c32m16sb,clock_hz=100000000")
    assert memory_text(config, 2001, 1000, 3000) == (
        "SDRAM: 2,001 bytes move, 1,001 cycles at 200 MB/s at least; the array waits 1,000 cycles, 25% of an inference "
        "without the link"
    )
    builder = Builder((1, 1, 60), np.random.default_rng(1)).flatten()
    graph = builder.fully_connected(60).fully_connected(50).fully_connected(40).graph()
    config = "micro,sdram=m12l64322a,scratchpad_bytes=1024,weight_bytes=4096,baud=12000000"
    sateen.compile(graph, config).save(tmp_path / "wide.sateen")
    text = here("info", tmp_path / "wide.sateen").stdout
    assert re.search(r"^bound by the array: .*, waiting for SDRAM [\d.]+ ms, ", text, re.MULTILINE)
    assert re.search(r"^SDRAM: [\d,]+ bytes move, [\d,]+ cycles at 400 MB/s at least; the array", text, re.MULTILINE)
