"""Searches of each schema version, as they were written, still open; ``v1`` holds real trials."""

import json
from pathlib import Path

import pytest

from analysis.aggregate import by_setting
from analysis.interaction import pool_and_kd
from analysis.load import load_search, read_record
from analysis.summary import summarise
from analysis.views import TABLES, make_tables
from harness.schema import COLUMNS, SCHEMA_VERSION, UNSEEN_MEAN

STORED = Path(__file__).parent / "stored"


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
def test_a_stored_search_opens(version: int) -> None:
    results = load_search(STORED / f"v{version}")
    assert set(results.trials["status"]) == {"ok"}
    assert set(results.rows["schema_version"]) == {version}
    assert set(results.rows.columns) >= {column.name for column in COLUMNS}
    trial = results.trials["trial_id"].iloc[0]
    assert read_record(results, trial)["schema_version"] == version
    assert summarise(results)
    assert [table.name for table in make_tables(results, list(TABLES))] == list(TABLES)


def test_numbers_of_version_1() -> None:
    results = load_search(STORED / "v1")
    # A trial's own mean is made by other code, before the rows are written.
    frame = by_setting(results)
    for row in frame.to_dict("records"):
        own = results.trials[results.trials["kd.variant"] == row["kd.variant"]]
        assert row["n"] == len(own) == 2
        assert row["mean"] == pytest.approx(own[UNSEEN_MEAN].mean())
    assert set(results.rows["track"]) == {"distilled"}  # columns that it was written without
    assert set(results.rows["elf_loss"]) == {"off"}
    texts = [path.read_text() for path in (STORED / "v1" / "trials").glob("*/trial.json")]
    spent = sorted(json.loads(text)["timings"]["eval_s"] for text in texts)
    assert sorted(results.trials["eval_s"]) == spent
    assert len(pool_and_kd(results)) == 0  # one probability only
