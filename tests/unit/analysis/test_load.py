"""Tests of analysis.load."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from analysis.load import load, load_search
from harness.errors import ResultError
from harness.schema import COLUMNS, EVALUATIONS_FILE, PLAN_FILE, SCHEMA_VERSION, SEARCH_FILE

MakeSearch = Callable[..., Path]
STUDENTS = {"convnet": [0.9], "mlp": [0.4, 0.5]}
OK = {"students": STUDENTS}


@pytest.fixture(autouse=True)
def no_other_warnings() -> None:
    """A warning that a test does not expect fails it."""
    warnings.simplefilter("error")


def test_reads_rows_and_trials(make_search: MakeSearch) -> None:
    points = [{"ipc": 1}, {"ipc": 10}]
    trials = [{**OK, "point": point, "replicate": 4} for point in points]
    results = load_search(make_search(trials, varied=["ipc"]))
    assert results.name == "demo"
    assert results.title == "Main-model probability"
    assert results.question == "Which probability generalises best?"
    assert results.varied == ("ipc",)
    assert results.provenance["git_hash"] == "abc123"
    assert tuple(results.rows.columns) == tuple(column.name for column in COLUMNS)
    assert len(results.rows) == 2 * 3 * 2
    assert list(results.trials.columns)[:5] == [
        "trial_id", "status", "replicate", "ipc", "validation/unseen_mean",
    ]  # fmt: skip
    assert results.trials["ipc"].tolist() == [1, 10]
    assert results.trials["replicate"].tolist() == [4, 4]
    assert results.trials["status"].tolist() == ["ok", "ok"]


def test_types_do_not_depend_on_what_is_null(make_search: MakeSearch) -> None:
    healthy = load_search(make_search([OK], name="healthy")).rows
    diverged = load_search(make_search([{"status": "diverged"}], name="diverged")).rows
    empty = load_search(make_search([], name="empty")).rows
    assert diverged["student"].isna().tolist() == [True, True]
    assert diverged["split"].tolist() == ["validation", "test"]
    assert healthy.dtypes.equals(diverged.dtypes)
    assert healthy.dtypes.equals(empty.dtypes)


@pytest.mark.parametrize("status", ["oom", "error", "interrupted", "stopped_early"])
def test_trials_without_rows_keep_their_status(make_search: MakeSearch, status: str) -> None:
    results = load_search(make_search([{"status": status}, OK]))
    assert results.trials["status"].tolist() == [status, "ok"]
    assert set(results.rows["trial_id"]) == {"00001-abcd"}


def test_a_planned_trial_without_a_record_is_not_run(make_search: MakeSearch) -> None:
    folder = make_search([OK, {"status": "not_run"}, {**OK, "replicate": 1}])
    # Its rows are there but its record, which is written last, is not yet.
    (folder / "trials/00002-abcd/trial.json").unlink()
    results = load_search(folder)
    assert results.trials["status"].tolist() == ["ok", "not_run", "not_run"]
    assert set(results.rows["trial_id"]) == {"00000-abcd"}


def test_a_search_that_has_just_begun(make_search: MakeSearch) -> None:
    folder = make_search([], varied=["ipc"])
    (folder / PLAN_FILE).unlink()
    results = load_search(folder)
    assert len(results.trials) == len(results.rows) == 0
    assert list(results.trials.columns)[:5] == [
        "trial_id", "status", "replicate", "ipc", "validation/unseen_mean",
    ]  # fmt: skip


def test_a_torn_last_line_is_dropped(make_search: MakeSearch) -> None:
    folder = make_search([OK])
    with (folder / PLAN_FILE).open("ab") as file:
        file.write(b'{"trial_id": "00001-\xc3')
    with pytest.warns(UserWarning, match=r"plan\.jsonl: dropped the torn last line 2"):
        results = load_search(folder)
    assert results.trials["trial_id"].tolist() == ["00000-abcd"]


def test_a_whole_last_line_without_a_newline_is_kept(make_search: MakeSearch) -> None:
    folder = make_search([OK])
    plan = folder / PLAN_FILE
    plan.write_text(plan.read_text().rstrip("\n"))
    assert len(load_search(folder).trials) == 1


def test_equal_lines_count_once(make_search: MakeSearch) -> None:
    folder = make_search([OK])
    plan = folder / PLAN_FILE
    plan.write_text(plan.read_text() + "\n" + plan.read_text())
    assert len(load_search(folder).trials) == 1


LINE = {"trial_id": "b", "replicate": 0, "point": {}}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"trial_id": ', "line 1 column"),
        ("[1]", "got list, expected a JSON object"),
        ("[" * 100_000, "recursion limit exceeded"),
        (json.dumps({**LINE, "trial_id": "../x"}), "trial_id is '../x', expected the name"),
        (json.dumps({**LINE, "trial_id": ".."}), r"trial_id is '\.\.', expected the name"),
        (json.dumps({**LINE, "replicate": None}), "replicate is None, expected an integer"),
        (json.dumps({"trial_id": "b", "replicate": 0}), "point is None, expected settings"),
        (json.dumps({**LINE, "point": {"ipc": 1}}), "point sets 'ipc', which .* does not vary"),
        (json.dumps({**LINE, "trial_id": "00000-abcd", "replicate": 9}), "planned before"),
    ],
)
def test_any_other_broken_line_is_an_error(make_search: MakeSearch, line: str, words: str) -> None:
    folder = make_search([OK])
    plan = folder / PLAN_FILE
    plan.write_text(plan.read_text() + line + "\n" + json.dumps(LINE) + "\n")
    with pytest.raises(ResultError, match=rf"plan\.jsonl, line 2: .*{words}"):
        load_search(folder)


def test_a_plan_that_cannot_be_read(make_search: MakeSearch) -> None:
    folder = make_search([])
    (folder / PLAN_FILE).unlink()
    (folder / PLAN_FILE).mkdir()
    with pytest.raises(ResultError, match=r"plan\.jsonl: cannot be read"):
        load_search(folder)


@pytest.mark.parametrize(
    "damage", [b"", b"PAR1 no parquet at all PAR1", None], ids=["empty", "garbage", "missing"]
)
def test_damaged_rows_are_not_used(make_search: MakeSearch, damage: bytes | None) -> None:
    folder = make_search([OK, {**OK, "replicate": 1}])
    path = folder / "trials/00000-abcd" / EVALUATIONS_FILE
    path.unlink()
    if damage is not None:
        path.write_bytes(damage)
    with pytest.warns(UserWarning, match=r"00000-abcd/evaluations\.parquet: cannot be read"):
        results = load_search(folder)
    assert results.trials["status"].tolist() == ["error", "ok"]
    assert set(results.rows["trial_id"]) == {"00001-abcd"}


def test_rows_cut_short_are_not_used(make_search: MakeSearch) -> None:
    folder = make_search([OK])
    path = folder / "trials/00000-abcd" / EVALUATIONS_FILE
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="cannot be read"):
        assert load_search(folder).trials["status"].tolist() == ["error"]


def test_a_missing_column_is_named(make_search: MakeSearch) -> None:
    folder = make_search([OK])
    path = folder / "trials/00000-abcd" / EVALUATIONS_FILE
    parquet.write_table(parquet.read_table(path).drop_columns(["split"]), path)
    with pytest.warns(UserWarning, match="column 'split' is missing"):
        assert load_search(folder).trials["status"].tolist() == ["error"]


def test_a_damaged_text_is_found_in_its_file(make_search: MakeSearch) -> None:
    folder = make_search([OK])
    path = folder / "trials/00000-abcd" / EVALUATIONS_FILE
    table = parquet.read_table(path)
    bad = pyarrow.array([b"\xff"] * len(table), pyarrow.binary())
    bad = pyarrow.Array.from_buffers(pyarrow.string(), len(bad), bad.buffers())
    place = table.column_names.index("device")
    parquet.write_table(table.set_column(place, "device", bad), path)
    with pytest.warns(UserWarning, match="UTF8"):
        assert load_search(folder).trials["status"].tolist() == ["error"]


def test_rows_of_another_trial_are_not_used(make_search: MakeSearch) -> None:
    folder = make_search([OK, {**OK, "replicate": 1}])
    first, second = (folder / f"trials/0000{n}-abcd" / EVALUATIONS_FILE for n in (0, 1))
    second.write_bytes(first.read_bytes())
    with pytest.warns(UserWarning, match="it holds rows of trial 00000-abcd"):
        assert load_search(folder).trials["status"].tolist() == ["ok", "error"]


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"status": "fine"}', '{"status": ["ok"]}', "\ud800", "[" * 100_000]
)
def test_a_damaged_record_is_an_error_of_its_trial(make_search: MakeSearch, text: str) -> None:
    folder = make_search([OK])
    (folder / "trials/00000-abcd/trial.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.warns(UserWarning, match=r"00000-abcd/trial\.json: cannot be read"):
        results = load_search(folder)
    assert results.trials["status"].tolist() == ["error"]
    assert len(results.rows) == 0


def test_newer_files_ask_for_an_update(make_search: MakeSearch) -> None:
    newer = SCHEMA_VERSION + 1
    record = make_search([OK], name="record")
    path = record / "trials/00000-abcd/trial.json"
    path.write_text(json.dumps({"status": "ok", "schema_version": newer}))
    with pytest.raises(ResultError, match=rf"trial\.json: schema_version is {newer}.*update"):
        load_search(record)
    rows = make_search([OK], name="rows")
    path = rows / "trials/00000-abcd" / EVALUATIONS_FILE
    # A newer table may lack today's columns: the version is what to say.
    parquet.write_table(pyarrow.table({"schema_version": [newer]}), path)
    with pytest.raises(ResultError, match=rf"parquet: schema_version is {newer}.*update"):
        load_search(rows)


def test_a_folder_without_a_search(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match=r"no search\.toml in it, expected .*--out"):
        load_search(tmp_path)
    with pytest.raises(ResultError, match="no such folder"):
        load_search(str(tmp_path / "nowhere"))
    (tmp_path / "file").touch()
    with pytest.raises(ResultError, match="no such folder"):
        load_search(tmp_path / "file")


@pytest.mark.parametrize(
    ("text", "words"), [("title = ", "expected TOML"), ("space = 3", r"expected a table \[space\]")]
)
def test_a_broken_search_file(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / SEARCH_FILE).write_text(text)
    with pytest.raises(ResultError, match=words):
        load_search(tmp_path)


def test_texts_are_optional(tmp_path: Path) -> None:
    (tmp_path / SEARCH_FILE).write_text("")
    results = load_search(tmp_path)
    assert (results.title, results.question, results.varied) == (tmp_path.name, "", ())


def test_lists_become_text(make_search: MakeSearch) -> None:
    others = [{"network": "lenet", "weight": 0.25}, {"network": "mlp", "weight": 0.75}]
    points = [
        {"pool.others": "similar", "evaluation.students": ["mlp"]},
        {"pool.others": others, "evaluation.students": ["mlp", "lenet"]},
        {"pool.others": {"b": 1, "a": 2}, "evaluation.students": []},
    ]
    trials = [{"point": point, "status": "not_run"} for point in points]
    results = load_search(make_search(trials, varied=points[0]))
    assert results.trials["pool.others"].tolist() == [
        "similar",
        "lenet:0.25, mlp:0.75",
        '{"a": 2, "b": 1}',
    ]
    assert results.trials["evaluation.students"].tolist() == ["mlp", "mlp, lenet", "(none)"]


def test_load_keeps_the_order(make_search: MakeSearch) -> None:
    folders = [make_search([OK], name=name) for name in ("b", "a")]
    assert [results.name for results in load(map(str, folders))] == ["b", "a"]
