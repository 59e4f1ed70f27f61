"""``harness search``: runs what is missing of a search by the executor that was asked for."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import typer

from harness.numerics import available_cpus, choose_device, visible_gpus
from harness.schema import STORE_FOLDER
from harness.search.console import SearchConsole, describe_best, describe_counts
from harness.search.folder import SearchFolder
from harness.search.plan import PlannedTrial
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
    typer.echo(f"{folder.path}: {len(folder.plan) - len(trials)} done, {len(trials)} to run")
    stopped = _run(folder, trials[:limit], asked) if trials else None
    return _conclude(folder, limited=limit is not None, stopped=stopped)


def _run(folder: SearchFolder, trials: Sequence[PlannedTrial], asked: Asked) -> str | None:
    """Run trials; return why that was stopped, None where it was not."""
    where = choose_device(asked.device)
    store = (asked.store or folder.path / STORE_FOLDER).resolve()
    if asked.address == "inline":
        from harness.search.inline import run_inline

        preflight(trial.config for trial in trials)
        with folder.driving(), SearchConsole(folder, len(trials)) as console:
            folder.prepare()
            return run_inline(folder, trials, where, console, store)
    return _run_on_ray(folder, trials, asked, where, store)


def _run_on_ray(
    folder: SearchFolder,
    trials: Sequence[PlannedTrial],
    asked: Asked,
    where: torch.device,
    store: Path,
) -> str | None:
    from harness.tune.resources import Resources
    from harness.tune.run import run_on_ray

    threads = max(trial.config.threads for trial in trials)
    default_gpus = 1.0 if where.type == "cuda" else 0.0
    resources = Resources(
        cpus=available_cpus(),
        gpus=visible_gpus() if where.type == "cuda" else 0,
        cpus_per_trial=threads if asked.cpus_per_trial is None else asked.cpus_per_trial,
        gpus_per_trial=default_gpus if asked.gpus_per_trial is None else asked.gpus_per_trial,
    )
    resources.slots()
    preflight(trial.config for trial in trials)
    with folder.driving(), SearchConsole(folder, len(trials)) as console:
        folder.prepare()
        return run_on_ray(
            folder,
            trials,
            device=where.type,
            address=asked.address,
            resources=resources,
            console=console,
            store=store,
        )


def _conclude(folder: SearchFolder, *, limited: bool, stopped: str | None) -> bool:
    """Print how a search stands and return whether all that was to be run has a result."""
    counts = folder.counts()
    typer.echo(f"{stopped}: {describe_counts(counts)}" if stopped else describe_counts(counts))
    if best := describe_best(folder):
        typer.echo(best)
    if stopped or counts["error"] or counts["oom"] or counts["interrupted"]:
        return False
    if counts["not_run"] and not limited:
        typer.echo("not complete: the same command again runs what is missing")
        return False
    typer.echo(f"results: harness report {folder.path}")
    return True
