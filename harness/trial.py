"""A trial: distil a set, train students on it, write what came out.

A trial knows its config and a context: a folder, a device, the images and a way to report. It
knows nothing of Ray, of searches or of signals. Its result is a folder of whole files, the last
of which is ``trial.json``: where that is, the trial has ended.
"""

import math
import traceback
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from harness import diagnostics, numerics, provenance
from harness.architecture import Architecture
from harness.clock import Clock
from harness.config import BASELINES, FULL_DATA, DatasetSettings, TrialConfig
from harness.context import Context
from harness.datasets import ImageData, load_dataset
from harness.distill.programs import check_compiler
from harness.distill.similarity import measure_similarity, similarity_metrics
from harness.distilling import Distilling
from harness.errors import DataError, DivergedError
from harness.evaluate import StudentScore, Weights, evaluate, kd_gain
from harness.evaluate.cohort import check_lion
from harness.evaluate.elf import feature_network
from harness.events import (
    Decision,
    DeferredError,
    Event,
    StoppedEarlyError,
    StoppedError,
)
from harness.images import write_grid
from harness.networks import build_network
from harness.plugins import PLUGIN, is_plugin, load_plugin
from harness.pool import drawn_by, path_values
from harness.records import write_json, write_rows, write_text
from harness.results import common_columns, diverged_rows, metrics, phases, student_rows
from harness.schema import (
    DISTILLED_FILE,
    ERROR_FILE,
    EVALUATIONS_FILE,
    EVENTS_PREFIX,
    IMAGES_FILE,
    LOSS_SLOPE,
    NOT_RUN,
    POOL_MAIN_LAST,
    POOL_MAIN_MEAN,
    QUICK,
    SCHEMA_VERSION,
    TEST,
    TRIAL_FILE,
    VALIDATION,
    Status,
)
from harness.seeding import generator
from harness.store import Entry, Key
from harness.synthetic import SyntheticSet

TEACHER = "teacher"
"""Kind of a teacher's entries in the store."""
FEATURES = "feature-network"
"""Kind of the entries of networks whose features students follow (ELF)."""
_CLOCKS = (
    "distill_s",
    "distill_cost_s",
    "quick_s",
    "eval_s",
    "teacher_s",
    "control_s",
    "similarity_s",
    "store_s",
)


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
    networks = {*drawn_by(config), config.network, *config.students(), config.teacher()}
    if config.pool.schedule == "bandit" and config.method not in BASELINES:
        networks |= {Architecture.parse(label) for label in config.pool.bandit.probes}
        least = int(counts[smallest])
        left = least - min(config.pool.bandit.probe_images, least // 2)
        if left == least or config.ipc > left:
            raise DataError(
                f"pool.bandit.probe_images: got {config.pool.bandit.probe_images}, which leaves "
                f"{left if left < least else 0} of the {least} training images of class "
                f"{smallest} of '{data.name}' to distil, expected at least ipc = {config.ipc}; "
                "lower it or ipc"
            )
    for architecture in sorted(networks, key=lambda item: item.label):
        _check_buildable(architecture.label, data.in_shape, data.num_classes)
    for student in config.students() if config.elf.needs_features else ():
        wide = feature_network(config, student, data.in_shape)
        _check_buildable(wide.label, data.in_shape, data.num_classes)


@lru_cache(maxsize=256)
def _check_buildable(label: str, in_shape: tuple[int, int, int], classes: int) -> None:
    build_network(
        Architecture.parse(label),
        in_shape=in_shape,
        classes=classes,
        generator=generator(0, "check"),
    )


def preflight(configs: Iterable[TrialConfig], *, elsewhere: bool = False) -> None:
    """Check every config of a plan against its images, loading each dataset once.

    Args:
        configs: What is to be run.
        elsewhere: Whether other machines run it, whose cores and compiler are not known here.

    Raises:
        ConfigError: More threads than this process may use, or no compiler where one is needed.
        DataError: A dataset is missing or corrupt, or a config does not fit it.
    """
    by_data: dict[tuple[DatasetSettings, str], list[TrialConfig]] = {}
    for config in configs:
        if not elsewhere:
            configure_process(config)
            if config.compile:
                check_compiler()
            if config.evaluation.optimizer == "lion":
                check_lion()
        by_data.setdefault((config.dataset, config.protocol), []).append(config)
    for (dataset, protocol), own in by_data.items():
        data = shared_data(dataset, protocol, torch.device("cpu"))
        for config in own:
            check_fits(config, data)


def configure_process(config: TrialConfig) -> None:
    """Set this process's arithmetic as a trial's settings ask."""
    numerics.configure(threads=config.threads, tf32=config.precision == "tf32")


def run_trial(config: TrialConfig, context: Context) -> dict[str, Any]:
    """Run a trial to its end and return its record, as in ``trial.json``.

    Divergence, exhausted memory and a scheduler's verdict are results with a status of their own;
    a trial that was told to stop is ``interrupted``, and one that was told not to wait is
    ``not_run`` and leaves no files. Other exceptions are bugs, or a disk that is full, and
    propagate, leaving no ``trial.json`` (see ``record_error``).
    """
    steps = trial_steps(config, context)
    try:
        event = next(steps)
        while True:
            event = steps.send(context.report(event))
    except StopIteration as end:
        record: dict[str, Any] = end.value
        return record


def trial_steps(
    config: TrialConfig, context: Context
) -> Generator[Event, Decision, dict[str, Any]]:
    """A trial as a generator: yields events, is sent a decision, returns the record."""
    configure_process(config)
    _clear(context.folder)
    state = _Run(config, context)
    try:
        yield from state.distil()
        state.evaluate()
    except DivergedError:
        state.status = "diverged"
    except StoppedEarlyError as stop:
        state.status, state.stopped = "stopped_early", stop
    except StoppedError:
        state.status = "interrupted"
    except DeferredError:
        state.status = NOT_RUN
        with suppress(OSError):
            context.folder.rmdir()
        return state.record()
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        state.status = "oom"
    if state.status == "oom" and context.device.type == "cuda":
        torch.cuda.empty_cache()  # or this warm worker's neighbours would have less
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
    for path in folder.glob(f"{EVENTS_PREFIX}*"):
        path.unlink(missing_ok=True)


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; on the CPU torch has no exception of its own for that."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return "can't allocate memory" in str(error)


class _Run:
    """The moving parts of one trial."""

    def __init__(self, config: TrialConfig, context: Context) -> None:
        self.notes: list[str] = []
        if context.store is not None:
            context = replace(context, store=context.store.telling(self.notes.append))
        self.config = config
        self.context = context
        self.status: Status = "ok"
        self.stopped: StoppedEarlyError | None = None
        self.clock = Clock(context.device, *_CLOCKS)
        self.distilling = Distilling(config, context, self.clock)
        self.scores: list[StudentScore] = []
        self.synthetic: SyntheticSet | None = None
        self.gain: float | None = None
        self.similarity: dict[str, Any] | None = None

    def distil(self) -> Generator[Event, Decision, None]:
        """Learn the set; yields at each report, ends early where it is told to."""
        self.synthetic = yield from self.distilling.steps()
        with self.clock.measure("similarity_s"):
            self.similarity = measure_similarity(self.synthetic, self.config, self.context)

    def evaluate(self) -> None:
        """Train the students; test images are read here and nowhere before."""
        synthetic, data = self.synthetic, self.context.data
        splits = self._splits()
        with self.clock.measure("eval_s"):
            shares = partial(self._share, TEACHER), partial(self._share, FEATURES)
            for score in evaluate(synthetic, self.config, data, splits, *shares):
                self.scores.append(score)
                if self.context.stopping():
                    self.synthetic = None
                    self.scores = []
                    raise StoppedError
        if self.config.kd.variant in ("softened", "legacy"):
            assert synthetic is not None, "without a set there is no KD"
            with self.clock.measure("control_s"):
                self.gain = kd_gain(synthetic, self.config, data, self.scores, splits[0])

    def finish(self) -> dict[str, Any]:
        """Write the trial's files, ``trial.json`` last, and return its record."""
        folder = self.context.folder
        record = self.record()
        if self.synthetic is not None:
            self.synthetic.save(folder / DISTILLED_FILE)
            shown = self.context.data.denormalise(self.synthetic.images)
            write_grid(shown, folder / IMAGES_FILE, columns=self.synthetic.per_class)
        if self.status in ("ok", "diverged"):
            common = common_columns(self.config, record)
            rows = (
                student_rows(common, self.config, self.scores)
                if self.status == "ok"
                else diverged_rows(common, self._splits())
            )
            write_rows(folder / EVALUATIONS_FILE, rows)
        written = [folder / name for name in (EVALUATIONS_FILE, DISTILLED_FILE, IMAGES_FILE)]
        record["files"] = {path.name: path.stat().st_size for path in written if path.exists()}
        write_json(folder / TRIAL_FILE, record)
        return record

    def record(self) -> dict[str, Any]:
        """The trial's record, as plain data."""
        losses, draws = self.distilling.losses, self.distilling.draws
        labels = sorted(set(draws))
        share = self.context.gpu_share if self.context.device.type == "cuda" else 0.0
        return {
            "schema_version": SCHEMA_VERSION,
            "trial_id": self.context.trial_id,
            "search": self.context.search,
            "replicate": self.context.replicate,
            "status": self.status,
            "stopped": self._stopped(),
            "protocol": self.config.protocol,
            "config": self.config.model_dump(mode="json"),
            "digest": self.config.digest(),
            "notes": [*self._own_notes(), *self.notes],
            "metrics": {**metrics(self.scores, self.config.network), **self._pool_metrics()},
            "timings": self.clock.seconds,
            "peak_gib": self.clock.peak_gib(),
            "phases": phases(self.clock, share),
            "gpu": self._gpu(share),
            "device": numerics.device_name(self.context.device),
            "matching_loss": [loss if math.isfinite(loss) else None for loss in losses],
            QUICK: self.distilling.quick,
            "pool_draws": {
                "architectures": labels,
                "draws": [labels.index(label) for label in draws],
                "main_probability": [list(item) for item in self.distilling.pool_path],
            },
            "pool_similarity": self.similarity,
            "diagnostics": self._diagnostics(),
            "dataset_checksum": self.context.data.checksum,
            "numerics": numerics.describe(self.context.device),
            "provenance": {**provenance.describe(), **self._plugin()},
        }

    def _plugin(self) -> dict[str, Any]:
        """Where the method comes from, if from another package."""
        method = self.config.method
        return {PLUGIN: load_plugin(method).provenance()} if is_plugin(method) else {}

    def _stopped(self) -> dict[str, Any] | None:
        """Where and why a scheduler stopped it."""
        if self.stopped is None:
            return None
        return {"iteration": self.stopped.iteration, "reason": self.stopped.reason}

    def _pool_metrics(self) -> dict[str, float]:
        """What the draws and the losses show, as ``harness.schema`` names it."""
        losses, draws = self.distilling.losses, self.distilling.draws
        found = similarity_metrics(self.similarity)
        found[LOSS_SLOPE] = diagnostics.matching_loss_slope(
            losses, draws, self.config.network.label
        )
        if draws and self.distilling.pool_path:
            chances = path_values(self.distilling.pool_path, len(draws))
            found[POOL_MAIN_MEAN] = fmean(chances)
            found[POOL_MAIN_LAST] = chances[-1]
        return {name: value for name, value in found.items() if value is not None}

    def _share(
        self, kind: str, identity: Mapping[str, Any], train: Callable[[], Weights]
    ) -> Weights:
        """Train what students follow, or take it from the store.

        There is one teacher for all temperatures and alphas, and one feature network for all sets.
        """
        store = self.context.store
        if store is None:
            return self._train_teacher(train).tensors
        whole = {**identity, "numerics": numerics.describe(self.context.device)}
        return store.get_or_make(Key(kind, whole), lambda: self._train_teacher(train)).tensors

    def _train_teacher(self, train: Callable[[], Weights]) -> Entry:
        before = self.clock.seconds["teacher_s"]
        with self.clock.measure("teacher_s"):
            weights = train()
        return Entry(weights, cost_s=self.clock.seconds["teacher_s"] - before)

    def _gpu(self, share: float) -> dict[str, Any] | None:
        """What the trial had of a GPU, and what it made of it; None on the CPU."""
        if not share:
            return None
        return {
            "share": share,
            "total_gib": numerics.total_gib(self.context.device),
            "utilisation": self.context.utilisation(),
        }

    def _splits(self) -> tuple[str, ...]:
        return (TEST,) if self.context.data.validation is None else (VALIDATION, TEST)

    def _own_notes(self) -> list[str]:
        notes = list(self.context.data.notes)
        counts = torch.bincount(self.context.data.train.labels)
        if self.config.method == FULL_DATA:
            notes.append("distilled.safetensors is left out: the set is all training images")
        draws = self.config.method not in BASELINES
        if draws and self.config.batch_real > int(counts.min()):
            notes.append(
                f"batch_real: {self.config.batch_real} exceeds the smallest class, which is taken "
                f"whole ({int(counts.min())} images)"
            )
        if self.config.precision == "tf32" and self.context.device.type == "cpu":
            notes.append("precision: a CPU has no TF32, it computed in float32")
        return notes

    def _diagnostics(self) -> dict[str, diagnostics.Diagnostic]:
        losses, draws = self.distilling.losses, self.distilling.draws
        found = {
            "matching_loss_flat": diagnostics.matching_loss_flat(losses, draws),
            "kd_below_control": diagnostics.kd_below_control(self.gain),
        }
        if self.synthetic is not None:
            found["classes_collapsed"] = diagnostics.classes_collapsed(
                self.synthetic.images, self.synthetic.per_class
            )
        return found
