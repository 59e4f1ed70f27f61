"""Tests of analysis.figures.heat_map."""

from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.figures.heat_map import heat_map_cells, heat_map_figure, setting_pairs
from analysis.load import SearchResults, load_search
from harness.errors import ResultError

MakeSearch = Callable[..., Path]
P, T, ALPHA, VARIANT = "pool.main_probability", "kd.temperature", "kd.alpha", "kd.variant"


def test_cells_of_temperature_and_alpha(kd: SearchResults) -> None:
    cells = heat_map_cells(kd, T, ALPHA)
    assert len(cells) == 14  # each configuration once, KD off among them
    found = cells.set_index(["group", "x", "y"])
    off = found.loc[f"{P} = 0.9", "off", "off"]
    assert off["mean"] == pytest.approx(0.565)  # 0.56 and 0.57
    assert off["n"] == 2
    assert off["high"] - off["mean"] == pytest.approx(0.005 * 12.706205 / 1.959964 * 2**0.5)
    assert found.loc[f"{P} = 0.9", "control", "0.5"]["mean"] == pytest.approx(0.595)
    assert found.loc[f"{P} = 0.9", "4", "0.5"]["mean"] == pytest.approx(0.675)
    alone = found.loc[f"{P} = 1", "1", "0.1"]  # the other replicate diverged
    assert (alone["n"], alone["mean"]) == (1, pytest.approx(0.56))


def test_pairs_of_settings(kd: SearchResults) -> None:
    pairs = setting_pairs(kd)
    assert pairs[0] == (T, ALPHA)
    assert len(pairs) == 6
    assert (P, VARIANT) in pairs  # the texts along y


def test_a_pair_that_is_not_there(kd: SearchResults, make_search: MakeSearch) -> None:
    with pytest.raises(ResultError, match=r"kd: the space varies .*, expected ipc"):
        heat_map_cells(kd, T, "ipc")
    trials = [{"point": {"ipc": ipc}, "students": {"mlp": [0.5]}} for ipc in (1, 10)]
    one = load_search(make_search(trials, varied=["ipc"], name="one"))
    with pytest.raises(ResultError, match="one: the space varies ipc, expected two settings"):
        heat_map_figure(one)
    points = [{"ipc": number, "lr_img": number / 10} for number in range(20)]
    trials = [{"point": point, "students": {"mlp": [0.5]}} for point in points]
    many = load_search(make_search(trials, varied=["ipc", "lr_img"], name="many"))
    with pytest.raises(ResultError, match="many: ipc has 20 values, expected at most 16"):
        heat_map_cells(many, "ipc", "lr_img")
