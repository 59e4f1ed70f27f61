"""Profiles: every key is documented, options win, and what is wrong is said in one line."""

import tomllib
from pathlib import Path

import pytest

import slurm
from harness.errors import ConfigError
from slurm.profile import Profile, read_profile

EXAMPLE = Path(slurm.__file__).parent / "profiles" / "example.toml"


def test_the_example_has_every_key_and_is_legal() -> None:
    assert set(tomllib.loads(EXAMPLE.read_text())) == set(Profile.model_fields)
    assert read_profile(EXAMPLE, {}).extra == {"reservation": "course", "nice": 100}


def test_options_win_over_the_file() -> None:
    profile = read_profile(EXAMPLE, {"partition": "other", "nodes": None, "time_min": 10})
    assert (profile.partition, profile.nodes, profile.time_min) == ("other", 2, 10)


def test_without_a_file_the_defaults_count() -> None:
    assert read_profile(None, {}) == Profile()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("partitoin = 'x'", r"unknown key 'partitoin'; did you mean 'partition'\?"),
        ("nodes = 0", "nodes: got 0; input should be greater than or equal to 1"),
        ("nodes = '2'", "nodes: got '2'; input should be a valid integer"),
        ("shape = 'ring'", "shape: got 'ring'; input should be 'cluster', 'elastic' or 'array'"),
        ("time_min = 2\nsignal_s = 120", "signal_s: got 120, expected less than the time limit"),
        ("nodes = ", "broken TOML"),
        ("trials_per_gpu = 0", "trials_per_gpu"),
        ("port = 70000", "port: got 70000"),
    ],
)
def test_what_is_wrong_is_said(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said) as error:
        read_profile(path, {})
    assert "\n" not in str(error.value)


def test_a_profile_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: No such file"):
        read_profile(tmp_path / "none.toml", {})
