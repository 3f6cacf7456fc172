"""The pictures of the documentation, as SVG in light and dark: the array with its wave, a layer's life, a memory plan.

    python -m making.pictures        (in docs)

writes ``docs/pictures``. The memory plan is the compiler's for a small network with a skip.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

import numpy as np

import sateen
from sateen.graph import Add, Conv2D, Graph, Tensor
from sateen.sim.golden.scaling import quantize_multiplier

FOLDER = Path(__file__).parents[1] / "pictures"
PALETTES = {
    "": {
        "ink": "#1d2b2a", "faint": "#6b7b7a", "line": "#9db0ae", "box": "#eef4f3",
        "wave": ("#00796b", "#4db6ac", "#b2dfdb"), "on wave": ("#ffffff", "#0b2b27", "#0b2b27"),
        "warm": "#c77700", "cool": "#2f6fb2", "rose": "#a8456b",
        "leaf": "#5b7f2b", "paper": "#ffffff",
    },
    "-dark": {
        "ink": "#e4eeec", "faint": "#9fb0ae", "line": "#5b6d6b", "box": "#26312f",
        "wave": ("#4db6ac", "#2a7f76", "#1c4f4a"), "on wave": ("#06201d", "#ffffff", "#e4eeec"),
        "warm": "#e0a044", "cool": "#6ba4dd", "rose": "#d880a3",
        "leaf": "#9cc26a", "paper": "#1e2129",
    },
}  # fmt: skip
FONT = "font-family='system-ui, Segoe UI, Roboto, Helvetica, Arial, sans-serif'"


class Drawing:
    """An SVG in the making; coordinates are pixels from the upper left corner."""

    def __init__(self, width: int, height: int, colours: dict[str, object], title: str):
        self.colours, self.size, self.title = colours, (width, height), title
        self.parts: list[str] = []

    def colour(self, name: str) -> str:
        """A colour of the palette, or of a wave's step, as ``wave 1``."""
        base, _, step = name.rpartition(" ")
        value = self.colours[base][int(step)] if step.isdigit() else self.colours[name]  # type: ignore[index]
        return str(value)

    def box(
        self, x: float, y: float, width: float, height: float, fill: str = "box", *, line: str = "line", radius: int = 6
    ) -> None:
        self.parts.append(
            f"<rect x='{x:g}' y='{y:g}' width='{width:g}' height='{height:g}' rx='{radius}' fill='{self.colour(fill)}' "
            f"stroke='{self.colour(line)}'/>"
        )

    def text(
        self, x: float, y: float, text: str, *, fill: str = "ink", size: int = 14, anchor: str = "middle",
        bold: bool = False,
    ) -> None:  # fmt: skip
        """Text whose middle line is at ``y``."""
        weight = " font-weight='600'" if bold else ""
        self.parts.append(
            f"<text x='{x:g}' y='{y + 0.35 * size:g}' font-size='{size}' text-anchor='{anchor}'{weight} "
            f"fill='{self.colour(fill)}'>{escape(text)}</text>"
        )

    def arrow(self, points: Sequence[tuple[float, float]], *, line: str = "faint", width: float = 1.6) -> None:
        """A line through points, with a head at its end."""
        (x0, y0), (x, y) = points[-2:]
        length = max(abs(x - x0), abs(y - y0))
        dx, dy = (x - x0) / length, (y - y0) / length
        path = " ".join(f"{'L' if place else 'M'}{px:g} {py:g}" for place, (px, py) in enumerate(points))
        back, side = (x - 8 * dx, y - 8 * dy), (4.5 * dy, 4.5 * dx)
        corners = (back[0] - side[0], back[1] + side[1]), (back[0] + side[0], back[1] - side[1])
        head = f"M{x:g} {y:g}" + "".join(f" L{cx:g} {cy:g}" for cx, cy in corners) + "Z"
        colour = self.colour(line)
        self.parts.append(f"<path d='{path}' fill='none' stroke='{colour}' stroke-width='{width}'/>")
        self.parts.append(f"<path d='{head}' fill='{colour}'/>")

    def svg(self) -> str:
        width, height = self.size
        return (
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' height='{height}' "
            f"role='img' {FONT}><title>{escape(self.title)}</title>\n" + "\n".join(self.parts) + "\n</svg>\n"
        )


def array(colours: dict[str, object]) -> str:
    """The machine around its array, at the cycle in which beat 6 enters."""
    d = Drawing(760, 446, colours, "The accelerator: an array of processing elements between its memories")
    rows, cols, side, gap, x0, y0, now = 4, 4, 46, 8, 300, 112, 6
    pitch, middle = side + gap, 300 + 2 * 46 + 1.5 * 8
    d.box(x0 - 12, 14, cols * pitch + 16, 44)
    d.text(middle, 29, "weight store", bold=True)
    d.text(middle, 47, "the next weights wait in the PEs", size=12, fill="faint")
    d.box(24, y0 - 8, 150, rows * pitch + 8)
    d.text(99, y0 + 66, "scratchpad", bold=True)
    for place, line in enumerate(("activations,", "NHWC bytes;", "any bytes in a row", "in one cycle")):
        d.text(99, y0 + 90 + 18 * place, line, size=12, fill="faint")
    for col in range(cols):
        x = x0 + col * pitch + side / 2
        d.arrow([(x, 58), (x, y0 - 3)])
        d.arrow([(x, y0 + rows * pitch - gap + 2), (x, y0 + rows * pitch + 24)])
    for row in range(rows):
        y = y0 + row * pitch + side / 2
        d.arrow([(174, y), (x0 - 4, y)])
        for step in range(3):
            beat = now + 1 + step - row
            x = x0 - 34 - 30 * step
            if beat > now - row:
                d.box(x, y - 11, 22, 22, "wave 2", radius=11)
                d.text(x + 11, y, str(beat), size=12, fill="on wave 2")
        for col in range(cols):
            beat, x = now - row - col, x0 + col * pitch
            step = (row + col) % 3
            d.box(x, y0 + row * pitch, side, side, f"wave {step}")
            d.text(x + side / 2, y, str(beat), fill=f"on wave {step}", bold=True)
    bottom = y0 + rows * pitch + 26
    d.box(x0 - 12, bottom, cols * pitch + 16, 44)
    d.text(middle, bottom + 15, "accumulators", bold=True)
    d.text(middle, bottom + 33, "one half fills, the other drains", size=12, fill="faint")
    d.box(580, bottom, 156, 44)
    d.text(658, bottom + 15, "requantization", bold=True)
    d.text(658, bottom + 33, "int32 → int8, pooling", size=12, fill="faint")
    d.arrow([(x0 + cols * pitch + 4, bottom + 22), (577, bottom + 22)])
    d.arrow([(658, bottom + 44), (658, 434), (99, 434), (99, y0 + rows * pitch + 3)])
    d.text(400, 423, "results are the next layer's activations", size=12, fill="faint")
    d.box(580, y0 - 8, 156, 128)
    d.text(658, y0 + 12, "sequencer", bold=True)
    for place, line in enumerate(("a descriptor", "for each pass;", "runs whole networks")):
        d.text(658, y0 + 34 + 18 * place, line, size=12, fill="faint")
    d.text(658, y0 + 100, "link to the host", bold=True)
    d.arrow([(580, y0 + 56), (x0 + cols * pitch + 4, y0 + 56)])
    d.text(99, 36, "numbers: the beat", size=12, fill="faint")
    d.text(99, 53, "that a PE works on", size=12, fill="faint")
    return d.svg()


def life(colours: dict[str, object]) -> str:
    """What the units do for two layers of two groups each; a diagram, not to scale."""
    d = Drawing(760, 330, colours, "A layer's life: the units work on different groups at the same time")
    left, unit = 150, 59
    lanes = ("weights", "tile", "accumulators A", "accumulators B", "output")
    one, two = "warm", "cool"
    spans: list[tuple[int, float, float, str, str]] = [
        (0, 0, 1, "1a", one), (0, 1, 1, "1b", one), (0, 3, 1, "2a", two), (0, 4, 1.2, "2b", two),
        (1, 1, 2, "1a: beats", one), (1, 3, 2, "1b: beats", one), (1, 6.4, 2, "2a: beats", two),
        (1, 8.4, 1.6, "2b", two),
        (2, 1.2, 2, "fills", one), (2, 3.2, 1, "drains", one), (2, 6.6, 2, "fills", two), (2, 8.6, 1, "drains", two),
        (3, 3.2, 2, "fills", one), (3, 5.2, 1, "drains", one), (3, 8.6, 1.4, "fills", two),
        (4, 3.4, 1, "1a", one), (4, 5.4, 1, "1b", one), (4, 8.8, 1, "2a", two),
    ]  # fmt: skip
    for lane, name in enumerate(lanes):
        y = 30 + 50 * lane
        d.box(left, y, 10 * unit + 4, 38, "paper", radius=3)
        d.text(left - 12, y + 19, name, anchor="end", bold=True)
    for lane, begin, length, text, colour in spans:
        y = 30 + 50 * lane
        length = min(length, 10 - begin)
        d.box(left + 2 + begin * unit, y + 3, length * unit - 2, 32, colour, line="paper", radius=4)
        d.text(left + 2 + (begin + length / 2) * unit, y + 19, text, size=13, fill="paper", bold=True)
    d.arrow([(left, 292), (left + 10 * unit, 292)])
    d.text(left + 5 * unit, 306, "time", size=12, fill="faint")
    d.text(left + 0.1 * unit, 16, "layer 1", fill="warm", anchor="start", bold=True)
    second = "layer 2: its weights arrive while layer 1 computes"
    d.text(left + 3.1 * unit, 16, second, fill="cool", anchor="start", bold=True)
    return d.svg()


def network() -> Graph:
    """A small network with a skip, whose plan shows how addresses are used again."""
    rng = np.random.default_rng(1)
    shapes = {"image": (16, 16, 3), **dict.fromkeys(("stem", "a", "b", "sum"), (16, 16, 8)), "head": (8, 8, 16)}
    tensors = {name: Tensor(name=name, shape=(1, *shape), scale=0.05, zero_point=0) for name, shape in shapes.items()}

    def conv(name: str, source: str, kernel: int, stride: int) -> Conv2D:
        depth, channels = shapes[source][2], shapes[name][2]
        multiplier, shift = quantize_multiplier(0.01)
        pad = kernel // 2
        return Conv2D(
            name=name, input=source, output=name, stride=(stride, stride), padding=((pad, pad), (pad, pad)),
            weights=rng.integers(-99, 99, (channels, kernel, kernel, depth)).astype(np.int8),
            bias=np.zeros(channels, np.int32), multiplier=np.full(channels, multiplier, np.int32),
            shift=np.full(channels, shift, np.int8),
        )  # fmt: skip

    ops = [conv("stem", "image", 3, 1), conv("a", "stem", 3, 1), conv("b", "a", 3, 1)]
    ops += [Add(name="sum", a="stem", b="b", output="sum"), conv("head", "sum", 3, 2)]
    return Graph(name="skip", tensors=tensors, ops=ops, inputs=["image"], outputs=["head"])


def plan(colours: dict[str, object]) -> str:
    """The compiler's addresses for each tensor, over the steps that need it."""
    model = sateen.compile(network(), "small")
    names = [op.name for op in model.graph.ops]
    width, height, left, top, total = 760, 330, 110, 44, model.scratchpad_bytes
    d = Drawing(width, height, colours, "The memory plan: addresses over steps")
    scale, step = (width - left - 24) / total, (height - top - 46) / len(names)
    for place, name in enumerate(names):
        d.box(left, top + place * step, total * scale, step, "paper", radius=0)
        d.text(left - 12, top + (place + 0.5) * step, name, anchor="end", bold=True)
    fills = ("cool", "warm", "leaf", "rose")
    for number, (name, ranges) in enumerate(model.live_ranges.items()):
        for first, last in ranges:
            x, y = left + model.addresses[name] * scale, top + max(0, first) * step
            tall = (last - max(0, first) + 1) * step
            d.box(x + 1, y + 1, model.size(name) * scale - 2, tall - 2, fills[number % 4], line="paper", radius=4)
            d.text(x + model.size(name) * scale / 2, y + tall / 2, name, fill="paper", bold=True)
    d.arrow([(left, height - 34), (width - 20, height - 34)])
    d.text(left + total * scale / 2, height - 16, f"scratchpad, {total:,} bytes used", size=12, fill="faint")
    d.text(left - 12, top - 18, "step", anchor="end", size=12, fill="faint")
    return d.svg()


PICTURES: dict[str, Callable[[dict[str, object]], str]] = {"array": array, "life": life, "plan": plan}


def made() -> dict[str, str]:
    """Every file of the folder, by its name."""
    return {
        f"{name}{suffix}.svg": draw(colours) for name, draw in PICTURES.items() for suffix, colours in PALETTES.items()
    }


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, text in made().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
