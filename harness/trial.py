"""A trial: distil a set, train students on it, write what came out.

A trial knows its config and a context: a folder, a device, the images and a way to report. It
knows nothing of Ray, of searches or of signals. Its result is a folder of whole files, the last
of which is ``trial.json``: where that is, the trial has ended.
"""

import enum
import math
import time
import traceback
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

import torch
from torch import Tensor

from harness import diagnostics, numerics, provenance
from harness.architecture import Architecture
from harness.config import DatasetSettings, TrialConfig
from harness.datasets import ImageData, load_dataset
from harness.distill import Distiller, build_distiller
from harness.errors import DataError, DivergedError
from harness.evaluate import StudentScore, evaluate, kd_gain, quick_score
from harness.images import write_grid
from harness.networks import build_network
from harness.pool import ModelPool
from harness.records import write_json, write_rows, write_text
from harness.results import common_columns, diverged_rows, metrics, student_rows
from harness.schema import (
    DISTILLED_FILE,
    ERROR_FILE,
    EVALUATIONS_FILE,
    IMAGES_FILE,
    QUICK,
    SCHEMA_VERSION,
    TEST,
    TRIAL_FILE,
    VALIDATION,
    Status,
)
from harness.seeding import generator
from harness.synthetic import SyntheticSet

T = TypeVar("T")


class Decision(enum.Enum):
    """Answer to a report."""

    CONTINUE = "continue"
    STOP = "stop"


@dataclass(frozen=True)
class Progress:
    """A report on the way."""

    iteration: int
    """Iterations done."""
    iterations: int
    """Iterations to do."""
    matching_loss: float
    """Mean since the last report, a class and outer step."""
    quick: float | None
    """``validation/quick``; None where there are no validation images."""


@dataclass(frozen=True)
class Context:
    """What a trial is given besides its config."""

    folder: Path
    """Where its files go; made if missing."""
    device: torch.device
    """Where tensors live."""
    data: ImageData
    """Real images, on the device; kept by a warm worker."""
    trial_id: str
    """Name in rows and records."""
    search: str | None = None
    """Name of the search; None for a single run."""
    replicate: int = 0
    """Paired with equal replicates of other configurations."""
    report: Callable[[Progress], Decision] = field(default=lambda _: Decision.CONTINUE)
    """Called every ``run.report_every`` iterations."""


@lru_cache(maxsize=1)
def shared_data(settings: DatasetSettings, protocol: str, device: torch.device) -> ImageData:
    """Load a dataset onto a device, once for consecutive trials of a process.

    Raises:
        DataError: It is missing or corrupt.
    """
    return load_dataset(settings, protocol=protocol).to(device)


def check_fits(config: TrialConfig, data: ImageData) -> None:
    """Check a config against the images it will be used on, before anything is started.

    Raises:
        DataError: ``ipc`` exceeds a class, or a network does not take images of this size.
    """
    counts = torch.bincount(data.train.labels, minlength=data.num_classes)
    smallest = int(counts.argmin())
    if config.ipc > counts[smallest]:
        raise DataError(
            f"ipc: got {config.ipc}, but class {smallest} of '{data.name}' has "
            f"{int(counts[smallest])} training images; lower ipc"
        )
    members = ModelPool(config.pool, config.network, config.seed).members
    networks = {*members, *config.students(), config.teacher()}
    for architecture in sorted(networks, key=lambda item: item.label):
        _check_buildable(architecture.label, data.in_shape, data.num_classes)


@lru_cache(maxsize=256)
def _check_buildable(label: str, in_shape: tuple[int, int, int], classes: int) -> None:
    build_network(
        Architecture.parse(label),
        in_shape=in_shape,
        classes=classes,
        generator=generator(0, "check"),
    )


def preflight(configs: Iterable[TrialConfig]) -> None:
    """Check every config of a plan against its images, loading each dataset once.

    Raises:
        ConfigError: More threads than this process may use.
        DataError: A dataset is missing or corrupt, or a config does not fit it.
    """
    by_data: dict[tuple[DatasetSettings, str], list[TrialConfig]] = {}
    for config in configs:
        numerics.configure(threads=config.threads)
        by_data.setdefault((config.dataset, config.protocol), []).append(config)
    for (dataset, protocol), own in by_data.items():
        data = shared_data(dataset, protocol, torch.device("cpu"))
        for config in own:
            check_fits(config, data)


def run_trial(config: TrialConfig, context: Context) -> dict[str, Any]:
    """Run a trial to its end and return its record, as in ``trial.json``.

    Divergence and exhausted memory are results with a status of their own; other exceptions are
    bugs and propagate, leaving no ``trial.json`` (see ``record_error``).
    """
    steps = trial_steps(config, context)
    try:
        progress = next(steps)
        while True:
            progress = steps.send(context.report(progress))
    except StopIteration as end:
        record: dict[str, Any] = end.value
        return record


def trial_steps(
    config: TrialConfig, context: Context
) -> Generator[Progress, Decision, dict[str, Any]]:
    """A trial as a generator: yields progress, is sent a decision, returns the record."""
    numerics.configure(threads=config.threads)
    numerics.reset_peak_memory(context.device)
    _clear(context.folder)
    state = _Run(config, context)
    try:
        yield from state.distil()
        if state.status == "ok":
            state.evaluate()
    except DivergedError:
        state.status = "diverged"
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        state.status = "oom"
    return state.finish()


def record_error(config: TrialConfig, context: Context, error: BaseException) -> Path:
    """Record a trial that failed by an unexpected exception; return its traceback's file."""
    context.folder.mkdir(parents=True, exist_ok=True)
    path = context.folder / ERROR_FILE
    write_text(path, "".join(traceback.format_exception(error)))
    state = _Run(config, context)
    state.status = "error"
    write_json(context.folder / TRIAL_FILE, state.record())
    return path


def _clear(folder: Path) -> None:
    """Make the folder, without what an earlier try of the same trial left in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (TRIAL_FILE, EVALUATIONS_FILE, DISTILLED_FILE, IMAGES_FILE, ERROR_FILE):
        (folder / name).unlink(missing_ok=True)


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; on the CPU torch has no exception of its own for that."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return "can't allocate memory" in str(error)


class _Run:
    """The moving parts of one trial."""

    def __init__(self, config: TrialConfig, context: Context) -> None:
        self.config = config
        self.context = context
        self.status: Status = "ok"
        self.losses: list[float] = []
        self.quick: list[tuple[int, float]] = []
        self.scores: list[StudentScore] = []
        self.synthetic: SyntheticSet | None = None
        self.draws: list[str] = []
        self.gain: float | None = None
        self.timings = dict.fromkeys(("distill_s", "quick_s", "eval_s", "control_s"), 0.0)

    def distil(self) -> Generator[Progress, Decision, None]:
        """Learn the set; yields at each report, ends early where it is told to."""
        distiller = self._timed("distill_s", self._build)
        while distiller.iteration < self.config.iterations:
            self._timed("distill_s", lambda: self._advance(distiller))
            if distiller.iteration == self.config.iterations:
                break
            if (yield self._progress(distiller)) is Decision.STOP:
                self.status = "interrupted"
                return
        synthetic = distiller.synthetic()
        if not bool(synthetic.images.isfinite().all()):
            raise DivergedError("images not finite after the last iteration")
        self.synthetic = synthetic

    def evaluate(self) -> None:
        """Train the students; test images are read here and nowhere before."""
        synthetic, data = self.synthetic, self.context.data
        assert synthetic is not None
        splits = self._splits()
        self.scores = self._timed(
            "eval_s", lambda: list(evaluate(synthetic, self.config, data, splits))
        )
        if self.config.kd.variant in ("softened", "legacy"):
            self.gain = self._timed(
                "control_s",
                lambda: kd_gain(synthetic, self.config, data, self.scores, splits[0]),
            )

    def finish(self) -> dict[str, Any]:
        """Write the trial's files, ``trial.json`` last, and return its record."""
        folder = self.context.folder
        record = self.record()
        if self.synthetic is not None:
            self.synthetic.save(folder / DISTILLED_FILE)
            shown = self.context.data.denormalise(self.synthetic.images)
            write_grid(shown, folder / IMAGES_FILE, columns=self.config.ipc)
        if self.status in ("ok", "diverged"):
            common = common_columns(self.config, record)
            rows = (
                student_rows(common, self.config, self.scores)
                if self.status == "ok"
                else diverged_rows(common, self._splits())
            )
            write_rows(folder / EVALUATIONS_FILE, rows)
        write_json(folder / TRIAL_FILE, record)
        return record

    def record(self) -> dict[str, Any]:
        """The trial's record, as plain data."""
        labels = sorted(set(self.draws))
        return {
            "schema_version": SCHEMA_VERSION,
            "trial_id": self.context.trial_id,
            "search": self.context.search,
            "replicate": self.context.replicate,
            "status": self.status,
            "protocol": self.config.protocol,
            "config": self.config.model_dump(mode="json"),
            "digest": self.config.digest(),
            "notes": self._notes(),
            "metrics": metrics(self.scores, self.config.network),
            "timings": {**self.timings, "distill_cost_s": self.timings["distill_s"]},
            "peak_gib": numerics.peak_gib(self.context.device),
            "device": numerics.device_name(self.context.device),
            "matching_loss": [loss if math.isfinite(loss) else None for loss in self.losses],
            QUICK: self.quick,
            "pool_draws": {
                "architectures": labels,
                "draws": [labels.index(label) for label in self.draws],
            },
            "diagnostics": self._diagnostics(),
            "dataset_checksum": self.context.data.checksum,
            "numerics": numerics.describe(self.context.device),
            "provenance": provenance.describe(),
        }

    def _build(self) -> Distiller:
        return build_distiller(self.config, self.context.data, self.context.device)

    def _advance(self, distiller: Distiller) -> None:
        """Iterate to the next report; losses leave the device once."""
        start = distiller.iteration
        stop = min(start + self.config.run.report_every, self.config.iterations)
        losses: list[Tensor] = []
        try:
            while distiller.iteration < stop:
                losses.append(distiller.step())
        finally:
            self.draws = [architecture.label for architecture in distiller.draws]
            self.losses += torch.stack(losses).tolist() if losses else []
        if not all(map(math.isfinite, self.losses[start:])):
            raise DivergedError(f"matching loss not finite by iteration {stop}")

    def _progress(self, distiller: Distiller) -> Progress:
        synthetic = distiller.synthetic()
        quick = self._timed(
            "quick_s", lambda: quick_score(synthetic, self.config, self.context.data)
        )
        if quick is not None:
            self.quick.append((distiller.iteration, quick))
        return Progress(
            iteration=distiller.iteration,
            iterations=self.config.iterations,
            matching_loss=fmean(self.losses[-self.config.run.report_every :]),
            quick=quick,
        )

    def _timed(self, name: str, work: Callable[[], T]) -> T:
        numerics.synchronise(self.context.device)
        start = time.perf_counter()
        try:
            return work()
        finally:
            numerics.synchronise(self.context.device)
            self.timings[name] += time.perf_counter() - start

    def _splits(self) -> tuple[str, ...]:
        return (TEST,) if self.context.data.validation is None else (VALIDATION, TEST)

    def _notes(self) -> list[str]:
        notes = list(self.context.data.notes)
        counts = torch.bincount(self.context.data.train.labels)
        if self.config.batch_real > int(counts.min()):
            notes.append(
                f"batch_real: {self.config.batch_real} exceeds the smallest class, which is taken "
                f"whole ({int(counts.min())} images)"
            )
        return notes

    def _diagnostics(self) -> dict[str, diagnostics.Diagnostic]:
        found = {
            "matching_loss_flat": diagnostics.matching_loss_flat(self.losses, self.draws),
            "kd_below_control": diagnostics.kd_below_control(self.gain),
        }
        if self.synthetic is not None:
            found["classes_collapsed"] = diagnostics.classes_collapsed(
                self.synthetic.images, self.config.ipc
            )
        return found
