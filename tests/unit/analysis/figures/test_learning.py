"""Tests of analysis.figures.learning."""

from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.figures.learning import LOSS, draw_learning, learning_curves, learning_figure
from analysis.load import SearchResults, load_search
from harness.errors import ResultError
from harness.schema import QUICK, UNSEEN_MEAN

MakeSearch = Callable[..., Path]
P = "pool.main_probability"


def test_curves_are_of_distillations(kd: SearchResults) -> None:
    curves = learning_curves(kd)
    # Trials with and without KD share a distillation, and their scores count once.
    assert curves["curve"].unique().tolist() == [QUICK]
    assert curves["distillation"].tolist() == [f"{P} = 0.9"] * 2 + [f"{P} = 1"] * 2
    assert curves["iteration"].tolist() == [10, 20, 10, 20]
    assert curves["mean"].tolist() == pytest.approx([0.25, 0.39, 0.25, 0.4])
    assert curves["n"].tolist() == [2, 2, 2, 2]
    assert not curves["stopped"].any()
    # Replicates 0.2 and 0.3, each 0.05 from the mean.
    assert curves.loc[0, "high"] == pytest.approx(0.25 + 0.05 * 12.706205 / 1.959964 * 2**0.5)


def test_losses_are_those_of_the_main_model(make_search: MakeSearch) -> None:
    # Forty iterations: each twentieth holds two, of which every other one drew the main model.
    record = {
        "trial_id": "00000-abcd",
        LOSS: [float(n) if n != 38 else None for n in range(40)],
        "pool_draws": {"architectures": ["convnet", "mlp"], "draws": [0, 1] * 20},
    }
    students = {"convnet": [0.9], "mlp": [0.5]}
    trials = [
        {"point": {P: 0.5}, "students": students, "record": record},
        {"point": {P: 0.0}, "students": students, "record": {**record, "pool_draws": None}},
    ]
    curves = learning_curves(load_search(make_search(trials, varied=[P])))
    assert curves["curve"].unique().tolist() == [LOSS]
    assert curves["distillation"].unique().tolist() == [f"{P} = 0.5"]
    # Of the last twentieth no finite loss is left.
    assert curves["iteration"].tolist() == list(range(2, 40, 2))
    assert curves["mean"].tolist() == [float(n) for n in range(0, 38, 2)]
    assert curves["n"].unique().tolist() == [1]


def test_stopped_trials_are_there_and_marked(make_search: MakeSearch) -> None:
    trials = [
        {
            "point": {P: 1.0},
            "students": {"mlp": [0.5]},
            "record": {QUICK: [[10, 0.2], [20, 0.4], [30, 0.5]], UNSEEN_MEAN: 0.5},
        },
        {"point": {P: 0.5}, "status": "stopped_early", "quick": [[10, 0.6]]},
    ]
    results = load_search(make_search(trials, varied=[P]))
    curves = learning_curves(results)
    assert dict(zip(curves["distillation"], curves["stopped"], strict=True)) == {
        f"{P} = 1": False, f"{P} = 0.5": True,
    }  # fmt: skip
    drawn = learning_figure(results)
    assert drawn.caption.endswith("x: stopped early.")
    (panel,) = drawn.figure.axes
    (cross,) = [line for line in panel.lines if line.get_marker() == "x"]
    assert (cross.get_xdata()[0], cross.get_ydata()[0]) == (10, pytest.approx(60.0))


def test_those_without_room_are_grey(kd: SearchResults) -> None:
    (panel,) = draw_learning(learning_curves(kd), num_named=1).axes
    assert [line.get_color() for line in panel.lines if line.get_linewidth() == 0.7] == ["#9a9a9a"]


def test_no_scores(probability_search: Path) -> None:
    with pytest.raises(ResultError, match="demo: no trial that has ended recorded a quick score"):
        learning_figure(load_search(probability_search))
