"""Cost and gain of combined columns, entered into ``results.json``: LUTs of a tile by the number of activations that a
PE chooses from; the digits, dense and combined, by the device's counters, with the device's LUTs; the time that packing
takes.

    python bench/combine.py [luts] [digits] [packing]
"""

from __future__ import annotations

import dataclasses
import sys
import time

import numpy as np

import results
import sateen
import tables
from sateen.digits import load_data, load_network
from sateen.fpga.flow import Resources, synthesize
from sateen.fpga.parts import PARTS
from sateen.graph import run
from sateen.hw import export
from sateen.hw.spec.config import Config, parse_config
from sateen.sparsity import pack

CHOICES = (1, 2, 4, 8)
KINDS = ("mac", "bitserial", "term")
TILE = "tiny,weight_bits=8,scratchpad_bytes=16384"
DENSE = "small,weight_bits=8"
DEVICES = (("combined", f"{DENSE},combine=8"), ("dense", f"{DENSE},combine=8"), ("dense", DENSE))


def luts() -> None:
    """LUTs and registers of an LFE5U-85F, synthesized."""
    for combine in CHOICES:
        config = dataclasses.replace(parse_config(TILE), combine=combine)
        pes = config.rows * config.cols
        made = [_cells("tile", dataclasses.replace(config, pe=pe)) for pe in KINDS]
        per_pe = {
            pe: {"luts": round(one.luts / pes), "registers": round(one.registers / pes)}
            for pe, one in zip(KINDS, made, strict=True)
        }
        whole = _cells("accelerator", config)
        results.add(
            "combine", name=str(combine), configuration=f"{TILE},combine={combine}", part="ecp5-85f", per_pe=per_pe,
            luts=whole.luts, registers=whole.registers, block_rams=whole.block_rams, tools=results.SYNTHESIS,
        )  # fmt: skip
    print(tables.combine())


def _cells(part: str, config: Config) -> Resources:
    return synthesize(export.PARTS[part](config), PARTS["ecp5-85f"])[1]


def digits() -> None:
    """Cycles by the device's counters, and accuracy on 497 images in int8 by the golden model, which the device
    equals."""
    train_x, _, test_x, test_y = load_data()
    for name, device_name in DEVICES:
        network = load_network(combined=name == "combined")
        with sateen.open(f"sim:{device_name}") as device:
            model = sateen.compile(network, device.config, calibration=train_x)
            x = model.graph.tensors["input"].quantize(test_x)
            expected = run(model.graph, x)["logits"]
            loaded = device.load(model)
            np.testing.assert_array_equal(loaded.run(x[:4]), expected[:4])
            cycles = loaded.profile.cycles
        layers = [layer.combining for layer in model.layers if layer.macs and layer.combining.tiles]
        tiles = sum(one.tiles for one in layers)
        cells = sum(one.cells for one in layers)
        used = round(sum(one.nonzeros for one in layers) / cells, 4) if cells else None
        area = _cells("accelerator", device.config)
        results.add(
            "combined", name=name, configuration=device_name, part="ecp5-85f", tiles=tiles or None, cells_used=used,
            cycles=cycles, accuracy=round(float(np.mean(expected.argmax(axis=1) == test_y)), 4), luts=area.luts,
            registers=area.registers, tools=(*results.SIMULATION, *results.SYNTHESIS),
        )  # fmt: skip
    print(tables.combined())


def packing() -> None:
    """Time to pack matrices of 512 filters on one core."""
    rng = np.random.default_rng(1)
    for device in ("large,combine=8", "large,combine=16"):
        config = parse_config(device)
        for density in (0.05, 0.12, 0.25):
            shape = (512, 1, 4608)
            weights = (rng.integers(1, 128, shape) * (rng.random(shape) < density)).astype(np.int8)
            begin = time.perf_counter()
            made = pack(weights, config)
            seconds = time.perf_counter() - begin
            dense = -(-shape[-1] // config.tile_depth)
            tiles = made.windows.tiles if made else dense
            used = np.count_nonzero(weights) / (tiles * config.tile_depth * shape[0])
            results.add(
                "packing", name="512 × 4,608", configuration=device, density=density, tiles=tiles, dense_tiles=dense,
                cells_used=round(float(used), 4), seconds=round(seconds, 1), tools=("numpy",),
            )  # fmt: skip
    print(tables.packing())


def main() -> None:
    for name in sys.argv[1:] or ["luts", "digits", "packing"]:
        {"luts": luts, "digits": digits, "packing": packing}[name]()


if __name__ == "__main__":
    main()
