"""The cost of a launch before it is made, by what was measured."""

from harness.search.folder import SearchFolder
from harness.search.pace import describe_rest, measure_pace
from slurm.folder import Launch


def describe_cost(folder: SearchFolder, launch: Launch) -> str:
    """Hours, GPU-hours and disk of what is left, or that they cannot be known; two lines."""
    slots = launch.slots_per_node * launch.profile.nodes
    lines = [describe_rest(folder, slots)]
    pace = measure_pace(folder)
    left = len(folder.missing()) + folder.to_propose() * folder.space.search.replicates
    if pace is None:
        lines.append("GPU-hours: cannot be known before a trial is done")
    else:
        hours = left * pace.seconds * launch.gpus_per_trial / 3600
        lines.append(f"GPU-hours: about {hours:.2g}, {launch.gpus_per_trial:g} GPUs a trial")
    return "\n".join(lines)
