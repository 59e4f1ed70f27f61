"""``harness search``: runs what is missing of a search by the executor that was asked for."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
import typer

from harness.config import TrialConfig
from harness.numerics import available_cpus, choose_device, visible_gpus
from harness.schema import STORE_FOLDER
from harness.search.console import SearchConsole, describe_best, describe_counts, describe_point
from harness.search.folder import SearchFolder
from harness.search.pace import describe_rest
from harness.search.plan import PlannedTrial
from harness.search.proposals import Chooser, Proposals, check_optuna
from harness.search.racing import Racing, describe_race, next_round
from harness.trial import preflight

if TYPE_CHECKING:
    from harness.tune.resources import Cluster, Resources


class Asked(NamedTuple):
    """How the command line wants a search to be run."""

    address: str
    cpus_per_trial: float | None
    gpus_per_trial: float | None
    device: str
    store: Path | None
    cluster: "Cluster | None" = None
    """Machines that join; ``device`` is then theirs, and is not asked of this one."""


def run_search(folder: SearchFolder, asked: Asked, limit: int | None) -> bool:
    """Run a search's missing trials and print how it stands.

    Args:
        folder: The search.
        asked: Executor, resources, store.
        limit: Run the first so many of them; None: all.

    Returns:
        Whether all that was to be run has a result.

    Raises:
        ConfigError: It cannot be run so; nothing is written.
        DataError: Its images are missing, corrupt or do not fit.
    """
    trials = folder.missing()
    search = folder.space.search
    to_choose = folder.to_propose() * search.replicates
    done, to_run = len(folder.plan) - len(trials), len(trials) + to_choose
    if search.allocate == "racing":
        to_choose = _rest_of_race(folder)
        to_run = len(trials) + len(next_round(folder))
    typer.echo(f"{folder.path}: {done} done, {to_run} to run")
    if search.adaptive and to_choose:
        check_optuna(search.algorithm)
    now = trials[:limit]
    more = to_choose if limit is None else min(to_choose, limit - len(now))
    stopped = _run(folder, _Work(now, more), asked) if to_run else None
    return _conclude(folder, limited=limit is not None, stopped=stopped)


def _rest_of_race(folder: SearchFolder) -> int:
    """Trials that a race can take at most, beyond those that are planned."""
    search = folder.space.search
    points = sum(trial.replicate == 0 for trial in folder.plan)
    whole = points * search.replicates
    return max(
        0, (whole if search.budget is None else min(whole, search.budget)) - len(folder.plan)
    )


class _Work(NamedTuple):
    """What one call is to run."""

    trials: Sequence[PlannedTrial]
    """Planned already."""
    more: int
    """Trials that an adaptive search or a race may choose besides."""

    def configs(self, folder: SearchFolder) -> list[TrialConfig]:
        """What to check before anything is started; of those to be chosen, examples."""
        space = folder.space
        if self.more and space.search.adaptive:
            examples = [space.config(point) for point in space.examples()]
            return examples + [trial.config for trial in self.trials]
        # A race that goes on runs what is planned already, by other seeds.
        return [trial.config for trial in self.trials or folder.plan]

    def chooser(self, folder: SearchFolder) -> Chooser | None:
        """What chooses them; needs the folder prepared."""
        search = folder.space.search
        if search.allocate == "racing":
            return Racing(folder, self.more)
        return Proposals(folder, self.more) if search.adaptive else None


def _run(folder: SearchFolder, work: _Work, asked: Asked) -> str | None:
    """Run trials; return why that was stopped, None where it was not."""
    where = choose_device(asked.device) if asked.cluster is None else torch.device(asked.device)
    store = (asked.store or folder.path / STORE_FOLDER).resolve()
    if asked.address == "inline":
        from harness.search.inline import run_inline

        preflight(work.configs(folder))
        with folder.driving(), SearchConsole(folder, len(work.trials) + work.more) as console:
            folder.prepare()
            chooser = work.chooser(folder)
            return run_inline(folder, work.trials, where, console, store, chooser)
    return _run_on_ray(folder, work, asked, where, store)


def _run_on_ray(
    folder: SearchFolder,
    work: _Work,
    asked: Asked,
    where: torch.device,
    store: Path,
) -> str | None:
    from harness.tune.run import run_on_ray

    configs = work.configs(folder)
    resources = _resources(configs, asked, where)
    resources.slots()
    preflight(configs, elsewhere=asked.cluster is not None)
    with folder.driving(), SearchConsole(folder, len(work.trials) + work.more) as console:
        folder.prepare()
        return run_on_ray(
            folder,
            work.trials,
            device=where.type,
            address=asked.address,
            resources=resources,
            console=console,
            store=store,
            proposals=work.chooser(folder),
            cluster=asked.cluster,
        )


def _resources(configs: Sequence[TrialConfig], asked: Asked, where: torch.device) -> "Resources":
    from harness.tune.resources import Resources

    threads = max(config.threads for config in configs)
    default_gpus = 1.0 if where.type == "cuda" else 0.0
    there = asked.cluster
    return Resources(
        cpus=available_cpus() if there is None else there.cpus,
        gpus=(visible_gpus() if there is None else there.gpus) if where.type == "cuda" else 0,
        nodes=1 if there is None else there.nodes,
        cpus_per_trial=threads if asked.cpus_per_trial is None else asked.cpus_per_trial,
        gpus_per_trial=default_gpus if asked.gpus_per_trial is None else asked.gpus_per_trial,
    )


def describe_plan(folder: SearchFolder, asked: Asked) -> str:
    """What is left of a search and what it takes, for ``--dry-run``; nothing is started.

    Raises:
        ConfigError: No trial fits the resources.
    """
    slots = 1
    if asked.address == "local":
        space = folder.space
        configs = [trial.config for trial in folder.plan]
        configs += [space.config(point) for point in space.examples()] if not configs else []
        slots = _resources(configs, asked, choose_device(asked.device)).slots()
    return describe_rest(folder, slots)


def _conclude(folder: SearchFolder, *, limited: bool, stopped: str | None) -> bool:
    """Print how a search stands and return whether all that was to be run has a result."""
    counts = folder.counts()
    typer.echo(f"{stopped}: {describe_counts(counts)}" if stopped else describe_counts(counts))
    if best := describe_best(folder):
        typer.echo(best)
    racing = folder.space.search.allocate == "racing"
    if racing and (standing := describe_race(folder, describe_point)):
        typer.echo(standing)
    if stopped or counts["error"] or counts["oom"] or counts["interrupted"]:
        return False
    more = folder.to_propose() or (racing and next_round(folder))
    if (counts["not_run"] or more) and not limited:
        typer.echo("not complete: the same command again runs what is missing")
        return False
    typer.echo(f"results: harness report {folder.path}")
    return True
