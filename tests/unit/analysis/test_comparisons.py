"""Tests of analysis.comparisons, by arithmetic that can be done by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis.comparisons import difference_table, differences, teacher_gains, teacher_table
from analysis.load import SearchResults, load_search
from harness.errors import ConfigError

MakeSearch = Callable[..., Path]
DEPTH, KD, ALPHA, T = "network.depth", "kd.variant", "kd.alpha", "kd.temperature"
Arms = list[tuple[dict[str, Any], list[float]]]


def search(make_search: MakeSearch, arms: Arms, *varied: str) -> SearchResults:
    trials = [
        {"point": point, "replicate": place, "students": {"convnet": [0.9], "mlp": [value]}}
        for point, values in arms
        for place, value in enumerate(values)
    ]
    return load_search(make_search(trials, varied=varied))


def test_each_configuration_beside_one(make_search: MakeSearch) -> None:
    results = search(
        make_search,
        [
            ({DEPTH: 3}, [0.50, 0.60, 0.55]),
            ({DEPTH: 5}, [0.52, 0.62, 0.57]),
            ({DEPTH: 10}, [0.40, 0.62]),
        ],
        DEPTH,
    )
    frame = differences(results, {DEPTH: 3}).set_index(DEPTH)
    assert frame.loc[5, "mean"] == pytest.approx(0.02)
    assert (frame.loc[5, "n"], frame.loc[5, "settled"]) == (3, True)
    assert frame.loc[10, "mean"] == pytest.approx((-0.10 + 0.02) / 2)
    assert (frame.loc[10, "n"], frame.loc[10, "settled"]) == (2, False)
    assert difference_table(results, {DEPTH: 3}).cells.rows[0][:2] == ("5", "2.0")
    with pytest.raises(ConfigError, match=r"no configuration 'network\.depth = 4'"):
        differences(results, {DEPTH: 4})


def test_a_teacher_s_gain_is_its_step_and_its_transfer(make_search: MakeSearch) -> None:
    results = search(
        make_search,
        [
            ({KD: "off"}, [0.50, 0.52, 0.54]),
            ({KD: "control", ALPHA: 0.5}, [0.53, 0.55, 0.57]),
            ({KD: "control", ALPHA: 0.9}, [0.40, 0.42, 0.44]),
            ({KD: "softened", ALPHA: 0.5, T: 1.0}, [0.54, 0.56, 0.58]),
            ({KD: "softened", ALPHA: 0.5, T: 4.0}, [0.52, 0.54, 0.56]),
            # No control arm at this alpha: nothing to take apart.
            ({KD: "softened", ALPHA: 0.1, T: 4.0}, [0.50, 0.50, 0.50]),
        ],
        KD,
        ALPHA,
        T,
    )
    frame = teacher_gains(results)
    assert list(frame["n"]) == [3] * 6
    found = {(row.temperature, row.part): row.mean for row in frame.itertuples()}
    wanted = {
        (1.0, "gain"): 0.04,
        (1.0, "step"): 0.03,
        (1.0, "transfer"): 0.01,
        (4.0, "gain"): 0.02,
        (4.0, "step"): 0.03,
        (4.0, "transfer"): -0.01,
    }
    assert found == pytest.approx(wanted)
    # Equal differences have p = 0: settled after Holm as well.
    assert frame["settled"].all()
    assert teacher_table(results).cells.rows[2][:4] == ("0.5", "1", "transfer", "1.0")


def test_a_search_without_a_control_takes_nothing_apart(make_search: MakeSearch) -> None:
    arms: Arms = [({KD: "off"}, [0.5, 0.5]), ({KD: "softened", ALPHA: 0.5, T: 1.0}, [0.6, 0.6])]
    results = search(make_search, arms, KD, ALPHA, T)
    assert teacher_gains(results).empty
    assert teacher_table(results).cells.rows == ()
