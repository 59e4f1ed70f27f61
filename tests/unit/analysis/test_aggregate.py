"""Tests of analysis.aggregate."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.aggregate import (
    METRIC_COLUMNS,
    by_setting,
    check_count,
    configuration_text,
    configurations,
    metric_split,
    setting_text,
)
from analysis.load import load_search
from analysis.samples import sample_of, student_rows
from harness.errors import ConfigError
from harness.schema import TEST_UNSEEN_MEAN

MakeSearch = Callable[..., Path]


def test_means_and_intervals(probability_search: Path) -> None:
    frame = by_setting(load_search(probability_search))
    assert list(frame.columns) == ["pool.main_probability", *METRIC_COLUMNS]
    assert frame["pool.main_probability"].tolist() == [0.5, 1.0]
    first, second = (row._asdict() for row in frame.drop(columns="split").itertuples())
    # Values of the sets: 0.50, 0.52, 0.54. All three draws of a resample are the lowest with
    # chance 1/27 > 2.5%: the end is 0.50, stretched by t(0.975; 2) = 4.302653 over 1.959964 and by
    # sqrt(3 / 2).
    half = 0.02 * 4.302653 / 1.959964 * math.sqrt(3 / 2)
    assert first["mean"] == pytest.approx(0.52)
    assert first["low"] == pytest.approx(0.52 - half, abs=1e-7)
    assert first["high"] == pytest.approx(0.52 + half, abs=1e-7)
    assert first["std"] == pytest.approx(0.02)
    assert (first["n"], first["n_not_run"]) == (3, 0)
    # 0.60, 0.62; t(0.975; 1) = tan(0.475 pi) = 12.706205.
    half = 0.01 * 12.706205 / 1.959964 * math.sqrt(2)
    assert second["mean"] == pytest.approx(0.61)
    assert second["high"] - second["mean"] == pytest.approx(half, abs=1e-7)
    assert (second["n"], second["n_not_run"], second["n_diverged"]) == (2, 1, 0)
    assert second["test_mean"] == pytest.approx(0.59)
    assert second["test_high"] - second["test_mean"] == pytest.approx(half, abs=1e-7)
    assert frame["split"].tolist() == ["validation", "validation"]


def test_the_main_model_is_not_unseen(make_search: MakeSearch) -> None:
    students = {"convnet": [0.9, 0.9], "mlp": [0.2, 0.4], "lenet": [0.6, 0.8]}
    results = load_search(make_search([{"students": students}]))
    frame = by_setting(results)
    assert len(frame) == 1
    assert frame.loc[0, "mean"] == pytest.approx(0.5)
    rows = student_rows(results, "test")
    assert rows.loc[~rows["unseen"], "student"].unique().tolist() == ["convnet"]
    assert rows["counted"].all()


def test_one_set_has_no_spread(make_search: MakeSearch) -> None:
    frame = by_setting(load_search(make_search([{"students": {"mlp": [0.5, 0.6]}}])))
    assert frame.loc[0, "n"] == 1
    assert frame.loc[0, ["low", "high", "std", "test_low"]].isna().all()


def test_test_metric(probability_search: Path) -> None:
    results = load_search(probability_search)
    frame = by_setting(results, TEST_UNSEEN_MEAN)
    assert frame["split"].tolist() == ["test", "test"]
    assert frame["mean"].tolist() == pytest.approx([0.50, 0.59])
    assert frame["mean"].equals(frame["test_mean"].rename("mean"))


def test_an_unknown_metric_is_refused(probability_search: Path) -> None:
    with pytest.raises(ConfigError, match=r"got 'test/unseen'; did you mean 'test/unseen_mean'"):
        by_setting(load_search(probability_search), "test/unseen")


def test_paper_protocol_uses_test_images(make_search: MakeSearch) -> None:
    trial = {"students": {"mlp": [0.5]}}
    results = load_search(make_search([trial], protocol="paper"))
    assert metric_split(results) == "test"
    frame = by_setting(results)
    assert frame.loc[0, "split"] == "test"
    assert frame.loc[0, "mean"] == pytest.approx(0.48)
    assert frame.loc[0, "n"] == 1


def test_kd_off_is_a_configuration(make_search: MakeSearch) -> None:
    on = {"kd.variant": "softened", "kd.alpha": 0.5}
    points = [
        {"kd.variant": "off"},
        {**on, "kd.temperature": 4.0},
        {**on, "kd.temperature": 1.5},
    ]
    trials = [
        {"point": point, "replicate": replicate, "students": {"mlp": [0.1 * (place + 1)]}}
        for place, point in enumerate(points)
        for replicate in range(2)
    ]
    frame = by_setting(
        load_search(make_search(trials, varied=["kd.variant", "kd.temperature", "kd.alpha"]))
    )
    assert frame["kd.variant"].tolist() == ["off", "softened", "softened"]
    assert frame["kd.temperature"].isna().tolist() == [True, False, False]
    assert frame["kd.temperature"].tolist()[1:] == [1.5, 4.0]
    assert frame["n"].tolist() == [2, 2, 2]
    assert frame["mean"].tolist() == pytest.approx([0.1, 0.3, 0.2])


def test_a_setting_that_never_applies(make_search: MakeSearch) -> None:
    trials = [
        {"point": {"kd.temperature": None}, "students": {"mlp": [0.5]}, "replicate": place}
        for place in range(2)
    ]
    frame = by_setting(load_search(make_search(trials, varied=["kd.temperature"])))
    assert frame["n"].tolist() == [2]


def test_a_diverged_student_is_left_out_and_counted(make_search: MakeSearch) -> None:
    students = {"convnet": [None], "mlp": [0.4, None], "lenet": [0.6, 0.5]}
    frame = by_setting(load_search(make_search([{"students": students}])))
    assert frame.loc[0, "mean"] == pytest.approx(0.475)  # (0.4 + (0.6 + 0.5) / 2) / 2
    assert frame.loc[0, "n_diverged_students"] == 1  # the main model is not in the mean anyway
    assert frame.loc[0, "n"] == 1


def test_a_set_without_a_finite_student_is_in_no_mean(make_search: MakeSearch) -> None:
    trials = [
        {"students": {"mlp": [0.4]}},
        {"students": {"mlp": [None]}, "replicate": 1},
        {"students": {"convnet": [0.9]}, "replicate": 2},
    ]
    frame = by_setting(load_search(make_search(trials)))
    assert frame.loc[0, "mean"] == pytest.approx(0.4)
    assert frame.loc[0, "n"] == 1
    assert frame.loc[0, "n_diverged_students"] == 1


def test_other_statuses_are_in_no_mean(make_search: MakeSearch) -> None:
    statuses = ["diverged", "diverged", "oom", "error", "stopped_early", "not_run", "interrupted"]
    trials = [{"students": {"mlp": [0.4]}}, *({"status": status} for status in statuses)]
    frame = by_setting(load_search(make_search(trials)))
    assert frame.loc[0, ["n", "n_diverged", "n_not_run"]].tolist() == [1, 2, 1]
    assert frame.loc[0, "mean"] == pytest.approx(0.4)
    assert frame.loc[0, "n_diverged_students"] == 0


def test_nothing_planned(make_search: MakeSearch) -> None:
    assert len(by_setting(load_search(make_search([])))) == 0
    varied = load_search(make_search([], name="varied", varied=["ipc"]))
    assert list(by_setting(varied).columns) == ["ipc", *METRIC_COLUMNS]


def test_nothing_finished(make_search: MakeSearch) -> None:
    trials = [{"point": {"ipc": ipc}, "status": "not_run"} for ipc in (10, 1)]
    frame = by_setting(load_search(make_search(trials, varied=["ipc"])))
    assert frame["ipc"].tolist() == [1, 10]
    assert frame["mean"].isna().all()
    assert frame["n"].tolist() == [0, 0]


def test_mixed_values_are_ordered(make_search: MakeSearch) -> None:
    values = ["b", 2, "a", 1, None, True]
    trials = [{"point": {"x": value}, "status": "not_run"} for value in values]
    frame = by_setting(load_search(make_search(trials, varied=["x"])))
    assert frame["n_not_run"].sum() == len(values)
    assert frame["x"].tolist()[-3:-1] == ["a", "b"]
    assert pd.isna(frame["x"].iloc[-1])


def test_lost_rows_stop_the_report() -> None:
    with pytest.raises(AssertionError, match="trials in configurations: got 1, expected 2"):
        check_count("trials in configurations", 1, 2)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (math.nan, "-"),
        (pd.NA, "-"),
        (True, "true"),
        (0.9, "0.9"),
        (10.0, "10"),
        (1e20, "1e+20"),
        (1 / 3, "0.333333"),
        (3, "3"),
        ("similar", "similar"),
    ],
)
def test_setting_text(value: object, text: str) -> None:
    assert setting_text(value) == text


def test_configuration_text() -> None:
    assert configuration_text(["ipc", "kd.alpha"], [1, math.nan]) == "ipc = 1"
    assert configuration_text([], []) == "(no setting varied)"


def test_a_configuration_drawn_twice_counts_once(make_search: MakeSearch) -> None:
    trials = [{"students": {"mlp": [0.5, 0.6]}}] * 2
    frame = by_setting(load_search(make_search(trials)))
    assert frame.loc[0, "n"] == 1
    assert frame.loc[0, "std_within"] == pytest.approx(0.1 / math.sqrt(2))


def test_every_configuration_split_and_group_has_a_row(make_search: MakeSearch) -> None:
    points = [{"kd.variant": "off"}, {"kd.variant": "softened", "kd.temperature": 2.0}]
    trials = [
        {
            "point": point,
            "replicate": place,
            "students": {"convnet": [0.9], "mlp": [0.5], "lenet": [0.3]},
        }
        for place in range(2)
        for point in points
    ]
    trials.append({"point": {"kd.variant": "control"}, "status": "not_run"})
    results = load_search(make_search(trials, varied=["kd.variant", "kd.temperature"]))
    frame = configurations(results)
    assert len(frame) == 3 * 2 * 5
    assert frame["students"].unique().tolist() == ["unseen", "main", "convnet", "mlp", "lenet"]
    off = frame[(frame["kd.variant"] == "off") & (frame["split"] == "validation")]
    assert off["mean"].tolist() == pytest.approx([0.4, 0.9, 0.9, 0.5, 0.3])
    assert frame.loc[frame["kd.variant"] == "control", "n"].tolist() == [0] * 10


def test_a_sample_is_a_row_a_replicate_and_a_column_a_student_seed() -> None:
    trials = pd.DataFrame({"trial_id": ["c", "x", "a", "b"], "replicate": [2, 3, 0, 2]})
    accuracies = pd.DataFrame(
        [[0.1, 0.3, np.nan], [0.9, 0.9, 0.9], [0.5, np.nan, np.nan]],
        index=pd.Index(["a", "b", "c"], name="trial_id"),
        columns=pd.Index([0, 1, 2], name="student_seed"),
    )
    sample = sample_of(trials, accuracies)
    # "b" draws replicate 2 again; "x" has no result; no set has student seed 2, and of "c" the
    # missing one takes the mean of its others.
    assert sample.index.tolist() == [0, 2]
    assert sample.columns.tolist() == [0, 1]
    assert sample.to_numpy().tolist() == [[0.1, 0.3], [0.5, 0.5]]
    nothing = sample_of(trials.iloc[1:2], accuracies)
    assert nothing.shape == (0, 0)
