"""Inputs from files of every kind, what is said of them, and classes by name."""

import wave
from dataclasses import replace

import numpy as np
import pytest

from sateen.cli import classes
from sateen.cli.inputs import Preprocessing, load_inputs
from sateen.errors import InputError, SateenWarning
from sateen.graph import Graph
from sateen.testing.graphs import Builder

PIL = pytest.importorskip("PIL.Image")


def graph(shape, *, scale=1 / 255, zero_point=-128, outputs=4, output_scale=0.1):
    """A model whose input takes real values of a range."""
    made = Builder(shape, np.random.default_rng(1)).flatten().fully_connected(outputs).graph()
    name, end = made.inputs[0], made.outputs[0]
    tensors = dict(made.tensors)
    for op in made.ops:
        for each in (*op.inputs, op.output):
            if each != end:
                tensors[each] = replace(tensors[each], scale=scale, zero_point=zero_point)
    tensors[end] = replace(tensors[end], scale=output_scale)
    return Graph(name=made.name, tensors=tensors, ops=made.ops, inputs=[name], outputs=[end])


def values(paths, made, **how):
    found = load_inputs([paths] if not isinstance(paths, list) else paths, made, Preprocessing(**how))
    return found.values[made.inputs[0]]


def sound(path, samples, *, width=2, channels=1):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels), file.setsampwidth(width), file.setframerate(16000)
        file.writeframes(np.asarray(samples).astype({1: "u1", 2: "<i2", 4: "<i4"}[width]).tobytes())


@pytest.mark.parametrize(
    ("scale", "zero_point", "said"),
    [
        (1 / 255, -128, "(pixels 0 to 255 − 0) / 255"),
        (1 / 127.5, -1, "(pixels 0 to 255 − 127.5) / 127.5"),
        (1.0, -128, "pixels 0 to 255; codes"),
        (1.0, 0, "(pixels 0 to 255 − 128) / 1"),
    ],
)
def test_pictures_become_codes_as_the_range_tells(tmp_path, capsys, scale, zero_point, said):
    """In each of the usual ranges a pixel's code is about the pixel − 128; the rule is printed."""
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5
    PIL.fromarray(pixels).save(tmp_path / "[red].png")
    codes = values(tmp_path / "[red].png", graph((4, 4, 3), scale=scale, zero_point=zero_point))
    assert codes.shape == (1, 4, 4, 3) and codes.dtype == np.int8
    assert np.abs(codes[0].astype(int) - (pixels.astype(int) - 128)).max() <= 1
    assert said in capsys.readouterr().out


def test_pictures_by_given_numbers(tmp_path):
    pixels = np.full((4, 4, 3), [10, 20, 30], np.uint8)
    PIL.fromarray(pixels).save(tmp_path / "p.png")
    made = graph((4, 4, 3), scale=0.5, zero_point=3)
    codes = values(tmp_path / "p.png", made, mean="10,10,10", scale="1,2,4")
    np.testing.assert_array_equal(codes[0, 0, 0], np.rint([0, 5 / 0.5, 5 / 0.5]).astype(int) + 3)


def test_a_folder_is_a_batch(tmp_path):
    folder, made = tmp_path / "photos", graph((4, 4, 1))
    folder.mkdir()
    for number in range(3):
        PIL.fromarray(np.full((4, 4), number, np.uint8)).save(folder / f"{number}.png")
    (folder / "notes.md").write_text("no input")
    found = load_inputs([folder], made)
    assert found.names == ["0.png", "1.png", "2.png"]
    np.testing.assert_array_equal(found.values[made.inputs[0]][:, 0, 0, 0], [-128, -127, -126])
    np.save(tmp_path / "x.npy", np.full((2, 4, 4, 1), 9, np.int8))
    found = load_inputs([folder / "0.png", tmp_path / "x.npy"], made)
    assert found.names == ["0.png", "x.npy", "x.npy"] and len(found.values[made.inputs[0]]) == 3


@pytest.mark.parametrize(("width", "top"), [(1, 255), (2, 32767), (4, 2**31 - 1)])
def test_sound(tmp_path, width, top):
    zero = 128 if width == 1 else 0
    sound(tmp_path / "s.wav", [zero, top, zero, zero + (top - zero) // 2] * 2, width=width)
    codes = values(tmp_path / "s.wav", graph((4,), scale=1 / 128, zero_point=0))
    assert codes.shape == (2, 4)
    assert np.abs(codes.astype(int) - [0, 127, 0, 64]).max() <= 1


def test_tables(tmp_path):
    (tmp_path / "t.csv").write_text("a,b,c,d\n0,0.5,1,0.25\n1,1,1,1\n")
    np.testing.assert_array_equal(values(tmp_path / "t.csv", graph((4,))), [[-128, 0, 127, -64], [127] * 4])
    (tmp_path / "t.csv").write_text("0;0.5;1;9\n")
    with pytest.warns(SateenWarning, match="25% of the values lie outside 0 to 1, which the model takes"):
        values(tmp_path / "t.csv", graph((4,)))


@pytest.mark.parametrize(
    ("name", "content", "shape", "how", "message"),
    [
        ("p.png", (5, 6, 3), (4, 4, 3), {}, "is 6×5 pixels, and the model takes 4×4; give --resize"),
        ("p.png", (4, 4, 3), (16,), {}, "the model takes 16 values, not a picture of 1 or 3 colours"),
        ("p.png", b"no picture", (4, 4, 3), {}, "as a picture: "),
        ("p.png", (4, 4, 3), (4, 4, 3), {"mean": "1,2"}, "--mean needs 1 number or 3, one for each channel"),
        ("p.png", (4, 4, 3), (4, 4, 3), {"scale": "0"}, "--scale divides, so it cannot be 0"),
        ("p.png", (4, 4, 3), (4, 4, 3), {"mean": "grey"}, "--mean must be a number"),
        ("s.wav", [0] * 7, (4,), {"mean": "0"}, "has 7 samples at 16,000 Hz; the model takes 4 an item"),
        ("s.wav", [0] * 16, (4, 4, 1), {"mean": "0"}, "the model takes 4×4×1 values, which are no samples"),
        ("s.wav", b"RIFFnone", (4,), {"mean": "0"}, "is no WAV file of whole numbers"),
        ("t.csv", b"1,2\n", (4,), {}, "row 1 has 2 numbers; the model takes 4 finite ones an item (4)"),
        ("t.csv", b"1,2,3,4\n1,2,x,4\n", (4,), {}, "row 2: could not convert string to float: 'x'"),
        ("t.csv", b"1,2,3,nan\n", (4,), {}, "row 1 has 4 numbers; the model takes 4 finite ones"),
        ("t.csv", b"\n", (4,), {}, "has no row of numbers"),
        ("t.csv", b"\xff\xfe", (4,), {}, "is no text"),
    ],
)
def test_errors_say_what_fits(tmp_path, name, content, shape, how, message):
    path = tmp_path / name
    if isinstance(content, tuple):
        PIL.fromarray(np.zeros(content, np.uint8)).save(path)
    elif isinstance(content, list):
        sound(path, content)
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r".*") as caught:
        values(path, graph(shape), **how)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_what_the_file_cannot_tell_is_asked(tmp_path):
    PIL.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "p.png")
    with pytest.raises(InputError, match=r"takes values from -2.108 to 2.649, .*give --mean and --scale"):
        values(tmp_path / "p.png", graph((4, 4, 3), scale=0.018658, zero_point=-15))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no input; its files' names must end with .npy"):
        values([tmp_path / "empty"], graph((4,)))
    np.save(tmp_path / "a.npy", np.zeros((1, 4), np.int8))
    np.save(tmp_path / "b.npy", np.zeros((1, 5), np.int8))
    with pytest.raises(InputError, match="b.npy has not the shape and type of .*a.npy, so they are no batch"):
        values([tmp_path / "a.npy", tmp_path / "b.npy"], graph((4,)))


def test_labels(tmp_path, capsys):
    made = graph((4,), output_scale=0.05)
    (tmp_path / "l.txt").write_text("cat\n[dog]\ncow\nhen\n\n")
    labels = classes.load_labels(tmp_path / "l.txt")
    y = np.array([[0, 40, -20, 10], [100, 0, 0, 0]], np.int8)
    classes.print_classes(made, y, labels, ["a.png", "b.png"])
    first, second, what = capsys.readouterr().out.splitlines()
    powers = np.exp(made.tensors[made.outputs[0]].dequantize(y[0]).astype(float))
    share = powers / powers.sum()
    assert first == f"a.png: [dog] {share[1]:.1%}, hen {share[3]:.1%}, cat {share[0]:.1%}, cow {share[2]:.1%}"
    assert second.startswith("b.png: cat ") and what == "probabilities are the softmax of the model's outputs"
    with pytest.raises(InputError, match="the model has 4 classes, and there are 3 labels"):
        classes.print_classes(made, y, labels[:3], ["a", "b"])
