"""The search for configurations: its space, its front, its studies, and what it says when nothing serves."""

import dataclasses
import json
import pickle
import sqlite3
from functools import partial
from types import SimpleNamespace

import jsonschema
import numpy as np
import pytest

from command_line import here
from sateen.cli import documents
from sateen.cli.explore import NOT_SEARCHED, _memory, _row, _target, _verified
from sateen.cli.schema import schema_of
from sateen.errors import SateenError
from sateen.explore import ModelTime, Point, StudyMismatch, Target, Task, explore
from sateen.explore.page import page
from sateen.explore.space import Space
from sateen.explore.study import _identity, _result
from sateen.fpga.boards import BOARDS
from sateen.fpga.flow import Resources
from sateen.fpga.parts import PARTS
from sateen.fpga.speed import speed
from sateen.fpga.tools import ClockMissed, DoesNotFit
from sateen.hw.spec.config import parse_config
from sateen.testing.graphs import Builder

pytest.importorskip("optuna")


def graph(seed=3):
    builder = Builder((8, 8, 3), np.random.default_rng(seed)).conv2d(8, (3, 3)).depthwise_conv2d((3, 3))
    return builder.flatten().fully_connected(10).graph()


def target(name, **limits):
    board = BOARDS[name]
    return Target(
        name=name, part=board.part, board=board, limits={**board.part.capacity, **limits}, asked=tuple(limits)
    )


def task(where="ulx3s-85f", seed=3, **limits):
    return Task(graphs={"net": graph(seed)}, weights={"net": 1.0}, target=target(where, **limits))


@pytest.fixture(scope="module")
def found():
    return explore(task(), trials=40)


@pytest.mark.parametrize("name", ["ulx3s-85f", "icebreaker", "ice40-hx8k", "icepi-zero"])
def test_the_space_has_the_boards_own_configuration(name):
    """What is made by hand takes part in the search."""
    where = target(name)
    own = where.hand_made()[0]
    assert own.sdram is None and own.layout == where.board.parse().layout
    space = Space.of(where, [graph()]).widened(own)
    assert space.config(space.chosen(own)).text == own.text


def test_presets_are_in_the_space():
    space = Space.of(target("ulx3s-85f"), [graph()])
    for name in ("tiny", "small", "large"):
        assert space.config(space.chosen(parse_config(name))).layout == parse_config(name).layout


def test_options_where_they_may_be_and_were_measured():
    space = Space.of(target("ulx3s-85f"), [graph()])
    own = space.chosen(wanted := parse_config("large,weight_rows=4,overlap=1,window_skip=16,residual=2"))
    assert space.config(own).layout == wanted.layout
    assert space.config({**own, "pe": "bitserial"}).overlap == 0
    for changed in ({"pe": "bitserial"}, {"combine": 4}, {"rows": 8}):
        assert space.config({**own, **changed}).window_skip == 0
    assert space.config({**own, "window_rows": 9}).window_rows == 9
    assert own["window_rows"] == 0 and space.config(own).window_rows is None
    for changed in ({"pe": "bitserial"}, {"rows": 8}):
        assert space.config({**own, **changed, "window_rows": 9}).window_rows is None
    assert space.config({**own, "lanes": 12, "residual": 4}).residual == 2
    for changed in ({"cols": 6}, {"lanes": 3}, {"engine": "sequential", "pe": "bitserial"}):
        assert space.config({**own, **changed}).residual == 0
    values = Space.of(target("icebreaker"), [graph()]).values
    assert [values[name] for name in ("overlap", "window_skip", "window_rows", "residual")] == [(0,)] * 4


def test_every_field_is_searched_or_said_not_to_be():
    """But for clock and line, and the size of frames."""
    searched = {"scratchpad_bytes", "weight_bytes", *Space.of(target("ulx3s-85f"), [graph()]).values}
    left = {"clock_hz", "baud", "link", "address", "frame_bytes"}
    fields = {field.name for field in dataclasses.fields(parse_config("small"))}
    assert fields == {*NOT_SEARCHED, *left, *(searched & fields)}
    assert not searched & {*NOT_SEARCHED, *left}


def test_neighbours_differ_in_one_parameter():
    space = Space.of(target("ulx3s-85f"), [graph()])
    own = space.chosen(parse_config("small"))
    near = list(space.neighbours(parse_config("small")))
    assert len(near) > 15
    assert all(sum(own[name] != chosen[name] for name in own) == 1 for chosen in near)
    assert {"rows", "cols", "lanes", "multipliers", "pe", "weights"} <= {
        name for chosen in near for name in own if own[name] != chosen[name]
    }


def test_the_front_is_one(found):
    assert found.front
    for point in found.front:
        assert not any(other.dominates(point) for other in found.front)
    latencies = [point.latency_ms for point in found.front]
    assert latencies == sorted(latencies)


def test_nothing_by_hand_beats_the_front(found):
    by_hand = [point for point in found.baseline if not point.problem]
    assert by_hand
    for point in by_hand:
        assert any(each == point or each.dominates(point) or each.config == point.config for each in found.front)


def test_the_front_fits_and_compiles(found):
    for point in found.front:
        assert point.fill <= 1 and not point.problem
        again = task().evaluate(BOARDS["ulx3s-85f"].parse(point.config))
        assert again.models == point.models and again.cells == point.cells


def test_the_same_seed_finds_the_same(found):
    assert explore(task(), trials=40) == found


def test_weights_count():
    graphs = {"a": graph(), "b": graph(5)}
    config = parse_config("small")
    once = Task(graphs=graphs, weights={"a": 1.0, "b": 1.0}, target=target("ulx3s-85f")).evaluate(config)
    more = Task(graphs=graphs, weights={"a": 3.0, "b": 1.0}, target=target("ulx3s-85f")).evaluate(config)
    a = once.models[0]
    assert more.latency_ms - once.latency_ms == pytest.approx(2 * (a.compute_ms + a.link_ms))
    cells = _row(more, target("ulx3s-85f"), {"a": 3.0, "b": 1.0})[:3]
    latency, array, port = (float(cell.split()[0]) for cell in cells)
    assert latency == pytest.approx(array + port, rel=1e-3)


def test_points_survive_json(found):
    for point in [*found.front, *found.baseline]:
        assert Point.load(json.loads(json.dumps(dataclasses.asdict(point)))) == point


def test_studies_are_continued(tmp_path):
    file = tmp_path / "search.db"
    first = explore(task(), trials=8, study=file)
    second = explore(task(), trials=8, study=file)
    assert second.trials > first.trials
    for point in first.front:
        assert any(each.config == point.config or each.dominates(point) for each in second.front)


def test_studies_of_other_searches_are_refused(tmp_path):
    file = tmp_path / "search.db"
    explore(task(), trials=2, study=file)
    with pytest.raises(StudyMismatch, match="is of other models, another target or another version of Sateen"):
        explore(task(seed=4), trials=2, study=file)
    with pytest.raises(StudyMismatch, match="name another file with --study"):
        explore(task(luts=20000), trials=2, study=file)
    with sqlite3.connect(file) as base:
        base.execute("update study_user_attributes set value_json = '\"sateen.study/0\"' where key = 'format'")
    base.close()
    with pytest.raises(StudyMismatch, match="another version .sateen.study/0, not sateen.study/1."):
        explore(task(), trials=2, study=file)


def test_studies_are_of_whole_models_and_targets():
    """Fields that are no arrays count, and whose limits they are."""
    one = task()
    space = Space.of(one.target, [])
    net = one.graphs["net"]
    ops = [dataclasses.replace(net.ops[0], dilation=(2, 2), padding=((1, 1), (1, 1))), *net.ops[1:]]
    other = dataclasses.replace(one, graphs={"net": dataclasses.replace(net, ops=ops)})
    assert _identity(other, space) != _identity(one, space)
    asked = dataclasses.replace(one.target, asked=("luts",))
    assert _identity(dataclasses.replace(one, target=asked), space) != _identity(one, space)


def test_a_limit_stands_in_place_of_a_default_share():
    for fill, luts, expected in ((None, 70000, 70000), (0.5, 70000, 41820), (None, 10**6, 83640), (None, None, 58547)):
        assert _target("ulx3s-85f", None, fill, {"luts": luts}).limits["luts"] == expected


def test_files_that_are_no_studies_are_refused(tmp_path):
    file = tmp_path / "search.db"
    file.write_text("no database")
    with pytest.raises(StudyMismatch, match="cannot be used as a study"):
        explore(task(), trials=2, study=file)
    assert file.read_text() == "no database"


def test_if_nothing_fits_the_nearest_says_what_it_lacks():
    found = explore(task(luts=500), trials=20)
    assert not found.front and found.nearest.reason == "fit"
    assert "does not fit: luts" in found.nearest.problem and "of 500" in found.nearest.problem
    assert sum(found.skipped.values()) == found.trials
    # Each that does not fit lacks something; here all lack LUTs.
    assert found.over["luts"] == found.skipped["fit"]


def test_those_made_by_hand_are_sorted(found):
    served = [point.latency_ms for point in found.baseline if not point.problem]
    assert served == sorted(served) and all(not point.problem for point in found.baseline[: len(served)])


def test_layers_on_the_host_are_no_gain():
    """A configuration that leaves work to the host is no candidate if another does not."""
    found = explore(task(), trials=20)
    assert all(each.host_layers == 0 for point in found.front for each in point.models)


def test_points_of_which_the_host_runs_more_are_no_candidates():
    """Also where nothing made by hand fits, so that no limit is known before the search."""

    def point(name, latency, hosted):
        times = [ModelTime(model="net", cycles=1, compute_ms=latency, link_ms=0, resident=True, host_layers=hosted)]
        return Point(config=name, latency_ms=latency, shares={"luts": latency}, models=times)

    found = _result([point("fast", 1, 1), point("slow", 2, 0)], [])
    assert [each.config for each in found.front] == ["slow"] and found.skipped == {"host": 1} and found.trials == 2


def test_a_part_without_measurements_is_skipped():
    where = Target(name="odd", part=dataclasses.replace(PARTS["ecp5-85f"], technology="odd"), limits={"luts": 10})
    point = Task(graphs={"net": graph()}, weights={"net": 1.0}, target=where).evaluate(parse_config("small"))
    assert point.reason == "unknown" and "no synthesis of a pipelined engine on odd" in point.problem


def test_the_page_has_every_point_of_the_front(found):
    text = page(found, target("ulx3s-85f"), {"net": 1.0, "<net>": 1.0})
    assert "&lt;net&gt;" in text and "<net>" not in text
    for point in found.front:
        assert text.count(point.config) >= 2


def test_the_command_line(tmp_path):
    graph().save(tmp_path / "net.graph")
    done = here(
        "explore", tmp_path / "net.graph", "--board", "ulx3s-85f", "--trials", 10, "--json", tmp_path / "found.json",
        "--html", tmp_path / "front.html",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "found.json").read_text())
    jsonschema.validate(document, schema_of(documents.DOCUMENTS["explore"]))
    said, serve = done.stdout, document["trials"] - sum(document["skipped"].values())
    assert f"looked at {document['trials']} configurations" in said and f": {serve} serve, of which" in said
    assert f"{len(document['front'])} are on the front" in said and "not searched, at their defaults: products" in said
    assert ("do not fit (" in said) == bool(document["over"]) == ("fit" in document["skipped"])
    line = done.stdout.splitlines()[-1]
    assert line.startswith("the fastest: sateen build --board ulx3s-85f --config ")
    assert parse_config(line.split()[-1].strip("'"))
    assert "plotly" in (tmp_path / "front.html").read_text().lower()


def test_sdram_is_named_where_weights_are_sent():
    """On a board without SDRAM nothing is promised."""

    def point(resident):
        times = [ModelTime(model="net", cycles=1, compute_ms=1, link_ms=0, resident=resident, host_layers=0)]
        return Point(config="small", latency_ms=1, shares={"luts": 1}, models=times)

    where = target("ulx3s-85f")
    said = _memory(_result([point(False)], []), where)
    assert said == "; net: with sdram=as4c32m16sb no inference would send weights"
    assert _memory(_result([point(True)], []), where) == ""
    assert _memory(_result([point(False)], []), target("versa-ecp5")) == ""


def test_what_was_found_is_kept_if_a_build_fails(tmp_path, monkeypatch):
    def fails(*_):
        raise SateenError("no tools")

    monkeypatch.setattr("sateen.cli.explore._verified", fails)
    graph().save(tmp_path / "net.graph")
    done = here("explore", tmp_path / "net.graph", "--board", "icebreaker", "--trials", 1, "--verify", 1, "--json", "-")
    assert done.returncode == 1 and "no tools" in done.stderr
    assert json.loads(done.stdout)["front"] and not json.loads(done.stdout)["verified"]


def test_the_fastest_are_placed(tmp_path, monkeypatch):
    """What placement gave is printed as it comes and in the JSON, also of those that miss their clock or do not fit."""
    answers = iter([(50_000, 120.5), (40_000, 20.0), DoesNotFit("208 block RAMs, 300 needed")])

    def built(recipe):
        found = next(answers)
        if isinstance(found, Exception):
            raise found
        cells = Resources(luts=found[0], registers=7, multipliers=0, block_rams=0)
        report = SimpleNamespace(report=SimpleNamespace(resources=cells, clock_mhz=found[1]))
        if found[1] < 50:
            raise ClockMissed("missed", report)
        return report

    monkeypatch.setattr("sateen.fpga.build.build", built)
    graph().save(tmp_path / "net.graph")
    call = ("explore", "net.graph", "--board", "ulx3s-85f", "--trials", 20, "--verify", 3, "--json", "found.json")
    done = here(*call, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "found.json").read_text())
    jsonschema.validate(document, schema_of(documents.DOCUMENTS["explore"]))
    verified = document["verified"]
    assert [each["config"] for each in verified] == [each["config"] for each in document["front"][:3]]
    assert [(each["fits"], each["reached_mhz"], each["luts"]) for each in verified] == [
        (True, 120.5, 50_000), (True, 20.0, 40_000), (False, None, None),
    ]  # fmt: skip
    first, second, third = (each["config"] for each in verified)
    assert f"{first}: placed, 50,000 LUTs, 120.5 MHz\n" in done.stdout
    assert f"{second}: placed, 40,000 LUTs, 20.0 MHz, less than its clock" in done.stdout
    assert f"{third}: 208 block RAMs, 300 needed" in done.stdout
    # Other processes get it, too.
    assert pickle.loads(pickle.dumps(partial(_verified, target("ulx3s-85f"))))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--board", "ulx3s-85f", "--html", "none/front.html"], "there is no folder none"),
        ([], "name a board with --board, or a part with --part"),
        (["--board", "ulx3s-85f", "--part", "ecp5-85f"], "name a board with --board, or a part with --part"),
        (["--part", "none"], "--part must be one of"),
        (["--board", "none"], "is no board"),
        (["--board", "ulx3s-85f", "--weight", "1", "--weight", "2"], "--weight is given 2 times for 1 models"),
        (["--board", "ulx3s-85f", "--weight", "0"], "--weight must be above 0"),
        (["--board", "ulx3s-85f", "--fill", "0"], "--fill must be above 0"),
        (["--board", "ulx3s-85f", "--luts", "500", "--trials", "5"], "the nearest, "),
    ],
)
def test_the_command_line_refuses(tmp_path, arguments, message):
    graph().save(tmp_path / "net.graph")
    done = here("explore", tmp_path / "net.graph", *arguments)
    assert done.returncode == 1 and message in done.stderr


def test_other_processes_find_the_same(found):
    """Task and configurations are sent; the order of answers does not matter, since they are entered in order."""

    def spread(function, configs):
        sent = pickle.loads(pickle.dumps(function))
        yield from [sent(config) for config in pickle.loads(pickle.dumps(configs))]

    assert explore(task(), trials=40, spread=spread) == found


def test_trials_are_kept_as_they_come(tmp_path):
    """What was looked at before an interrupt is in the study, in whatever order it came."""
    looked_at = []

    def spread(function, configs):
        for number, config in enumerate(configs):
            if number == 8:
                raise KeyboardInterrupt
            if len(configs) > 8:
                looked_at.append(config)
            yield function(config)

    with pytest.raises(KeyboardInterrupt):
        explore(task(), trials=20, study=tmp_path / "search.db", spread=spread)
    assert len(looked_at) == 8
    again = []

    def noting(function, configs):
        again.extend(configs)
        return map(function, configs)

    found = explore(task(), trials=1, study=tmp_path / "search.db", spread=noting)
    assert found.trials >= 8 and not {each.digest for each in looked_at} & {each.digest for each in again[5:]}


@pytest.mark.parametrize("name, config", [("ulx3s-85f", "large"), ("ulx3s-85f", "small"), ("icebreaker", "")])
def test_what_was_built_is_a_candidate_by_default(name, config):
    """The default shares of a part leave out nothing that is known to route."""
    where = _target(name, None, None, {})
    point = Task(graphs={"net": graph()}, weights={"net": 1.0}, target=where).evaluate(where.board.parse(config))
    assert point.problem == ""


@pytest.mark.parametrize("name", ["ulx3s-85f", "icebreaker", "ice40-hx8k", "versa-ecp5", "icepi-zero"])
def test_clocks_are_the_boards_or_estimates(name):
    """Whatever clock a configuration comes with: the board's own runs at the board's, others at what is expected."""
    where = target(name)
    own = where.hand_made()[0]
    there = where.board.with_pll_clock(own).clock_hz
    for hz in (5_000_000, own.clock_hz, 100_000_000):
        point = task(name).evaluate(dataclasses.replace(own, clock_hz=hz, baud=300_000))
        assert point.clock_mhz == there / 1e6
        assert point.models == task(name).evaluate(own).models
    for point in explore(task(name), trials=12).front:
        expected = speed(where.board.parse(point.config), where.part, point.cells["luts"])
        assert point.clock_mhz <= max(expected.mhz, there / 1e6)
