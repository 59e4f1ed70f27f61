"""Names, types, units and meaning of everything a result file holds.

Writers (``harness.trial``) and readers (``analysis``) meet here and nowhere else. A change of a
name, a type or a meaning raises ``SCHEMA_VERSION``.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

SCHEMA_VERSION = 1

Status = Literal["ok", "diverged", "oom", "error", "stopped_early", "interrupted", "not_run"]
STATUSES: tuple[Status, ...] = (
    "ok",
    "diverged",
    "oom",
    "error",
    "stopped_early",
    "interrupted",
    "not_run",
)
FINISHED: frozenset[str] = frozenset({"ok", "diverged", "stopped_early"})
"""Statuses that are results; a trial with another one is run again by the next call."""
ENDED = FINISHED | {"error", "oom"}
"""Statuses after which a trial is not run again by the same call."""
NOT_RUN: Status = "not_run"

VALIDATION, TEST = "validation", "test"
DISTILLED_TRACK, FEATURE_TRACK = "distilled", "real-features"
"""Tracks: students that saw a distilled set alone, and those that saw features learned from real
images besides (ELF). Accuracies of two tracks answer two questions."""
UNSEEN_MEAN = "validation/unseen_mean"
"""Mean over unseen students of the mean over their networks, on validation images: optimised."""
TEST_UNSEEN_MEAN = "test/unseen_mean"
"""The same on test images: recorded, never optimised."""
QUICK = "validation/quick"
"""Mean validation accuracy of one MLP and one LeNet trained on the set as it stands."""
POOL_MAIN = "pool/main_probability"
"""Chance of drawing the main model, by iteration: a curve, in ``pool_draws`` where it changes."""
POOL_MAIN_MEAN = "pool/main_probability_mean"
"""Its mean over the iterations."""
POOL_MAIN_LAST = "pool/main_probability_last"
"""That of the last iteration."""
POOL_SIMILARITY = "pool/similarity"
"""Cosine of the others' image gradients with the main model's, mean by the weights of
``pool.others``, over draws, and over the first and the last images (``harness.distill.similarity``;
measured where ``run.similarity_draws`` is above 0)."""
POOL_SIMILARITY_INITIAL = "pool/similarity_initial"
"""The same on the first images alone."""
POOL_SIMILARITY_FINAL = "pool/similarity_final"
"""The same on the last images alone."""
POOL_SIMILARITY_MAIN = "pool/similarity_main"
"""Cosine of two main models with different weights: as near to the main model as any pool gets."""
LOSS_SLOPE = "matching_loss_slope"
"""Slope of the logarithm of the main model's matching loss, nats an iteration; below 0: it falls.
(``harness.diagnostics.matching_loss_slope``)."""

PHASES: Mapping[str, str] = {
    "distill": "distill_s",
    "quick": "quick_s",
    "evaluate": "eval_s",
    "teacher": "teacher_s",
    "control": "control_s",
}
"""Phases of a trial, each with its seconds in the ``timings`` of ``trial.json``: distilling, quick
scores, students with their teachers, of those the teachers that this trial trained, and the
students of the control. The table ``phases`` of ``trial.json`` has, of each that was run:

- ``peak_gib``: peak memory, as the column of that name;
- ``used_gib``: what was taken of the GPU by all processes, torch's reserve and CUDA's own memory
  included; the trial's own where it has the GPU to itself; null on the CPU;
- ``gpu_s``: seconds times the GPUs that the trial has (a share where it shares one); 0 on the CPU.

``gpu`` beside it is null on the CPU, else ``share`` (GPUs that the trial has), ``total_gib`` and
``utilisation`` (0..1, the time in which the GPU was busy; null where it was not sampled)."""

# Names of files and folders of a search.
SEARCH_FILE = "search.toml"
PLAN_FILE = "plan.jsonl"
DECISIONS_FILE = "decisions.jsonl"
"""What a scheduler decided of each report, in order (``harness.search.stopping``)."""
TRIALS_FOLDER = "trials"
TRIAL_FILE = "trial.json"
EVALUATIONS_FILE = "evaluations.parquet"
DISTILLED_FILE = "distilled.safetensors"
IMAGES_FILE = "images.png"
ERROR_FILE = "error.txt"
EVENTS_PREFIX = "events.out.tfevents."
"""Start of the names of a trial's TensorBoard files, see ``harness.tracking``."""
DRIVER_FILE = ".driver.lease"
STORE_FOLDER = "store"
RAY_FOLDER = "ray"


class Column(NamedTuple):
    """A column of ``evaluations.parquet``."""

    name: str
    type: Literal["string", "int64", "float64", "bool"]
    meaning: str


COLUMNS: tuple[Column, ...] = (
    Column("search", "string", "name of the search's folder; null for a single run"),
    Column("trial_id", "string", "folder of the trial below trials/"),
    Column("status", "string", "of this student: ok or diverged"),
    Column("protocol", "string", "held-out or paper (trained on all training images)"),
    Column("dataset", "string", "real images"),
    Column("method", "string", "distillation method"),
    Column("ipc", "int64", "images per class"),
    Column("iterations", "int64", "draws of a network from the pool"),
    Column("pool", "string", "distribution of the non-main members: preset, or label:weight list"),
    Column("main_model", "string", "label of the main model"),
    Column(
        "main_probability",
        "float64",
        "chance of drawing the main model, 0..1: a schedule's last, a bandit's first",
    ),
    Column("kd_variant", "string", "off, softened, control or legacy"),
    Column("kd_temperature", "float64", "> 0; null where KD is off"),
    Column("kd_alpha", "float64", "weight of the teacher's term, 0..1; null where KD is off"),
    Column("teacher_accuracy", "float64", "fraction, on this split; null without a finite teacher"),
    Column(
        "track",
        "string",
        "what students saw: distilled (the set alone), or real-features (ELF: also features of a "
        "network trained on real images)",
    ),
    Column("elf_loss", "string", "off, or the terms of ELF's loss"),
    Column("seed", "int64", "of the trial"),
    Column("replicate", "int64", "equal replicates of different configurations are paired"),
    Column("student", "string", "label of the student; null where the distillation diverged"),
    Column("student_in_pool", "bool", "whether the distillation could draw this architecture"),
    Column("student_seed", "int64", "0 .. student_seeds - 1"),
    Column(
        "epochs", "int64", "of the recipe; on a distilled set one pass more is run, as published"
    ),
    Column("augmentation", "string", "of the student's training images"),
    Column("optimizer", "string", "of the student: sgd or lion"),
    Column("split", "string", "validation or test"),
    Column("accuracy", "float64", "fraction, 0..1; null where the student diverged"),
    Column("loss", "float64", "mean cross-entropy, nats; null where the student diverged"),
    Column("n_images", "int64", "images of the split"),
    Column("distill_s", "float64", "seconds that this trial spent distilling"),
    Column("distill_cost_s", "float64", "seconds that the set costs to make"),
    Column("eval_s", "float64", "seconds that this trial spent evaluating"),
    Column("peak_gib", "float64", "peak memory of the trial: device memory, or resident on CPU"),
    Column("device", "string", "cpu, or the GPU's name"),
    Column("threads", "int64", "CPU threads of the trial"),
    Column("git_hash", "string", "of the code; null outside a checkout"),
    Column("schema_version", "int64", "of this table"),
)

ADDED: Mapping[str, str] = {"track": DISTILLED_TRACK, "elf_loss": "off", "optimizer": "sgd"}
"""Columns that older files of this version lack, and what stands for them."""
