"""Tests of analysis.figures.parallel."""

from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.figures.parallel import draw_parallel, find_axis, parallel_lines
from analysis.load import SearchResults, load_search

MakeSearch = Callable[..., Path]


def test_lines_are_configurations_best_first(kd: SearchResults) -> None:
    lines = parallel_lines(kd)
    assert list(lines.columns) == [*kd.varied, "mean", "low", "high", "n"]
    assert len(lines) == 14
    assert lines["mean"].is_monotonic_decreasing
    assert lines["mean"].iloc[0] == pytest.approx(0.675)
    assert lines["kd.temperature"].isna().sum() == 6  # KD off and its control


def test_an_axis_has_a_place_for_what_does_not_apply(kd: SearchResults) -> None:
    lines = parallel_lines(kd)
    axis = find_axis(kd, "kd.temperature", lines)
    assert list(axis.ticks) == ["control", "off", "1", "4"]
    assert axis.ticks["control"] < axis.ticks["off"] < 0.0
    assert (axis.ticks["1"], axis.ticks["4"]) == (0.25, 0.75)  # the middles of two halves
    assert len(axis.at) == 14
    off = lines["kd.variant"] == "off"
    assert {axis.at[place] for place in lines.index[off]} == {axis.ticks["off"]}


def test_many_numbers_stand_by_their_size(make_search: MakeSearch) -> None:
    def places(values: list[float], name: str) -> list[float]:
        points = [{"lr_img": value} for value in values]
        trials = [{"point": point, "students": {"mlp": [0.5]}} for point in points]
        results = load_search(make_search(trials, varied=["lr_img"], name=name))
        return find_axis(results, "lr_img", parallel_lines(results)).at

    linear = places([0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0], "linear")
    assert linear == pytest.approx([0.0, 0.125, 0.25, 0.375, 0.5, 0.75, 1.0])
    logarithmic = places([0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0], "logarithmic")
    assert logarithmic == pytest.approx([number / 6 for number in range(7)])


def test_a_line_runs_through_all_axes(kd: SearchResults) -> None:
    lines = parallel_lines(kd)
    axes = [find_axis(kd, name, lines) for name in kd.varied]
    (panel,) = draw_parallel(lines, axes).axes
    drawn = [line for line in panel.lines if len(line.get_xdata()) == len(axes) + 1]
    assert len(drawn) == len(lines) + 1  # the best has an outline
    best = drawn[-1]
    assert best.get_color() == "white"
    assert best.get_xdata()[-1] == 1.0
