"""Tests of analysis.stopped: what was stopped early is compared with nothing."""

from pathlib import Path

import pytest

from analysis.aggregate import by_setting
from analysis.load import SearchResults, load_search
from analysis.report import write_report
from analysis.stopped import describe_stopped, stopped_table, without_stopped
from analysis.summary import summarise
from tests.unit.analysis.conftest import MakeSearch

TRIALS = [
    {"point": {"ipc": 1}, "students": {"mlp": [0.5]}},
    {"point": {"ipc": 10}, "status": "stopped_early", "quick": [[2, 0.2], [4, 0.3]]},
    {"point": {"ipc": 20}, "status": "stopped_early", "quick": [[2, 0.1]]},
    {"point": {"ipc": 1}, "students": {"mlp": [0.6]}, "replicate": 1},
    {"point": {"ipc": 10}, "students": {"mlp": [0.9]}, "replicate": 1},
    {"point": {"ipc": 20}, "status": "stopped_early", "quick": [], "replicate": 1},
]


@pytest.fixture
def results(make_search: MakeSearch) -> SearchResults:
    return load_search(make_search(TRIALS, varied=["ipc"]))


def test_a_configuration_of_which_one_was_stopped_is_in_no_comparison(
    results: SearchResults,
) -> None:
    frame = by_setting(without_stopped(results))
    assert frame["ipc"].tolist() == [1]
    assert frame["n"].tolist() == [2]
    assert set(without_stopped(results).rows["trial_id"]) == {"00000-abcd", "00003-abcd"}
    assert "Best configuration: ipc = 1; mean validation accuracy of unseen" in summarise(results)


def test_they_are_listed_furthest_first(results: SearchResults) -> None:
    table = stopped_table(results)
    assert table.cells.rows == (("ipc = 10", "1", "4", "30.0"), ("ipc = 20", "2", "2", "10.0"))
    assert table.frame["quick"].tolist() == [0.3, 0.1]


def test_it_says_how_many_where_and_at_which_scores(results: SearchResults) -> None:
    (line,) = describe_stopped(results)
    assert line.startswith("3 of 6 trials were stopped early")
    assert "(1 at iteration 0, 1 at iteration 2, 1 at iteration 4" in line
    assert "quick validation accuracy 10.0 to 30.0%" in line
    assert line in summarise(results)


def test_the_report_lists_them_where_asked(results: SearchResults, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report([results], path)
    assert "<h3>Stopped early</h3>" not in path.read_text()
    write_report([results], path, include_stopped=True)
    assert "<h3>Stopped early</h3>" in path.read_text()
    assert "ipc = 20" in path.read_text()


def test_without_any_nothing_changes(make_search: MakeSearch) -> None:
    results = load_search(make_search([{"students": {"mlp": [0.4]}}]))
    assert without_stopped(results) is results
    assert describe_stopped(results) == []


def test_the_only_configuration_may_be_stopped(make_search: MakeSearch) -> None:
    stopped = {"status": "stopped_early"}
    results = load_search(make_search([{"students": {"mlp": [0.4]}}, {**stopped, "replicate": 1}]))
    assert len(by_setting(without_stopped(results))) == 0
    assert stopped_table(results).cells.rows == (("(no setting varied)", "1", "2", "25.0"),)
    assert summarise(results).startswith("Nothing") or "stopped early" in summarise(results)


def test_a_record_without_its_iteration_is_damaged(make_search: MakeSearch) -> None:
    folder = make_search([{"status": "stopped_early"}])
    file = folder / "trials/00000-abcd/trial.json"
    file.write_text(file.read_text().replace('"stopped"', '"halted"'))
    with pytest.warns(UserWarning, match="where it was stopped is not there"):
        results = load_search(folder)
    assert results.trials["status"].tolist() == ["error"]
