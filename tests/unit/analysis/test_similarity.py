"""Tests of analysis.similarity, against values worked out by hand."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from analysis.load import SearchResults, load_search
from analysis.similarity import (
    correlation_words,
    pool_similarity,
    similarity_correlations,
    similarity_table,
)
from harness.schema import (
    LOSS_SLOPE,
    POOL_SIMILARITY,
    POOL_SIMILARITY_FINAL,
    POOL_SIMILARITY_INITIAL,
    POOL_SIMILARITY_MAIN,
)
from tests.unit.analysis.conftest import MakeSearch

OTHERS = "pool.others"
# pool -> cosine, slope, accuracy; random images reach 0.3.
POOLS = {"far": (0.1, -0.01, 0.4), "near": (0.9, -0.03, 0.5), "middle": (0.5, -0.02, 0.6)}
NOISE = (0.0, 0.05, -0.05)


def measured(cosine: float, slope: float) -> dict[str, Any]:
    metrics = {
        POOL_SIMILARITY: cosine,
        POOL_SIMILARITY_INITIAL: cosine + 0.02,
        POOL_SIMILARITY_FINAL: cosine - 0.02,
        POOL_SIMILARITY_MAIN: 0.95,
        LOSS_SLOPE: slope,
    }
    return {"metrics": metrics}


def trials() -> list[dict[str, Any]]:
    own = [
        {
            "point": {"method": "dc", OTHERS: name},
            "replicate": place,
            "students": {"convnet": [0.9], "mlp": [accuracy + noise]},
            "record": measured(cosine + noise, slope),
        }
        for name, (cosine, slope, accuracy) in POOLS.items()
        for place, noise in enumerate(NOISE)
    ]
    random = [
        {
            "point": {"method": "random-real"},
            "replicate": place,
            "students": {"convnet": [0.9], "mlp": [0.3 + noise]},
        }
        for place, noise in enumerate(NOISE)
    ]
    return own + random


@pytest.fixture
def results(make_search: MakeSearch) -> SearchResults:
    return load_search(make_search(trials(), varied=["method", OTHERS]))


def test_pools_are_ordered_by_their_cosine(results: SearchResults) -> None:
    frame = pool_similarity(results).set_index(OTHERS)
    assert frame["similarity"].to_dict() == pytest.approx({"near": 0.9, "middle": 0.5, "far": 0.1})
    assert frame.index.tolist() == ["near", "middle", "far"]
    near = frame.loc["near"]
    assert near["similarity_initial"] == pytest.approx(0.92)
    assert near["similarity_final"] == pytest.approx(0.88)
    assert near["similarity_main"] == pytest.approx(0.95)
    assert (near["slope"], near["slope_low"]) == pytest.approx((-0.03, -0.03))
    assert near["similarity_low"] < 0.9 < near["similarity_high"]
    # The replicates' noise is shared with random images, replicate by replicate.
    assert frame["gain"].to_dict() == pytest.approx({"near": 0.2, "middle": 0.3, "far": 0.1})
    assert near["gain_high"] == pytest.approx(0.2)
    assert frame["gain_n"].tolist() == [3] * 3


def test_rank_correlations(results: SearchResults) -> None:
    frame = similarity_correlations(results).set_index("of")
    assert frame.loc["slope", ["correlation", "low", "high"]].tolist() == [-1.0] * 3
    # Ranks 3, 2, 1 and 2, 3, 1: 1 - 6 * (1 + 1) / (3 * 8).
    gains = [gain for _, _, gain in POOLS.values()]
    expected = stats.spearmanr([cosine for cosine, _, _ in POOLS.values()], gains).statistic
    assert frame.loc["gain", "correlation"] == pytest.approx(0.5) == expected
    assert frame[["pools", "n"]].to_numpy().tolist() == [[3, 3]] * 2
    said = (
        "over 3 pools: -1.00 [-1.00, -1.00], n = 3: the more similar the pool, the faster the loss "
        "falls."
    )
    slope, gain = correlation_words(similarity_correlations(results))
    assert slope.endswith(said)
    assert gain.endswith(
        "0.50 [0.50, 0.50], n = 3: the more similar the pool, the larger the gain of unseen "
        "students."
    )
    table = similarity_table(results)
    assert said in table.caption
    assert table.cells.rows[0][2:5] == ("0.900", "0.920", "0.880")


def test_seeds_that_differ_widen_the_interval(make_search: MakeSearch) -> None:
    rng = np.random.default_rng(0)
    own = trials()
    for trial in own:
        trial["students"]["mlp"] = [0.3 + 0.1 * rng.random()]
    results = load_search(make_search(own, varied=["method", OTHERS]))
    gain = similarity_correlations(results).set_index("of").loc["gain"]
    assert gain["low"] <= gain["correlation"] <= gain["high"]
    assert gain["low"] < 0 < gain["high"]
    assert correlation_words(similarity_correlations(results))[1].endswith(": undecided.")


def test_what_was_not_measured_is_left_out(make_search: MakeSearch) -> None:
    own = [trial for trial in trials() if trial["point"]["method"] == "dc"]
    plain = [{"point": {"method": "dc", OTHERS: "none"}, "students": {"mlp": [0.4]}}]
    results = load_search(make_search(own[:6] + plain, varied=["method", OTHERS]))
    frame = pool_similarity(results)
    assert frame[OTHERS].tolist() == ["near", "far"]
    assert math.isnan(frame.loc[0, "gain"])  # there are no random images
    assert len(similarity_correlations(results)) == 0
    empty = load_search(make_search(plain, varied=["method", OTHERS], name="plain"))
    assert len(pool_similarity(empty)) == 0
    assert similarity_table(empty).cells.rows == ()
