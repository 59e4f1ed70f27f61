"""Result rows and metrics of a trial, as ``harness.schema`` fixes them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from harness.architecture import Architecture
from harness.clock import Clock
from harness.config import TrialConfig
from harness.evaluate import StudentScore
from harness.pool import describe_others, drawn_by
from harness.schema import COLUMNS, DISTILLED_TRACK, FEATURE_TRACK, PHASES, UNSEEN_MEAN

Row = dict[str, Any]


def metrics(scores: Sequence[StudentScore], main: Architecture) -> dict[str, float | None]:
    """Mean accuracies by split: ``<split>/unseen_mean`` and ``<split>/main``.

    Args:
        scores: Of every student, student seed and split; may be empty.
        main: The main model; every other student is unseen.

    Returns:
        Fractions; None where a student has no finite network. The searched metric is always there.
    """
    found: dict[str, float | None] = {UNSEEN_MEAN: None}
    for split in dict.fromkeys(item.split for item in scores):
        own = [item for item in scores if item.split == split]
        unseen = [item for item in own if item.student != main]
        found[f"{split}/unseen_mean"] = _mean_over_students(unseen)
        found[f"{split}/main"] = _mean_over_students([item for item in own if item.student == main])
    return found


def phases(clock: Clock, gpu_share: float) -> dict[str, dict[str, float | None]]:
    """Memory and GPU-seconds of each phase of a trial that was run, for ``trial.json``.

    Args:
        clock: The trial's, with the names of ``harness.schema.PHASES``.
        gpu_share: GPUs that the trial has; 0 on the CPU.
    """
    return {
        phase: {
            "peak_gib": clock.peaks_gib[name],
            "used_gib": clock.used_gib[name],
            "gpu_s": clock.seconds[name] * gpu_share,
        }
        for phase, name in PHASES.items()
        if name in clock.peaks_gib
    }


def common_columns(config: TrialConfig, record: Mapping[str, Any]) -> Row:
    """The columns that all rows of a trial share; the others are None.

    Args:
        config: The trial's.
        record: Its ``trial.json``.
    """
    return {
        **dict.fromkeys(column.name for column in COLUMNS),
        "search": record["search"],
        "trial_id": record["trial_id"],
        "protocol": config.protocol,
        "dataset": config.dataset.name,
        "method": config.method,
        "ipc": config.ipc,
        "iterations": config.iterations,
        "pool": describe_others(config.pool),
        "main_model": config.network.label,
        "main_probability": config.pool.main_probability,
        "kd_variant": config.kd.variant,
        "kd_temperature": config.kd.temperature,
        "kd_alpha": config.kd.alpha,
        "track": FEATURE_TRACK if config.elf.needs_features else DISTILLED_TRACK,
        "elf_loss": config.elf.loss,
        "seed": config.seed,
        "replicate": record["replicate"],
        "distill_s": record["timings"]["distill_s"],
        "distill_cost_s": record["timings"]["distill_cost_s"],
        "eval_s": record["timings"]["eval_s"],
        "peak_gib": record["peak_gib"],
        "device": record["device"],
        "threads": config.threads,
        "git_hash": record["provenance"]["git_hash"],
        "schema_version": record["schema_version"],
    }


def student_rows(common: Row, config: TrialConfig, scores: Iterable[StudentScore]) -> list[Row]:
    """One row for each student network and split."""
    members = drawn_by(config)
    rows = []
    for item in scores:
        finite = math.isfinite(item.score.loss)
        rows.append(
            {
                **common,
                "status": "ok" if finite else "diverged",
                "teacher_accuracy": item.teacher_accuracy,
                "student": item.student.label,
                "student_in_pool": item.student in members,
                "student_seed": item.student_seed,
                "epochs": item.recipe.epochs,
                "augmentation": item.recipe.augmentation,
                "optimizer": item.recipe.optimizer,
                "split": item.split,
                "accuracy": item.score.accuracy if finite else None,
                "loss": item.score.loss if finite else None,
                "n_images": item.score.n_images,
            }
        )
    return rows


def diverged_rows(common: Row, splits: Iterable[str]) -> list[Row]:
    """One row a split, without a student: the distillation itself diverged."""
    return [{**common, "status": "diverged", "split": split} for split in splits]


def _mean_over_students(scores: Iterable[StudentScore]) -> float | None:
    """Mean over architectures of the mean over their finite networks.

    Each architecture weighs the same however many of its networks diverged. None where one has
    no finite network at all: a mean over the others would not be comparable.
    """
    by_student: dict[str, list[float]] = {}
    for item in scores:
        own = by_student.setdefault(item.student.label, [])
        if math.isfinite(item.score.loss):
            own.append(item.score.accuracy)
    if not by_student or not all(by_student.values()):
        return None
    return fmean(fmean(own) for own in by_student.values())
