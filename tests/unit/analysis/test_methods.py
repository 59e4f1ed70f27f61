"""The table of methods: means over sets, paired gains over the baselines, seconds beside DC's."""

import math
from pathlib import Path

import pytest

from analysis.exports import read_export
from analysis.load import load_search
from analysis.methods import compare, main, markdown
from analysis.statistics import mean_interval
from tests.unit.analysis.conftest import MakeSearch

ACCURACIES = {
    ("random-real", None): (0.40, 0.50),
    ("kmeans", None): (0.55, 0.55),
    ("dc", 0): (0.60, 0.64),
    ("dc", 5): (0.66, 0.66),
    ("dm", 0): (0.50, 0.70),
}
COSTS = {("dc", 0): 1000.0, ("dc", 5): 1500.0, ("dm", 0): 250.0}


@pytest.fixture
def folder(make_search: MakeSearch) -> Path:
    trials = [
        {
            "point": {"method": method, "ipc": 1}
            | ({} if networks is None else {"acc.networks": networks}),
            "replicate": replicate,
            "cost_s": COSTS.get((method, networks), 3.0),
            "students": {"convnet": [mean - 0.01, mean + 0.01], "mlp": [0.1]},
        }
        for (method, networks), means in ACCURACIES.items()
        for replicate, mean in enumerate(means)
    ]
    trials.append({"point": {"method": "idc", "ipc": 1}, "status": "not_run", "students": {}})
    return make_search(trials, varied=["method", "ipc", "acc.networks"])


def test_rows_are_means_over_sets_with_paired_gains(folder: Path) -> None:
    rows = {
        (row["method"], row["networks"]): row
        for row in compare(load_search(folder)).to_dict("records")
    }
    assert set(rows) == {(method, networks or 0) for method, networks in ACCURACIES}
    dc = rows["dc", 0]
    expected = mean_interval([0.60, 0.64])
    assert dc["n"] == 2
    assert (dc["mean"], dc["low"], dc["high"]) == pytest.approx(expected[:3])
    gain = mean_interval([0.20, 0.14])
    assert (dc["gain"], dc["gain_low"], dc["gain_high"]) == pytest.approx(gain[:3])
    assert dc["gain_kmeans"] == pytest.approx(0.07)
    assert rows["random-real", 0]["gain"] == 0.0


def test_seconds_are_of_an_iteration_and_beside_those_of_dc(folder: Path) -> None:
    rows = {
        (row["method"], row["networks"]): row
        for row in compare(load_search(folder)).to_dict("records")
    }
    assert rows["dc", 0]["seconds"] == pytest.approx(1.0)
    assert rows["dc", 5]["ratio"] == pytest.approx(1.5)
    assert rows["dm", 0]["ratio"] == pytest.approx(0.25)
    assert math.isnan(rows["kmeans", 0]["seconds"])


def test_the_table_is_markdown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder)]) == 0
    out = capsys.readouterr().out
    assert out == markdown(compare(load_search(folder)))
    assert "| 1 | dc | - | 62.0 |" in out
    assert "| 1 | dc | 5 | 66.0 |" in out
    assert len(out.splitlines()) == 2 + len(ACCURACIES)


def test_the_documented_table_is_made_from_the_committed_rows() -> None:
    docs = Path(__file__).parents[3] / "docs"
    results = read_export(docs / "findings" / "rows" / "methods")
    assert markdown(compare(results)) in (docs / "methods.md").read_text()


def test_what_is_no_search_of_methods_is_one_line(
    probability_search: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in ([str(probability_search)], [str(tmp_path / "nothing")], []):
        assert main(arguments) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert len(said.err.splitlines()) == 1
