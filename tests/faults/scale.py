"""What a large search costs besides its trials: ``python -m tests.faults.scale [TRIALS]``.

Makes a search whose trials all but one are done (copies of one real trial, with the records of
3000 iterations), and prints the seconds of each step of resuming it; then what reading a state
from the store, and saving one, adds to a trial.
"""

import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from harness.records import write_json
from harness.search.folder import open_search
from harness.search.space import load_space
from harness.store import Entry, Key, Store

ITERATIONS = 3000
SPACE_TEXT = """
title = "scale"
[base]
iterations = {iterations}
batch_real = 4
network.width = 4
network.depth = 1
kd.variant = "softened"
evaluation.students = ["mlp"]
evaluation.student_seeds = 1
evaluation.epochs = 1
[space]
kd.temperature = {{ grid = {temperatures} }}
kd.alpha = {{ grid = {alphas} }}
"""


@contextmanager
def timed(what: str, trials: int = 1) -> Iterator[None]:
    """Print the seconds of a block, and the milliseconds a trial."""
    start = time.perf_counter()
    yield
    passed = time.perf_counter() - start
    each = f"  {1e3 * passed / trials:8.3f} ms a trial" if trials > 1 else ""
    print(f"{what:<44} {passed:8.3f} s{each}")  # noqa: T201


def harness(*arguments: object) -> str:
    """Call the command line in a process of its own."""
    command = [sys.executable, "-m", "harness", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def make_search(folder: Path, trials: int) -> Path:
    """A search whose last trial alone is missing; returns its space."""
    side = math.ceil(math.sqrt(trials))
    text = SPACE_TEXT.format(
        iterations=ITERATIONS,
        temperatures=[1 + k / 100 for k in range(math.ceil(trials / side))],
        alphas=[k / side for k in range(side)],
    )
    path = folder / "space.toml"
    path.write_text(text)
    search = open_search(folder / "out", load_space(str(path)))
    search.prepare()
    example = folder / "example"
    settings = ["iterations=2", "evaluation.epochs=1", 'evaluation.students=["mlp"]']
    settings += ["network.width=4", "network.depth=1", "batch_real=4"]
    harness("run", "--out", example, *(part for item in settings for part in ("--set", item)))
    record = json.loads((example / "trial.json").read_text())
    record["matching_loss"] = [1.0 + k / 7 for k in range(ITERATIONS)]
    record["pool_draws"]["draws"] = [0] * ITERATIONS
    for trial in search.plan[:-1]:
        own = search.trial_folder(trial)
        own.mkdir(parents=True)
        for name in record["files"]:
            shutil.copy(example / name, own / name)
        write_json(own / "trial.json", {**record, "trial_id": trial.trial_id})
    return path


def measure_resume(folder: Path, trials: int) -> None:
    """Print what resuming costs, step by step and as a whole."""
    path = make_search(folder, trials)
    with timed("read and check the space", trials):
        space = load_space(str(path))
    with timed("read the plan and compare", trials):
        search = open_search(folder / "out", space)
    with timed("read the records", trials):
        missing = search.missing()
    assert len(missing) == 1
    with timed("write what the plan lacks", trials):
        search.prepare()
    with timed("harness search --resume --dry-run, whole", trials):
        harness("search", path, "--out", folder / "out", "--resume", "--dry-run")


def measure_store(folder: Path, repeats: int = 50) -> None:
    """Print what the store adds to a trial, for states of two sizes."""
    for what, shape in (("digits, ipc 1", (10, 1, 28, 28)), ("CIFAR-10, ipc 50", (500, 3, 32, 32))):
        store = Store(folder / "store")
        tensors = {"images": torch.randn(shape), "momentum": torch.randn(shape)}
        data = {"losses": [1.0 + k / 7 for k in range(ITERATIONS)], "draws": ["main"] * ITERATIONS}
        keys = [Key("scale", {"what": what, "number": number}) for number in range(repeats)]
        with timed(f"save a state ({what})", repeats):
            for key in keys:
                store.put(key, Entry(tensors, data))
        with timed(f"read a state ({what})", repeats):
            for key in keys:
                assert store.get(key) is not None
        with timed(f"take and release a lease ({what})", repeats):
            for key in keys:
                lease = store.take_lease(key)
                assert lease is not None
                lease.release()


def main() -> None:
    """Measure in a temporary folder."""
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as name:
        measure_resume(Path(name), trials)
        measure_store(Path(name))


if __name__ == "__main__":
    main()
