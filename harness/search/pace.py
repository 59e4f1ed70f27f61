"""Pace: what the rest of a search will take, from the trials of it that are done."""

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from harness.search.folder import SearchFolder

_SPENT = ("distill_s", "quick_s", "eval_s", "control_s", "store_s")
"""Timings that add up to a trial; ``distill_cost_s`` may have been another's."""
_UNKNOWN = (
    "hours and disk are not known before a trial is done: run some with --limit, then ask again"
)


@dataclass(frozen=True)
class Pace:
    """Means over the trials that are done.

    Attributes:
        done: How many; >= 1.
        seconds: Of one trial on its worker.
        size: Bytes on disk for each of them, with what they keep in a store below the search.
    """

    done: int
    seconds: float
    size: float

    def text(self, left: int, slots: int) -> str:
        """What so many more trials take, so many at a time, in one line."""
        hours = -(-left // slots) * self.seconds / 3600
        return (
            f"{left} left, {slots} at a time: about {hours:.2g} hours and "
            f"{left * self.size / 2**20:.3g} MiB, by {self.done} done at {self.seconds:.3g} s each"
        )


def measure_pace(folder: SearchFolder) -> Pace | None:
    """The pace so far; None where no trial has ended well."""
    seconds = []
    for trial in folder.plan:
        record = folder.record(trial)
        if record is not None and record["status"] == "ok":
            seconds.append(sum(record["timings"].get(name, 0.0) for name in _SPENT))
    if not seconds:
        return None
    return Pace(len(seconds), fmean(seconds), _size(folder.path) / len(seconds))


def describe_rest(folder: SearchFolder, slots: int) -> str:
    """What is left of a search and what it takes, in one line.

    Of a race, only what is planned counts: how far it goes is not known.
    """
    pace = measure_pace(folder)
    left = len(folder.missing()) + folder.to_propose() * folder.space.search.replicates
    return _UNKNOWN if pace is None else pace.text(left, slots)


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
