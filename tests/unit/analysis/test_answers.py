"""Tests of analysis.answers and analysis.interaction."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from analysis.answers import best_values, more_words, searched_setting
from analysis.interaction import Change, interaction_words, interactions, pool_and_kd
from analysis.load import SearchResults, load_search
from analysis.summary import summarise
from harness.errors import ConfigError

MakeSearch = Callable[..., Path]
P = "pool.main_probability"
NOISE = (0.0, 0.05, -0.03, 0.02, -0.04)


def search(
    make_search: MakeSearch,
    arms: Sequence[tuple[dict[str, Any], Sequence[float]]],
    varied: Sequence[str] = (P,),
) -> SearchResults:
    trials = [
        {"point": point, "replicate": place, "students": {"convnet": [0.9], "mlp": [value]}}
        for point, values in arms
        for place, value in enumerate(values)
    ]
    return load_search(make_search(trials, varied=varied))


def paired(mean: float, *own: float) -> list[float]:
    """Five replicates that share their noise, and have some of their own."""
    return [mean + n + o for n, o in zip(NOISE, own, strict=True)]


def test_a_best_value_that_is_settled(make_search: MakeSearch) -> None:
    results = search(
        make_search,
        [
            ({P: 0.5}, paired(0.50, 0.001, 0, 0, 0, 0.001)),
            ({P: 0.8}, paired(0.62, 0, 0.002, 0, -0.002, 0)),
            ({P: 0.9}, paired(0.615, 0.004, -0.004, 0.006, -0.006, 0)),
            ({P: 1.0}, paired(0.60, 0, 0, 0, 0, 0)),
        ],
    )
    (row,) = best_values(results).itertuples()
    assert (row.best, row.reference, row.n_paired, row.settled) == (0.8, 1.0, 5, True)
    # The replicates' noise of 0.1 is shared: paired, 2 points are far from chance.
    assert row.difference == pytest.approx(0.02)
    assert 0.015 < row.difference_low < 0.02 < row.difference_high < 0.025
    assert (row.best_low, row.best_high) == (0.8, 0.9)
    assert row.test_mean == pytest.approx(0.60)
    first = summarise(results).splitlines()[0]
    assert first.startswith(
        "Best main-model probability: 0.8 [0.8, 0.9]; better than 1 by 2.0 points ["
    )
    assert first.endswith("], n = 5")


def test_a_best_value_that_is_undecided_says_how_many_more(make_search: MakeSearch) -> None:
    results = search(
        make_search,
        [
            ({P: 0.5}, paired(0.60, 0.03, -0.02, 0.02, -0.03, 0.0)),
            ({P: 1.0}, paired(0.59, 0, 0, 0, 0, 0)),
        ],
    )
    (row,) = best_values(results).itertuples()
    assert not row.settled
    # Mean 0.01, std sqrt(0.0026 / 4) = 0.0255: d = 0.392, for which tables of power give 53 pairs.
    assert row.more_replicates == 53 - 5
    assert "undecided at n = 5; 0.5 [0.5, 1] has" in summarise(results)
    assert "about 48 more replicates would settle it" in summarise(results)


@pytest.mark.parametrize("n", [1, 2])
def test_few_replicates_are_undecided(make_search: MakeSearch, n: int) -> None:
    arms = [({P: 0.5}, [0.4, 0.4001][:n]), ({P: 1.0}, [0.8, 0.8][:n])]
    results = search(make_search, arms)
    assert not best_values(results)["settled"].any()
    assert f"undecided at n = {n}; 1" in summarise(results)
    assert "more replicate" in summarise(results)


def test_a_setting_that_does_not_apply_belongs_to_all_values(make_search: MakeSearch) -> None:
    results = search(
        make_search,
        [
            ({P: 0.5, "pool.others": "similar"}, [0.5, 0.51, 0.52]),
            ({P: 0.5, "pool.others": "diverse"}, [0.2, 0.21, 0.23]),
            ({P: 1.0}, [0.4, 0.41, 0.42]),
        ],
        varied=[P, "pool.others"],
    )
    frame = best_values(results)
    assert frame["group"].tolist() == ["pool.others = diverse", "pool.others = similar"]
    assert frame["best"].tolist() == [1.0, 0.5]
    assert frame["reference"].tolist() == [0.5, 1.0]


def test_only_numbers_are_searched(make_search: MakeSearch) -> None:
    results = search(make_search, [({"x": "a"}, [0.1]), ({"x": "b"}, [0.2])], varied=["x"])
    assert searched_setting(results) is None
    with pytest.raises(ConfigError, match="expected one numeric setting"):
        best_values(results)


def square(make_search: MakeSearch, both: Sequence[float]) -> SearchResults:
    kd = {"kd.variant": "softened", "kd.temperature": 2.0}
    return search(
        make_search,
        [
            ({P: 1.0, "kd.variant": "off"}, paired(0.40, 0, 0, 0, 0, 0)),
            ({P: 0.9, "kd.variant": "off"}, paired(0.42, 0.001, 0, 0, 0, -0.001)),
            ({P: 1.0, **kd}, paired(0.43, 0, 0.001, -0.001, 0, 0)),
            ({P: 0.9, **kd}, both),
        ],
        varied=[P, "kd.variant", "kd.temperature"],
    )


def test_the_interaction_is_a_difference_of_differences(make_search: MakeSearch) -> None:
    results = square(make_search, paired(0.48, 0, 0, 0.002, -0.002, 0))
    frame = pool_and_kd(results).set_index("effect")
    assert frame["mean"].to_dict() == pytest.approx(
        {
            "first alone": 0.02,
            "first with second": 0.05,
            "second alone": 0.03,
            "second with first": 0.06,
            "interaction": 0.03,
        }
    )
    assert frame["n"].tolist() == [5] * 5
    assert frame.loc["interaction", "settled"]
    (line,) = interaction_words(pool_and_kd(results))
    assert "interaction 3.0 points [" in line
    assert line.endswith("n = 5: they help each other")


def test_an_interaction_of_nothing_is_undecided(make_search: MakeSearch) -> None:
    results = square(make_search, paired(0.452, 0.03, -0.03, 0.02, -0.02, 0))
    (line,) = interaction_words(pool_and_kd(results))
    assert "undecided" in line
    frame = interactions(results, Change(P, 1.0, 0.9), Change("kd.variant", "off", "softened"))
    assert frame["settled"].tolist()[-1] is False
    with pytest.raises(ConfigError, match="got 'ipc'"):
        interactions(results, Change("ipc", 1, 10), Change(P, 1.0, 0.9))
    assert math.isnan(frame["more_replicates"].iloc[-1]) or frame["more_replicates"].iloc[-1] > 0


@pytest.mark.parametrize(("n", "lack"), [(0, "no replicate has both"), (1, "one replicate has no")])
def test_what_too_few_replicates_lack(n: int, lack: str) -> None:
    words = more_words(math.nan, n)
    assert words.startswith(lack)
    assert f"at least {3 - n} more replicates" in words
