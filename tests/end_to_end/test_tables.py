"""From a search on the digits to its tables: what a researcher reads off the same rows."""

import json
import math
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd
import pytest

from tests.end_to_end.conftest import TINY, Call

POOL = """run.similarity_draws = 1
pool.others = [{ network = "mlp", weight = 1.0 }]
"""
# Everything that DD-Ranking's scores and the interaction need, and each setting where it counts.
SPACE = TINY.replace(
    "pool.main_probability = { grid = [0.0, 0.5, 1.0] }",
    """method = { grid = ["dc", "random-real", "full-data"] }
pool.main_probability = { grid = [1.0, 0.5], when = { method = "dc" } }
kd.variant = { grid = ["off", "softened"], when = { method = "dc" } }

[space."evaluation.augmentation"]
grid = ["none", "crop-scale-rotate"]
when = { method = ["dc", "random-real"] }
""",
).replace("[base]\n", "[base]\n" + POOL)

NONE, AUGMENTED = "none", "crop-scale-rotate"


def means(out: Path, metric: str) -> dict[tuple[str, Any, str, str], float]:
    """Mean over replicates, by method, main-model probability, KD and augmentation."""
    found: dict[tuple[str, Any, str, str], list[float]] = {}
    for path in out.glob("trials/*/trial.json"):
        record = json.loads(path.read_text())
        config = record["config"]
        chance = config["pool"]["main_probability"] if config["method"] == "dc" else None
        recipe = (config["kd"]["variant"], config["evaluation"]["augmentation"])
        found.setdefault((config["method"], chance, *recipe), []).append(record["metrics"][metric])
    assert {len(values) for values in found.values()} == {2}
    return {key: fmean(values) for key, values in found.items()}


def scale(x: float) -> float:
    return (math.e**x - math.e**-1) / (math.e - math.e**-1)


@pytest.mark.slow
def test_scores_interaction_and_similarity_of_one_search(tmp_path: Path, call: Call) -> None:
    space, out = tmp_path / "a.toml", tmp_path / "out"
    space.write_text(SPACE)
    said = call("search", space, "--out", out, "--address", "inline")
    assert said.status == 0, said.err

    def table(name: str) -> pd.DataFrame:
        said = call("report", out, "--table", name, "--to", tmp_path / f"{name}.csv")
        assert said.status == 0, said.err
        return pd.read_csv(tmp_path / f"{name}.csv")

    main = means(out, "test/main")
    found = table("scores")
    plain = found[found["is_main"] & (found["kd.variant"] == "off")]
    for chance in (1.0, 0.5):
        sets = {name: main["dc", chance, "off", name] for name in (NONE, AUGMENTED)}
        gains = {name: sets[name] - main["random-real", None, "off", name] for name in sets}
        hlr = next(v for key, v in main.items() if key[0] == "full-data") - sets[NONE]
        own = plain[plain["pool.main_probability"] == chance]
        for name, gain in gains.items():
            row = own[own["evaluation.augmentation"] == name].iloc[0]
            assert row["ior"] == pytest.approx(gain)
            assert row["hlr"] == pytest.approx(hlr)
            # Of each replicate, then averaged: the mean of exponentials is near that of the mean.
            assert row["lrs"] == pytest.approx(scale((gain - hlr) / 2), abs=0.01)
            assert row["ars"] == pytest.approx(scale(sum(gains.values()) / 2), abs=0.01)
            assert (row["ior_n"], row["ars_n"]) == (2, 2)
            assert pd.isna(row["missing"])

    unseen = means(out, "validation/unseen_mean")
    found = table("interaction")
    for name in (NONE, AUGMENTED):
        y = {(p, kd): unseen["dc", p, kd, name] for p in (1.0, 0.5) for kd in ("off", "softened")}
        expected = y[0.5, "softened"] - y[1.0, "softened"] - (y[0.5, "off"] - y[1.0, "off"])
        rows = found[found["group"].str.endswith(f"evaluation.augmentation = {name}")]
        row = rows[rows["effect"] == "interaction"].iloc[0]
        assert row["mean"] == pytest.approx(expected)
        assert row["low"] <= row["mean"] <= row["high"]
        assert row["n"] == 2
    assert "interaction" in call("report", out, "--table", "interaction").out

    found = table("pool_similarity")
    assert set(found["pool.main_probability"]) == {0.5}  # at 1.0 there are no others
    assert found["similarity"].between(-1, 1).all()
    row = found[(found["kd.variant"] == "off") & (found["evaluation.augmentation"] == NONE)].iloc[0]
    gain = unseen["dc", 0.5, "off", NONE] - unseen["random-real", None, "off", NONE]
    assert row["gain"] == pytest.approx(gain)
