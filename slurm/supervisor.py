"""The supervisor of a job: hears SLURM's signals, and runs the search as its child.

It is the process that submitit starts, and puts handlers of its own in place of submitit's, which
would not save on SIGTERM. Asked to stop, it has the child save the state, and puts the job back
into the queue; where that is not allowed, it submits the next job of a chain. Whatever happens, no
process that it started outlives it.
"""

import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from harness.schema import TRIAL_FILE, TRIALS_FOLDER
from harness.tune.watchdog import users_of
from slurm import allocation, processes, queue
from slurm.child import DONE, FAILED, WRONG
from slurm.folder import Head, LaunchFolder
from slurm.ray_node import RayNode, remove_left_folders

_POLL_S = 0.5
_GRACE_S = 26.0
"""Seconds for the child to save and end; it stops itself after 20."""
_RESERVE_S = 7.0
"""Seconds that are kept of SLURM's warning time to requeue the job."""
_ATTEMPTS = 3
_HEAD_PATIENCE_S = 600.0
"""Seconds that a worker keeps its node without a head."""
_PATIENCE_S = 15.0
"""Seconds in which a dead driver's watchdog cleans up after it."""
PROGRAMS = {"task": "slurm.array_task", "head": "slurm.driver", "node": "slurm.driver"}
"""Role -> module that runs as the child."""
_FINAL = (DONE, FAILED, WRONG)


class Supervisor:
    """Keeps one job's part of a launch until it is over, or the job is to go."""

    def __init__(self, out: Path, role: str) -> None:
        """Prepare.

        Args:
            out: Folder of the search, absolute.
            role: See ``slurm.job.run_job``.
        """
        self._out = out
        self._role = role
        self._launch = LaunchFolder(out)
        self._settings = self._launch.read()
        self._job = allocation.job_id()
        self._is_first = allocation.rank() == 0
        self._asked = ""

    def run(self) -> int:
        """Keep it, and return the exit status of the job."""
        processes.adopt_orphans()
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT):
            signal.signal(number, self._hear)
        signal.signal(signal.SIGCONT, signal.SIG_IGN)
        remove_left_folders(users_of)
        if self._launch.is_over():
            self._launch.tell(self._name(), "ended")
            return DONE
        try:
            if self._role == "worker" or not self._is_first:
                return self._keep_worker()
            return self._keep_search()
        finally:
            processes.end_all()

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._asked = self._asked or signal.Signals(number).name

    def _say(self, text: str) -> None:
        print(f"{time.strftime('%F %T')} job {self._job}: {text}", flush=True)  # noqa: T201

    # The job that runs the search, or trials of it.

    def _keep_search(self) -> int:
        """Run the child until there is nothing left for it, or the job is to go."""
        program = PROGRAMS[self._role]
        command = [sys.executable, "-u", "-m", "slurm.child", program, str(self._out)]
        attempts = 0
        while True:
            self._launch.tell(self._job, "started")
            self._say(f"{program} starts")
            results = self._count_results()
            status = self._run_child(command)
            if self._role != "task":
                self._launch.withdraw()
            processes.end_all(0.0 if self._asked else _PATIENCE_S)
            if status in _FINAL:
                return self._end(status)
            if self._asked:
                return self._go_on()
            attempts = 0 if self._count_results() > results else attempts + 1
            if attempts >= _ATTEMPTS:
                return self._end(status)
            self._say(f"{program} ended with {status}: again")

    def _run_child(self, command: list[str]) -> int:
        """Run the child to its end; SIGINT asks it to save and stop, once."""
        child = processes.start(command, _environment())
        deadline = None
        while (status := child.poll()) is None:
            if self._asked and deadline is None:
                self._say(f"{self._asked}: the search is asked to save and stop")
                deadline = time.monotonic() + self._grace_s()
                if self._asked != "SIGINT":  # which SLURM would have sent to the child too
                    child.send_signal(signal.SIGINT)
            if deadline is not None and time.monotonic() > deadline:
                self._say("the search did not stop in time and is ended")
                child.kill()
                child.wait()
            time.sleep(_POLL_S)
        return status

    def _grace_s(self) -> float:
        warned_s = self._settings.profile.signal_s
        return max(3.0, min(_GRACE_S, warned_s - _RESERVE_S))

    def _count_results(self) -> int:
        return len(list((self._out / TRIALS_FOLDER).glob(f"*/{TRIAL_FILE}")))

    def _end(self, status: int) -> int:
        """The search, or this task of it, needs no job any more."""
        if status == DONE:
            self._launch.tell(self._job, "ended")
        elif status == FAILED:
            self._launch.tell(self._job, "ended", "trials failed")
        elif status != WRONG:  # of which the child told
            self._launch.tell(self._job, "failed", f"the search ended with {status}; see its log")
        if self._role != "task":
            self._launch.end(status)
        if self._role == "head":
            queue.cancel_waiting(set(self._launch.submitted()) - {self._job})
        self._say(f"ended with {status}")
        return status if status in (DONE, WRONG) else 1

    # The job that lends a node to the head's Ray.

    def _keep_worker(self) -> int:
        """Join the head, and every later one, until the launch is over or the job is to go."""
        since = time.monotonic()
        self._launch.tell(self._name(), "started")
        while not self._launch.is_over():
            head = self._launch.head()
            if head is not None:
                self._join(head)
                since = time.monotonic()
            elif self._asked and not self._is_alone():
                return DONE  # its head has saved, and requeues the job
            elif self._is_alone() and time.monotonic() - since > _HEAD_PATIENCE_S:
                self._asked = "no head"
            if self._asked and self._is_alone():
                return self._go_on()
            time.sleep(_POLL_S)
        self._launch.tell(self._name(), "ended")
        return DONE

    def _join(self, head: Head) -> None:
        """Lend the node to a head, until one of the two is to go."""
        with RayNode(head, self._launch.token) as node:
            if node.start(lambda: self._is_to_leave(head)):
                self._launch.tell(self._name(), "running")
                self._say(f"joined the head at {head.address}")
                while node.is_alive() and not self._is_to_leave(head):
                    time.sleep(_POLL_S)

    def _is_to_leave(self, head: Head) -> bool:
        """Whether a node is to leave a head: it is gone, or this job is to go.

        A node of a cluster's job stays as long as its head, which saves with its help.
        """
        return (
            self._launch.head() != head
            or self._launch.is_over()
            or (bool(self._asked) and self._is_alone())
        )

    def _is_alone(self) -> bool:
        """Whether this worker is a job of its own."""
        return self._role == "worker"

    def _name(self) -> str:
        return self._job if self._is_first else f"{self._job}.{allocation.rank()}"

    # What comes after this job.

    def _go_on(self) -> int:
        """See to it that this job's part goes on later."""
        if self._launch.is_over():
            self._launch.tell(self._job, "ended", "cancelled")
            return DONE
        now = queue.show_job(self._job)
        if now is not None and now.state == "CANCELLED":
            self._launch.tell(self._job, "ended", "cancelled")
            return DONE
        # A job that is not RUNNING any more was requeued or cancelled by somebody else; to requeue
        # it would bring a cancelled one back to life.
        if now is not None and now.state not in ("RUNNING", "TIMEOUT", "PREEMPTED"):
            self._launch.tell(self._job, "requeued" if self._asked else "ended", now.state.lower())
            return DONE
        self._launch.tell(self._job, "requeued", self._asked)
        if queue.requeue(self._job):
            self._say("requeued")
            return DONE
        from slurm.submission import submit

        allocation.leave()
        (successor,) = submit(self._settings, self._launch, self._role, 1)
        self._launch.tell(self._job, "ended", f"job {successor} goes on")
        self._say(f"may not be requeued: job {successor} goes on")
        return DONE


def _environment() -> dict[str, str]:
    """This job's environment without what an outer Ray may have left in it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
