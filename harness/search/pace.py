"""Pace: what the rest of a search will take, from the trials of it that are done."""

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from harness.schema import STORE_FOLDER
from harness.search.folder import SearchFolder

_SPENT = ("distill_s", "quick_s", "eval_s", "control_s", "similarity_s", "store_s")
"""Timings that add up to a trial; ``distill_cost_s`` may have been another's."""
_SAMPLE = 200
"""Records that are read for the pace, spread over the plan."""
_UNKNOWN = (
    "hours and disk are not known before a trial is done: run some with --limit, then ask again"
)


@dataclass(frozen=True)
class Pace:
    """Means over a sample of the trials that are done.

    Attributes:
        done: How many are done; >= 1.
        seconds: Of one trial on its worker.
        size: Bytes on disk for each of them, with what they keep in a store below the search.
    """

    done: int
    seconds: float
    size: float

    def text(self, left: int, slots: int | None) -> str:
        """What so many more trials take, so many at a time, in one line.

        Args:
            left: Trials.
            slots: How many run at a time; None: not known.
        """
        together = f"{slots} at a time" if slots else "one at a time (what runs there is not known)"
        hours = -(-left // (slots or 1)) * self.seconds / 3600
        return (
            f"{left} left, {together}: about {hours:.2g} hours and "
            f"{left * self.size / 2**20:.3g} MiB, by {self.done} done at {self.seconds:.3g} s each"
        )


def measure_pace(folder: SearchFolder) -> Pace | None:
    """The pace so far, by a sample of the trials that ended well; None where there is none."""
    done = [trial for trial in folder.plan if folder.status(trial) == "ok"]
    records = [(trial, folder.record(trial)) for trial in done[:: -(-len(done) // _SAMPLE) or 1]]
    seconds = [
        sum(record["timings"].get(name, 0.0) for name in _SPENT)
        for _, record in records
        if record is not None
    ]
    if not seconds:
        return None
    size = fmean(_size(folder.trial_folder(trial)) for trial, _ in records)
    return Pace(len(done), fmean(seconds), size + _size(folder.path / STORE_FOLDER) / len(done))


def describe_rest(folder: SearchFolder, slots: int | None, limit: int | None = None) -> str:
    """What is left of a search and what it takes, in one line.

    Of a race, only what is planned counts: how far it goes is not known.

    Args:
        folder: The search.
        slots: Trials at a time; None: not known.
        limit: Trials that are to be run at most.
    """
    pace = measure_pace(folder)
    left = len(folder.missing()) + folder.to_propose() * folder.space.search.replicates
    left = left if limit is None else min(left, limit)
    return _UNKNOWN if pace is None else pace.text(left, slots)


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
