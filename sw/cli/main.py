"""The application: its commands, and the reporting of errors."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from importlib.metadata import version
from typing import Annotated

import typer

from sateen.cli import build, compare, demo, fpga, inspect, quantize, report, run, tune, verify
from sateen.errors import SateenError, SateenWarning
from sateen.graph import GraphError, NetworkError
from sateen.sim.errors import SimulationError

__all__ = ["app", "main"]

app = typer.Typer(
    name="sateen", help="DNN inference accelerators from Python.", no_args_is_help=True, add_completion=False,
    pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip
app.command("demo")(demo.demo)
app.command("verilog")(build.verilog)
app.command("compile")(build.compile)
app.command("quantize")(quantize.quantize)
app.command("run")(run.run)
app.command("verify")(verify.verify)
app.command("report")(report.report)
app.command("tune")(tune.tune)
app.command("compare-pe")(compare.compare_pe)
app.command("boards")(fpga.boards)
app.command("build")(fpga.build)
app.command("flash")(fpga.flash)
app.command("info")(inspect.info)
app.command("doctor")(inspect.doctor)
app.command("serve")(run.serve)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"sateen {version('sateen')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what is being done.")] = False,
) -> None:
    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, format="sateen: %(message)s")


def main() -> None:
    """Runs the command line. Errors and warnings are one line each; SATEEN_DEBUG=1 raises errors with their
    traceback."""
    warnings.showwarning = _warn
    warnings.simplefilter("always", SateenWarning)
    try:
        app(standalone_mode=True)
    except (SateenError, SimulationError, GraphError, NetworkError, ValueError, OSError) as error:
        _fail(error)
    except MemoryError as error:
        _fail(error, "out of memory; use a smaller model or configuration")
    except KeyboardInterrupt:
        print("sateen: interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        _fail(
            error,
            f"internal error: {type(error).__name__}: {error}; please report it, with the output of SATEEN_DEBUG=1",
        )


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    print(f"sateen: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _fail(error: BaseException, message: str = "") -> None:
    if os.environ.get("SATEEN_DEBUG"):
        raise error
    text = " ".join((message or str(error)).split())
    print(f"sateen: error: {text}", file=sys.stderr)
    sys.exit(1)
