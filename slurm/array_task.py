"""The child of an array's task: runs trials of the plan that no other task has, without Ray.

Tasks only read the plan. A trial is its task's by a lease (``harness.lease``), so that the trials
of a dead task go on in another one, from the states that the store has.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from harness.lease import Lease, Leases
from harness.numerics import choose_device
from harness.schema import DRIVER_FILE, FINISHED, NOT_RUN, STORE_FOLDER
from harness.search.console import SearchConsole
from harness.search.folder import SearchFolder, reopen_search
from harness.search.inline import run_inline
from harness.search.plan import PlannedTrial
from slurm.allocation import job_id
from slurm.child import DONE, FAILED, UNFINISHED
from slurm.folder import ENDED, LaunchFolder


def run(out: Path) -> int:
    """Run what is left of a plan, and return the exit status.

    Raises:
        HarnessError: It cannot be run.
    """
    launch = LaunchFolder(out)
    settings = launch.read()
    folder = reopen_search(out)
    device = choose_device(settings.device)
    claims = _Claims(folder, launch)
    trials = [trial for trial in folder.missing() if not claims.is_done(trial)]
    if (driver := Leases().holder(out / DRIVER_FILE)) is not None:
        print(f"{out} is also being run by process {driver.pid} on {driver.host}")  # noqa: T201
    launch.tell(job_id(), "running")
    with SearchConsole(folder, len(trials)) as console:
        store = settings.store or out / STORE_FOLDER
        stopped = run_inline(folder, trials, device, console, store, claims=claims)
    if stopped is not None:
        return UNFINISHED
    return FAILED if claims.failed else DONE


class _Claims:
    """Leases below the launch's folder; beside one, a mark where its trial was run to its end."""

    def __init__(self, folder: SearchFolder, launch: LaunchFolder) -> None:
        self._folder = folder
        self._path = launch.leases
        self._leases = Leases()
        self.failed = False
        """Whether a trial that this process ran failed."""

    def take(self, trial: PlannedTrial) -> AbstractContextManager[None] | None:
        """The lease of a trial; None where another task has it."""
        lease = self._leases.take(self._path / trial.trial_id)
        return None if lease is None else self._held(lease, trial)

    @contextmanager
    def _held(self, lease: Lease, trial: PlannedTrial) -> Iterator[None]:
        with lease:
            another_s = self.is_done(trial)
            yield
            status = self._folder.status(trial)
            if not another_s and status not in (NOT_RUN, "interrupted"):
                # One that failed is tried again by the next launch, not by every task.
                self._mark(trial).touch()
                self.failed = self.failed or status not in FINISHED

    def is_done(self, trial: PlannedTrial) -> bool:
        """Whether a task of this launch ran a trial to its end, or it has its result."""
        return self._mark(trial).exists() or self._folder.status(trial) in FINISHED

    def _mark(self, trial: PlannedTrial) -> Path:
        return self._path / f"{trial.trial_id}{ENDED}"
