"""``harness run`` on real digits."""

import json
from pathlib import Path

from pyarrow import parquet

from harness.schema import COLUMNS
from tests.end_to_end.conftest import Call

SMALL = [
    "iterations=3",
    "batch_real=16",
    "network.width=8",
    "run.report_every=2",
    'evaluation.students=["main", "mlp"]',
    "evaluation.student_seeds=2",
    "evaluation.epochs=3",
]


def flags(settings: list[str]) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


def test_the_same_run_twice_gives_the_same_bytes(call: Call, tmp_path: Path) -> None:
    for name in ("a", "b"):
        said = call("run", "--out", tmp_path / name, *flags(SMALL))
        assert said.status == 0, said.err
        assert "iteration 2/3" in said.out
        assert "validation/unseen_mean" in said.out
    first, second = (tmp_path / name / "distilled.safetensors" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    accuracies = [
        parquet.read_table(tmp_path / name / "evaluations.parquet")["accuracy"].to_pylist()
        for name in ("a", "b")
    ]
    assert accuracies[0] == accuracies[1]
    assert len(accuracies[0]) == 2 * 2 * 2  # students, seeds, splits


def test_another_seed_gives_another_set(call: Call, tmp_path: Path) -> None:
    for seed in (0, 1):
        call("run", "--out", tmp_path / str(seed), *flags([*SMALL, f"seed={seed}"]))
    sets = [(tmp_path / str(seed) / "distilled.safetensors").read_bytes() for seed in (0, 1)]
    assert sets[0] != sets[1]


def test_a_trial_leaves_what_the_design_says(call: Call, tmp_path: Path) -> None:
    assert call("run", "--out", tmp_path / "a", *flags(SMALL)).status == 0
    assert sorted(entry.name for entry in (tmp_path / "a").iterdir()) == [
        "distilled.safetensors",
        "evaluations.parquet",
        "events.out.tfevents.done",
        "images.png",
        "store",
        "trial.json",
    ]
    record = json.loads((tmp_path / "a" / "trial.json").read_text())
    assert record["status"] == "ok"
    assert record["config"]["evaluation"]["epochs"] == 3
    assert len(record["pool_draws"]["draws"]) == 3
    assert record["numerics"]["threads"] == 1
    table = parquet.read_table(tmp_path / "a" / "evaluations.parquet")
    assert table.column_names == [column.name for column in COLUMNS]


def test_a_finished_trial_is_not_run_again(call: Call, tmp_path: Path) -> None:
    out = tmp_path / "a"
    assert call("run", "--out", out, *flags(SMALL)).status == 0
    before = {file.name: file.stat().st_mtime_ns for file in out.iterdir()}
    said = call("run", "--out", out, *flags(SMALL))
    assert said.status == 0
    assert "holds this trial's result already" in said.out
    assert {file.name: file.stat().st_mtime_ns for file in out.iterdir()} == before


def test_another_trial_in_the_folder_is_refused(call: Call, tmp_path: Path) -> None:
    out = tmp_path / "a"
    assert call("run", "--out", out, *flags(SMALL)).status == 0
    before = (out / "trial.json").read_bytes()
    said = call("run", "--out", out, *flags([*SMALL, "seed=1"]))
    assert said.status == 2
    assert "holds another trial" in said.err
    assert (out / "trial.json").read_bytes() == before


def test_settings_come_from_a_file_and_the_command_line(call: Call, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        'iterations = 5\n"network.width" = 8\n[evaluation]\nepochs = 2\n'
    )
    said = call(
        "run",
        "--config",
        tmp_path / "c.toml",
        "--out",
        tmp_path / "a",
        *flags(["iterations=1", 'evaluation.students=["mlp"]', "evaluation.student_seeds=1"]),
    )
    assert said.status == 0, said.err
    config = json.loads((tmp_path / "a" / "trial.json").read_text())["config"]
    assert (config["iterations"], config["network"]["width"]) == (1, 8)
    assert config["evaluation"]["epochs"] == 2


def test_a_diverged_trial_is_a_result(call: Call, tmp_path: Path) -> None:
    said = call("run", "--out", tmp_path / "a", *flags([*SMALL, "lr_img=1e38"]))
    assert said.status == 0, said.err
    assert json.loads((tmp_path / "a" / "trial.json").read_text())["status"] == "diverged"
    rows = parquet.read_table(tmp_path / "a" / "evaluations.parquet").to_pylist()
    assert [(row["status"], row["student"], row["split"]) for row in rows] == [
        ("diverged", None, "validation"),
        ("diverged", None, "test"),
    ]


def test_kd_runs_and_records_its_teacher(call: Call, tmp_path: Path) -> None:
    settings = [*SMALL, "kd.variant=softened", "kd.temperature=4.0"]
    assert call("run", "--out", tmp_path / "a", *flags(settings)).status == 0
    rows = parquet.read_table(tmp_path / "a" / "evaluations.parquet").to_pylist()
    assert {row["kd_temperature"] for row in rows} == {4.0}
    assert all(0 <= row["teacher_accuracy"] <= 1 for row in rows)
    record = json.loads((tmp_path / "a" / "trial.json").read_text())
    assert record["diagnostics"]["kd_below_control"]["value"] is not None
