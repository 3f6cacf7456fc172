"""Files of Sateen with valid checksums and hostile contents: refused in one line, or used; nothing allocated that the
file does not hold."""

import io
import os
import resource
import stat
import subprocess
import sys
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import documents
import needs
import sateen
import seeds
from sateen.archive import ArchiveError
from sateen.arrays import read_array, read_arrays
from sateen.errors import SateenError
from sateen.files import atomic_write
from sateen.graph import Graph


@pytest.mark.parametrize(
    ("kind", "count"),
    [("arrays", 2000), ("image", 500), ("graph", 150), ("network", 60), ("model", 120), ("record", 120)],
)
def test_damaged(kind, count, tmp_path):
    """Every outcome is a word of :func:`documents.check`; a failure is the line that repeats it."""
    if kind == "image":
        needs.package("PIL", extra="reference")
    first = seeds.own()
    outcomes = {documents.check(kind, first + place, tmp_path) for place in range(count)}
    assert "refused" in outcomes


def test_a_program_of_zeros(tmp_path):
    """Bytes of the program cleared, with checksums that are right: refused, since it does not compute the graph."""
    model = documents._model()
    segment = replace(model.segments[0], program=np.zeros_like(model.segments[0].program))
    replace(model, segments=(segment,)).save(path := tmp_path / "zeros.sateen")
    with pytest.raises(sateen.ModelFileError, match="the model contradicts itself"):
        documents._device().load(sateen.Model.load(path))


def bomb(size, *, shape=None):
    """An ``.npz`` of zeros, much larger than the file."""
    header, packed = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape or (size,)})
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file, file.open("document.npy", "w") as entry:
        entry.write(header.getvalue())
        for _ in range(size >> 20):
            entry.write(bytes(1 << 20))
    return packed.getvalue()


def test_bombs(tmp_path):
    """Refused before anything is unpacked: the memory of the process stays where it was."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for data in (bomb(1 << 30), bomb(1 << 20, shape=(1 << 40,)), bomb(1 << 20, shape=(2,) * 60)):
        with pytest.raises(ValueError):
            read_arrays(data)
        (path := tmp_path / "bomb.npz").write_bytes(data)
        for load in (Graph.load, sateen.Model.load):
            with pytest.raises((ArchiveError, sateen.ModelFileError)):
                load(path)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200 << 10, f"{grown} KiB"


@pytest.mark.parametrize(
    "array",
    [np.zeros((0, 3), np.int8), np.array(5.0), np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.array("text")],
    ids=["empty", "scalar", "columns", "text"],
)
def test_arrays_come_back(array):
    file = io.BytesIO()
    np.save(file, array)
    came = read_array(file.getvalue())
    np.testing.assert_array_equal(came, array)
    assert came.dtype == array.dtype
    with pytest.raises(ValueError, match="are not those of"):
        read_array(file.getvalue() + b"\0")


def test_pickles_are_refused():
    file = io.BytesIO()
    np.save(file, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="not numbers"):
        read_array(file.getvalue())


def test_writes_through_what_is_no_file(tmp_path):
    """Links stay links, pipes stay pipes, ``/dev/null`` stays."""
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    with atomic_write(link) as file:
        file.write("new")
    assert link.is_symlink() and target.read_text() == "new"
    os.mkfifo(pipe := tmp_path / "pipe")
    came = []
    reader = threading.Thread(target=lambda: came.append(pipe.read_text()))
    reader.start()
    with atomic_write(pipe) as file:
        file.write("through")
    reader.join()
    assert came == ["through"] and stat.S_ISFIFO(pipe.stat().st_mode)
    with atomic_write(Path("/dev/null")) as file:
        file.write("nothing")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    with pytest.raises(SateenError, match="cannot write"), atomic_write(tmp_path) as file:
        file.write("a folder")
    if Path("/dev/full").exists():
        with pytest.raises(SateenError, match="cannot write /dev/full: No space left"):
            with atomic_write(Path("/dev/full")) as file:
                file.write("x")


def test_an_interrupted_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "model.sateen"
    documents._model().save(path)
    before = path.read_bytes()
    code = (
        "import sys, time; from pathlib import Path; from sateen.files import atomic_write\n"
        "with atomic_write(Path(sys.argv[1]), 'wb') as file:\n"
        "    file.write(b'half'); file.flush(); print('begun', flush=True); time.sleep(1000)"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True)
    assert writer.stdout.readline() == "begun\n"
    writer.kill()
    writer.wait()
    assert path.read_bytes() == before


def test_names_are_printed_as_they_are(tmp_path):
    """Names that a terminal library would take for markup."""
    graph = documents._graph()
    document = graph.to_document()
    document["name"] = "[/x]"
    for part in (*document["tensors"], *document["ops"]):
        part["name"] = f"[/x]{part['name']}"
    for op in document["ops"]:
        op |= {key: f"[/x]{op[key]}" for key in ("input", "output")}
    for key in ("inputs", "outputs"):
        document[key] = [f"[/x]{name}" for name in document[key]]
    sateen.compile(Graph.from_document(document), "tiny").save(path := tmp_path / "[b].sateen")
    result = subprocess.run([sys.executable, "-m", "sateen.cli", "info", path], capture_output=True, text=True)
    assert result.returncode == 0 and "[/x]op0" in result.stdout, result.stderr
