"""Tests of analysis.figures.panels and levels: no configuration is lost, none is mixed up."""

from collections.abc import Callable
from pathlib import Path

from analysis.aggregate import list_configurations
from analysis.figures.heat_map import heat_map_cells
from analysis.figures.levels import find_levels
from analysis.figures.panels import arrange, axis_labels, place_labels
from analysis.load import SearchResults, load_search

MakeSearch = Callable[..., Path]
P, T, ALPHA = "pool.main_probability", "kd.temperature", "kd.alpha"


def test_kd_off_stands_beside_every_temperature(kd: SearchResults) -> None:
    panels = arrange(list_configurations(kd), [T])
    # The variant is not said: panels show the control and KD off as well.
    assert [panel.text for panel in panels] == [
        f"{P} = 0.9, {ALPHA} = 0.1", f"{P} = 0.9, {ALPHA} = 0.5",
        f"{P} = 1, {ALPHA} = 0.1", f"{P} = 1, {ALPHA} = 0.5",
    ]  # fmt: skip
    for panel in panels:
        assert [place.labels for place in panel.places] == [("control",), ("off",), ("1",), ("4",)]


def test_two_axes(kd: SearchResults) -> None:
    found = list_configurations(kd)
    panels = arrange(found, [T, ALPHA])
    assert [panel.text for panel in panels] == [f"{P} = 0.9", f"{P} = 1"]
    placed = [id(place.configuration) for panel in panels for place in panel.places]
    assert sorted(placed) == sorted(map(id, found))  # each once
    assert axis_labels(panels, [T, ALPHA], 0) == ["off", "control", "1", "4"]
    assert axis_labels(panels, [T, ALPHA], 1) == ["off", "0.1", "0.5"]


def test_a_setting_that_does_not_apply_belongs_to_all_values(make_search: MakeSearch) -> None:
    points = [{P: 0.5, "pool.others": name} for name in ("diverse", "similar")] + [{P: 1.0}]
    trials = [{"point": point, "students": {"mlp": [0.5]}} for point in points]
    found = list_configurations(load_search(make_search(trials, varied=["pool.others", P])))
    panels = arrange(found, [P])
    assert [panel.text for panel in panels] == ["pool.others = diverse", "pool.others = similar"]
    assert [[place.labels for place in panel.places] for panel in panels] == [
        [("0.5",), ("1",)], [("0.5",), ("1",)],
    ]  # fmt: skip
    # Along the axis of the others, a number is no name for a place.
    assert place_labels(found, "pool.others") == ["diverse", "similar", "main_probability = 1"]


def test_values_that_read_the_same_are_not_one(make_search: MakeSearch) -> None:
    points = [{P: p, "ipc": ipc} for p in (0.12345671, 0.12345672) for ipc in (1, 10)]
    trials = [{"point": point, "students": {"mlp": [0.5]}} for point in points]
    results = load_search(make_search(trials, varied=[P, "ipc"]))
    for axes in ([P], ["ipc"], [P, "ipc"]):
        panels = arrange(list_configurations(results), axes)
        assert sum(len(panel.places) for panel in panels) == 4
        assert len({panel.text for panel in panels}) == len(panels)
    assert len(heat_map_cells(results, P, "ipc")) == 4


def test_levels_are_values_or_ranges(kd: SearchResults, make_search: MakeSearch) -> None:
    levels = find_levels(list_configurations(kd), T)
    assert levels.order == ["control", "off", "1", "4"]
    assert levels.ordered == {"1", "4"}
    points = [{"lr_img": value} for value in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)]
    points += [{"method": "random-real"}]
    trials = [{"point": {"method": "dc", **point}, "students": {"mlp": [0.5]}} for point in points]
    found = list_configurations(load_search(make_search(trials, varied=["method", "lr_img"])))
    levels = find_levels(found, "lr_img")
    assert levels.order == ["random-real", "0.1 to 0.2", "0.3 to 0.4", "0.5 to 0.6", "0.7 to 0.8"]
    assert [levels.of.count(level) for level in levels.order] == [1, 2, 2, 2, 2]
    assert "random-real" not in levels.ordered
