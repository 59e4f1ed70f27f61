"""Methods of other packages: the whole example of CONTRIBUTING.md, and names that are none."""

import json
import re
import shlex
import sys
from pathlib import Path

import pandas as pd
import pytest

from harness.config import make_config
from harness.dotted import get_dotted
from harness.errors import ConfigError
from harness.plugins import load_plugin
from harness.search.space import read_space
from tests.end_to_end.conftest import Call, shell

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
(EXAMPLE,) = re.findall(r"```python\n(.+?)```", TEXT, re.DOTALL)
(COMMAND,) = re.findall(r"^harness (run .+)$", TEXT, re.MULTILINE)
NAME = "drifting.means:Means"
QUICK = [
    *("--set", 'evaluation.students=["mlp"]', "--set", "evaluation.student_seeds=1"),
    *("--set", "evaluation.epochs=2", "--set", "run.report_every=1000"),
]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example as a package of its own, which nothing of this project knows."""
    folder = tmp_path / "elsewhere" / "drifting"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "means.py").write_text(EXAMPLE)
    monkeypatch.syspath_prepend(folder.parent)
    forget(monkeypatch)
    return folder


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process."""
    load_plugin.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "drifting"]:
        monkeypatch.delitem(sys.modules, name)


def settings(**more: object) -> dict[str, object]:
    return {"method": NAME, "iterations": 4, **more}


def test_the_example_runs_as_shown_and_resumes_bit_for_bit(
    call: Call, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = call(*shlex.split(COMMAND), *QUICK)
    assert said.status == 0, said.err
    record = json.loads((tmp_path / "runs/means/trial.json").read_text())
    assert len(record["matching_loss"]) == 10
    assert record["matching_loss"][-1] < record["matching_loss"][0] / 2
    assert record["config"]["plugin"] == {"rate": 0.2}
    code = record["config"]["method_code"]
    assert record["provenance"]["plugin"] == {"method": NAME, "code": code}
    assert set(pd.read_parquet(tmp_path / "runs/means/evaluations.parquet")["method"]) == {NAME}

    shared = [*QUICK, "--store", tmp_path / "store"]
    for iterations, out in ((4, "half"), (10, "rest")):
        more = ["--set", f"iterations={iterations}", "--out", tmp_path / out]
        assert (
            call(*shlex.split(COMMAND)[:1], *shlex.split(COMMAND)[3:], *more, *shared).status == 0
        )
    first, second = (
        (path / "distilled.safetensors").read_bytes()
        for path in (tmp_path / "runs/means", tmp_path / "rest")
    )
    assert first == second
    assert "10 iterations" in said.out
    assert len({path.parent for path in (tmp_path / "store").rglob("key.json")}) == 1  # one lineage


@pytest.mark.ray
def test_a_search_on_workers_varies_its_settings(package: Path, tmp_path: Path) -> None:
    space = tmp_path / "rates.toml"
    space.write_text(
        f'''
title = "Rates"
question = "Which?"
[base]
method = "{NAME}"
iterations = 3
evaluation.students = ["mlp"]
evaluation.student_seeds = 1
evaluation.epochs = 2
[space]
plugin.rate = {{ grid = [0.1, 1.0] }}
'''
    )
    out = tmp_path / "out"
    said = shell("search", space, "--out", out, more_path=package.parent)
    assert said.status == 0, said.out + said.err
    said = shell("report", out, "--to", out / "table.csv")  # without the package
    assert said.status == 0, said.err
    table = (out / "table.csv").read_text()
    assert "0.1" in table


def test_its_code_is_part_of_what_a_set_is_known_by(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = make_config(settings())
    plan = before.model_dump(mode="json")
    assert make_config(plan) == before
    (package / "helper.py").write_text("STEPS = 1\n")
    forget(monkeypatch)
    after = make_config(settings())
    assert after.digest() != before.digest()
    assert after.lineage() != before.lineage()
    with pytest.raises(ConfigError, match="is not what it was"):
        make_config(plan)


def test_its_settings_are_checked_and_filled_in(package: Path) -> None:
    config = make_config(settings())
    assert config.plugin == {"rate": 0.1}
    assert config.pool.main_probability == 1.0
    assert make_config(settings(plugin={"rate": 1})).digest() != config.digest()
    assert make_config(settings(plugin={"rate": 0.1})).digest() == config.digest()
    assert "kmeans" not in config.identity()
    assert config.identity()["plugin"] == {"rate": 0.1}


def test_a_space_holds_methods_of_both_kinds(package: Path) -> None:
    space = read_space(
        {
            "title": "Both",
            "question": "Which?",
            "base": {"pool.main_probability": 1.0},
            "space": {
                "method": {"grid": ["dc", NAME]},
                "plugin": {"rate": {"grid": [0.1, 0.5], "when": {"method": NAME}}},
            },
        },
        "both.toml",
        {},
    )
    points = list(space.points())
    assert [point.get("plugin.rate") for point in points] == [None, 0.1, 0.5]
    rates = [get_dotted(space.config(point), "plugin.rate") for point in points]
    assert rates == [None, 0.1, 0.5]
    assert read_space(space.resolved(), "both.toml", {}).parameters == space.parameters


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["method=nowhere.at:All"], "'nowhere.at' cannot be imported (ModuleNotFoundError"),
        (["method=drifting.means:Mean"], "no 'Mean' in 'drifting.means'; did you mean 'Means'?"),
        (["method=drifting.means:MeansSettings"], "is no Distiller, it has no load_state_dict"),
        (["method=drifting.means:Any"], "is no Distiller"),
        (["method=drifting:"], "got 'drifting:', expected package.module:Class"),
        (["method=drifting.broken:Means"], "(ZeroDivisionError: division by zero)"),
        (["method=harness.distill.dc:DC"], "which is built in; use 'dc'"),
        (["method=dcc"], "or package.module:Class"),
        ([f"method={NAME}", "plugin.rate=2"], "plugin.rate: got 2, input should be less"),
        ([f"method={NAME}", "plugin.rat=1"], "did you mean 'plugin.rate'?"),
        ([f"method={NAME}", "plugin=1"], "unknown setting 'plugin'"),
        ([f"method={NAME}", "acc.networks=2"], "draws no networks"),
        ([f"method={NAME}", "init=mix"], "has no mosaics"),
        (["plugin.rate=0.5"], "plugin.rate: method 'dc' has no such setting"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    call: Call, package: Path, tmp_path: Path, flags: list[str], said: str
) -> None:
    (package / "broken.py").write_text("1 / 0\n")
    arguments = [part for flag in flags for part in ("--set", flag)]
    found = call("run", "--out", tmp_path / "out", *arguments)
    assert (found.status, found.out, found.err.count("\n")) == (2, "", 1)
    assert said in found.err
    assert not (tmp_path / "out").exists()


def test_a_set_of_others_imports_nothing(
    call: Call, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(*shlex.split(COMMAND), *QUICK).status == 0
    for path in package.iterdir():
        if path.is_file():
            path.write_text("raise SystemExit('imported')")
    forget(monkeypatch)
    said = call("evaluate", tmp_path / "runs/means", "--no-ranking", *QUICK[:-2])
    assert said.status == 0, said.err
