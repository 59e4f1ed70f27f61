"""Tests of analysis.figures.effects and pairs."""

import numpy as np
import pytest

from analysis.figures.effects import main_effects
from analysis.figures.pairs import pair_effects
from analysis.load import SearchResults

P, T, ALPHA, VARIANT = "pool.main_probability", "kd.temperature", "kd.alpha", "kd.variant"


def test_main_effects(kd: SearchResults) -> None:
    effects = main_effects(kd)
    assert list(effects["setting"].unique()) == [P, VARIANT, ALPHA, T]
    # Every configuration has a level of every setting, also where the setting does not apply.
    assert effects.groupby("setting")["configurations"].sum().tolist() == [14] * 4
    found = effects.set_index(["setting", "level"])
    control = found.loc[VARIANT, "control"]  # 0.55, 0.59, 0.49, 0.53 in replicate 0
    assert control["mean"] == pytest.approx(0.545)
    assert (control["least"], control["most"]) == pytest.approx((0.495, 0.595))
    # At probability 1 one replicate has not run: it counts as the other, 0.51.
    off = found.loc[T, "off"]
    assert off["mean"] == pytest.approx((0.565 + 0.51) / 2)
    assert off["n"] == 2
    assert off["high"] - off["mean"] == pytest.approx(0.0025 * 12.706205 / 1.959964 * 2**0.5)
    total = (found.loc[P, "0.9"]["mean"] + found.loc[P, "1"]["mean"]) / 2  # seven each
    assert off["effect"] == pytest.approx(off["mean"] - total)


def test_pair_effects(kd: SearchResults) -> None:
    effects = pair_effects(kd)
    pairs = set(zip(effects["first"], effects["second"], strict=True))
    assert (P, VARIANT) in pairs
    # A temperature says which variant it is: these cannot interact.
    assert not {(T, VARIANT), (VARIANT, T)} & pairs
    own = effects[(effects["first"] == P) & (effects["second"] == VARIANT)]
    assert own["configurations"].sum() == 14
    table = own.pivot(index="first_level", columns="second_level", values="mean")
    means = [[0.575, 0.565, 0.655], [0.515, 0.51, (0.56 + 0.555 + 2 * 0.595) / 4]]
    assert table.to_numpy() == pytest.approx(np.array(means))
    # In a full table: a mean minus those of its row and its column, plus that of all.
    rows, columns = np.mean(means, axis=1, keepdims=True), np.mean(means, axis=0, keepdims=True)
    expected = means - rows - columns + np.mean(means)
    found = own.pivot(index="first_level", columns="second_level", values="interaction")
    assert found.to_numpy() == pytest.approx(expected)
    assert own["strength"].unique() == pytest.approx([np.sqrt((expected**2).mean())])


def test_the_pair_that_interacts_most_is_first(kd: SearchResults) -> None:
    strengths = pair_effects(kd).drop_duplicates(["first", "second"])["strength"]
    assert strengths.is_monotonic_decreasing
