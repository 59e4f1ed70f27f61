"""Searches on disk as finished ones are, written by the writers of real ones, without distilling.

python -m tests.stored FOLDER [TRIALS]
"""

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from harness.architecture import Architecture
from harness.config import TrialConfig
from harness.evaluate import StudentScore
from harness.evaluate.training import Recipe, Score
from harness.events import Progress
from harness.images import draw_grid, shown_part, write_grid
from harness.records import write_json, write_rows
from harness.results import common_columns, diverged_rows, metrics, student_rows
from harness.schema import (
    EVALUATIONS_FILE,
    IMAGES_FILE,
    QUICK,
    SCHEMA_VERSION,
    TEST,
    TRIAL_FILE,
    VALIDATION,
)
from harness.search.folder import SearchFolder, open_search
from harness.search.plan import PlannedTrial
from harness.search.space import read_space
from harness.synthetic import SyntheticSet
from harness.tracking import Tracker

STUDENTS = ("convnet", "mlp", "lenet")
CLASSES, SIDE = 10, 8
REPORTS = 12


def space_of(trials: int) -> dict[str, Any]:
    """A space of lists, names, numbers, and settings that count only with KD."""
    assert trials % 30 == 0, "30 configurations"
    return {
        "title": "stored",
        "base": {"dataset.name": "digits", "iterations": 60, "run.report_every": 5},
        "space": {
            "pool.main_probability": {"grid": [0.0, 0.2, 0.5, 0.8, 1.0]},
            "pool.others": {
                "grid": [
                    "similar",
                    [{"network": "lenet", "weight": 0.5}, {"network": "mlp", "weight": 0.5}],
                ]
            },
            "kd.variant": {"grid": ["off", "softened"]},
            "kd.temperature": {"grid": [1.0, 4.0], "when": {"kd.variant": "softened"}},
        },
        "search": {"replicates": trials // 30},
    }


def write_search(path: Path, trials: int, *, events: bool = True) -> SearchFolder:
    """Write a search whose every 25th trial diverged.

    Args:
        path: Its folder.
        trials: How many, a multiple of 30.
        events: Whether trials have those of TensorBoard; earlier releases wrote none.
    """
    folder = open_search(path, read_space(space_of(trials), "stored", {}))
    folder.prepare()
    for number, trial in enumerate(folder.plan):
        write_trial(folder, trial, diverged=number % 25 == 24, events=events)
    return folder


def write_trial(
    folder: SearchFolder, trial: PlannedTrial, *, diverged: bool = False, events: bool = True
) -> None:
    """Write a trial's files; its numbers follow from its settings."""
    own, config = folder.trial_folder(trial), trial.config
    own.mkdir(parents=True, exist_ok=True)
    scores = [] if diverged else _scores(config)
    record = _record(folder, trial, "diverged" if diverged else "ok", scores)
    common = common_columns(config, record)
    rows = (
        diverged_rows(common, (VALIDATION, TEST))
        if diverged
        else student_rows(common, config, scores)
    )
    write_rows(own / EVALUATIONS_FILE, rows)
    images = torch.rand(
        CLASSES * config.ipc, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(config.seed)
    )
    if not diverged:
        labels = torch.arange(CLASSES).repeat_interleave(config.ipc)
        SyntheticSet(images, labels, {}).save(own / "distilled.safetensors")
        write_grid(images, own / IMAGES_FILE, columns=config.ipc)
    record["files"] = {path.name: path.stat().st_size for path in own.iterdir()}
    write_json(own / TRIAL_FILE, record)
    if events:
        tracker = Tracker(own, config.digest(), _refuse)
        for progress in _reports(record, images, config.ipc):
            tracker.report(progress)
        tracker.finish(record)


def _reports(record: Mapping[str, Any], images: torch.Tensor, ipc: int) -> list[Progress]:
    losses = record["matching_loss"]
    return [
        Progress(
            iteration=step,
            iterations=len(losses),
            matching_loss=losses[step - 1],
            quick=quick,
            losses=losses[step - 5 : step],
            picture=lambda: shown_part(draw_grid(images, columns=ipc), ipc),
        )
        for step, quick in record[QUICK]
    ]


def _scores(config: TrialConfig) -> list[StudentScore]:
    base = 0.6 + 0.2 * config.pool.main_probability * (1 - config.pool.main_probability)
    recipe = Recipe(epochs=10, lr=0.01, batch=256, augmentation="none")
    return [
        StudentScore(
            config.network if student == "convnet" else Architecture.parse(student),
            seed,
            recipe,
            split,
            Score(base - 0.05 * rank + 0.01 * config.seed / 10 - shift, 1.0, 300),
            None,
        )
        for rank, student in enumerate(STUDENTS)
        for seed in range(2)
        for split, shift in ((VALIDATION, 0.0), (TEST, 0.02))
    ]


def _record(
    folder: SearchFolder, trial: PlannedTrial, status: str, scores: list[StudentScore]
) -> dict[str, Any]:
    config, iterations = trial.config, trial.config.iterations
    return {
        "schema_version": SCHEMA_VERSION,
        "trial_id": trial.trial_id,
        "search": folder.path.name,
        "replicate": trial.replicate,
        "status": status,
        "protocol": config.protocol,
        "config": config.model_dump(mode="json"),
        "digest": config.digest(),
        "notes": [],
        "metrics": metrics(scores, config.network),
        "timings": {"distill_s": 3.0, "distill_cost_s": 3.0, "eval_s": 2.0, "quick_s": 0.5},
        "peak_gib": 0.5,
        "device": "cpu",
        "matching_loss": [50 * math.exp(-i / 30) + 10 for i in range(iterations)],
        QUICK: [[step, 0.1 + step / 200] for step in range(5, iterations, 5)],
        "pool_draws": {"architectures": ["convnet"], "draws": [0] * iterations},
        "diagnostics": {},
        "dataset_checksum": "0" * 64,
        "numerics": {},
        "provenance": {"git_hash": None},
    }


def _refuse(text: str) -> None:
    raise AssertionError(text)


if __name__ == "__main__":
    write_search(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 300)
