"""The plan of a search: every trial, before it starts, in ``plan.jsonl``.

One line a trial, appended by one writer, the driver. A reader on any machine may read while it is
written: a torn last line is dropped with a warning and written again by the next call.
"""

import json
import os
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config import TrialConfig, make_config
from harness.errors import ConfigError, ResultError
from harness.search.parameters import Point
from harness.search.space import Space


@dataclass(frozen=True)
class PlannedTrial:
    """A trial that is to be run.

    Attributes:
        trial_id: Number in the plan and start of the config's hash: ``00012-3fa9c1d2``.
        replicate: 0 .. replicates - 1; equal ones are paired across configurations.
        point: What the search sets, without the replicate's seed.
        config: The whole trial.
    """

    trial_id: str
    replicate: int
    point: Point
    config: TrialConfig

    def line(self) -> str:
        """The trial as a line of ``plan.jsonl``."""
        data = {
            "trial_id": self.trial_id,
            "replicate": self.replicate,
            "point": self.point,
            "config": self.config.model_dump(mode="json"),
        }
        return json.dumps(data, sort_keys=True) + "\n"


def make_plan(space: Space, planned: Sequence[PlannedTrial] = ()) -> list[PlannedTrial]:
    """All trials of a space: every configuration's first replicate, then the second, and so on.

    Args:
        space: What to try.
        planned: Trials that are planned already: they stay as they are, and what they lack comes
            after them. They are known by point and replicate, not by id, so that a plan outlives
            a release that adds a setting. An adaptive search has no others.
    """
    plan = list(planned)
    if space.search.adaptive:
        return plan + _cut_off(space, plan)
    known = Counter(_address(trial.point, trial.replicate) for trial in plan)
    points = list(space.points())
    for replicate in range(space.search.first_replicates):
        for point in points:
            address = _address(point, replicate)
            if known[address] > 0:  # samples may be equal
                known[address] -= 1
                continue
            plan.append(plan_replicate(space, point, replicate, len(plan)))
    return plan


def plan_point(space: Space, point: Point, start: int) -> list[PlannedTrial]:
    """All replicates of one more configuration, numbered from ``start``."""
    replicates = range(space.search.replicates)
    return [plan_replicate(space, point, r, start + r) for r in replicates]


def plan_replicate(space: Space, point: Point, replicate: int, number: int) -> PlannedTrial:
    """One more replicate of a configuration, as trial ``number`` of the plan."""
    config = space.config(point, replicate=replicate)
    return PlannedTrial(f"{number:05d}-{config.digest()[:8]}", replicate, point, config)


def read_plan(path: Path) -> list[PlannedTrial]:
    """Read a plan; an absent file is an empty plan.

    Raises:
        ResultError: A line other than a torn last one cannot be read.
    """
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        warnings.warn(f"{path}: the last line is torn and is dropped", stacklevel=2)
        lines.pop()
    return [_read_line(line, f"{path}:{number}") for number, line in enumerate(lines, start=1)]


def extend_plan(path: Path, trials: list[PlannedTrial]) -> None:
    """Append the trials that a plan lacks, durably, after cutting a torn last line off."""
    known = {trial.trial_id for trial in read_plan(path)}
    missing = [trial for trial in trials if trial.trial_id not in known]
    with path.open("ab") as file:
        file.truncate(_whole_length(path))
        for trial in missing:
            file.write(trial.line().encode())
        file.flush()
        os.fsync(file.fileno())


def _cut_off(space: Space, plan: Sequence[PlannedTrial]) -> list[PlannedTrial]:
    """The replicates of an adaptive search's last configuration that a kill kept off the plan."""
    if not plan:
        return []
    there = plan[-1].replicate + 1
    return plan_point(space, plan[-1].point, len(plan) - there)[there:]


def _address(point: Point, replicate: int) -> str:
    return json.dumps([point, replicate], sort_keys=True)


def _whole_length(path: Path) -> int:
    """Bytes up to and with the last line feed."""
    return path.read_bytes().rfind(b"\n") + 1


def _read_line(line: str, where: str) -> PlannedTrial:
    try:
        data: dict[str, Any] = json.loads(line)
        config = make_config(data["config"], where)
        return PlannedTrial(data["trial_id"], data["replicate"], data["point"], config)
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ResultError(
            f"{where}: not a planned trial ({error}); restore the file from a copy, or search into "
            "another folder"
        ) from None
    except ConfigError as error:
        raise ResultError(f"{error}; was it written by another version of harness?") from None
