"""Where a result comes from: code, versions, host."""

import platform
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

PACKAGES = ("harness", "torch", "torchvision", "ray", "numpy", "pydantic")


@cache
def git_hash() -> str | None:
    """Commit of the checkout that this code runs from, ``-dirty`` where it was changed.

    Returns:
        None outside a checkout, unless a file ``GIT_HASH`` beside the package holds it (for
        machines that get a copy without history).
    """
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        note = root / "GIT_HASH"
        return note.read_text().strip() or None if note.is_file() else None
    try:
        described = subprocess.run(
            [
                "git",
                "-C",
                str(root),
                "describe",
                "--always",
                "--dirty",
                "--abbrev=40",
                "--exclude=*",
            ],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip() or None


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on, where installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def describe() -> dict[str, object]:
    """Provenance of a result, as plain data."""
    return {
        "git_hash": git_hash(),
        "versions": versions(),
        "host": platform.node(),
        "command": [*_program(), *sys.argv[1:]],
    }


def _program() -> list[str]:
    name = Path(sys.argv[0]).name
    return ["python", "-m", "harness"] if name == "__main__.py" else [name]
