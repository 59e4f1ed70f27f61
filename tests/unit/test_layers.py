"""Who may import whom: each layer is imported in a fresh interpreter, and what it loads is read."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "ray", "submitit", "pandas", "tensorboard", "analysis", "slurm", "harness.cli")

PROBE = """
import importlib, json, sys
for name in {modules!r}:
    importlib.import_module(name)
print(json.dumps(sorted(sys.modules)))
"""


def modules_of(*names: str) -> list[str]:
    """Every module below packages, and plain modules as they are."""
    found = []
    for name in names:
        path = ROOT / name.replace(".", "/")
        if path.is_dir():
            found += [
                ".".join(file.relative_to(ROOT).with_suffix("").parts)
                for file in sorted(path.rglob("*.py"))
                if file.name != "__main__.py"
            ]
        else:
            found.append(name)
    return [name.removesuffix(".__init__") for name in found]


def loaded_with(modules: list[str], forbidden: tuple[str, ...]) -> list[str]:
    """The forbidden packages that importing the modules loads."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(modules=modules)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    names = done.stdout.strip().splitlines()[-1]
    return [name for name in forbidden if f'"{name}"' in names or f'"{name}.' in names]


BOTTOM = (
    "harness.architecture",
    "harness.config",
    "harness.dotted",
    "harness.errors",
    "harness.events",
    "harness.exp3",
    "harness.lease",
    "harness.overrides",
    "harness.plugins",
    "harness.provenance",
    "harness.records",
    "harness.schema",
    "harness.seeding",
    "harness.settings",
)
MIDDLE = modules_of(
    "harness.numerics",
    "harness.augment",
    "harness.pool",
    "harness.networks",
    "harness.datasets",
    "harness.synthetic",
    "harness.graphs",
    "harness.store",
    "harness.store_files",
    "harness.clock",
)
UPPER = modules_of(
    "harness.context",
    "harness.diagnostics",
    "harness.distill",
    "harness.distilling",
    "harness.formats",
    "harness.evaluate",
    "harness.results",
)
SUPERVISOR = ("slurm.job", "slurm.supervisor", "slurm.allocation", "slurm.folder", "slurm.profile")
SEARCH = [name for name in modules_of("harness.search") if name != "harness.search.inline"]


@pytest.mark.parametrize(
    ("names", "forbidden"),
    [
        (BOTTOM, (*HEAVY, "harness.pool", "harness.networks", "harness.datasets")),
        (MIDDLE, (*HEAVY[1:], "harness.distill", "harness.evaluate", "harness.trial")),
        (UPPER, (*HEAVY[1:], "harness.trial", "harness.search")),
        (("harness.trial",), (*HEAVY[1:], "harness.search", "harness.tune")),
        (SEARCH, (*HEAVY, "harness.trial", "harness.tune")),
        (("harness.search.inline",), (*HEAVY[1:], "harness.tune")),
        (modules_of("harness.tune"), ("submitit", "analysis", "slurm", "harness.cli")),
        (modules_of("harness.commands"), ("ray", "submitit", "pandas", "analysis", "harness.cli")),
        # The longer bodies are imported inside the commands.
        (("harness.cli",), ("torch", "ray", "submitit", "pandas", "tensorboard", "pyarrow")),
        # A job's supervisor is light, and its driver alone calls the body of a command.
        (SUPERVISOR, ("torch", "ray", "submitit", "pandas", "analysis", "harness.cli", "rich")),
        (modules_of("slurm"), ("ray", "pandas", "analysis", "harness.cli")),
        (modules_of("analysis"), ("torch", "ray", "submitit", "harness.config", "harness.trial")),
    ],
    ids=[
        "bottom",
        "middle",
        "upper",
        "trial",
        "search",
        "inline",
        "tune",
        "commands",
        "cli",
        "supervisor",
        "slurm",
        "analysis",
    ],
)
def test_a_layer_loads_nothing_from_above(names: list[str], forbidden: tuple[str, ...]) -> None:
    assert loaded_with(list(names), forbidden) == []


def test_the_probe_can_fail() -> None:
    assert loaded_with(["harness.tune.controller"], ("ray", "submitit")) == ["ray"]


def test_analysis_reads_only_schema_and_errors() -> None:
    own = [name for name in modules_of("harness") if name not in ("harness",)]
    loaded = loaded_with(modules_of("analysis"), tuple(own))
    assert loaded == ["harness.errors", "harness.schema"]


def test_tracking_loads_tensorboard_only_where_it_writes() -> None:
    modules = ["harness.tracking", "harness.board", "harness.commands.board"]
    assert loaded_with(modules, ("torch", "ray", "pandas", "tensorboard", "harness.trial")) == []
