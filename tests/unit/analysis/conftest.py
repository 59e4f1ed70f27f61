"""Writes small search folders, byte for byte in the format of real ones."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from harness.records import write_json, write_rows
from harness.schema import (
    COLUMNS,
    EVALUATIONS_FILE,
    PLAN_FILE,
    QUICK,
    SCHEMA_VERSION,
    SEARCH_FILE,
    TRIAL_FILE,
    TRIALS_FOLDER,
)

MakeSearch = Callable[..., Path]


def _rows(trial: Mapping[str, Any], trial_id: str, protocol: str) -> list[dict[str, Any]]:
    point = trial.get("point", {})
    common = {
        **dict.fromkeys(column.name for column in COLUMNS),
        "search": "demo",
        "trial_id": trial_id,
        "status": "ok",
        "protocol": protocol,
        "dataset": "digits",
        "method": point.get("method", "dc"),
        "ipc": point.get("ipc", 1),
        "iterations": 1000,
        "pool": "similar",
        "main_model": "convnet",
        "main_probability": point.get("pool.main_probability", 0.9),
        "kd_variant": point.get("kd.variant", "off"),
        "kd_temperature": point.get("kd.temperature"),
        "kd_alpha": point.get("kd.alpha"),
        "track": "distilled",
        "elf_loss": "off",
        "seed": trial.get("replicate", 0),
        "replicate": trial.get("replicate", 0),
        "distill_cost_s": trial.get("cost_s"),
        "device": "cpu",
        "threads": 1,
        "git_hash": trial.get("git_hash", "abc123"),
        "schema_version": SCHEMA_VERSION,
    }
    splits = {"test": -0.02} if protocol == "paper" else {"validation": 0.0, "test": -0.02}
    if trial.get("status") == "diverged":
        return [{**common, "status": "diverged", "split": split} for split in splits]
    return [
        {
            **common,
            "status": "diverged" if accuracy is None else "ok",
            "student": student,
            "student_in_pool": student == "convnet",
            "student_seed": seed,
            "epochs": 300,
            "augmentation": "none",
            "optimizer": "sgd",
            "split": split,
            "accuracy": None if accuracy is None else accuracy + shift,
            "loss": None if accuracy is None else 1.0,
            "n_images": 100,
            **trial.get("columns", {}),
        }
        for student, accuracies in trial["students"].items()
        for seed, accuracy in enumerate(accuracies)
        for split, shift in splits.items()
    ]


@pytest.fixture
def make_search(tmp_path: Path) -> MakeSearch:
    """Write a search below the test's folder; see ``searches_below``."""
    return searches_below(tmp_path)


def searches_below(root: Path) -> MakeSearch:
    """Return what writes a search: trials are dicts of point, replicate, status and students.

    ``students`` maps a label to its accuracies on validation images, one a student seed, None
    where that student diverged; test accuracies are 0.02 lower. ``columns`` are put into its rows,
    ``record`` into its ``trial.json``, ``config`` into the plan. Status ``not_run`` writes no
    folder.
    """

    def make(
        trials: Iterable[Mapping[str, Any]],
        *,
        name: str = "demo",
        varied: Iterable[str] = (),
        protocol: str = "held-out",
        provenance: Mapping[str, Any] | None = None,
        **texts: str,
    ) -> Path:
        folder = root / name
        folder.mkdir()
        search = {
            "title": "Main-model probability",
            "question": "Which probability generalises best?",
            **texts,
            "base": {"ipc": 1},
            "space": {setting: {"grid": [0]} for setting in varied},
            "search": {"algorithm": "grid", "replicates": 3},
            "provenance": {"git_hash": "abc123", "versions": {"torch": "2.11.0"}}
            if provenance is None
            else provenance,
        }
        (folder / SEARCH_FILE).write_text(tomli_w.dumps(search), encoding="utf-8")
        lines = []
        for number, trial in enumerate(trials):
            trial_id = f"{number:05d}-abcd"
            replicate = trial.get("replicate", 0)
            config = trial.get("config", {})
            planned = {"trial_id": trial_id, "replicate": replicate, "config": config}
            lines.append(json.dumps({**planned, "point": trial.get("point", {})}) + "\n")
            status = trial.get("status", "ok")
            if status == "not_run":
                continue
            place = folder / TRIALS_FOLDER / trial_id
            place.mkdir(parents=True)
            if status in ("ok", "diverged"):
                write_rows(place / EVALUATIONS_FILE, _rows(trial, trial_id, protocol))
            record = {"status": status, "schema_version": SCHEMA_VERSION}
            if status == "stopped_early":
                scores = trial.get("quick", [[2, 0.25]])
                at = scores[-1][0] if scores else 0
                record |= {"stopped": {"iteration": at, "reason": "asha"}, QUICK: scores}
            write_json(place / TRIAL_FILE, {**record, **trial.get("record", {})})
        (folder / PLAN_FILE).write_text("".join(lines), encoding="utf-8")
        return folder

    return make


@pytest.fixture
def probability_search(make_search: MakeSearch) -> Path:
    """Two probabilities with three distilled sets each, of which one trial has not run."""
    means = {0.5: (0.50, 0.52, 0.54), 1.0: (0.60, 0.62, None)}
    trials = [
        {
            "point": {"pool.main_probability": probability},
            "replicate": replicate,
            "status": "ok" if mean else "not_run",
            "students": {"convnet": [0.9], "mlp": [mean - 0.1], "lenet": [mean + 0.1]}
            if mean
            else {},
        }
        for replicate in range(3)
        for probability, values in means.items()
        for mean in [values[replicate]]
    ]
    return make_search(trials, varied=["pool.main_probability"])


KD_SETTINGS = ("pool.main_probability", "kd.variant", "kd.alpha", "kd.temperature")


@pytest.fixture(scope="session")
def kd_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A grid with settings that do not always apply; the accuracy is a sum, but for KD at 0.9.

    Two probabilities, each with KD off, its control at two alphas, and softened at two alphas and
    temperatures; two replicates, a point apart. One trial has not run, one diverged. A network of
    another architecture is 4 points better and one 4 points worse than the mean over both.
    """
    make = searches_below(tmp_path_factory.mktemp("kd"))
    trials = []
    for replicate in range(2):
        for chance in (0.9, 1.0):
            for point in (
                {"kd.variant": "off"},
                *({"kd.variant": "control", "kd.alpha": alpha} for alpha in (0.1, 0.5)),
                *(
                    {"kd.variant": "softened", "kd.alpha": alpha, "kd.temperature": temperature}
                    for alpha in (0.1, 0.5)
                    for temperature in (1.0, 4.0)
                ),
            ):
                mean = kd_mean({"pool.main_probability": chance, **point}) + 0.01 * replicate
                number = len(trials)
                cost = {"distill_cost_s": 100.0 if chance == 1.0 else 150.0, "eval_s": 10.0}
                quick = [[10, 0.2 + 0.1 * replicate], [20, 0.3 + 0.1 * chance]]
                trials.append(
                    {
                        "point": {"pool.main_probability": chance, **point},
                        "replicate": replicate,
                        "status": {7: "not_run", 10: "diverged"}.get(number, "ok"),
                        "students": {
                            "convnet": [0.9],
                            "mlp": [mean - 0.04],
                            "lenet": [mean + 0.04],
                        },
                        "record": {"timings": cost, QUICK: quick},
                    }
                )
    return make(trials, name="kd", varied=KD_SETTINGS, title="Pool, KD and $x_2$")


def kd_mean(point: Mapping[str, Any]) -> float:
    """Accuracy of a configuration of ``kd_folder`` in replicate 0."""
    gain = {"off": 0.0, "control": -0.02, "softened": 0.04}[point["kd.variant"]]
    pool = 0.06 if point["pool.main_probability"] == 0.9 else 0.0
    both = 0.02 if pool and gain > 0 else 0.0
    return 0.5 + pool + gain + both + 0.1 * point.get("kd.alpha", 0.0)
