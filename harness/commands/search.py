"""``harness search``: runs what is missing of a search by the executor that was asked for."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import typer

from harness.config import TrialConfig
from harness.numerics import available_cpus, choose_device, visible_gpus
from harness.schema import STORE_FOLDER
from harness.search.console import SearchConsole, describe_best, describe_counts
from harness.search.folder import SearchFolder
from harness.search.plan import PlannedTrial
from harness.search.proposals import Proposals, check_optuna
from harness.search.space import Space
from harness.trial import preflight


class Asked(NamedTuple):
    """How the command line wants a search to be run."""

    address: str
    cpus_per_trial: float | None
    gpus_per_trial: float | None
    device: str
    store: Path | None


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
    to_choose = folder.to_propose() * folder.space.search.replicates
    done, to_run = len(folder.plan) - len(trials), len(trials) + to_choose
    typer.echo(f"{folder.path}: {done} done, {to_run} to run")
    if to_choose:
        check_optuna(folder.space.search.algorithm)
    now = trials[:limit]
    more = to_choose if limit is None else min(to_choose, limit - len(now))
    stopped = _run(folder, _Work(now, more), asked) if to_run else None
    return _conclude(folder, limited=limit is not None, stopped=stopped)


class _Work(NamedTuple):
    """What one call is to run."""

    trials: Sequence[PlannedTrial]
    """Planned already."""
    more: int
    """Trials that an adaptive search is to choose besides."""

    def configs(self, space: Space) -> list[TrialConfig]:
        """What to check before anything is started; of those to be chosen, examples."""
        found = [trial.config for trial in self.trials]
        if self.more:
            found += [space.config(point) for point in space.examples()]
        return found

    def proposals(self, folder: SearchFolder) -> Proposals | None:
        """What chooses them; needs the folder prepared."""
        return Proposals(folder, self.more) if folder.space.search.adaptive else None


def _run(folder: SearchFolder, work: _Work, asked: Asked) -> str | None:
    """Run trials; return why that was stopped, None where it was not."""
    where = choose_device(asked.device)
    store = (asked.store or folder.path / STORE_FOLDER).resolve()
    if asked.address == "inline":
        from harness.search.inline import run_inline

        preflight(work.configs(folder.space))
        with folder.driving(), SearchConsole(folder, len(work.trials) + work.more) as console:
            folder.prepare()
            proposals = work.proposals(folder)
            return run_inline(folder, work.trials, where, console, store, proposals)
    return _run_on_ray(folder, work, asked, where, store)


def _run_on_ray(
    folder: SearchFolder,
    work: _Work,
    asked: Asked,
    where: torch.device,
    store: Path,
) -> str | None:
    from harness.tune.resources import Resources
    from harness.tune.run import run_on_ray

    configs = work.configs(folder.space)
    threads = max(config.threads for config in configs)
    default_gpus = 1.0 if where.type == "cuda" else 0.0
    resources = Resources(
        cpus=available_cpus(),
        gpus=visible_gpus() if where.type == "cuda" else 0,
        cpus_per_trial=threads if asked.cpus_per_trial is None else asked.cpus_per_trial,
        gpus_per_trial=default_gpus if asked.gpus_per_trial is None else asked.gpus_per_trial,
    )
    resources.slots()
    preflight(configs)
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
            proposals=work.proposals(folder),
        )


def _conclude(folder: SearchFolder, *, limited: bool, stopped: str | None) -> bool:
    """Print how a search stands and return whether all that was to be run has a result."""
    counts = folder.counts()
    typer.echo(f"{stopped}: {describe_counts(counts)}" if stopped else describe_counts(counts))
    if best := describe_best(folder):
        typer.echo(best)
    if stopped or counts["error"] or counts["oom"] or counts["interrupted"]:
        return False
    if (counts["not_run"] or folder.to_propose()) and not limited:
        typer.echo("not complete: the same command again runs what is missing")
        return False
    typer.echo(f"results: harness report {folder.path}")
    return True
