"""Examples that each command's help ends with. A test parses every one."""

from __future__ import annotations

__all__ = ["EXAMPLES", "epilog"]

EXAMPLES: dict[str, tuple[str, ...]] = {
    "demo": ("sateen demo", "sateen demo --device sim:large --count 20"),
    "verilog": ("sateen verilog -o sateen.v", "sateen verilog --preset small,rows=16 --part tile -o tile.v"),
    "compile": (
        "sateen compile net.tflite --config large",
        "sateen compile float.onnx --calibration x.npy -o net.sateen",
    ),
    "export-c": ("sateen export-c net.sateen", "sateen export-c net.sateen -o firmware/ --name net"),
    "quantize": (
        "sateen quantize float.onnx --calibration x.npy -o net.graph",
        "sateen quantize float.onnx -c x.npy -o net.graph --labels y.npy --device sim:small",
    ),
    "run": (
        "sateen run net.sateen --input x.npy --check",
        "sateen run net.tflite --input photos/ --labels classes.txt --device serial:/dev/ttyUSB0",
    ),
    "load": (
        "sateen load net.sateen --device serial:/dev/ttyUSB0",
        "sateen load net.tflite --device sim:small,sdram=as4c32m16sb",
    ),
    "tell": (
        'sateen tell stories260K.bin "Once upon a time"',
        "sateen tell stories260K.bin --device golden --temperature 0.8 --seed 7",
    ),
    "verify": ("sateen verify net.tflite", "sateen verify net.onnx --input photo.png --config large"),
    "mlperf": (
        "sateen mlperf ic.tflite ic01 --device serial:/dev/ttyUSB0",
        "sateen mlperf kws.tflite kws01 --serve",
    ),
    "report": ("sateen report net.sateen --input x.npy", "sateen report run.json --energy energy.json"),
    "energy": (
        "sateen energy net.tflite --input x.npy --board ulx3s-85f",
        "sateen energy net.tflite -i photos/ --part ecp5-85f --config large --json energy.json",
    ),
    "tune": (
        "sateen tune net.graph --input x.npy --labels y.npy -o tuned.graph",
        "sateen tune net.graph -i x.npy -l y.npy -o tuned.graph --loss 0.01",
    ),
    "compare-pe": ("sateen compare-pe", "sateen compare-pe --part ecp5-85f --array 8x8"),
    "play": (
        "sateen play",
        "sateen play net.tflite --labels classes.txt --device serial:/dev/ttyUSB0",
    ),
    "explore": (
        "sateen explore net.tflite --board ulx3s-85f --html front.html",
        "sateen explore a.tflite b.onnx --weight 10 --weight 1 --part ecp5-85f --luts 20000 --study search.db",
    ),
    "cocotb": ("sateen cocotb", "sateen cocotb tile --config rows=4,cols=4 --waves tile.fst"),
    "boards": ("sateen boards", "sateen boards --json -"),
    "build": ("sateen build --board ulx3s-85f", "sateen build --board ulx3s-85f --config large --seeds 4 --jobs 2"),
    "flash": ("sateen flash --board ulx3s-85f", "sateen flash --board ulx3s-85f mine.bit --keep"),
    "info": ("sateen info net.sateen", "sateen info net.tflite --config large --json info.json"),
    "devices": ("sateen devices", "sateen devices /dev/ttyUSB0 --json -"),
    "doctor": ("sateen doctor", "sateen doctor --udev -o 70-sateen.rules"),
    "serve": ("sateen serve small", "sateen serve small,rows=16 --port 7400"),
    "schema": ("sateen schema", "sateen schema info"),
}


def epilog(command: str) -> str:
    """The end of a command's help."""
    examples = EXAMPLES.get(command, ())
    # The mark keeps Click from joining the lines.
    return "\n".join(["\b", "Examples:", *(f"  {example}" for example in examples)]) if examples else ""
