"""``harness export`` of a search: the file holds what ``load`` gives, by the schema."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from analysis.load import load_search
from harness.cli import app
from harness.errors import ConfigError
from harness.schema import COLUMNS

MakeSearch = Callable[..., Path]
TYPES = {
    "string": (pyarrow.string(), pyarrow.large_string()),
    "int64": (pyarrow.int64(),),
    "float64": (pyarrow.float64(),),
    "bool": (pyarrow.bool_(),),
}
LIST = [{"network": "lenet", "weight": 0.5}, {"network": "mlp", "weight": 0.5}]
VARIED = ("ipc", "kd.variant", "pool.others", "batch_real")


@pytest.fixture
def search(make_search: MakeSearch) -> Path:
    """Settings of all kinds: a list, one of mixed types; a diverged and a missing trial."""
    students = {"convnet": [0.9], "mlp": [0.4, None]}
    points = [
        {"ipc": 1, "kd.variant": "off", "pool.others": "similar", "batch_real": 8},
        {"ipc": 10, "kd.variant": "off", "pool.others": LIST, "batch_real": "all"},
    ]
    trials = [{"point": point, "students": students} for point in points]
    trials.append({"point": {**points[0], "ipc": 50}, "status": "diverged"})
    trials.append({"point": {**points[0], "ipc": 100}, "status": "not_run"})
    return make_search(trials, varied=VARIED)


def export(search: Path, to: Path) -> str:
    result = CliRunner().invoke(app, ["export", str(search), "--to", str(to)])
    if result.exception is not None:
        raise result.exception
    return result.output


def test_parquet_round_trip(search: Path, tmp_path: Path) -> None:
    path = tmp_path / "frame.parquet"
    rows = load_search(search).rows
    assert export(search, path) == f"{path}: {len(rows)} rows\n"
    schema = parquet.read_schema(path)
    names = [column.name for column in COLUMNS]
    assert schema.names == [*names, *VARIED[1:]]
    for column in COLUMNS:
        assert schema.field(column.name).type in TYPES[column.type], column.name
    back = pd.read_parquet(path)
    pd.testing.assert_frame_equal(back[names], rows, check_dtype=False)
    assert back["pool.others"].unique().tolist() == ["similar", "lenet:0.5, mlp:0.5"]
    assert set(back["batch_real"]) == {"8", "all"}  # a file has one type a column
    assert back["student"].isna().sum() == 2  # the diverged trial, by split


def test_csv_round_trip(search: Path, tmp_path: Path) -> None:
    path = tmp_path / "frame.csv"
    export(search, path)
    rows = load_search(search).rows
    back = pd.read_csv(path)
    assert list(back.columns)[: len(COLUMNS)] == [column.name for column in COLUMNS]
    for column in COLUMNS:
        own, found = rows[column.name], back[column.name]
        assert (own.isna() == found.isna()).all(), column.name
        if column.type in ("float64", "int64"):
            assert (own.dropna().astype("float64") == found.dropna()).all(), column.name
        else:
            assert (own.dropna().astype("str") == found.dropna().astype("str")).all(), column.name


def test_what_is_there_is_not_overwritten(search: Path, tmp_path: Path) -> None:
    path = tmp_path / "frame.csv"
    path.write_text("mine")
    with pytest.raises(ConfigError, match="is there already"):
        export(search, path)
    assert path.read_text() == "mine"
    with pytest.raises(ConfigError, match=r"expected a name that ends in \.parquet or \.csv"):
        export(search, tmp_path / "frame.xlsx")
    with pytest.raises(ConfigError, match="is for distilled sets"):
        CliRunner().invoke(
            app, ["export", str(search), "--to", str(tmp_path / "x.csv"), "--format", "dc"],
            catch_exceptions=False,
        )  # fmt: skip
