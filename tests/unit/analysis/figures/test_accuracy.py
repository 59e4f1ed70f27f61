"""Tests of analysis.figures: the points, and that drawing them works."""

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from analysis.figures import (
    accuracy_points,
    configuration_points,
    draw_accuracy,
    draw_configurations,
    figure_svg,
)
from analysis.load import load_search
from harness.errors import ResultError

MakeSearch = Callable[..., Path]
P = "pool.main_probability"


def texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return ["".join(node.itertext()) for node in root.iter() if node.tag.endswith("text")]


def test_accuracy_points(probability_search: Path) -> None:
    points = accuracy_points(load_search(probability_search))
    assert list(points.columns) == [
        "group", "value", "label", "series", "mean", "low", "high", "n",
    ]  # fmt: skip
    assert points["series"].tolist() == [
        "unseen mean", "unseen mean", "convnet (main model)", "convnet (main model)",
        "mlp", "mlp", "lenet", "lenet",
    ]  # fmt: skip
    assert points["value"].tolist() == [0.5, 1.0] * 4
    assert points["mean"].tolist() == pytest.approx([0.52, 0.61, 0.9, 0.9, 0.42, 0.51, 0.62, 0.71])
    assert points["n"].tolist() == [3, 2] * 4
    assert points["group"].unique().tolist() == [""]
    # Two sets, 0.01 from their mean: 0.01 * 12.706205 / 1.959964 * sqrt(2).
    assert points.loc[1, "high"] - points.loc[1, "mean"] == pytest.approx(0.0916812, abs=1e-6)


def test_student_seeds_of_a_set_are_one_value(make_search: MakeSearch) -> None:
    students = {"mlp": [0.1, 0.3], "lenet": [0.6, None]}
    trials = [{"point": {P: 0.5}, "students": students}]
    points = accuracy_points(load_search(make_search(trials, varied=[P])))
    assert points["series"].tolist() == ["unseen mean", "mlp", "lenet"]
    assert points["mean"].tolist() == pytest.approx([0.4, 0.2, 0.6])
    assert points["n"].tolist() == [1, 1, 1]
    assert points["low"].isna().all()


@pytest.mark.parametrize(
    "students",
    [
        ["mlp", "lenet"],
        ["mlp", "lenet", "convnet-w32-d2-nonorm", "convnet-w32-d4-groupnorm-maxpooling"],
        [f"convnet-w{width}-d4-groupnorm-maxpooling" for width in (16, 32, 64, 128, 256)],
    ],
)
def test_the_legend_fits_the_figure(make_search: MakeSearch, students: list[str]) -> None:
    trials = [
        {"point": {P: p}, "students": {name: [p / 2] for name in ["convnet", *students]}}
        for p in (0.5, 1.0)
    ]
    figure = draw_accuracy(accuracy_points(load_search(make_search(trials, varied=[P]))))
    FigureCanvasAgg(figure).draw()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert figure.bbox.x0 <= box.x0
    assert box.x1 <= figure.bbox.x1


def test_other_settings_are_not_averaged_over(make_search: MakeSearch) -> None:
    trials = [
        {"point": {P: p, "ipc": ipc}, "students": {"mlp": [p / 2 + ipc / 100]}}
        for p in (1.0, 0.0)
        for ipc in (10, 1)
    ]
    points = accuracy_points(load_search(make_search(trials, varied=[P, "ipc"])))
    unseen = points[points["series"] == "unseen mean"]
    assert unseen["group"].tolist() == ["ipc = 1", "ipc = 1", "ipc = 10", "ipc = 10"]
    assert unseen["value"].tolist() == [0.0, 1.0, 0.0, 1.0]
    assert unseen["mean"].tolist() == pytest.approx([0.01, 0.51, 0.1, 0.6])
    figure = draw_accuracy(points)
    assert len(figure.axes) == 2
    assert {"ipc = 1", "ipc = 10", "mlp"} <= set(texts(figure_svg(figure)))


def test_a_space_without_main_probability(make_search: MakeSearch) -> None:
    trials = [{"point": {"ipc": 1}, "students": {"mlp": [0.5]}}]
    results = load_search(make_search(trials, varied=["ipc"]))
    with pytest.raises(ResultError, match=rf"the space varies ipc, expected numbers of {P}"):
        accuracy_points(results)


def test_configuration_points(make_search: MakeSearch) -> None:
    trials = [
        {"point": {"ipc": 1, "kd.alpha": None}, "students": {"mlp": [0.3]}},
        {"point": {"ipc": 10, "kd.alpha": 0.5}, "students": {"mlp": [0.5]}},
        {"point": {"ipc": 10, "kd.alpha": 0.5}, "students": {"mlp": [0.7]}, "replicate": 1},
        {"point": {"ipc": 50, "kd.alpha": 0.5}, "status": "not_run"},
    ]
    points = configuration_points(load_search(make_search(trials, varied=["ipc", "kd.alpha"])))
    assert list(points.columns) == ["configuration", "mean", "low", "high", "n"]
    assert points["configuration"].tolist() == ["ipc = 10, kd.alpha = 0.5", "ipc = 1"]
    assert points["mean"].tolist() == pytest.approx([0.6, 0.3])
    assert points["n"].tolist() == [2, 1]
    svg = figure_svg(draw_configurations(points, "test"))
    assert "ipc = 10, kd.alpha = 0.5 (n = 2)" in texts(svg)
    assert "mean test accuracy of unseen students, %" in texts(svg)


def test_one_configuration(make_search: MakeSearch) -> None:
    points = configuration_points(load_search(make_search([{"students": {"mlp": [0.3]}}])))
    assert points["configuration"].tolist() == ["(no setting varied)"]


def test_svg_is_deterministic(probability_search: Path) -> None:
    points = accuracy_points(load_search(probability_search))
    first, second = (figure_svg(draw_accuracy(points)) for _ in range(2))
    assert first == second
    assert first.startswith("<svg")
    assert "<metadata" not in first
    assert "date" not in first


def test_series_differ_without_colour(probability_search: Path) -> None:
    figure = draw_accuracy(accuracy_points(load_search(probability_search)))
    lines = [drawn.lines[0] for drawn in figure.axes[0].containers]
    assert len({line.get_marker() for line in lines}) == len(lines)
    assert len({str(line.get_linestyle()) + str(line._dash_pattern) for line in lines}) == len(
        lines
    )
    assert max(lines, key=lambda line: line.get_linewidth()) is lines[0]


def test_one_set_draws_no_error_bars(make_search: MakeSearch) -> None:
    trials = [{"point": {P: 0.5}, "students": {"mlp": [0.5]}}]
    points = accuracy_points(load_search(make_search(trials, varied=[P])))
    figure = draw_accuracy(points)
    _, caps, [bars] = figure.axes[0].containers[0].lines
    assert len(caps) == 2
    assert all(math.isnan(cap.get_ydata()[0]) for cap in caps)
    assert [len(segment) for segment in bars.get_segments()] == [0]
    assert "nan" not in figure_svg(figure).lower()


def test_labels_are_text_and_not_mathematics(make_search: MakeSearch) -> None:
    trials = [{"point": {P: 0.5, "note": r"$\x$ <b>"}, "students": {r"$\frac{$": [0.5]}}]
    results = load_search(make_search(trials, varied=[P, "note"]))
    drawn = texts(figure_svg(draw_accuracy(accuracy_points(results))))
    assert r"note = $\x$ <b>" in drawn
    assert r"$\frac{$" in drawn
    drawn = texts(figure_svg(draw_configurations(configuration_points(results))))
    assert any(r"note = $\x$ <b>" in text for text in drawn)


def test_axis_stays_within_0_and_100_percent(make_search: MakeSearch) -> None:
    trials = [
        {"point": {P: 0.5}, "students": {"mlp": [accuracy]}, "replicate": place}
        for place, accuracy in enumerate((0.1, 0.9))
    ]
    results = load_search(make_search(trials, varied=[P]))
    figure = draw_accuracy(accuracy_points(results))
    assert figure.axes[0].get_ylim() == (0.0, 100.0)
