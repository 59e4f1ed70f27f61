"""The cost of a launch before it is made, by what was measured."""

from pathlib import Path

from harness.errors import ConfigError
from harness.schema import STORE_FOLDER
from harness.search.estimate import estimate
from harness.search.folder import SearchFolder
from harness.search.pace import describe_rest, measure_pace
from harness.store_files import StoreFiles
from slurm.folder import Launch

_KIND = "distillation"


def describe_cost(folder: SearchFolder, launch: Launch) -> str:
    """Hours, GPU-hours and disk of what is left, or that they cannot be known; two lines.

    By trials of this search that are done; before the first, distilling alone, by the distillations
    that are in the store, whatever search they are of.
    """
    slots = launch.slots_per_node * launch.profile.nodes
    pace = measure_pace(folder)
    if pace is not None:
        left = len(folder.missing()) + folder.to_propose() * folder.space.search.replicates
        return f"{describe_rest(folder, slots)}\n{_gpu_hours(left * pace.seconds, launch)}"
    per_iteration = seconds_per_iteration(launch.store or folder.path / STORE_FOLDER)
    if per_iteration is None:
        return f"{describe_rest(folder, slots)}\nGPU-hours: cannot be known before a trial is done"
    seconds = estimate(folder.missing()).iterations * per_iteration
    return (
        f"distilling alone, at {per_iteration:.2g} s an iteration as in the store, takes about "
        f"{seconds / 3600 / slots:.2g} hours; evaluation and disk are not known yet\n"
        f"{_gpu_hours(seconds, launch)}"
    )


def seconds_per_iteration(store: Path) -> float | None:
    """Mean over the iterations of all distillations in a store; None where there is none."""
    try:
        works = [work for work in StoreFiles(store).works() if work.kind == _KIND]
    except ConfigError:
        return None
    longest = [
        max((int(item.part) for item in work.entries if item.part.isdigit()), default=0)
        for work in works
    ]
    cost = sum(work.cost_s() for work, number in zip(works, longest, strict=True) if number)
    return cost / sum(longest) if sum(longest) and cost else None


def _gpu_hours(seconds: float, launch: Launch) -> str:
    hours = seconds * launch.gpus_per_trial / 3600
    return f"GPU-hours: about {hours:.2g}, at {launch.gpus_per_trial:g} GPUs a trial"
