"""What TensorBoard is shown of searches: names, types of columns, and how it keeps up."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tensorboard.plugins.hparams import metadata

from harness.board import HPARAMS_FILE, NONE, Board
from harness.errors import ConfigError
from harness.events import Progress
from harness.schema import EVENTS_PREFIX, TRIAL_FILE
from harness.search.folder import SearchFolder, open_search
from harness.search.space import read_space
from harness.tracking import DONE_FILE, Tracker, read_events
from tests.stored import write_trial

SPACE = {
    "base": {"dataset.name": "digits", "iterations": 10, "run.report_every": 5},
    "space": {
        "pool.main_probability": {"grid": [0.0, 0.8]},
        "pool.others": {"grid": ["diverse", [{"network": "lenet", "weight": 1.0}]]},
        "kd.variant": {"grid": ["off", "softened"]},
        "kd.temperature": {"grid": [1.0, 4.0], "when": {"kd.variant": "softened"}},
    },
}


@pytest.fixture
def folder(tmp_path: Path) -> SearchFolder:
    return prepared(tmp_path / "one", SPACE)


def prepared(path: Path, space: dict[str, Any]) -> SearchFolder:
    found = open_search(path, read_space(space, "space", {}))
    found.prepare()
    return found


def board(tmp_path: Path, *folders: Path, told: list[str] | None = None) -> tuple[Board, Path]:
    view = tmp_path / "view"
    view.mkdir()
    return Board(view, folders, (told if told is not None else []).append), view


def plugin_data(path: Path, tag: str) -> Iterator[bytes]:
    for event in read_events(path):
        for value in event.summary.value:
            if value.tag == tag:
                yield value.metadata.plugin_data.content


def start(run: Path) -> dict[str, Any]:
    (content,) = plugin_data(run / HPARAMS_FILE, metadata.SESSION_START_INFO_TAG)
    info = metadata.parse_session_start_info_plugin_data(content)
    return {name: getattr(v, v.WhichOneof("kind")) for name, v in info.hparams.items()}


def statuses(run: Path) -> list[int]:
    contents = plugin_data(run / HPARAMS_FILE, metadata.SESSION_END_INFO_TAG)
    return [metadata.parse_session_end_info_plugin_data(content).status for content in contents]


def runs(view: Path) -> list[str]:
    return sorted(str(path.parent.relative_to(view)) for path in view.rglob(DONE_FILE))


def test_columns_have_one_type_and_the_domain_of_the_space(
    folder: SearchFolder, tmp_path: Path
) -> None:
    own, view = board(tmp_path, folder.path)
    (content,) = plugin_data(view / HPARAMS_FILE, metadata.EXPERIMENT_TAG)
    experiment = metadata.parse_experiment_plugin_data(content)
    found = {
        info.name: list(info.domain_discrete) or [info.domain_interval.max_value]
        for info in experiment.hparam_infos
    }
    assert found == {
        "kd.variant": ["off", "softened"],
        "pool.main_probability": [0.0, 0.8],
        "pool.others": ["diverse", "lenet:1"],
        "kd.temperature": [1.0, 4.0],
        "seed": [0.0],
    }
    assert [column.kind for column in own.columns] == [str, float, str, float, float]
    metrics = [info.name.tag for info in experiment.metric_infos]
    assert "validation/unseen_mean" in metrics
    assert not [tag for tag in metrics if "convnet" in tag]


def test_runs_are_named_by_settings_and_have_rows(folder: SearchFolder, tmp_path: Path) -> None:
    for trial in folder.plan:
        write_trial(folder, trial)
    own, view = board(tmp_path, folder.path)
    assert own.refresh() == len(folder.plan) == 12
    assert len(runs(view)) == 12
    off = "variant=off main_probability=0.8 others=lenet:1 seed=0"
    on = "variant=softened main_probability=0.8 others=lenet:1 temperature=4 seed=0"
    assert {off, on} <= set(runs(view))
    shared = {"pool.main_probability": 0.8, "pool.others": "lenet:1", "seed": 0.0}
    assert start(view / off) == {**shared, "kd.variant": "off"}
    assert start(view / on) == {**shared, "kd.variant": "softened", "kd.temperature": 4.0}
    assert statuses(view / on) == [1]
    assert (view / on / DONE_FILE).is_symlink()


def test_failures_are_marked(folder: SearchFolder, tmp_path: Path) -> None:
    write_trial(folder, folder.plan[0], diverged=True)
    own, view = board(tmp_path, folder.path)
    assert own.refresh() == 1
    assert statuses(view / runs(view)[0]) == [2]


def test_a_trial_without_events_gets_them_from_its_record(
    folder: SearchFolder, tmp_path: Path
) -> None:
    write_trial(folder, folder.plan[0], events=False)
    write_trial(folder, folder.plan[1], events=False)
    (folder.trial_folder(folder.plan[1]) / "images.png").write_bytes(b"broken")
    before = sorted(folder.path.rglob("*"))
    told: list[str] = []
    own, view = board(tmp_path, folder.path, told=told)
    assert own.refresh() == 2
    (run,) = runs(view)
    tags = {
        value.tag for event in read_events(view / run / DONE_FILE) for value in event.summary.value
    }
    assert {"matching_loss", "distilled", "validation/mlp", "test/mlp"} <= tags
    assert len(told) == 1
    assert "cannot be shown whole" in told[0]
    assert sorted(folder.path.rglob("*")) == before  # the search stays as it is


def test_a_running_trial_is_seen_and_followed_to_its_end(
    folder: SearchFolder, tmp_path: Path
) -> None:
    own, view = board(tmp_path, folder.path)
    assert own.refresh() == 0
    trial = folder.plan[0]
    tracker = Tracker(folder.trial_folder(trial), trial.config.digest(), print)
    tracker.report(Progress(5, 10, 1.0, 0.5, losses=[1.0] * 5))
    assert own.refresh() == 1
    (run,) = [path for path in view.iterdir() if path.is_dir()]
    (link,) = [path for path in run.iterdir() if path.is_symlink()]
    assert link.name.endswith(".running")
    assert statuses(run) == []
    tracker.close()
    write_trial(folder, trial)
    for path in folder.trial_folder(trial).glob(f"{EVENTS_PREFIX}*.running"):
        path.unlink()
    assert own.refresh() == 1
    assert [path.name for path in run.iterdir() if path.is_symlink()] == [DONE_FILE]
    assert statuses(run) == [1]


def test_a_trial_that_failed_may_be_tried_again(folder: SearchFolder, tmp_path: Path) -> None:
    write_trial(folder, folder.plan[0], events=False)
    path = folder.trial_folder(folder.plan[0]) / TRIAL_FILE
    whole = path.read_text()
    path.write_text(whole.replace('"status": "ok"', '"status": "interrupted"'))
    own, view = board(tmp_path, folder.path)
    own.refresh()
    (run,) = [path for path in view.iterdir() if path.is_dir()]
    assert statuses(run) == []
    path.write_text(whole)
    own.refresh()
    assert statuses(run) == [1]
    assert (run / DONE_FILE).exists()


def test_two_searches_stand_side_by_side_in_the_same_columns(
    folder: SearchFolder, tmp_path: Path
) -> None:
    other = {"base": {**SPACE["base"], "ipc": 10, "dataset.name": "mnist"}, "space": SPACE["space"]}
    second = prepared(tmp_path / "deep" / "one", other)
    for each in (folder, second):
        write_trial(each, each.plan[0])
    own, view = board(tmp_path, folder.path, second.path)
    assert own.refresh() == 2
    first, last = sorted(runs(view))
    assert first.startswith("deep-one/")
    assert last.startswith(f"{tmp_path.name}-one/")
    assert "ipc=10" in first
    assert start(view / first)["ipc"] == 10
    assert start(view / last)["dataset.name"] == "digits"


def test_equal_and_endless_settings_have_names_of_their_own(tmp_path: Path) -> None:
    students = [f"convnet-w{width}" for width in range(16, 60)]
    space = {
        "base": {"dataset.name": "digits", "iterations": 10},
        "space": {"evaluation.students": {"choice": [students]}},
        "search": {"algorithm": "random", "samples": 3},
    }
    many = prepared(tmp_path / "many", space)
    for trial in many.plan:
        write_trial(many, trial)
    own, view = board(tmp_path, many.path)
    assert own.refresh() == 3
    assert len(runs(view)) == 3
    assert all(len(name) < 240 for name in runs(view))


def test_intervals_and_absent_words(tmp_path: Path) -> None:
    space = {
        "base": {"dataset.name": "digits", "iterations": 10},
        "space": {
            "lr_img": {"loguniform": [0.01, 10.0]},
            "kd.variant": {"choice": ["off", "softened"]},
            "kd.teacher": {"choice": ["main", "lenet"], "when": {"kd.variant": "softened"}},
        },
        "search": {"algorithm": "random", "samples": 4, "replicates": 3},
    }
    own, _ = board(tmp_path, prepared(tmp_path / "s", space).path)
    columns = {column.name: column for column in own.columns}
    assert columns["lr_img"][1:] == (float, (0.01, 10.0), False)
    assert columns["seed"][1:] == (float, (0.0, 2.0), False)
    assert columns["kd.teacher"].value(None) == NONE


@pytest.mark.parametrize("broken", [None, "= nothing"])
def test_what_is_no_search_is_refused(tmp_path: Path, broken: str | None) -> None:
    if broken is not None:
        (tmp_path / "search.toml").write_text(broken)
    with pytest.raises(ConfigError, match=r"no search\.toml|cannot be read"):
        board(tmp_path, tmp_path)
