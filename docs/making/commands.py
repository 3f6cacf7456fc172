"""The reference of the command line, from the commands' own help."""

from __future__ import annotations

from typing import Any

import typer

from making.members import cell
from sateen.cli.examples import EXAMPLES
from sateen.cli.main import app


def reference() -> str:
    """A section for each command: what it does, how it is called, its arguments and options."""
    group: Any = typer.main.get_command(app)
    sections = [section(f"sateen {name}", command) for name, command in group.commands.items()]
    return "\n\n".join([section("sateen", group), *sections])


def section(name: str, command: Any) -> str:
    """One command's section."""
    shown = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
    arguments = [parameter for parameter in shown if parameter.param_type_name == "argument"]
    options = [parameter for parameter in shown if parameter.param_type_name == "option"]
    usage = " ".join([name, *(_argument(argument) for argument in arguments), *(["[OPTION]…"] if options else [])])
    anchor = name.removeprefix("sateen ").replace(" ", "-")
    lines = [f"## {name} {{ #{anchor} }}", "", command.help or "", "", f"```text\n{usage}\n```", ""]
    rows = [(f"`{_argument(argument)}`", argument) for argument in arguments]
    rows += [(" ".join(f"`{flag}`" for flag in option.opts), option) for option in options]
    if rows:
        lines += ["| | |", "|---|---|", *(f"| {left} | {_text(parameter)} |" for left, parameter in rows), ""]
    examples = EXAMPLES.get(name.removeprefix("sateen "), ())
    if examples:
        lines += ["```text", *examples, "```"]
    return "\n".join(lines)


def _argument(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    return name if parameter.required else f"[{name}]"


def _text(parameter: Any) -> str:
    """Help, and the default where there is one."""
    text = cell(parameter.help or "")
    default = parameter.default
    if parameter.required and parameter.param_type_name == "option":
        text += " Required."
    elif default not in (None, False, ()) and not callable(default):
        text += f" Default: `{default}`."
    return text
