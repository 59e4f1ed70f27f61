"""What reading a finished search costs: ``python -m benchmarks.loading [TRIALS] [RUNS]``.

Makes a search of that many trials in a temporary folder, each with the rows of six students (five
networks, two splits) and the record of 1000 iterations, and reads it in processes of their own.
Prints medians and ranges. The files lie in the page cache: what a disk or a network costs to open
them comes on top.
"""

import json
import math
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness.architecture import Architecture
from harness.config import make_config
from harness.evaluate import StudentScore
from harness.evaluate.training import Recipe, Score
from harness.records import write_json, write_rows
from harness.results import common_columns, metrics, student_rows
from harness.schema import (
    EVALUATIONS_FILE,
    PLAN_FILE,
    QUICK,
    SCHEMA_VERSION,
    SEARCH_FILE,
    TEST,
    TRIAL_FILE,
    TRIALS_FOLDER,
    VALIDATION,
)

ITERATIONS = 1000
STUDENTS = ("convnet", "mlp", "lenet", "alexnet", "vgg11", "resnet18")
SEEDS = 5
REPLICATES = 5
_VARIED = "lr_img"
_READ = """
import json, resource, sys, time
from analysis.load import load_search
cpu, wall = time.process_time(), time.perf_counter()
found = load_search(sys.argv[1])
spent = time.process_time() - cpu, time.perf_counter() - wall
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps([spent[1], spent[0], peak, len(found.rows)]))
"""


def make_search(folder: Path, trials: int) -> None:
    """Write a search whose trials differ in a learning rate and the seed."""
    search = f'title = "loading"\n[space]\n{_VARIED} = {{ grid = [0.1] }}\n'
    (folder / SEARCH_FILE).write_text(search, encoding="utf-8")
    with (folder / PLAN_FILE).open("w", encoding="utf-8") as plan:
        for number in range(trials):
            planned = _write_trial(folder / TRIALS_FOLDER, number)
            plan.write(json.dumps(planned, sort_keys=True) + "\n")


def _write_trial(folder: Path, number: int) -> dict[str, Any]:
    """Write a trial's files; return its line of the plan."""
    replicate, rate = number % REPLICATES, (1 + number // REPLICATES) / 1000
    config = make_config({"iterations": ITERATIONS, "seed": replicate, _VARIED: rate})
    settings, trial_id = config.model_dump(mode="json"), f"{number:05d}-{config.digest()[:8]}"
    recipe = Recipe(epochs=300, lr=0.01, batch=256, augmentation="none")
    scores = [
        StudentScore(
            Architecture.parse(student),
            seed,
            recipe,
            split,
            Score(0.3 + math.sin(number + 7 * seed) / 50, 1.5 + seed / 7, 5000),
            None,
        )
        for student in STUDENTS
        for seed in range(SEEDS)
        for split in (VALIDATION, TEST)
    ]
    record: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "trial_id": trial_id,
        "search": "loading",
        "replicate": replicate,
        "status": "ok",
        "protocol": config.protocol,
        "config": settings,
        "metrics": metrics(scores, config.network),
        "timings": {"distill_s": 90.5, "distill_cost_s": 90.5, "eval_s": 30.25, "quick_s": 2.5},
        "peak_gib": 1.5,
        "phases": {"distill": {"peak_gib": 1.5, "used_gib": 2.5, "gpu_s": 90.5}},
        "gpu": {"share": 1.0, "total_gib": 80.0, "utilisation": 0.9},
        "device": "GPU",
        "notes": [],
        "matching_loss": [50 * math.exp(-i / 300) + math.sin(i) for i in range(ITERATIONS)],
        QUICK: [[step, 0.1 + step / 2000] for step in range(100, ITERATIONS, 100)],
        "pool_draws": {"architectures": ["convnet"], "draws": [0] * ITERATIONS},
        "diagnostics": {
            "matching_loss_flat": {"fired": False, "value": 0.5, "threshold": 0.05, "meaning": ""}
        },
        "provenance": {"git_hash": "0" * 40},
    }
    own = folder / trial_id
    own.mkdir(parents=True)
    rows = student_rows(common_columns(config, record), config, scores)
    write_rows(own / EVALUATIONS_FILE, rows)
    write_json(own / TRIAL_FILE, record)
    point = {_VARIED: rate}
    return {"trial_id": trial_id, "replicate": replicate, "point": point, "config": settings}


def read(folder: Path) -> tuple[float, float, float, int]:
    """Read a search in a process of its own: seconds, CPU seconds, peak GiB, rows."""
    command = [sys.executable, "-c", _READ, str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    wall, cpu, peak, rows = json.loads(done.stdout)
    return wall, cpu, peak, rows


def main() -> None:
    """Make a search, read it several times, print what that takes."""
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with tempfile.TemporaryDirectory() as name:
        make_search(Path(name), trials)
        read(Path(name))  # thrown away: it brings the files into memory
        found = [read(Path(name)) for _ in range(runs)]
    print(f"{trials} trials, {found[0][3]} rows, {runs} runs")
    for place, what in enumerate(("s", "CPU s", "GiB at most")):
        values = sorted(one[place] for one in found)
        print(f"{statistics.median(values):8.2f} ({values[0]:.2f} to {values[-1]:.2f}) {what}")


if __name__ == "__main__":
    main()
