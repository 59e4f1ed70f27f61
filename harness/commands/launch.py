"""``harness launch``, ``status``, ``logs`` and ``cancel``: a search on a SLURM cluster."""

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.common import SetOption, say

Out = Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the search.")]


def launch(
    space: Annotated[str, typer.Argument(help="Name of a bundled space, or a TOML file.")],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of the search, which the nodes see.")
    ],
    shape: Annotated[
        str | None,
        typer.Option(
            metavar="SHAPE",
            help="cluster (one job of N nodes), elastic (a head, and N worker jobs that come and "
            "go) or array (no Ray: independent tasks) [cluster].",
        ),
    ] = None,
    profile: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TOML file of the site.")
    ] = None,
    nodes: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Nodes at most [1].")
    ] = None,
    gpus_per_node: Annotated[
        int | None, typer.Option(min=0, metavar="G", help="GPUs of each [0].")
    ] = None,
    partition: Annotated[str | None, typer.Option(metavar="P", help="Partition.")] = None,
    time_min: Annotated[
        int | None,
        typer.Option(min=1, metavar="M", help="Time limit of a job; the search outlives it [60]."),
    ] = None,
    set_: SetOption = None,
    store: Annotated[
        Path | None, typer.Option(metavar="DIR", help="States and teachers [OUT/store].")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print size, GPU-hours, disk and the sbatch text."),
    ] = False,
) -> None:
    """Put a search on SLURM and keep it going until it is finished.

    The same command again continues. The site's options are read from --profile; those given here
    win. slurm/README.md says which shape to choose, and what happens at limits and preemption.
    """
    from harness.overrides import parse_assignments
    from harness.search.estimate import describe_size
    from harness.search.folder import open_search
    from harness.search.racing import next_round
    from harness.search.space import load_space
    from harness.trial import preflight
    from slurm.launch import check_shape, make_launch, start, watch_start
    from slurm.launch import dry_run as describe
    from slurm.profile import read_profile
    from slurm.queue import check_slurm

    check_slurm()
    options = {
        "shape": shape,
        "nodes": nodes,
        "gpus_per_node": gpus_per_node,
        "partition": partition,
        "time_min": time_min,
    }
    site = read_profile(profile, options)
    checked = load_space(space, parse_assignments(set_ or []))
    folder = open_search(out, checked)
    examples = [checked.config(point) for point in checked.examples()]
    configs = [trial.config for trial in folder.plan] or examples
    planned = make_launch(site, configs, device="auto", store=store)
    check_shape(folder, planned)
    size = describe_size(checked, folder.plan, folder.to_propose())
    say(f"{checked.title or checked.name}: {size}")
    if dry_run:
        from slurm.cost import describe_cost

        say(describe_cost(folder, planned))
        say(describe(folder, planned))
        return
    races = checked.search.allocate == "racing" and next_round(folder)
    if not folder.missing() and not folder.to_propose() and not races:
        say(f"{folder.path}: nothing is left to run")
        return
    preflight(configs, elsewhere=True)
    jobs = start(folder, planned)
    for role, ids in jobs.items():
        say(f"{role}: job {', '.join(ids[:4])}{' ...' if len(ids) > 4 else ''}")
    first = next(iter(jobs.values()))[0]
    say(f"job {first} {watch_start(folder, first)}; harness status {out}")


def status(out: Out) -> None:
    """Say how a launched search stands: trials by status, jobs, the last error."""
    from harness.search.console import describe_best, describe_counts
    from harness.search.folder import reopen_search
    from slurm.folder import LaunchFolder
    from slurm.queue import check_slurm
    from slurm.status import ask_slurm, describe_jobs, last_error

    check_slurm()
    folder = reopen_search(out)
    place = LaunchFolder(folder.path)
    place.read()
    say(describe_counts(folder.counts()))
    answer = ask_slurm(place)
    say(f"jobs, as SLURM said {answer.age_s:.0f} s ago:")
    for line in describe_jobs(place, answer):
        say(line)
    if (best := describe_best(folder)) != "":
        say(best)
    if (error := last_error(place)) is not None:
        say(f"last error: {error}")


def logs(out: Out) -> None:
    """Print the last lines of every log of a launched search's jobs."""
    from harness.search.folder import reopen_search
    from slurm.folder import LaunchFolder
    from slurm.status import tails

    place = LaunchFolder(reopen_search(out).path)
    place.read()
    for path, lines in tails(place):
        say(f"==> {path}")
        for line in lines:
            say(line)


def cancel(out: Out) -> None:
    """End the jobs of a launched search, and no others; its state is saved, and may go on."""
    from harness.search.folder import reopen_search
    from slurm.folder import LaunchFolder
    from slurm.queue import cancel as end
    from slurm.queue import check_slurm

    check_slurm()
    place = LaunchFolder(reopen_search(out).path)
    place.read()
    place.cancel()
    jobs = place.submitted()
    if jobs:
        end(jobs)
    say(f"cancelled: {', '.join(jobs) or 'there was no job'}; harness launch goes on with it")
