"""Tests of analysis.figures.pareto."""

from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.figures.pareto import draw_pareto, pareto_points
from analysis.load import SearchResults, load_search

MakeSearch = Callable[..., Path]


def test_which_are_dominated(make_search: MakeSearch) -> None:
    # Name, seconds, ipc, accuracy.
    sets = [
        ("a", 10.0, 1, 0.5), ("b", 10.0, 1, 0.6), ("c", 20.0, 10, 0.6), ("d", 20.0, 10, 0.7),
        ("e", 30.0, 10, 0.65), ("f", None, 50, 0.7), ("g", 10.0, 50, 0.6),
    ]  # fmt: skip
    trials = [
        {
            "point": {"note": note, "ipc": ipc},
            "students": {"mlp": [accuracy]},
            "record": {"timings": {"distill_cost_s": seconds}},
        }
        for note, seconds, ipc, accuracy in sets
    ]
    points = pareto_points(load_search(make_search(trials, varied=["note", "ipc"])))
    points["note"] = points["configuration"].str[len("note = ")]
    seconds = points[points["against"] == "distill_cost_s"]
    # b and g are equal in both: neither is better. What f cost is not known.
    assert sorted(seconds["note"]) == ["a", "b", "c", "d", "e", "g"]
    assert sorted(seconds[~seconds["dominated"]]["note"]) == ["b", "d", "g"]
    sizes = points[points["against"] == "ipc"]
    assert len(sizes) == 7
    assert sorted(sizes[~sizes["dominated"]]["note"]) == ["b", "d"]  # f is as good as d, but larger
    assert points.groupby("against")["price"].is_monotonic_increasing.all()


def test_cost_alone_where_all_sets_are_of_one_size(kd: SearchResults) -> None:
    points = pareto_points(kd)
    assert points["against"].unique().tolist() == ["distill_cost_s"]
    assert len(points) == 14
    front = points[~points["dominated"]]
    # The cheaper half at its best, and the best of all; at both temperatures alike.
    assert front["price"].tolist() == [100.0, 100.0, 150.0, 150.0]
    assert front["mean"].tolist() == pytest.approx([0.595, 0.595, 0.675, 0.675])


def test_the_front_is_told_from_the_others_in_grey(kd: SearchResults) -> None:
    points = pareto_points(kd)
    (panel,) = draw_pareto(points).axes
    faint, _, front, *_ = panel.lines
    assert faint.get_markerfacecolor() == "white"
    assert len(faint.get_xdata()) == points["dominated"].sum()
    assert front.get_markerfacecolor() == "#000000"
    assert [text.get_text() for text in panel.texts] == ["1", "2", "3", "4"]
