"""The process of one arm: sets itself, makes its workload, then times a round when asked.

Run by ``runner.py`` as ``python -m benchmarks.worker SPEC``. It answers in lines of JSON: one when
it is ready, then one for each line that it reads.
"""

import json
import statistics
import sys
import time

import torch

from benchmarks.arms import ARMS, Work
from benchmarks.cases import Case
from harness import numerics


def time_round(work: Work, device: torch.device, round_s: float) -> float:
    """Call a workload until a round is full, at least once; return the median call in seconds."""
    calls: list[float] = []
    while not calls or sum(calls) < round_s:
        numerics.synchronise(device)
        start = time.perf_counter()
        work()
        numerics.synchronise(device)
        calls.append(time.perf_counter() - start)
    return statistics.median(calls)


def main() -> None:
    """Serve rounds until the input ends."""
    # Answers alone go to the runner; whatever a library prints goes the way of warnings.
    answers, sys.stdout = sys.stdout, sys.stderr
    spec = json.loads(sys.argv[1])
    case, device = Case(**spec["case"]), torch.device(spec["device"])
    arm = ARMS[case.benchmark][spec["variant"]]
    arm.setup(spec["threads"])
    work = arm.make(case, device, spec["threads"])
    print("{}", file=answers, flush=True)
    for _ in sys.stdin:
        seconds = time_round(work, device, case.round_s)
        answer = {"seconds": seconds, "peak_gib": numerics.peak_gib(device)}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
