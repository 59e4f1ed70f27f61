"""Tests of harness.provenance."""

import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from harness import provenance
from harness.provenance import describe, git_hash, versions


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the code think that it runs from another folder, which holds no checkout."""
    folder = tmp_path / "copy" / "harness"
    folder.mkdir(parents=True)
    monkeypatch.setattr(provenance, "__file__", str(folder / "provenance.py"))
    return folder


def git(folder: Path, *arguments: str) -> str:
    options = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *options, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def fresh_hash() -> str | None:
    return git_hash.__wrapped__()


def test_hash_of_a_checkout(package: Path) -> None:
    root = package.parent
    (package / "a.py").write_text("a = 1\n")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    commit = git(root, "rev-parse", "HEAD")
    assert fresh_hash() == commit
    git(root, "tag", "-a", "v1", "-m", "a tag does not hide the hash")
    assert fresh_hash() == commit
    (package / "a.py").write_text("a = 2\n")
    assert fresh_hash() == f"{commit}-dirty"


def test_no_checkout_no_hash(package: Path) -> None:
    assert fresh_hash() is None
    (package.parent / "GIT_HASH").write_text("  \n")
    assert fresh_hash() is None


def test_a_copy_without_history_may_carry_its_hash(package: Path) -> None:
    (package.parent / "GIT_HASH").write_text("abc123\n")
    assert fresh_hash() == "abc123"


def test_a_broken_checkout_has_no_hash(package: Path) -> None:
    (package.parent / ".git").mkdir()
    assert fresh_hash() is None


def test_no_git_no_hash(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (package.parent / ".git").mkdir()
    monkeypatch.setenv("PATH", str(package))
    assert fresh_hash() is None


def test_versions_name_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "PACKAGES", ("torch", "not-a-package-at-all"))
    assert versions.__wrapped__() == {
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
    }


def test_description(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/harness", "search", "demo"])
    found = describe()
    assert set(found) == {"git_hash", "versions", "host", "command"}
    assert found["command"] == ["harness", "search", "demo"]
    monkeypatch.setattr(sys, "argv", ["/somewhere/harness/__main__.py", "search", "demo"])
    assert provenance.describe()["command"] == ["python", "-m", "harness", "search", "demo"]
    assert found["host"] == platform.node()
    assert {"python", "torch", "numpy", "pydantic"} <= set(versions())
