"""Tests of analysis.figures.importance."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from analysis.figures.importance import draw_importances, importances
from analysis.load import SearchResults, load_search
from harness.errors import ResultError

MakeSearch = Callable[..., Path]


@pytest.fixture(scope="module")
def frame(kd: SearchResults) -> pd.DataFrame:
    return importances(kd)


def test_no_set_is_left_out_where_a_setting_does_not_apply(
    frame: pd.DataFrame, kd: SearchResults
) -> None:
    assert sorted(frame["setting"]) == sorted(kd.varied)
    assert frame["configurations"].unique().tolist() == [14]
    assert frame["n"].unique().tolist() == [26]  # 28, of which one has not run and one diverged
    assert frame["importance"].is_monotonic_decreasing


def test_what_matters_is_found(make_search: MakeSearch) -> None:
    # Unrelated to each other: the second runs through its values several times.
    trials = [
        {
            "point": {"lr_img": number, "note": f"n{number % 3}", "ipc": 1},
            "students": {"mlp": [0.3 + number / 100]},
        }
        for number in range(18)
    ]
    results = load_search(make_search(trials, varied=["lr_img", "note", "ipc"]))
    frame = importances(results)
    assert frame["setting"].tolist() == ["lr_img", "note"]  # what has one value is not judged
    important, other = frame["importance"]
    assert important > 0.5
    assert abs(other) < 0.1
    assert frame["explained"].iloc[0] > 0.7
    pd.testing.assert_frame_equal(importances(results), frame)  # no chance is left in it


def test_too_little_to_judge(probability_search: Path) -> None:
    with pytest.raises(ResultError, match="1 settings with several values and 2 configurations"):
        importances(load_search(probability_search))


def test_the_most_important_is_on_top(frame: pd.DataFrame) -> None:
    (panel,) = draw_importances(frame).axes
    tops = [label.get_text() for label in panel.get_yticklabels()]
    places = panel.get_yticks()
    assert tops[int(places.argmax())] in (frame["setting"].iloc[0], "main-model probability")
