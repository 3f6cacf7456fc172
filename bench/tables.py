"""Writes the tables of measured figures into the documentation, from ``bench/results.json``.

    python bench/tables.py

A table stands between ``<!-- table: NAME -->`` and ``<!-- end of table -->`` in one of :data:`PAGES`; names are the
keys of :data:`TABLES`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import inferences
import multiplying
import results
import telling
from choosing import energy, energy_figures, explored, scaling
from families import FAMILIES
from inferences import SENT
from results import Record
from sateen.hw.spec.config import PRESETS
from tabular import NONE, named, number, share, table

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PLACE = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
PORT_BAUD = 3_000_000
"""Of a ULX3S's serial port."""
LATENCIES = ("digits", "ic_resnet8", "kws_dscnn", "ad_autoencoder")
"""Models whose latency on each board is listed."""


def boards() -> str:
    """Every build for a board."""
    heads = ["board", "configuration", ">LUTs", ">registers", ">multipliers", ">block RAMs", ">clock, MHz", ">reached"]
    rows = [
        [
            named(one, f"`{one['name']}`"), f"`{one['configuration']}`", number(one["luts"]), number(one["registers"]),
            number(one["multipliers"]), _rams(one), f"{one['clock_mhz']:g}", _reached(one),
        ]
        for one in results.of_kind("board")
    ]  # fmt: skip
    return table(heads, rows)


def _rams(one: Record) -> str:
    large = one.get("large_rams")
    return f"{one['block_rams']}" + (f" and {large} of 32 KiB" if large else "")


def _reached(one: Record) -> str:
    """The clock of each seed, and the margin of the best."""
    clocks = one["reached_mhz"]
    return f"{', '.join(map(str, clocks))}, {max(clocks) / one['clock_mhz'] - 1:+.0%}"


def latencies() -> str:
    """What an inference takes on each build."""
    heads = ["board", "configuration", ">peak GMAC/s", *(f">{name}, ms" for name in LATENCIES)]
    found = [one for one in results.of_kind("board") if one["latency"]]
    rows = [
        [
            named(one, f"`{one['name']}`"), f"`{one['configuration']}`", f"{one['peak_gmacs']:g}",
            *(_latency(one["latency"].get(name), one["configuration"]) for name in LATENCIES),
        ]
        for one in found
    ]  # fmt: skip
    return table(heads, rows)


def _latency(one: Record | None, configuration: str) -> str:
    if one is None:
        return NONE
    source = "from SDRAM" if "sdram=" in configuration else SENT
    notes = [source] * one["streamed"] + [f"{one['on_host']} on the host"] * bool(one["on_host"])
    return ", ".join([f"{one['ms']:g}", *notes])


def attention() -> str:
    """A head of attention, layer by layer."""
    found = results.of_kind("attention")
    rows = [
        [one["name"], f"`{one['configuration']}`", number(one["cycles"]), number(one["predicted"])] for one in found
    ]
    return table(["layer", "configuration", ">cycles", ">by the cycle model"], rows)


def recurrent() -> str:
    """Recurrent layers with states of 16 bits."""
    heads = ["layer", "configuration", ">multiplications", ">cycles", ">by the cycle model"]
    rows = [
        [one["name"], f"`{one['configuration']}`", *(number(one[name]) for name in ("macs", "cycles", "predicted"))]
        for one in results.of_kind("recurrent")
    ]
    return table(heads, rows)


TOLD = ("rows", "weight_rows", "overlap", "window_skip", "residual", "sdram", "link")
"""Fields of a configuration that the README names; the others are sizes of memories."""


def summary() -> str:
    """A few builds with what they take, for the README: of each of these boards and presets the fastest."""
    shown = ("digits", "kws_dscnn")
    chosen = [
        ("ulx3s-85f", "small"), ("ulx3s-85f", "large"), ("ecpix5-85f", "large"), ("orangecrab-85f", "large"),
        ("icebreaker", "micro"), ("tang-nano-9k", "micro"),
    ]  # fmt: skip
    built = [one for one in results.of_kind("board") if all(name in one["latency"] for name in shown)]
    rows = []
    for board, preset in chosen:
        of_both = [one for one in built if (one["name"], one["configuration"].partition(",")[0]) == (board, preset)]
        one = min(of_both, key=lambda each: each["latency"][shown[1]]["ms"])
        fields = one["configuration"].split(",")[1:]
        told = [field for field in fields if field.startswith(TOLD)]
        times = (f"{one['latency'][name]['ms']:g}" for name in shown)
        array = f"`{','.join([preset, *told])}`"
        rows.append([f"`{board}`", array, number(one["luts"]), f"{one['clock_mhz']:g}", *times])
    return table(["board", "array", ">LUTs", ">clock, MHz", *(f">{name}, ms" for name in shown)], rows)


def block_rams() -> str:
    """How soon block RAMs answer."""
    rows = [
        [named(one, one["part"]), one["name"], f"{one['answers_ns']:.2f}", number(one["reached_mhz"])]
        for one in results.of_kind("block_ram")
    ]
    return table(["part", "a block RAM", ">ns from the clock to the data", ">MHz with one LUT behind"], rows)


def budgets() -> str:
    """Term budgets."""
    found = results.of_kind("budget")
    exact = found[0]["term_pairs"]
    rows = [
        [
            named(one, one["name"]), share(one["accuracy"], 1), number(one["term_pairs"]),
            f"{exact / one['term_pairs']:.1f}×" if one is not found[0] else "", number(one["cycles"]),
        ]
        for one in found
    ]  # fmt: skip
    return table(["budget", ">accuracy", ">term pairs", ">fewer", ">cycles"], rows)


def combined() -> str:
    """The digits, dense and combined."""
    heads = ["network", "device", ">tiles", ">cells used", ">cycles", ">accuracy in int8", ">LUTs", ">registers"]
    rows = [
        [
            named(one, one["name"]), f"`{one['configuration']}`", number(one["tiles"]), share(one["cells_used"]),
            number(one["cycles"]), share(one["accuracy"], 2), number(one["luts"]), number(one["registers"]),
        ]
        for one in results.of_kind("combined")
    ]  # fmt: skip
    return table(heads, rows)


def combine() -> str:
    """Cells of a PE by the number of activations that it chooses from."""
    found = results.of_kind("combine")
    kinds = list(found[0]["per_pe"])
    heads = ["combine", *(f"`{pe}`, a PE: LUTs, registers" for pe in kinds)]
    heads += [">whole: LUTs", ">registers", ">block RAMs"]
    rows = []
    for one in found:
        cells = (f"{one['per_pe'][pe]['luts']:,}, {one['per_pe'][pe]['registers']:,}" for pe in kinds)
        whole = (number(one[name]) for name in ("luts", "registers", "block_rams"))
        rows.append([named(one, one["name"]), *cells, *whole])
    return table(heads, rows)


def packing() -> str:
    """Time that packing takes."""
    heads = ["weights", "device", ">not zero", ">tiles", ">cells used", ">seconds"]
    rows = [
        [
            named(one, one["name"]), f"`{one['configuration']}`", share(one["density"]),
            f"{one['tiles']} of {one['dense_tiles']}", share(one["cells_used"]), f"{one['seconds']:.1f}",
        ]
        for one in results.of_kind("packing")
    ]  # fmt: skip
    return table(heads, rows)


def weight_bits() -> str:
    """Tiles with weights of 8 and 9 bits."""
    heads = ["weight_bits", ">multipliers: LUTs", ">registers", ">without: LUTs", ">registers"]
    names = ("luts", "registers", "logic_luts", "logic_registers")
    found = results.of_kind("weight_bits")
    return table(heads, [[named(one, one["name"]), *(number(one[name]) for name in names)] for one in found])


def families() -> str:
    """What the exported Verilog takes on parts of other makers."""
    heads = ["configuration", "family", ">LUTs", ">registers", ">multipliers", ">block RAMs", ">distributed RAMs"]
    names = ("luts", "registers", "multipliers", "block_rams", "distributed_rams")
    rows = (
        [named(one, f"`{one['configuration']}`"), FAMILIES[one["family"]].title, *(number(one[name]) for name in names)]
        for one in sorted(results.of_kind("family"), key=_place_of_family)
    )
    return table(heads, rows)


def _place_of_family(one: Record) -> tuple[int, int]:
    return list(PRESETS).index(one["configuration"]), list(FAMILIES).index(one["family"])


def soaks() -> str:
    """What random rounds led to."""
    heads = ["kind", ">rounds", ">wrong", ">hangs", ">a second", ">longest, s", ">most memory, MiB", "what came out"]
    rows = [
        [
            named(one, f"`{one['name']}`"), number(one["rounds"]), number(one["wrong"]), number(one["hangs"]),
            number(one["rounds_a_second"]), number(one["longest_seconds"]), number(one["memory_mib"]),
            ", ".join(f"{number(count)} {word}" for word, count in one["outcomes"].items()),
        ]
        for one in results.of_kind("soak")
    ]  # fmt: skip
    return table(heads, rows)


def sdram() -> str:
    """Inferences with and without SDRAM."""
    heads = ["network", "configuration", ">layers", ">waiting for SDRAM", ">whole inference", ">over the link"]
    heads.append(f">ms at {PORT_BAUD / 1e6:g} Mbaud")
    rows = [
        [
            named(one, one["name"]), f"`{one['configuration']}`", number(one["cycles"]),
            number(one.get("memory_cycles")), number(one["all_cycles"]), number(one["link_bytes"]),
            number(round(1e4 * one["link_bytes"] / PORT_BAUD)),
        ]
        for one in results.of_kind("sdram")
    ]  # fmt: skip
    return table(heads, rows)


def lines() -> str:
    """Inferences a second over each kind of line."""
    heads = ["network", "configuration", "line", ">one by one, /s", ">overlapped, /s"]
    rows = [
        [
            named(one, one["name"]), f"`{one['configuration']}`", one["line"], number(round(one["one_by_one"])),
            number(round(one["overlapped"])),
        ]
        for one in results.of_kind("line")
    ]  # fmt: skip
    return table(heads, rows)


def origins() -> str:
    """Where the figures come from."""
    found: dict[tuple[str, str, str], int] = {}
    for one in results.load():
        tools = one["tools"] if isinstance(one["tools"], str) else _versions(one["tools"])
        source = one["commit"] if one["commit"] != "unknown" else f"unknown; first listed by {one['listed'][:9]}"
        found[one["kind"], source, tools] = found.get((one["kind"], source, tools), 0) + 1
    rows = ([kind, str(count), source, tools] for (kind, source, tools), count in found.items())
    return table(["kind", ">records", "commit", "tools"], rows)


def _versions(tools: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in tools.items())


TABLES: dict[str, Callable[[], str]] = {
    "attention": attention,
    "block-rams": block_rams,
    "boards": boards,
    "budgets": budgets,
    "combine": combine,
    "combined": combined,
    "explored": explored,
    "families": families,
    "energy": energy,
    "energy-figures": energy_figures,
    **inferences.TABLES,
    **multiplying.TABLES,
    **{f"language-{name}": make for name, make in telling.TABLES.items()},
    "latencies": latencies,
    "origins": origins,
    "packing": packing,
    "recurrent": recurrent,
    "scaling": scaling,
    "lines": lines,
    "sdram": sdram,
    "soaks": soaks,
    "summary": summary,
    "weight-bits": weight_bits,
}


def written(text: str) -> str:
    """A page with all its tables made anew."""
    return PLACE.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n\n{found[3]}", text)


def main() -> None:
    for page in PAGES:
        text = page.read_text()
        if (new := written(text)) != text:
            page.write_text(new)
            print(f"{page.relative_to(ROOT)}: written")


if __name__ == "__main__":
    main()
