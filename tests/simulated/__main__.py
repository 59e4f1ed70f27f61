"""Print what one controller of Tune keeps up with: ``python -m tests.simulated``.

Measures the real controller on pretended GPUs (``tests/simulated/pretended.py``), then works out,
by what that took, larger clusters (``tests/simulated/events.py``). Takes some minutes, on a quiet
machine.
"""

import argparse
import platform
import random
import tempfile
from importlib.metadata import version
from pathlib import Path

from tests.simulated.events import Load, idle_share, most_gpus
from tests.simulated.runs import Run, Work, run_pretended

GOAL = 0.05
"""Idle share that is still good."""
TRIAL_S = 60.0
SPREAD = 0.5
"""Trials take their mean, give or take up to so large a share of it."""


def vary(mean: float, generator: random.Random) -> float:
    """A trial's time, uniform around its mean."""
    return mean * generator.uniform(1 - SPREAD, 1 + SPREAD)


def measure(trials: int, gpus: int, seconds: float, reports: int = 1) -> Run:
    """Run a pretended search and print what was seen."""
    with tempfile.TemporaryDirectory() as name:
        run = run_pretended(Path(name), Work(seconds, reports), trials=trials, gpus=gpus)
        assert run.folder.counts() == {"ok": trials}
    _say(
        f"{trials} trials of {seconds:g} s ({reports} reports), {gpus} GPUs, "
        f"{run.most_at_once} at work at once: {run.wall_s:.1f} s; controller "
        f"{1e3 * run.busy_s:.1f} ms a trial ({1e3 * run.cpu_s_a_trial:.1f} of CPU), "
        f"idle {run.idle_share(gpus):.1%}; "
        f"{1e3 * run.seconds_between_starts():.1f} ms between starts"
    )
    return run


def main() -> None:
    """Measure, then extrapolate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--gpus", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=2.0)
    arguments = parser.parse_args()
    trials, gpus, seconds = arguments.trials, arguments.gpus, arguments.seconds
    _say(f"ray {version('ray')}, Python {platform.python_version()}, {platform.machine()}")
    kept_up = measure(trials, gpus, seconds)
    full = measure(trials, gpus, 0.1)
    many = measure(trials, 8 * gpus, 0.1)
    reporting = measure(trials // 4, gpus, 0.1, reports=4)
    cost, cost_many = full.seconds_between_starts(), many.seconds_between_starts()
    report = (reporting.seconds_between_starts() - cost) / 3
    _say(
        f"\nat full load {1e3 * cost:.1f} ms a trial ({gpus} GPUs), {1e3 * cost_many:.1f} ms "
        f"({8 * gpus} GPUs), {1e3 * report:.1f} ms each further report"
    )
    modelled = idle_share(Load(gpus, seconds, cost))
    _say(
        f"the model says {modelled:.1%} idle for the first line, {kept_up.idle_share(gpus):.1%} "
        "were measured\n"
    )
    generator = random.Random(0)
    slope = max(0.0, (cost_many - cost) / (7 * gpus))
    _say("GPUs   ms a trial   idle, trials of 60 s   of 10 min")
    for number in (gpus, 8 * gpus, 64 * gpus):
        at = cost + slope * (number - gpus)
        shares = [
            idle_share(Load(number, each, at), work=lambda mean: vary(mean, generator))
            for each in (TRIAL_S, 10 * TRIAL_S)
        ]
        _say(f"{number:<6} {1e3 * at:<12.1f} {shares[0]:<22.1%} {shares[1]:.1%}")
    for each in (TRIAL_S, 10 * TRIAL_S):
        load = Load(gpus, each, cost_many)
        most = most_gpus(load, GOAL, lambda mean: vary(mean, generator))
        _say(f"trials of {each:g} s: below {GOAL:.0%} idle up to about {most} GPUs a controller")


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
