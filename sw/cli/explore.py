"""``sateen explore``."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sateen.cli.bitstream import BOARD
from sateen.cli.documents import Exploration, Verified
from sateen.cli.output import progress, status
from sateen.cli.printing import JsonFile, console, write_document
from sateen.cli.sources import load_source
from sateen.cli.tables import Column, number, print_table
from sateen.cli.work import SchedulerOption, spread
from sateen.errors import InputError, SateenError
from sateen.extras import install_hint
from sateen.files import atomic_write

if TYPE_CHECKING:
    from sateen.explore import Point, Search, Target
    from sateen.graph import Graph

__all__ = ["explore"]

FILLS = {"luts": 0.9, "registers": 0.9}
"""The shares that are used by default."""
ECP5_LUTS = 0.7
"""An ECP5's share of LUTs: 65 % were routed, 75 % were not in 50 minutes."""
SHOWN = 12
"""Configurations of the front that are printed."""


def explore(
    models: Annotated[list[Path], typer.Argument(metavar="MODEL…", help="Quantized models, graphs or .sateen files.")],
    board: Annotated[str | None, typer.Option("--board", "-b", help=BOARD)] = None,
    part: Annotated[str | None, typer.Option(help="A part instead of a board, as ecp5-85f.")] = None,
    weight: Annotated[
        list[float] | None, typer.Option(help="What an inference of each model counts, in their order; by default 1.")
    ] = None,
    fill: Annotated[
        float | None,
        typer.Option(help="Share of LUTs and registers to use; by default 0.9, of an ECP5's LUTs 0.7.", max=1),
    ] = None,
    luts: Annotated[int | None, typer.Option(help="Most LUTs.", min=1)] = None,
    multipliers: Annotated[int | None, typer.Option(help="Most multipliers.", min=0)] = None,
    block_rams: Annotated[int | None, typer.Option(help="Most block RAMs.", min=1)] = None,
    trials: Annotated[int, typer.Option(help="Configurations to look at.", min=1)] = 1000,
    seed: Annotated[int, typer.Option(help="Of the search.", min=0)] = 0,
    study: Annotated[
        Path | None, typer.Option(help="File (SQLite) that keeps the trials; if it has some, they are continued.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that look at configurations.")] = 1,
    scheduler: SchedulerOption = "",
    verify: Annotated[int, typer.Option(help="Build so many of the fastest; minutes to hours each.", min=0)] = 0,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page with the front.")] = None,
    json: JsonFile = None,
) -> None:
    """Finds configurations for models: the front of latency and area on a board or part."""
    try:
        import optuna  # noqa: F401

        from sateen.explore import Task
        from sateen.explore import explore as search

        if html is not None:
            from sateen.explore.page import page
    except ImportError as error:
        raise SateenError(f"exploring needs Optuna ({error}); {install_hint('explore')}") from error
    for path in (html, json):
        # Before minutes of work.
        if path is not None and not path.parent.is_dir():
            raise InputError(f"there is no folder {path.parent}; make it, or choose another for {path.name}")
    target = _target(board, part, fill, {"luts": luts, "multipliers": multipliers, "block_rams": block_rams})
    with progress("exploring", trials) as report, spread(scheduler, jobs, ["sateen.explore"]) as run:
        # Processes begin meanwhile.
        graphs, weights = _models(models, weight or [])
        task = Task(graphs=graphs, weights=weights, target=target)
        found = search(task, trials=trials, seed=seed, study=study, spread=run, progress=report)
    if not found.front:
        raise SateenError(f"{refusal(found, target)}")
    _print(found, target, weights)
    if html is not None:
        with atomic_write(html, "wb") as file:
            file.write(page(found, target, weights).encode())
        console.print(f"{html}: the front")
    verified: list[Verified] = []
    try:
        if verify:
            several = f"the {verify} fastest" if verify > 1 else found.front[0].config
            with status(f"building {several}"), spread(scheduler, jobs) as run:
                for each in (run or map)(partial(_verified, target), found.front[:verify]):
                    verified.append(each)
                    console.print(_text(each))
    finally:
        # What was found is kept, whatever becomes of the builds.
        write_document(
            json,
            Exploration(
                target=target.name, models=list(graphs), weights=weights, limits=target.limits, trials=found.trials,
                skipped=found.skipped, over=found.over, front=found.front, by_hand=found.baseline, verified=verified,
            ),
        )  # fmt: skip
    if target.board is not None:
        console.print(f"the fastest: sateen build --board {target.name} --config {shlex.quote(found.front[0].config)}")
    else:
        console.print(f"the fastest: sateen verilog --preset {shlex.quote(found.front[0].config)} -o sateen.v")


def _target(board: str | None, part: str | None, fill: float | None, given: dict[str, int | None]) -> Target:
    from sateen.explore import Target
    from sateen.fpga.build import find_board
    from sateen.fpga.parts import PARTS

    if (board is None) == (part is None):
        raise InputError("name a board with --board, or a part with --part")
    if part is not None and part not in PARTS:
        raise InputError(f"--part must be one of {', '.join(PARTS)}, not {part!r}")
    place = find_board(board) if board is not None else None
    chip = place.part if place is not None else PARTS[part or ""]
    if fill is not None and not fill > 0:
        raise InputError(f"--fill must be above 0, not {fill}")
    shares = FILLS if fill is None else dict.fromkeys(FILLS, fill)
    if fill is None and chip.family == "ecp5":
        shares = {**FILLS, "luts": ECP5_LUTS}
    limits = {name: int(most * shares.get(name, 1.0)) for name, most in chip.capacity.items()}
    # A logic cell of an iCE40 is a LUT with its register: the LUTs' limit is that of both.
    if chip.family == "ice40":
        del limits["registers"]
    # A limit that is asked for stands in place of a default share.
    room = dict(chip.capacity) if fill is None else limits
    asked = {name: min(most, room.get(name, 0)) for name, most in given.items() if most is not None}
    return Target(name=board or part or "", part=chip, board=place, limits={**limits, **asked}, asked=tuple(asked))


def _models(paths: list[Path], weight: list[float]) -> tuple[dict[str, Graph], dict[str, float]]:
    if weight and len(weight) != len(paths):
        raise InputError(f"--weight is given {len(weight)} times for {len(paths)} models; give one for each, or none")
    if any(not 0 < each < float("inf") for each in weight):
        raise InputError("--weight must be above 0")
    graphs: dict[str, Graph] = {}
    for path in paths:
        name = path.stem if path.stem not in graphs else str(path)
        if name in graphs:
            raise InputError(f"{path} is given twice; count it once, with a larger --weight")
        graphs[name] = load_source(path).graph
    return graphs, dict(zip(graphs, weight or [1.0] * len(paths), strict=True))


REASONS = {
    "fit": "do not fit",
    "compile": "cannot run a model",
    "host": "leave more layers to the host than need be",
    "unknown": "are of a kind that has not been measured",
}


NOT_SEARCHED = (
    "products", "softmax", "squares", "lutram", "direct", "norms", "recurrent", "layer_norm", "sdram",
    "weights_per_byte", "float_rounding",
)  # fmt: skip
"""Fields that stay at their defaults: no synthesis of them was entered, or a clock of its own would be needed."""


def counts_text(found: Search) -> str:
    """Why configurations are no candidates, and how many."""
    texts = []
    for reason, count in sorted(found.skipped.items(), key=lambda each: -each[1]):
        over = [f"{many:,} for {name.replace('_', ' ')}" for name, many in found.over.items() if reason == "fit"]
        texts.append(f"{count:,} {REASONS[reason]}" + (f" ({', '.join(over)})" if over else ""))
    return "; ".join(texts)


def refusal(found: Search, target: Target) -> str:
    """Why nothing was found, and what would help."""
    nearest = found.nearest
    if nearest is None:
        return f"no configuration of {found.trials:,} serves on {target.name}: {counts_text(found)}"
    return (
        f"no configuration of {found.trials:,} serves on {target.name}: {counts_text(found)}; the nearest, "
        f"{nearest.config}, {nearest.problem}; allow more with --luts, --multipliers, --block-rams or --fill, or name "
        "a larger part"
    )


def _print(found: Search, target: Target, weights: dict[str, float]) -> None:
    from sateen.fpga.area import error_of
    from sateen.fpga.speed import speed
    from sateen.hw.spec.config import parse_config

    serve = found.trials - sum(found.skipped.values())
    console.print(
        f"looked at {found.trials:,} configurations, those made by hand among them: {serve:,} serve, of which "
        f"{len(found.front):,} are on the front, since no other is as fast and as small"
    )
    if found.skipped:
        console.print(counts_text(found))
    console.print(f"not searched, at their defaults: {', '.join(NOT_SEARCHED)}{_memory(found, target)}")
    console.print("every one computes the same integers, so that accuracy is the same")
    columns = [
        number("latency"), number("array", 3), number("port", 4), number("clock", 2),
        *(number(name.replace("_", " "), rank=5) for name in target.limits), Column("configuration", fold=True, rank=1),
    ]  # fmt: skip
    shown = found.front
    if len(shown) > SHOWN:
        shown = [shown[round(place * (len(shown) - 1) / (SHOWN - 1))] for place in range(SHOWN)]
    left = f", {SHOWN} of its {len(found.front)} (--json and --html have all)" if shown is not found.front else ""
    print_table(columns, [_row(point, target, weights) for point in shown], title=f"the front, fastest first{left}:")
    by_hand = [point for point in found.baseline if not point.problem]
    if by_hand:
        print_table(columns, [_row(point, target, weights) for point in by_hand], title="made by hand:")
    first = parse_config(found.front[0].config)
    error, clock = error_of(first, target.part), speed(first, target.part, found.front[0].cells["luts"])
    if error.luts is None or error.registers is None or error.most is None:
        off = "by how much they are off was not measured for this engine on this technology"
    else:
        off = (
            f"off by {error.luts:.1%} LUTs and {error.registers:.1%} registers in the mean, {error.most:.0%} at most, "
            f"on {error.points} syntheses that were left out"
        )
    console.print(f"LUTs and registers are estimates, {off}; block RAMs and multipliers are exact")
    if clock is not None:
        console.print(
            f"clocks are estimates, off by {clock.error:.0%} in the mean on {clock.points} placements that were left "
            "out; --verify 1 builds the fastest"
        )


def _memory(found: Search, target: Target) -> str:
    """What SDRAM would change, where the fastest sends weights for each inference."""
    streamed = [each.model for each in found.front[0].models if not each.resident]
    chips = target.board.sdram if target.board is not None else ()
    if not streamed or not chips:
        return ""
    return f"; {', '.join(streamed)}: with sdram={chips[0]} no inference would send weights"


def _row(point: Point, target: Target, weights: dict[str, float]) -> list[str]:
    arrays, ports = point.weighted("compute_ms", weights), point.weighted("link_ms", weights)
    cells = [f"{point.cells[name]:,}" for name in target.limits]
    return [_ms(point.latency_ms), _ms(arrays), _ms(ports), f"{point.clock_mhz:g} MHz", *cells, point.config]


def _ms(value: float) -> str:
    return f"{value:,.0f} ms" if value >= 1000 else f"{value:.4g} ms"


def _verified(target: Target, point: Point) -> Verified:
    """A point, placed, in whatever process."""
    from sateen.fpga.build import Recipe, build
    from sateen.fpga.flow import place
    from sateen.fpga.tools import ClockMissed, DoesNotFit
    from sateen.hw.spec.config import parse_config

    try:
        if target.board is not None:
            recipe = Recipe(board=target.name, config=target.board.with_pll_clock(target.board.parse(point.config)))
            try:
                report = build(recipe).report
            except ClockMissed as error:
                report = error.build.report
        else:
            from sateen.hw.top import Accelerator

            report = place(Accelerator(parse_config(point.config)), target.part, target_mhz=point.clock_mhz)
    except DoesNotFit as error:
        return Verified(
            config=point.config, clock_mhz=point.clock_mhz, fits=False, lacks=str(error), reached_mhz=None, luts=None,
            registers=None,
        )  # fmt: skip
    cells = report.resources
    return Verified(
        config=point.config, clock_mhz=point.clock_mhz, fits=True, lacks="", reached_mhz=report.clock_mhz,
        luts=cells.luts, registers=cells.registers,
    )  # fmt: skip


def _text(found: Verified) -> str:
    if not found.fits:
        return f"{found.config}: {found.lacks}"
    assert found.reached_mhz is not None
    missed = "" if found.reached_mhz >= found.clock_mhz else ", less than its clock"
    return f"{found.config}: placed, {found.luts:,} LUTs, {found.reached_mhz} MHz{missed}"
