"""Tests of harness.overrides."""

from pathlib import Path

import pytest

from harness.config import make_config
from harness.errors import ConfigError
from harness.overrides import parse_assignments, read_settings


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x=0.9", 0.9),
        ("x=1e-3", 1e-3),
        ("x=10", 10),
        ("x=true", True),
        ("x=softened", "softened"),
        ("x='softened'", "softened"),
        ('x=["mlp", "lenet"]', ["mlp", "lenet"]),
        ('x=[{network="lenet", weight=1.0}]', [{"network": "lenet", "weight": 1.0}]),
        ("x=similar-depth1", "similar-depth1"),
        ("x=/data/#1=2", "/data/#1=2"),
        ("x=", ""),
        (" x = 3 ", 3),
    ],
)
def test_values(text: str, value: object) -> None:
    found = parse_assignments([text])
    assert found == {"x": value}
    assert type(found["x"]) is type(value)


def test_later_assignments_win() -> None:
    assert parse_assignments(["ipc=1", "seed=3", "ipc=10"]) == {"ipc": 10, "seed": 3}


@pytest.mark.parametrize("text", ["ipc", "=3", "", " = 3"])
def test_an_assignment_needs_a_key_and_a_sign(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_assignments([text])
    assert str(caught.value) == f"--set: got '{text}', expected key=value, for example --set ipc=10"


@pytest.mark.parametrize("value", ['["mlp"', "{a=", "'mlp", '"mlp'])
def test_half_a_toml_value_is_not_taken_for_text(value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_assignments([f"evaluation.students={value}"])
    assert str(caught.value).startswith(f"--set: 'evaluation.students={value}': broken TOML value")


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_tables_and_quoted_names_are_the_same(tmp_path: Path) -> None:
    quoted = read_settings(
        write(tmp_path / "a.toml", 'ipc = 10\n"pool.warmup" = 5\n[pool]\nmain_probability = 0.5\n')
    )
    tables = read_settings(
        write(tmp_path / "b.toml", "ipc = 10\npool.warmup = 5\npool.main_probability = 0.5\n")
    )
    assert quoted == tables == {"ipc": 10, "pool": {"warmup": 5, "main_probability": 0.5}}
    assert make_config(quoted).pool.warmup == 5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ipc = = 3", "broken TOML: Invalid value (at line 1, column 7)"),
        ('"pool.warmupp" = 3', "unknown setting 'pool.warmupp'; did you mean 'pool.warmup'?"),
        ('pool = 3\n"pool.warmup" = 3', "pool.warmup: 'pool' holds 3, expected a table"),
    ],
)
def test_broken_files(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings(write(tmp_path / "run.toml", text))
    assert words in str(caught.value)
    assert "run.toml" in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings(tmp_path / "no.toml")
    assert str(caught.value) == (
        f"--config: {tmp_path / 'no.toml'}: No such file or directory; give an existing file"
    )


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "set.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"set\.toml: not text \(.*\); expected TOML"):
        read_settings(tmp_path / "set.toml")
