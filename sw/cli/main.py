"""The application: its commands, and the reporting of errors."""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from importlib.metadata import version
from typing import Annotated

import typer

from sateen import processes
from sateen.cli import (
    bench,
    bitstream,
    build,
    compare,
    demo,
    devices,
    energy,
    explore,
    export,
    fpga,
    inspect,
    load,
    mlperf,
    play,
    progress,
    quantize,
    report,
    run,
    schema,
    tell,
    tune,
    verify,
)
from sateen.cli.examples import epilog
from sateen.cli.exits import ExitCode, exit_code
from sateen.cli.printing import printable, warned
from sateen.errors import SateenError, SateenWarning
from sateen.graph import GraphError, NetworkError
from sateen.sim.errors import SimulationError

__all__ = ["app", "main"]

app = typer.Typer(
    name="sateen", help="DNN inference accelerators from Python.", no_args_is_help=True, rich_markup_mode=None,
    pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip
app.command("demo")(demo.demo)
app.command("verilog")(build.verilog)
app.command("compile")(build.compile)
app.command("export-c")(export.export_c)
app.command("quantize")(quantize.quantize)
app.command("run")(run.run)
app.command("load")(load.load)
app.command("tell")(tell.tell)
app.command("verify")(verify.verify)
app.command("report")(report.report)
app.command("energy")(energy.energy)
app.command("mlperf")(mlperf.mlperf)
app.command("tune")(tune.tune)
app.command("compare-pe")(compare.compare_pe)
app.command("play")(play.play)
app.command("explore")(explore.explore)
app.command("cocotb")(bench.cocotb)
app.command("boards")(fpga.boards)
app.command("build")(bitstream.build)
app.command("flash")(fpga.flash)
app.command("devices")(devices.devices)
app.command("info")(inspect.info)
app.command("doctor")(inspect.doctor)
app.command("serve")(run.serve)
app.command("schema")(schema.schema)
for command in app.registered_commands:
    command.epilog = epilog(command.name or "")


_signal: int = signal.SIGINT
"""The signal that ended the command."""


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
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print results and errors, no progress.")] = False,
) -> None:
    logging.basicConfig(format="sateen: %(message)s")
    # Levels of loggers change while progress is shown; that of what is printed does not.
    for handler in logging.getLogger().handlers:
        handler.setLevel(logging.INFO if verbose else logging.ERROR)
    logging.getLogger("sateen").setLevel(logging.INFO if verbose else logging.ERROR)
    progress.settings.quiet = quiet


def main() -> None:
    """Runs the command line. Errors and warnings are one line each; SATEEN_DEBUG=1 raises errors with their
    traceback."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        # A process may be started with none open: no file that it opens later may take their place.
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # Names of files may hold what a terminal's encoding lacks.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    warnings.showwarning = _warn
    warned.clear()
    warnings.simplefilter("always", SateenWarning)
    # Whoever ends the command wants it to clean up, whatever the signal.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        app(standalone_mode=True)
    except SystemExit as error:
        # Typer turns an interrupt into this.
        if error.code != ExitCode.INTERRUPTED:
            raise
        _end_interrupted()
    except (SateenError, SimulationError, GraphError, NetworkError, ValueError, OSError) as error:
        _fail(error)
    except MemoryError as error:
        _fail(error, "out of memory; use a smaller model or configuration")
    except KeyboardInterrupt:
        _end_interrupted()
    except Exception as error:
        text = f"internal error: {type(error).__name__}: {error}; please report it, with the output of SATEEN_DEBUG=1"
        _fail(error, text, code=ExitCode.INTERNAL)


def _interrupt(number: int, _: object) -> None:
    global _signal
    _signal = number
    # Libraries end what they have called, but not what that has called.
    processes.end_descendants()
    raise KeyboardInterrupt


def _end_interrupted() -> None:
    """Ends after a signal, with the status that shells give one."""
    print("sateen: interrupted", file=sys.stderr)
    sys.exit(128 + _signal)


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    # Amaranth's, of hardware that an error or an interrupt left unfinished.
    if type(message).__name__ == "UnusedElaboratable":
        return
    if _line(message) not in warned:
        warned.append(_line(message))
        print(f"sateen: warning: {_line(message)}", file=sys.stderr)


def _fail(error: BaseException, message: str = "", *, code: ExitCode | None = None) -> None:
    if os.environ.get("SATEEN_DEBUG"):
        raise error
    print(f"sateen: error: {_line(message or error)}", file=sys.stderr)
    sys.exit(exit_code(error) if code is None else code)


def _line(message: object) -> str:
    return printable(" ".join(str(message).split()))
