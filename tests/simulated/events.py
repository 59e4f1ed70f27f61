"""One controller and its GPUs as discrete events, and what queueing theory says of them.

A trial works on its GPU in ``reports`` parts; after each, the GPU waits until the controller has
dealt with it, one report after the other: it has nothing to do meanwhile.
"""

import heapq
from collections import deque
from collections.abc import Callable
from typing import NamedTuple


class Load(NamedTuple):
    """What one controller has to serve."""

    gpus: int
    seconds: float
    """Mean time of a trial on its GPU."""
    cost_s: float
    """Seconds of the controller for a trial, all its reports together."""
    reports: int = 1


def idle_share(
    load: Load,
    rounds: int = 20,
    work: Callable[[float], float] = lambda mean: mean,
    service: Callable[[float], float] = lambda mean: mean,
) -> float:
    """Share of the GPUs' time in which they wait, 0..1, once the start is over.

    Args:
        load: Controller and GPUs.
        rounds: Trials for each GPU; of the time that they take the second half counts.
        work: Draws the time of a part of a trial, given its mean.
        service: Draws the controller's time for a report, given its mean.
    """
    part, cost = load.seconds / load.reports, load.cost_s / load.reports
    waiting = deque(range(load.gpus))  # for the controller; at first for its first trial
    done: list[tuple[float, int]] = []  # ends of parts under way, a heap
    now = free = 0.0  # the clock; when the controller is free
    parts: list[tuple[float, float]] = []
    for _ in range(load.gpus * load.reports * rounds):
        if not waiting:
            now, gpu = heapq.heappop(done)
            waiting.append(gpu)
        now = max(now, free)
        while done and done[0][0] <= now:
            waiting.append(heapq.heappop(done)[1])
        free = now + service(cost)
        end = free + work(part)
        heapq.heappush(done, (end, waiting.popleft()))
        parts.append((free, end))
    last = parts[-1][0]
    first = last / 2
    worked = sum(max(0.0, min(end, last) - max(start, first)) for start, end in parts)
    return 1 - worked / (load.gpus * (last - first))


def constant_idle_share(load: Load) -> float:
    """The same in closed form where nothing varies: GPUs wait for their own report, or in turn."""
    part, cost = load.seconds / load.reports, load.cost_s / load.reports
    return 1 - min(part / (part + cost), part / (load.gpus * cost))


def exponential_idle_share(load: Load) -> float:
    """The same in closed form where both times are exponential: the machine-repairman model.

    M/M/1//N, for example in Kleinrock, Queueing Systems 1 (1975), 3.8.
    """
    ratio = load.cost_s / load.seconds
    term, total = 1.0, 1.0
    for k in range(load.gpus):
        term *= (load.gpus - k) * ratio
        total += term
    per_second = (1 - 1 / total) / load.cost_s
    return 1 - per_second * load.seconds / load.gpus / load.reports


def most_gpus(load: Load, limit: float, work: Callable[[float], float], most: int = 1 << 16) -> int:
    """The most GPUs that one controller keeps below so large an idle share; 0: not even one."""
    low, high = 0, 1
    while high < most and idle_share(load._replace(gpus=high), work=work) < limit:
        low, high = high, 2 * high
    while high - low > max(1, high // 64):
        middle = (low + high) // 2
        if idle_share(load._replace(gpus=middle), work=work) < limit:
            low = middle
        else:
            high = middle
    return low
