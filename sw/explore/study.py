"""The search: Optuna's NSGA-II, whose trials may be kept in a file and continued."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sateen.archive import flatten
from sateen.errors import SateenError
from sateen.explore.evaluate import Point, Task
from sateen.explore.space import Space
from sateen.fpga.area import FILE
from sateen.hw.spec.config import Config
from sateen.workers import fingerprint

if TYPE_CHECKING:
    import optuna

__all__ = ["FORMAT", "Search", "StudyMismatch", "explore"]

FORMAT = "sateen.study/1"
POPULATION = 32
"""Configurations of one generation."""
NEIGHBOURS = 12
"""Of these, at most so many beside the fastest of those before."""
FAR = 1e9
"""Milliseconds that count for a configuration that does not fit, which has no latency."""

Spread = Callable[[Callable[[Config], Point], Sequence[Config]], Iterable[Point]]
"""Calls a function for configurations, and gives their points in order, each as soon as it and those before are
known."""


class StudyMismatch(SateenError):
    """A study's file holds trials of another search."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """What a search has found."""

    front: list[Point]
    """The configurations that no other one beats in latency and in the share of the part, the fastest first."""
    baseline: list[Point]
    """Those made by hand, of the target's board and the presets, as they are estimated; the fastest first, those that
    do not serve last."""
    trials: int
    """Configurations looked at, those made by hand and earlier runs of the study included."""
    skipped: dict[str, int]
    """Of these, how many were no candidates, by reason: ``fit``, ``compile``, ``host``, ``unknown``."""
    over: dict[str, int]
    """Of those that do not fit, how many need more of a resource than its limit; one may need more of several."""
    nearest: Point | None
    """If nothing fits, the configuration that misses the limits least."""


def explore(
    task: Task,
    *,
    trials: int = 300,
    seed: int = 0,
    study: Path | None = None,
    spread: Spread | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Search:
    """Searches configurations for models.

    Parameters
    ----------
    task
        Models and target.
    trials
        Configurations to look at in this run, those made by hand besides.
    seed
        Of the search; the same seed finds the same, unless a study is continued.
    study
        A file (SQLite) that keeps the trials as they come; one with trials is continued.
    spread
        How configurations are looked at; by default one after the other in this process.
    progress
        Called with the number of trials done in this run, and their total.

    Raises
    ------
    StudyMismatch
        If the file is no study, or of other models, another target or version.
    """
    task, baseline = _with_baseline(task, spread)
    space = Space.of(task.target, list(task.graphs.values()))
    for each in task.target.hand_made():
        space = space.widened(each)
    found = _opened(study, task, space, seed)
    done: dict[str, Point] = {}
    for earlier in found.get_trials(deepcopy=False):
        if "point" in earlier.user_attrs:
            done[earlier.user_attrs["digest"]] = Point.load(earlier.user_attrs["point"])
    if not done:
        for each in task.target.hand_made():
            if chosen := space.chosen(each):
                found.enqueue_trial(chosen)
    count = 0
    while count < trials:
        if done:
            _enqueue_neighbours(found, task, space, done)
        batch = [found.ask() for _ in range(min(POPULATION, trials - count))]
        configs = [_config(space, trial) for trial in batch]
        new = {_digest(config): config for config in configs if config is not None and _digest(config) not in done}
        waiting = list(zip(batch, configs, strict=True))
        for number, (config, point) in enumerate(_evaluated(task, list(new.values()), spread), 1):
            done[_digest(config)] = point
            # It is told in its turn, and kept now.
            for trial, other in waiting:
                if other is config:
                    _keep(trial, _digest(config), point)
            waiting = _tell_known(found, waiting, done)
            if progress is not None:
                progress(count + number, trials)
        _tell_known(found, waiting, done)
        count += len(batch)
        if progress is not None:
            progress(count, trials)
    return _result(list(done.values()), baseline)


def _evaluated(task: Task, configs: Sequence[Config], spread: Spread | None) -> Iterator[tuple[Config, Point]]:
    """Configurations with their points, as they come. Where several are looked at at once, those of few PEs come first:
    the longest programs are made for them, and others fill the time that is left."""
    if spread is not None:
        configs = sorted(configs, key=lambda config: config.rows * config.cols)
    return zip(configs, (spread or map)(task.evaluate, configs), strict=True)


def _enqueue_neighbours(study: optuna.Study, task: Task, space: Space, done: dict[str, Point]) -> None:
    """Lets the next generation begin with configurations beside the fastest so far that were not looked at: evolution
    alone finds them late."""
    good = [point for point in done.values() if not point.problem]
    if not good:
        return
    fastest, added = min(good, key=lambda point: (point.latency_ms, point.fill)), 0
    seen = set(done)
    for chosen in space.neighbours(task.target.parse(fastest.config)):
        try:
            digest = _digest(space.config(chosen))
        except ValueError:
            continue
        if digest not in seen and added < NEIGHBOURS:
            seen.add(digest)
            added += 1
            study.enqueue_trial(chosen)


def _with_baseline(task: Task, spread: Spread | None) -> tuple[Task, list[Point]]:
    """The task with its limit of layers on the host, which is the fewest of the configurations made by hand that fit,
    and these."""
    made = list({config.text: config for config in task.target.hand_made()}.values())
    points = {config.text: point for config, point in _evaluated(task, made, spread)}
    unique = list({points[config.text].config: points[config.text] for config in made}.values())
    hosted = [_hosted(point) for point in unique if not point.problem]
    if task.host_layers is None and hosted:
        task, unique = replace(task, host_layers=min(hosted)), _limited(unique)
    return task, unique


def _hosted(point: Point) -> int:
    return sum(each.host_layers for each in point.models)


def _limited(points: Sequence[Point]) -> list[Point]:
    """The points, of which those that leave more layers to the host than another are no candidates."""
    fewest = min((_hosted(point) for point in points if not point.problem), default=0)
    return [
        replace(point, problem="the host would run more layers", reason="host")
        if not point.problem and _hosted(point) > fewest
        else point
        for point in points
    ]


def _opened(path: Path | None, task: Task, space: Space, seed: int) -> optuna.Study:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    identity = {"format": FORMAT, "search": _identity(task, space)}
    fresh = path is None or not path.exists() or not path.stat().st_size
    try:
        found = optuna.create_study(
            storage=None if path is None else _storage(path),
            study_name="sateen",
            directions=["minimize", "minimize"],
            load_if_exists=True,
            sampler=optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=seed),
        )
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise StudyMismatch(f"{path} cannot be used as a study ({reason}); name another file with --study") from error
    if fresh:
        for name, value in identity.items():
            found.set_user_attr(name, value)
        return found
    kept = {name: found.user_attrs.get(name) for name in identity}
    if kept != identity:
        what = (
            f"was written by another version ({kept['format'] or 'none of Sateen'}, not {FORMAT})"
            if kept["format"] != FORMAT
            else "is of other models, another target or another version of Sateen"
        )
        raise StudyMismatch(f"the study {path} {what}; name another file with --study, or remove it")
    # Otherwise the same children would come again.
    found.sampler = optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=seed + len(found.trials))
    return found


def _storage(path: Path) -> optuna.storages.RDBStorage:
    """A study's file. It does not wait for the disk after each value: what a killed search wrote stays, what a machine
    without power wrote may not."""
    import optuna
    from sqlalchemy import event

    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")

    @event.listens_for(storage.engine, "connect")
    def _(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    storage.engine.dispose()
    return storage


def _identity(task: Task, space: Space) -> str:
    """Hash of all that a study's points depend on."""
    digest = hashlib.sha256(FILE.read_bytes() + fingerprint().encode())
    target = task.target
    fields = (target.name, target.limits, target.asked, space.values, task.weights, task.host_layers)
    digest.update(repr(fields).encode())
    for name, graph in task.graphs.items():
        digest.update(name.encode())
        for key, array in flatten(graph.to_document()).items():
            digest.update(key.encode() + array.tobytes())
    return digest.hexdigest()[:16]


def _config(space: Space, trial: optuna.Trial) -> Config | None:
    chosen: dict[str, Any] = {name: trial.suggest_categorical(name, values) for name, values in space.values.items()}
    try:
        return space.config(chosen)
    except ValueError:
        return None


def _digest(config: Config) -> str:
    return replace(config, clock_hz=100_000_000, baud=1_000_000).digest


def _tell_known(
    study: optuna.Study, waiting: list[tuple[optuna.Trial, Config | None]], done: dict[str, Point]
) -> list[tuple[optuna.Trial, Config | None]]:
    """Enters the trials, in order, up to the first whose point is not known; returns the others."""
    for place, (trial, config) in enumerate(waiting):
        digest = None if config is None else _digest(config)
        if digest is not None and digest not in done:
            return waiting[place:]
        _tell(study, trial, digest, done)
    return []


def _tell(study: optuna.Study, trial: optuna.Trial, digest: str | None, done: dict[str, Point]) -> None:
    """Enters a trial's point, or that there is none."""
    import optuna

    if digest is None:
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return
    point = done[digest]
    if "point" not in trial.user_attrs:
        _keep(trial, digest, point)
    if point.reason in ("compile", "unknown"):
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return
    trial.set_constraint("limits", point.excess if point.reason != "host" else 1.0)
    study.tell(trial, [point.latency_ms or FAR, point.fill])


def _keep(trial: optuna.Trial, digest: str, point: Point) -> None:
    """Writes a trial's point, from which a later run takes it."""
    trial.set_user_attr("digest", digest)
    trial.set_user_attr("point", json.loads(json.dumps(asdict(point))))


def _result(done: list[Point], baseline: list[Point]) -> Search:
    # Most of those made by hand are among the trials. If none of them fits, these have no limit of layers on the host.
    points = _limited(list({point.config: point for point in [*baseline, *done]}.values()))
    by_config = {point.config: point for point in points}
    good = [point for point in points if not point.problem]
    front = [point for point in good if not any(other.dominates(point) for other in good)]
    missed = [point for point in points if point.reason == "fit"]
    return Search(
        front=sorted(front, key=lambda point: (point.latency_ms, point.fill)),
        baseline=sorted(
            (by_config[point.config] for point in baseline), key=lambda point: (bool(point.problem), point.latency_ms)
        ),
        trials=len(points),
        skipped=dict(Counter(point.reason for point in points if point.problem)),
        over=dict(Counter(name for point in missed for name, share in point.shares.items() if share > 1)),
        nearest=None if good else min(missed, key=lambda point: point.excess, default=None),
    )
