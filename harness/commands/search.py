"""``harness search``: runs what is missing of a search by the executor that was asked for."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
import typer

from harness.config import TrialConfig
from harness.errors import ConfigError
from harness.numerics import available_cpus, choose_device, visible_gpus
from harness.schema import DECISIONS_FILE, STORE_FOLDER
from harness.search.algorithms import RAY, check_installed
from harness.search.console import SearchConsole, describe_best, describe_counts, describe_point
from harness.search.folder import SearchFolder
from harness.search.pace import describe_rest
from harness.search.packing import MOST, choose_packing, find_measured
from harness.search.plan import PlannedTrial
from harness.search.proposals import Chooser
from harness.search.racing import Racing, describe_race, next_round
from harness.search.stopping import EarlyStopping
from harness.search.study import OptunaProposals
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
    trials_per_gpu: str | None = None
    cluster: "Cluster | None" = None
    """Machines that join; ``device`` is then theirs, and is not asked of this one."""

    def where(self) -> torch.device:
        """Where trials run.

        Raises:
            ConfigError: This machine, whose device it is, does not have it.
        """
        there = self.cluster is not None
        return torch.device(self.device) if there else choose_device(self.device)

    def packing(self, where: torch.device) -> int | Literal["auto"] | None:
        """Trials a GPU: a number, ``auto``, or None where it is left to ``--gpus-per-trial``.

        Raises:
            ConfigError: It is no such number, or there is nothing to pack.
        """
        text = self.trials_per_gpu
        if text is None:
            return None
        got = f"--trials-per-gpu: got '{text}'"
        if self.gpus_per_trial is not None:
            raise ConfigError(
                f"{got}, but --gpus-per-trial {self.gpus_per_trial:g} says the same in another "
                "way; leave one of them out"
            )
        if self.address == "inline":
            raise ConfigError(f"{got}, but inline runs one trial at a time; use --address local")
        if where.type != "cuda":
            raise ConfigError(f"{got}, but there is no GPU to share ({where.type}); leave it out")
        if text == "auto":
            return "auto"
        if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= MOST:
            raise ConfigError(f"{got}, expected auto or a number from 1 to {MOST}")
        return int(text)


def run_search(
    folder: SearchFolder, asked: Asked, limit: int | None, promote: int | None = None
) -> bool:
    """Run a search's missing trials and print how it stands.

    Args:
        folder: The search.
        asked: Executor, resources, store.
        limit: Run the first so many of them; None: all.
        promote: Run so many distillations to their end that were stopped early.

    Returns:
        Whether all that was to be run has a result.

    Raises:
        ConfigError: It cannot be run so; nothing is written.
        DataError: Its images are missing, corrupt or do not fit.
    """
    asked.packing(asked.where())
    _promote(folder, promote)
    trials = folder.missing()
    search = folder.space.search
    to_choose = folder.to_propose() * search.replicates
    done, to_run = len(folder.plan) - len(trials), len(trials) + to_choose
    if search.allocate == "racing":
        to_choose = _rest_of_race(folder)
        to_run = len(trials) + len(next_round(folder))
    typer.echo(f"{folder.path}: {done} done, {to_run} to run")
    if search.adaptive and to_choose:
        _check_algorithm(search.algorithm, asked.address)
    now = trials[:limit]
    more = to_choose if limit is None else min(to_choose, limit - len(now))
    stopped = _run(folder, _Work(now, more), asked) if to_run else None
    return _conclude(folder, limited=limit is not None, stopped=stopped)


def _check_algorithm(algorithm: str, address: str) -> None:
    if algorithm in RAY and address == "inline":
        raise ConfigError(
            f"--address: got 'inline', but search.algorithm '{algorithm}' is Ray's; use --address "
            "local, or 'tpe'"
        )
    check_installed(algorithm)


def _promote(folder: SearchFolder, number: int | None) -> None:
    """Let the best of what was stopped early go on, or complete an earlier such call."""
    path = folder.path / DECISIONS_FILE
    if path.exists():
        with folder.driving():
            due = EarlyStopping(folder, lambda *_: False).promote(number or 0)
        if due:
            typer.echo(f"promoted: {', '.join(trial.trial_id for trial in due)}")
            return
    if number:
        raise ConfigError(
            f"--promote: no trial of {folder.path} was stopped early and not promoted; leave it out"
        )


def _stopping(folder: SearchFolder) -> Callable[[], EarlyStopping] | None:
    """Makes what stops trials early, which needs the folder prepared and imports Ray."""
    if not folder.space.search.stops_early:
        return None
    from harness.tune.rules import check_ray, make_rule

    check_ray(folder.space.search.scheduler)
    return lambda: EarlyStopping(folder, make_rule(folder.space))


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
        if search.algorithm in RAY:
            from harness.tune.proposals import RayProposals

            return RayProposals(folder, self.more)
        return OptunaProposals(folder, self.more) if search.adaptive else None


def _run(folder: SearchFolder, work: _Work, asked: Asked) -> str | None:
    """Run trials; return why that was stopped, None where it was not."""
    where = asked.where()
    store = (asked.store or folder.path / STORE_FOLDER).resolve()
    stopping = _stopping(folder)
    if asked.address == "inline":
        from harness.search.inline import run_inline

        preflight(work.configs(folder))
        with folder.driving(), SearchConsole(folder, len(work.trials) + work.more) as console:
            folder.prepare()
            chooser = work.chooser(folder)
            early = None if stopping is None else stopping()
            return run_inline(folder, work.trials, where, console, store, chooser, stopping=early)
    return _run_on_ray(folder, work, asked, where, store, stopping)


def _run_on_ray(
    folder: SearchFolder,
    work: _Work,
    asked: Asked,
    where: torch.device,
    store: Path,
    stopping: Callable[[], EarlyStopping] | None,
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
            stopping=stopping,
        )


def _resources(configs: Sequence[TrialConfig], asked: Asked, where: torch.device) -> "Resources":
    from harness.tune.resources import Resources

    threads = max(config.threads for config in configs)
    default_gpus = 1.0 if where.type == "cuda" else 0.0
    packing = asked.packing(where)
    there = asked.cluster
    found = Resources(
        cpus=available_cpus() if there is None else there.cpus,
        gpus=(visible_gpus() if there is None else there.gpus) if where.type == "cuda" else 0,
        nodes=1 if there is None else there.nodes,
        cpus_per_trial=threads if asked.cpus_per_trial is None else asked.cpus_per_trial,
        gpus_per_trial=default_gpus if asked.gpus_per_trial is None else asked.gpus_per_trial,
        measure=packing == "auto",
    )
    return found.packed(packing) if isinstance(packing, int) else found


def describe_plan(folder: SearchFolder, asked: Asked, limit: int | None = None) -> str:
    """What is left of a search and what it takes, for ``--dry-run``; nothing is started.

    Args:
        folder: The search.
        asked: Executor and resources. What a running Ray has is not known without joining it.
        limit: Trials that are to be run at most; None: all that are left.

    Raises:
        ConfigError: No trial fits the resources.
    """
    where = asked.where()
    asked.packing(where)
    if asked.address == "inline":
        return describe_rest(folder, 1, limit)
    if asked.address != "local":
        return describe_rest(folder, None, limit)
    space = folder.space
    configs = [trial.config for trial in folder.plan]
    configs += [space.config(point) for point in space.examples()] if not configs else []
    resources = _resources(configs, asked, where)
    if not resources.measure:
        return describe_rest(folder, resources.slots(), limit)
    measured = find_measured(folder)
    if measured is None:
        return (
            f"{describe_rest(folder, resources.slots(), limit)}; how many share a GPU is measured "
            "by the first trial"
        )
    packing = choose_packing(measured, resources.cpu_slots())
    rest = describe_rest(folder, resources.packed(packing.number).slots(), limit)
    return f"{rest}; packing: {packing.reason}"


def _conclude(folder: SearchFolder, *, limited: bool, stopped: str | None) -> bool:
    """Print how a search stands and return whether all that was to be run has a result."""
    counts = folder.counts()
    typer.echo(f"{stopped}: {describe_counts(counts)}" if stopped else describe_counts(counts))
    if best := describe_best(folder):
        typer.echo(best)
    if counts["stopped_early"]:
        typer.echo("--promote N runs the N best that were stopped early to their end")
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
