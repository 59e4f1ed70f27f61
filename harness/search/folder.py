"""The folder of a search: the plan and the trial folders, which are its truth."""

import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from harness import provenance
from harness.errors import ConfigError, ResultError
from harness.records import read_json, write_text
from harness.schema import FINISHED, PLAN_FILE, SEARCH_FILE, STATUSES, TRIAL_FILE, TRIALS_FOLDER
from harness.search.plan import PlannedTrial, extend_plan, make_plan, read_plan
from harness.search.space import Space

_PARTS = ("metrics", "timings", "diagnostics")
"""Tables without which a ``trial.json`` is not one."""


@dataclass(frozen=True)
class SearchFolder:
    """A search on disk.

    Attributes:
        path: Its folder, absolute.
        space: What is searched.
        plan: Every planned trial, in order.
    """

    path: Path
    space: Space
    plan: tuple[PlannedTrial, ...]

    def prepare(self) -> None:
        """Write what is not there yet: the folder, ``search.toml``, planned trials."""
        self.path.mkdir(parents=True, exist_ok=True)
        # First of all, since a folder that holds anything else and not this file is refused.
        if not (self.path / SEARCH_FILE).exists():
            origin = {key: item for key, item in provenance.describe().items() if item is not None}
            text = tomli_w.dumps({**self.space.resolved(), "provenance": origin})
            write_text(self.path / SEARCH_FILE, text)
        (self.path / TRIALS_FOLDER).mkdir(exist_ok=True)
        extend_plan(self.path / PLAN_FILE, list(self.plan))

    def trial_folder(self, trial: PlannedTrial) -> Path:
        """Where a trial's files are."""
        return self.path / TRIALS_FOLDER / trial.trial_id

    def record(self, trial: PlannedTrial) -> dict[str, Any] | None:
        """A trial's ``trial.json``; None where it has not ended or cannot be read."""
        path = self.trial_folder(trial) / TRIAL_FILE
        if not path.exists():
            return None
        try:
            record = read_json(path)
        except ResultError:
            return None
        whole = all(isinstance(record.get(part), dict) for part in _PARTS)
        return record if whole and record.get("status") in STATUSES else None

    def status(self, trial: PlannedTrial) -> str:
        """A trial's status; ``not_run`` where it has not ended."""
        record = self.record(trial)
        return "not_run" if record is None else str(record["status"])

    def missing(self) -> list[PlannedTrial]:
        """The planned trials without a result, in order."""
        return [trial for trial in self.plan if self.status(trial) not in FINISHED]

    def counts(self) -> Counter[str]:
        """Number of planned trials by status."""
        return Counter(self.status(trial) for trial in self.plan)


def open_search(path: Path, space: Space, *, must_exist: bool = False) -> SearchFolder:
    """Find the same search in a folder, or a place for a new one; nothing is written.

    Args:
        path: OUT; may be missing.
        space: What to search.
        must_exist: Whether a search must be there already (``--resume``).

    Raises:
        ConfigError: Another search or something else is in the folder, or none is to be resumed.
        ResultError: The plan there cannot be read.
    """
    path = path.resolve()
    existing = _resolved_space(path)
    if existing is None and must_exist:
        raise ConfigError(f"--resume: {path} holds no search; leave --resume out to start one")
    difference = None if existing is None else _difference(existing, space.resolved())
    if difference is not None:
        raise ConfigError(
            f"{path} holds another search: {difference}; choose another --out, or undo the change"
        )
    plan = make_plan(space, read_plan(path / PLAN_FILE))
    return SearchFolder(path, space, tuple(plan))


def _resolved_space(path: Path) -> dict[str, Any] | None:
    """The space of the search in a folder, without provenance; None where there is none yet."""
    file = path / SEARCH_FILE
    if file.exists():
        try:
            data = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{file}: cannot be read ({error}); restore or remove it") from None
        data.pop("provenance", None)
        return data
    if path.exists() and not path.is_dir():
        raise ConfigError(f"--out: {path} is a file, expected a folder; choose another --out")
    if path.is_dir() and any(not entry.name.startswith(".") for entry in path.iterdir()):
        raise ConfigError(
            f"--out: {path} is not empty and holds no search; choose another --out or empty it"
        )
    return None


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
