"""The child of a head's supervisor: runs the search on a Ray that the other nodes join."""

from collections.abc import Callable
from pathlib import Path

from harness.commands.search import Asked, run_search
from harness.schema import NOT_RUN
from harness.search.folder import SearchFolder, reopen_search
from harness.search.racing import next_round
from harness.tune.resources import Cluster
from slurm import allocation
from slurm.child import DONE, FAILED, UNFINISHED
from slurm.folder import Launch, LaunchFolder


def run(out: Path) -> int:
    """Run what is left of a search, and return the exit status.

    Raises:
        HarnessError: It cannot be run.
    """
    launch = LaunchFolder(out)
    settings = launch.read()
    folder = reopen_search(out)

    def announce(address: str) -> None:
        launch.announce(address)
        launch.tell(allocation.job_id(), "running")

    measured = settings.profile.trials_per_gpu == "auto"
    asked = Asked(
        "local",
        settings.cpus_per_trial,
        None if measured else settings.gpus_per_trial,
        settings.device,
        settings.store,
        trials_per_gpu="auto" if measured else None,
        cluster=_cluster(settings, launch, announce),
    )
    if run_search(folder, asked, None):
        return DONE
    if _is_unfinished(folder):
        return UNFINISHED
    return FAILED if folder.missing() else DONE


def _cluster(settings: Launch, launch: LaunchFolder, announce: Callable[[str], object]) -> Cluster:
    runs_trials = settings.shape == "cluster"
    profile = settings.profile
    return Cluster(
        nodes=profile.nodes,
        cpus=settings.cpus_per_node,
        gpus=profile.gpus_per_node,
        head_cpus=allocation.cpus() if runs_trials else 0,
        head_gpus=allocation.gpus() if runs_trials else 0,
        token=launch.token,
        port=profile.port,
        announce=announce,
    )


def _is_unfinished(folder: SearchFolder) -> bool:
    """Whether anything is left that has not failed."""
    counts = folder.counts()
    if counts[NOT_RUN] or counts["interrupted"] or folder.to_propose():
        return True
    return folder.space.search.allocate == "racing" and bool(next_round(folder))
