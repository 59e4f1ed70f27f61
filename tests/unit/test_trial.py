"""A whole trial on tiny images: its files, its statuses, and what it reads when."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor

from harness import distilling, numerics, trial
from harness.config import DatasetSettings, TrialConfig, make_config
from harness.context import Context
from harness.datasets import ImageData, Split
from harness.distill import learner
from harness.distill.dc import DC
from harness.distill.matching import Match
from harness.errors import ConfigError, DataError
from harness.events import Decision, Event, Progress
from harness.schema import COLUMNS, SCHEMA_VERSION, UNSEEN_MEAN
from harness.synthetic import load_synthetic
from harness.trial import (
    check_fits,
    preflight,
    record_error,
    run_trial,
    shared_data,
    trial_steps,
)

CPU = torch.device("cpu")
FILES = {"trial.json", "evaluations.parquet", "distilled.safetensors", "images.png"}
STUDENTS = {"students": ["main", "mlp"], "student_seeds": 2, "epochs": 3, "lr": 0.05}


def configure(**more: Any) -> TrialConfig:
    base: dict[str, Any] = {
        "iterations": 3,
        "batch_real": 8,
        "init": "real",
        "network": {"width": 4, "depth": 1},
        "evaluation": STUDENTS,
    }
    return make_config({**base, **more})


def place(folder: Path, data: ImageData, **more: Any) -> Context:
    return Context(folder=folder, device=CPU, data=data, trial_id=folder.name, **more)


def read(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "trial.json").read_text())
    return record


def rows(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "evaluations.parquet")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def run(folder: Path, data: ImageData, **more: Any) -> dict[str, Any]:
    return run_trial(configure(**more), place(folder, data))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Quick scores that cost nothing: 0.5 each; the list holds one entry for each."""
    calls: list[int] = []

    def quick_score(*_: object) -> float:
        calls.append(len(calls))
        return 0.5

    monkeypatch.setattr(distilling, "quick_score", quick_score)
    return calls


# --- A trial that goes well -----------------------------------------------------------------


def test_a_trial_leaves_its_files(tiny: ImageData, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "t1"
    context = place(folder, tiny, search="s", replicate=4)
    record = run_trial(configure(ipc=2, outer_loop=2, inner_loop=1), context)
    assert names(folder) == FILES
    assert read(folder) == json.loads(json.dumps(record))
    assert record["status"] == "ok"
    assert record["trial_id"] == "t1"
    assert record["search"] == "s"
    assert record["replicate"] == 4
    assert record["schema_version"] == SCHEMA_VERSION
    assert record["protocol"] == "held-out"
    assert len(record["matching_loss"]) == 3
    assert record["validation/quick"] == []
    assert record["dataset_checksum"] == tiny.checksum
    assert set(record["timings"]) == {
        "distill_s",
        "distill_cost_s",
        "eval_s",
        "quick_s",
        "teacher_s",
        "control_s",
        "similarity_s",
        "store_s",
    }
    assert record["timings"]["distill_s"] > 0.0
    assert record["timings"]["distill_cost_s"] == record["timings"]["distill_s"]
    assert record["timings"]["eval_s"] > 0.0
    assert record["gpu"] is None
    assert set(record["phases"]) == {"distill", "evaluate"}
    for phase in record["phases"].values():
        assert 0.0 < phase["peak_gib"] <= record["peak_gib"]
        assert (phase["gpu_s"], phase["used_gib"]) == (0.0, None)
    assert record["peak_gib"] > 0.0
    assert record["device"] == "cpu"
    assert record["numerics"]["threads"] == 1
    assert set(record["diagnostics"]) == {
        "matching_loss_flat",
        "kd_below_control",
        "classes_collapsed",
    }
    assert record["diagnostics"]["kd_below_control"]["value"] is None
    assert record["notes"] == []
    assert make_config(record["config"]) == configure(ipc=2, outer_loop=2, inner_loop=1)

    frame = rows(folder)
    assert list(frame.columns) == [column.name for column in COLUMNS]
    assert len(frame) == 2 * 2 * 2
    assert set(frame["split"]) == {"validation", "test"}
    assert set(frame["status"]) == {"ok"}
    assert set(frame["trial_id"]) == {"t1"}
    assert frame["accuracy"].between(0, 1).all()
    assert set(frame["n_images"]) == {18}
    unseen = frame[(frame["split"] == "validation") & (frame["student"] == "mlp")]
    assert record["metrics"][UNSEEN_MEAN] == pytest.approx(unseen["accuracy"].mean())
    main = frame[(frame["split"] == "test") & (frame["student"] == "convnet-w4-d1")]
    assert record["metrics"]["test/main"] == pytest.approx(main["accuracy"].mean())

    synthetic = load_synthetic(folder / "distilled.safetensors")
    assert synthetic.images.shape == (6, 1, 28, 28)
    assert synthetic.provenance["distillation"]["iterations"] == 3
    with Image.open(folder / "images.png") as image:
        assert image.size == (2 * 30, 3 * 30)  # a row a class, one pixel around each


def accuracies(record: dict[str, Any]) -> dict[str, Any]:
    """The metrics of students; those of the pool and of the losses have names of their own."""
    found = record["metrics"].items()
    return {name: value for name, value in found if name.startswith(("validation/", "test/"))}


def test_pool_draws_are_recorded(tiny: ImageData, tmp_path: Path) -> None:
    others = [{"network": "convnet-w4-d1-batchnorm", "weight": 1.0}]
    pool = {"others": others, "main_probability": 0.5}
    record = run(tmp_path / "t", tiny, pool=pool, iterations=8)
    draws = record["pool_draws"]
    labels = [draws["architectures"][k] for k in draws["draws"]]
    assert len(labels) == 8
    assert set(labels) == {"convnet-w4-d1", "convnet-w4-d1-batchnorm"}
    assert draws["main_probability"] == [[0, 0.5]]
    assert record["metrics"]["pool/main_probability_mean"] == 0.5


def test_trial_json_comes_last(
    tiny: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[set[str]] = []
    write = trial.write_json

    def write_json(path: Path, data: Any) -> None:
        written.append(names(path.parent))
        write(path, data)

    monkeypatch.setattr(trial, "write_json", write_json)
    run(tmp_path / "t", tiny)
    assert written == [FILES - {"trial.json"}]


def test_where_rows_cannot_be_written_there_is_no_result(
    tiny: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trial, "write_rows", full)
    with pytest.raises(OSError, match="No space left"):
        run(tmp_path / "t", tiny)
    assert "trial.json" not in names(tmp_path / "t")


def test_the_same_config_gives_the_same_set_and_the_same_scores(
    tiny: ImageData, tmp_path: Path, quick: list[int]
) -> None:
    torch.manual_seed(1)
    run(tmp_path / "a", tiny)
    torch.manual_seed(2)
    run(tmp_path / "b", tiny, run={"report_every": 1})
    run(tmp_path / "c", tiny, seed=1)
    assert len(quick) == 2
    sets = [(tmp_path / name / "distilled.safetensors").read_bytes() for name in "abc"]
    assert sets[0] == sets[1]
    assert sets[0] != sets[2]
    columns = ["student", "student_seed", "split", "accuracy", "loss"]
    frames = [rows(tmp_path / name)[columns] for name in "abc"]
    pd.testing.assert_frame_equal(frames[0], frames[1], check_exact=True)
    assert not frames[0].equals(frames[2])


def test_a_batch_larger_than_a_class_is_noted(tiny: ImageData, tmp_path: Path) -> None:
    (note,) = run(tmp_path / "t", tiny, batch_real=13)["notes"]
    assert note.startswith("batch_real: 13 exceeds the smallest class")
    assert "12 images" in note


# --- Protocols and what is read -------------------------------------------------------------


def test_the_paper_s_protocol_has_test_rows_only(tiny: ImageData, tmp_path: Path) -> None:
    data = replace(tiny, validation=None)
    reports: list[Progress] = []

    def report(progress: Event) -> Decision:
        assert isinstance(progress, Progress)
        reports.append(progress)
        return Decision.CONTINUE

    config = configure(protocol="paper", run={"report_every": 2})
    record = run_trial(config, place(tmp_path / "t", data, report=report))
    frame = rows(tmp_path / "t")
    assert set(frame["split"]) == {"test"}
    assert set(frame["protocol"]) == {"paper"}
    assert len(frame) == 2 * 2
    assert record["metrics"][UNSEEN_MEAN] is None
    assert set(accuracies(record)) == {UNSEEN_MEAN, "test/unseen_mean", "test/main"}
    assert [progress.quick for progress in reports] == [None]
    assert record["validation/quick"] == []


class SealedData(ImageData):
    """Images whose test split must not be read while ``sealed`` holds."""

    sealed = [True]
    reads: list[bool] = []

    def __getattribute__(self, name: str) -> Any:
        if name == "test":
            SealedData.reads.append(SealedData.sealed[0])
        return super().__getattribute__(name)


def test_test_images_are_not_read_before_the_final_evaluation(
    tiny: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = SealedData(**vars(tiny))
    monkeypatch.setattr(SealedData, "reads", [])
    monkeypatch.setattr(SealedData, "sealed", [True])
    final = trial.evaluate

    def evaluate(*args: Any) -> Any:
        SealedData.sealed[0] = False
        return final(*args)

    monkeypatch.setattr(trial, "evaluate", evaluate)
    kd = {"variant": "softened"}
    record = run(tmp_path / "t", data, run={"report_every": 1}, kd=kd)
    assert len(record["validation/quick"]) == 2
    assert SealedData.reads
    assert not any(SealedData.reads)


# --- Reports --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("iterations", "every", "expected"),
    [(5, 2, [2, 4]), (4, 2, [2]), (3, 1, [1, 2]), (3, 500, []), (1, 1, [])],
)
def test_reports_come_every_so_many_iterations_but_not_at_the_end(
    tiny: ImageData,
    tmp_path: Path,
    quick: list[int],
    iterations: int,
    every: int,
    expected: list[int],
) -> None:
    reports: list[Progress] = []

    def report(progress: Event) -> Decision:
        assert isinstance(progress, Progress)
        reports.append(progress)
        return Decision.CONTINUE

    config = configure(iterations=iterations, run={"report_every": every})
    record = run_trial(config, place(tmp_path / "t", tiny, report=report))
    assert [progress.iteration for progress in reports] == expected
    assert len(quick) == len(expected)
    losses = record["matching_loss"]
    for progress in reports:
        assert progress.iterations == iterations
        assert progress.quick == 0.5
        window = losses[progress.iteration - every : progress.iteration]
        assert progress.matching_loss == pytest.approx(sum(window) / every)
    assert record["validation/quick"] == [(iteration, 0.5) for iteration in expected]
    assert record["status"] == "ok"
    assert len(losses) == iterations


def test_a_real_quick_score_is_a_validation_accuracy(tiny: ImageData, tmp_path: Path) -> None:
    steps = trial_steps(configure(run={"report_every": 2}), place(tmp_path / "t", tiny))
    progress = next(steps)
    assert isinstance(progress, Progress)
    assert progress.quick is not None
    assert 0.5 < progress.quick <= 1.0
    with pytest.raises(StopIteration) as end:
        steps.send(Decision.CONTINUE)
    assert end.value.value["timings"]["quick_s"] > 0.0


def test_a_trial_that_is_told_to_stop_is_interrupted(
    tiny: ImageData, tmp_path: Path, quick: list[int]
) -> None:
    context = place(tmp_path / "t", tiny, report=lambda _: Decision.STOP)
    record = run_trial(configure(run={"report_every": 2}), context)
    assert record["status"] == "interrupted"
    assert names(tmp_path / "t") == {"trial.json"}
    assert len(quick) == 1
    assert len(record["matching_loss"]) == 2
    assert accuracies(record) == {UNSEEN_MEAN: None}
    assert "classes_collapsed" not in record["diagnostics"]


# --- Failures that are results --------------------------------------------------------------


def assert_diverged(folder: Path, record: dict[str, Any], splits: list[str]) -> None:
    assert record["status"] == "diverged"
    assert read(folder)["status"] == "diverged"
    assert names(folder) == {"trial.json", "evaluations.parquet"}
    frame = rows(folder)
    assert list(frame.columns) == [column.name for column in COLUMNS]
    assert frame["split"].tolist() == splits
    assert set(frame["status"]) == {"diverged"}
    for column in ("student", "student_seed", "accuracy", "loss"):
        assert frame[column].isna().all()
    assert accuracies(record) == {UNSEEN_MEAN: None}


@pytest.mark.parametrize("protocol", ["held-out", "paper"])
def test_a_rate_too_large_diverges(tiny: ImageData, tmp_path: Path, protocol: str) -> None:
    paper = protocol == "paper"
    data = replace(tiny, validation=None) if paper else tiny
    record = run(tmp_path / "t", data, lr_img=1e30, iterations=6, protocol=protocol)
    assert_diverged(tmp_path / "t", record, ["test"] if paper else ["validation", "test"])
    assert None in record["matching_loss"]
    assert len(record["pool_draws"]["draws"]) == len(record["matching_loss"])


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("at", [0, 1, 29])
def test_a_loss_that_is_not_finite_diverges(
    tiny: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, value: float
) -> None:
    step = DC.step

    def failing(self: DC) -> Tensor:
        loss = step(self)
        return loss * value if self.iteration > at else loss

    monkeypatch.setattr(DC, "step", failing)
    pool = {"main_probability": 1.0}
    record = run(tmp_path / "t", tiny, iterations=30, pool=pool)
    assert_diverged(tmp_path / "t", record, ["validation", "test"])
    assert record["matching_loss"][at] is None
    assert all(record["matching_loss"][:at])


def test_a_trial_diverges_at_the_next_report(
    tiny: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: list[int]
) -> None:
    step = DC.step

    def failing(self: DC) -> Tensor:
        loss = step(self)
        return loss * math.nan if self.iteration == 3 else loss

    monkeypatch.setattr(DC, "step", failing)
    record = run(tmp_path / "t", tiny, iterations=9, run={"report_every": 2})
    assert_diverged(tmp_path / "t", record, ["validation", "test"])
    assert len(record["matching_loss"]) == 4
    assert len(quick) == 1


def test_images_that_are_not_finite_at_the_end_diverge(
    tiny: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    match = learner.match_gradients

    def broken(*args: Any, **more: Any) -> Match:
        loss, gradient = match(*args, **more)
        return Match(loss, gradient * math.nan)

    monkeypatch.setattr(learner, "match_gradients", broken)
    record = run(tmp_path / "t", tiny, iterations=1)
    assert_diverged(tmp_path / "t", record, ["validation", "test"])
    assert None not in record["matching_loss"]


def test_students_can_diverge_while_the_trial_does_not(tiny: ImageData, tmp_path: Path) -> None:
    record = run(tmp_path / "t", tiny, evaluation={**STUDENTS, "lr": 1e20})
    assert record["status"] == "ok"
    assert record["metrics"][UNSEEN_MEAN] is None
    frame = rows(tmp_path / "t")
    assert set(frame["status"]) == {"diverged"}
    assert frame["accuracy"].isna().all()
    assert frame["student"].notna().all()


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("full"), MemoryError()])
def test_memory_that_runs_out_in_a_step_is_a_status(
    tiny: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    step = DC.step

    def failing(self: DC) -> Tensor:
        if self.iteration == 2:
            raise error
        return step(self)

    monkeypatch.setattr(DC, "step", failing)
    record = run(tmp_path / "t", tiny)
    assert record["status"] == "oom"
    assert names(tmp_path / "t") == {"trial.json"}
    assert len(record["matching_loss"]) == len(record["pool_draws"]["draws"]) == 2
    assert record["timings"]["distill_s"] > 0.0


def test_memory_that_runs_out_at_the_first_step_is_a_status(
    tiny: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: DC) -> Tensor:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(DC, "step", failing)
    record = run(tmp_path / "t", tiny)
    assert record["status"] == "oom"
    assert record["matching_loss"] == []


def test_a_set_is_kept_where_memory_runs_out_in_its_evaluation(
    tiny: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(trial, "evaluate", failing)
    record = run(tmp_path / "t", tiny)
    assert record["status"] == "oom"
    assert names(tmp_path / "t") == FILES - {"evaluations.parquet"}


# --- Failures that are bugs -----------------------------------------------------------------


def test_an_unexpected_exception_propagates_and_can_be_recorded(
    tiny: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: DC) -> Tensor:
        raise ValueError("a bug in a step")

    monkeypatch.setattr(DC, "step", failing)
    folder = tmp_path / "t"
    with pytest.raises(ValueError, match="a bug in a step") as raised:
        run(folder, tiny)
    assert names(folder) == set()
    path = record_error(configure(), place(folder, tiny, replicate=3), raised.value)
    assert path == folder / "error.txt"
    text = path.read_text()
    assert "Traceback" in text
    assert "a bug in a step" in text
    assert names(folder) == {"error.txt", "trial.json"}
    record = read(folder)
    assert record["status"] == "error"
    assert record["replicate"] == 3
    assert accuracies(record) == {UNSEEN_MEAN: None}


# --- Knowledge distillation -----------------------------------------------------------------


@pytest.mark.parametrize("variant", ["softened", "legacy"])
def test_kd_is_compared_with_its_control(tiny: ImageData, tmp_path: Path, variant: str) -> None:
    kd = {"variant": variant, "temperature": 2.0, "alpha": 0.5}
    run(tmp_path / "kd", tiny, kd=kd)
    run(tmp_path / "control", tiny, kd={**kd, "variant": "control"})
    sets = [(tmp_path / name / "distilled.safetensors").read_bytes() for name in ("kd", "control")]
    assert sets[0] == sets[1]
    frames = {name: rows(tmp_path / name) for name in ("kd", "control")}
    means = {
        name: frame.query("split == 'validation' and student_seed == 0")["accuracy"].mean()
        for name, frame in frames.items()
    }
    gain = read(tmp_path / "kd")["diagnostics"]["kd_below_control"]
    assert gain["value"] == pytest.approx(means["kd"] - means["control"])
    assert gain["fired"] is (gain["value"] < 0)
    assert read(tmp_path / "control")["diagnostics"]["kd_below_control"]["value"] is None
    assert frames["kd"]["teacher_accuracy"].notna().all()
    assert frames["control"]["teacher_accuracy"].isna().all()
    assert set(frames["kd"]["kd_temperature"]) == {2.0}


@pytest.mark.parametrize(("protocol", "split"), [("held-out", "validation"), ("paper", "test")])
def test_the_gain_is_judged_on_validation_images_where_there_are_some(
    tiny: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: str, split: str
) -> None:
    splits: list[str] = []

    def kd_gain(*args: Any) -> float:
        splits.append(args[-1])
        return -0.25

    monkeypatch.setattr(trial, "kd_gain", kd_gain)
    data = tiny if protocol == "held-out" else replace(tiny, validation=None)
    record = run(tmp_path / "t", data, protocol=protocol, kd={"variant": "softened"})
    assert splits == [split]
    assert record["diagnostics"]["kd_below_control"]["fired"]


# --- Checks before the start ----------------------------------------------------------------


def test_a_config_that_fits_passes(tiny: ImageData) -> None:
    check_fits(configure(ipc=12, outer_loop=1, inner_loop=1), tiny)


def test_ipc_may_not_exceed_the_smallest_class(tiny: ImageData) -> None:
    fewer = Split(tiny.train.images[3:], tiny.train.labels[3:])
    counts = torch.bincount(fewer.labels).tolist()
    data = replace(tiny, train=fewer)
    config = configure(ipc=12, outer_loop=1, inner_loop=1)
    smallest = counts.index(min(counts))
    expected = (
        rf"ipc: got 12, but class {smallest} of 'tiny' has {min(counts)} training images; "
        "lower ipc"
    )
    with pytest.raises(DataError, match=expected):
        check_fits(config, data)


def test_a_class_without_images_is_found(tiny: ImageData) -> None:
    with pytest.raises(DataError, match="ipc: got 1, but class 3 of 'tiny' has 0"):
        check_fits(configure(), replace(tiny, classes=("a", "b", "c", "d")))


BAD = "convnet-w6-groupnorm"


@pytest.mark.parametrize(
    "more",
    [
        {"pool": {"others": [{"network": BAD, "weight": 1.0}]}},
        {"evaluation": {"students": ["mlp", BAD]}},
        {"kd": {"variant": "softened", "teacher": BAD}},
        {"network": {"width": 6, "norm": "groupnorm"}, "pool": {"main_probability": 1.0}},
    ],
    ids=["pool", "student", "teacher", "main model"],
)
def test_a_network_that_cannot_be_built_is_found(tiny: ImageData, more: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"network.width: got 6, expected a multiple of 4"):
        check_fits(configure(**more), tiny)


def test_images_of_another_size_are_refused(tiny: ImageData) -> None:
    smaller = Split(tiny.train.images[..., :20, :20], tiny.train.labels)
    with pytest.raises(
        DataError, match="got images of 1x20x20, expected 28x28, 32x32, 64x64 or 128x128"
    ):
        check_fits(configure(), replace(tiny, train=smaller))


@pytest.fixture
def loads(tiny: ImageData, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Datasets that were loaded; each of them is the tiny one."""
    loaded: list[str] = []

    def load_dataset(settings: DatasetSettings, *, protocol: str) -> ImageData:
        loaded.append(protocol)
        return tiny

    monkeypatch.setattr(trial, "load_dataset", load_dataset)
    shared_data.cache_clear()
    return loaded


@pytest.fixture(autouse=True)
def no_data_left() -> Any:
    yield
    shared_data.cache_clear()


def test_consecutive_trials_share_their_images(loads: list[str]) -> None:
    first = shared_data(DatasetSettings(), "held-out", CPU)
    assert shared_data(DatasetSettings(), "held-out", CPU) is first
    assert loads == ["held-out"]
    shared_data(DatasetSettings(), "paper", CPU)
    assert loads == ["held-out", "paper"]


def test_preflight_checks_every_config(loads: list[str]) -> None:
    fitting = [configure(seed=seed) for seed in range(3)]
    preflight(fitting)
    assert loads == ["held-out"]
    with pytest.raises(DataError, match="ipc: got 20"):
        preflight([*fitting, configure(ipc=20)])
    with pytest.raises(ConfigError, match="threads: got"):
        preflight([configure(threads=numerics.available_cpus() + 1)])


def test_memory_that_torch_cannot_allocate_on_the_cpu_is_oom(
    tiny: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(self: DC) -> torch.Tensor:
        return torch.empty(2**55)

    monkeypatch.setattr(DC, "step", step)
    assert run(tmp_path, tiny)["status"] == "oom"


def test_what_an_earlier_try_left_is_cleared(tiny: ImageData, tmp_path: Path) -> None:
    for name in ("error.txt", "evaluations.parquet"):
        (tmp_path / name).write_text("old")
    run(tmp_path, tiny)
    assert not (tmp_path / "error.txt").exists()
    assert (tmp_path / "evaluations.parquet").read_bytes()[:4] == b"PAR1"


def test_preflight_loads_each_dataset_once_however_a_plan_mixes_them(
    tiny: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []

    def load(settings: DatasetSettings, *, protocol: str) -> ImageData:
        loaded.append(protocol)
        return tiny

    monkeypatch.setattr(trial, "load_dataset", load)
    shared_data.cache_clear()
    preflight(configure(protocol=protocol) for protocol in ("held-out", "paper") * 3)
    shared_data.cache_clear()
    assert loaded == ["held-out", "paper"]
