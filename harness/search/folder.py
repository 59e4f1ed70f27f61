"""The folder of a search: the plan and the trial folders, which are its truth."""

import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import tomli_w

from harness import provenance
from harness.errors import ConfigError, ResultError
from harness.lease import Holder, Leases
from harness.records import read_json, write_text
from harness.schema import (
    DRIVER_FILE,
    FINISHED,
    NOT_RUN,
    PLAN_FILE,
    SEARCH_FILE,
    STATUSES,
    TRIAL_FILE,
    TRIALS_FOLDER,
    UNSEEN_MEAN,
)
from harness.search.parameters import Point
from harness.search.plan import (
    PlannedTrial,
    extend_plan,
    make_plan,
    plan_point,
    plan_replicate,
    read_plan,
)
from harness.search.settings import COST, DROP, IPC, MAIN_ACCURACY
from harness.search.space import Space, read_space, with_samples

_PARTS = ("metrics", "timings", "diagnostics")
"""Tables without which a ``trial.json`` is not one."""
_ADDED = "added_samples"
"""Key of ``search.toml``: how many samples each ``--add-samples`` added."""


class Result(NamedTuple):
    """What a search remembers of a trial."""

    status: str
    metrics: dict[str, float | None]
    """Those of ``trial.json``, and what else a search can optimise."""


@dataclass
class SearchFolder:
    """A search on disk.

    Attributes:
        path: Its folder, absolute.
        space: What is searched.
        plan: Every planned trial, in order; an adaptive search adds to it.
        added: Samples that extended it beyond its space, one number for each time.
    """

    path: Path
    space: Space
    plan: tuple[PlannedTrial, ...]
    added: tuple[int, ...] = ()
    _results: dict[str, Result] = field(default_factory=dict, compare=False, repr=False)
    """Of trials that have been seen to have one, which no run changes."""

    def prepare(self) -> None:
        """Write what is not there yet: the folder, ``search.toml``, planned trials."""
        self.path.mkdir(parents=True, exist_ok=True)
        # First of all, since a folder that holds anything else and not this file is refused.
        data = read_search_file(self.path)
        if data is None or data.get(_ADDED, []) != list(self.added):
            data = data or {**self.space.resolved(), "provenance": _origin()}
            text = tomli_w.dumps({**data, _ADDED: list(self.added)} if self.added else data)
            write_text(self.path / SEARCH_FILE, text)
        (self.path / TRIALS_FOLDER).mkdir(exist_ok=True)
        extend_plan(self.path / PLAN_FILE, list(self.plan))

    @contextmanager
    def driving(self) -> Iterator[None]:
        """Be the one process that plans and runs this search.

        Raises:
            ConfigError: Another one does, and is alive.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lease = Leases().take_from_dead(self.path / DRIVER_FILE)
        if isinstance(lease, Holder):
            raise ConfigError(
                f"--out: {self.path} is being run by process {lease.pid} on {lease.host}; wait for "
                "it, or end it"
            )
        with lease:
            yield

    def trial_folder(self, trial: PlannedTrial) -> Path:
        """Where a trial's files are."""
        return self.path / TRIALS_FOLDER / trial.trial_id

    def record(self, trial: PlannedTrial) -> dict[str, Any] | None:
        """A trial's ``trial.json``; None where it has not ended or a file of it is not whole."""
        path = self.trial_folder(trial) / TRIAL_FILE
        if not path.exists():
            return None
        try:
            record = read_json(path)
        except ResultError:
            return None
        whole = all(isinstance(record.get(part), dict) for part in _PARTS)
        if not whole or record.get("status") not in STATUSES:
            return None
        return record if _has_files(path.parent, record.get("files", {})) else None

    def result(self, trial: PlannedTrial) -> Result:
        """A trial's status, ``not_run`` where it has not ended, and its metrics."""
        if (known := self._results.get(trial.trial_id)) is not None:
            return known
        record = self.record(trial)
        if record is None:
            return Result(NOT_RUN, {})
        result = Result(str(record["status"]), _metrics(record, trial))
        if result.status in FINISHED:
            self._results[trial.trial_id] = result
        return result

    def status(self, trial: PlannedTrial) -> str:
        """A trial's status; ``not_run`` where it has not ended."""
        return self.result(trial).status

    def reopen(self, trial: PlannedTrial) -> None:
        """Take its result from a trial, so that it is run again."""
        (self.trial_folder(trial) / TRIAL_FILE).unlink(missing_ok=True)
        self._results.pop(trial.trial_id, None)

    def add(self, point: Point) -> list[PlannedTrial]:
        """Plan one more configuration, durably, and return its trials."""
        return self._add(plan_point(self.space, point, len(self.plan)))

    def add_replicate(self, point: Point, replicate: int) -> PlannedTrial:
        """Plan one more replicate of a configuration, durably."""
        (trial,) = self._add([plan_replicate(self.space, point, replicate, len(self.plan))])
        return trial

    def _add(self, trials: list[PlannedTrial]) -> list[PlannedTrial]:
        self.plan = (*self.plan, *trials)
        extend_plan(self.path / PLAN_FILE, trials)
        return trials

    def to_propose(self) -> int:
        """Configurations that an adaptive search has yet to choose."""
        search = self.space.search
        if not search.adaptive:
            return 0
        planned = sum(trial.replicate == 0 for trial in self.plan)
        return max(0, (search.samples or 0) + sum(self.added) - planned)

    def missing(self) -> list[PlannedTrial]:
        """The planned trials without a result, in order."""
        return [trial for trial in self.plan if self.status(trial) not in FINISHED]

    def counts(self) -> Counter[str]:
        """Number of planned trials by status."""
        return Counter(self.status(trial) for trial in self.plan)


def _metrics(record: dict[str, Any], trial: PlannedTrial) -> dict[str, float | None]:
    """What can be optimised: accuracies, the set's cost, its size, the drop to unseen networks."""
    metrics: dict[str, float | None] = dict(record["metrics"])
    main, unseen = metrics.get(MAIN_ACCURACY), metrics.get(UNSEEN_MEAN)
    metrics[DROP] = None if main is None or unseen is None else main - unseen
    metrics[COST] = record["timings"].get(COST)
    metrics[IPC] = float(trial.config.ipc)
    return metrics


def _has_files(folder: Path, sizes: Any) -> bool:
    """Whether the files that a record names are there, at their whole size."""
    try:
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, AttributeError):
        return False


def open_search(
    path: Path, space: Space, *, must_exist: bool = False, add_samples: int | None = None
) -> SearchFolder:
    """Find the same search in a folder, or a place for a new one; nothing is written.

    Args:
        path: OUT; may be missing.
        space: What to search.
        must_exist: Whether a search must be there already (``--resume``).
        add_samples: Samples to extend a search by that has some. While the last extension was by as
            many and has trials that are missing, it is that one that goes on.

    Raises:
        ConfigError: Another search or something else is in the folder, or none is to be resumed or
            extended, or the space has no samples.
        ResultError: The plan there cannot be read.
    """
    path = path.resolve()
    existing = read_search_file(path)
    if existing is None:
        _check_free(path)
    asked = "--resume" if must_exist else "--add-samples" if add_samples else None
    if existing is None and asked is not None:
        raise ConfigError(f"{asked}: {path} holds no search; leave {asked} out to start one")
    added = tuple((existing or {}).pop(_ADDED, ()))
    (existing or {}).pop("provenance", None)
    difference = None if existing is None else _difference(existing, space.resolved())
    if difference is not None:
        raise ConfigError(
            f"{path} holds another search: {difference}; choose another --out, or undo the change"
        )
    folder = _with_plan(path, space, added)
    if add_samples is None or (
        added[-1:] == (add_samples,) and (folder.missing() or folder.to_propose())
    ):
        return folder
    return _with_plan(path, space, (*added, add_samples))


def reopen_search(path: Path) -> SearchFolder:
    """Find the search that a folder holds, by its own ``search.toml``; nothing is written.

    Raises:
        ConfigError: The folder holds none.
        ResultError: The plan there cannot be read.
    """
    path = path.resolve()
    data = read_search_file(path)
    if data is None:
        raise ConfigError(f"{path} holds no search; give the --out of one")
    data.pop("provenance", None)
    added = tuple(data.pop(_ADDED, ()))
    # Its base as overrides, since a space whose settings were all pinned varies none.
    space = read_space(data, f"{path.name}.toml", data.get("base", {}))
    return _with_plan(path, space, added)


def _with_plan(path: Path, space: Space, added: tuple[int, ...]) -> SearchFolder:
    whole = space
    if added:
        whole = with_samples(space, (space.search.samples or 0) + sum(added))
    plan = make_plan(whole, read_plan(path / PLAN_FILE))
    return SearchFolder(path, space, tuple(plan), added)


def _origin() -> dict[str, Any]:
    return {key: item for key, item in provenance.describe().items() if item is not None}


def read_search_file(path: Path) -> dict[str, Any] | None:
    """What a folder's ``search.toml`` says; None where there is none yet.

    Raises:
        ConfigError: It cannot be read.
    """
    file = path / SEARCH_FILE
    if not file.exists():
        return None
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read ({error}); restore or remove it") from None


def _check_free(path: Path) -> None:
    """Check that a folder without a search holds nothing else."""
    if path.exists() and not path.is_dir():
        raise ConfigError(f"--out: {path} is a file, expected a folder; choose another --out")
    if path.is_dir() and any(not entry.name.startswith(".") for entry in path.iterdir()):
        raise ConfigError(
            f"--out: {path} is not empty and holds no search; choose another --out or empty it"
        )


def _difference(old: Any, new: Any, where: str = "") -> str | None:
    """The first place where two pieces of plain data differ, in words; None where equal."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            name = f"{where}.{key}" if where else key
            if key not in old:
                return f"{name} is new, {new[key]!r}"
            if key not in new:
                return f"{name} was {old[key]!r} there and is missing now"
            if (found := _difference(old[key], new[key], name)) is not None:
                return found
        return None
    return None if old == new else f"{where} is {old!r} there and {new!r} now"
