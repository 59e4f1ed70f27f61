"""What a search says in a terminal: one line a trial event, and a live line below."""

from collections import Counter
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from harness.schema import ERROR_FILE, QUICK, TEST_UNSEEN_MEAN, TRIALS_FOLDER, UNSEEN_MEAN
from harness.search.folder import SearchFolder
from harness.search.front import non_dominated
from harness.search.parameters import Point
from harness.search.plan import PlannedTrial

STORE_NOTE = "store: "
"""Start of the notes of a trial that say what was wrong with the store."""
_WORDS = {"stopped_early": "stopped early"}
_STYLES = {"ok": "green", "diverged": "yellow", "stopped_early": "cyan"}


class SearchConsole:
    """Prints trial events; in a terminal a progress line stays below them.

    Use as a context manager around a run of trials.
    """

    def __init__(self, folder: SearchFolder, total: int, console: Console | None = None) -> None:
        """Prepare for a run.

        Args:
            folder: The search.
            total: Trials that this run is to do.
            console: Where to print; standard output if None.
        """
        self._folder = folder
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task("trials", total=total)
        self._running: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(escape(text), emoji=False)

    def advanced(self, trial: PlannedTrial, fraction: float) -> None:
        """Show on the live line how far a running trial is, 0..1."""
        self._running[trial.trial_id] = fraction
        shown = ", ".join(
            f"{trial_id.split('-')[0]} {done:.0%}" for trial_id, done in self._running.items()
        )
        self._progress.update(self._task, description=f"trials ({shown})")

    def put_back(self, trial: PlannedTrial) -> None:
        """Take a trial off the live line that another one goes before."""
        self._running.pop(trial.trial_id, None)

    def ended(self, trial: PlannedTrial) -> None:
        """Print the line of a trial that has ended, or has been lost."""
        self._running.pop(trial.trial_id, None)
        record = self._folder.record(trial)
        status = self._folder.status(trial)
        style = _STYLES.get(status, "red")
        settings = describe_point(trial.point)
        parts = [
            f"{trial.trial_id} [{style}]{_words(status):<8}[/{style}]",
            *_result(record),
            escape(settings),
            f"replicate={trial.replicate}",
        ]
        if status == "error":
            where = self._folder.path / TRIALS_FOLDER / trial.trial_id / ERROR_FILE
            parts.append(f"see {escape(str(where))}")
        self._console.print("  ".join(part for part in parts if part), emoji=False)
        for note in (record or {}).get("notes", []):
            if note.startswith(STORE_NOTE):
                self.say(f"warning: {note}")
        self._progress.advance(self._task)


def describe_counts(counts: Counter[str]) -> str:
    """Counts by status in one line, for example ``"14 ok, 1 diverged"``."""
    return ", ".join(f"{number} {_words(status)}" for status, number in sorted(counts.items()))


def describe_best(folder: SearchFolder) -> str:
    """The best trial so far by the space's metric, in one line; empty where there is none.

    Of several metrics, the trials that no other one dominates, one line each.
    """
    goals = folder.space.search.goals()
    scored: list[tuple[list[float], PlannedTrial]] = []
    for trial in folder.plan:
        metrics = folder.result(trial).metrics
        values = [value for name, _ in goals if (value := metrics.get(name)) is not None]
        if len(values) == len(goals):
            scored.append((values, trial))
    if not scored:
        return ""
    front = non_dominated([values for values, _ in scored], [mode for _, mode in goals])
    names = [name for name, _ in goals]
    if len(goals) == 1:
        return f"best trial: {_scored(names, *scored[front[0]])}"
    lines = [f"not dominated: {_scored(names, *scored[i])}" for i in front]
    return "\n".join(lines)


def _scored(names: list[str], values: list[float], trial: PlannedTrial) -> str:
    scores = " ".join(f"{name} {value:.3f}" for name, value in zip(names, values, strict=True))
    settings = describe_point(trial.point)
    return f"{trial.trial_id}  {scores}  {settings}"


def describe_point(point: Point) -> str:
    """What a search sets, in one line."""
    return " ".join(f"{name}={_short(value)}" for name, value in point.items())


def _result(record: dict[str, Any] | None) -> list[str]:
    if record is None:
        return []
    score = record["metrics"].get(UNSEEN_MEAN)
    if score is None:
        score = record["metrics"].get(TEST_UNSEEN_MEAN)
    timings = record["timings"]
    fired = [name for name, found in record["diagnostics"].items() if found["fired"]]
    parts = [f"unseen {score:.3f}"] if score is not None else []
    if (stopped := record.get("stopped")) is not None:
        quick = [f", quick {value:.3f}" for _, value in record.get(QUICK, [])[-1:]]
        parts.append(f"at iteration {stopped['iteration']}{''.join(quick)}")
    parts.append(f"distil {timings['distill_s']:.1f} s, evaluate {timings['eval_s']:.1f} s")
    return parts + [f"[yellow]{name}[/yellow]" for name in fired]


def _words(status: str) -> str:
    return _WORDS.get(status, status)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
