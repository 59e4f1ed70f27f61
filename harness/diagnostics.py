"""Signs of the failures that arXiv 2402.13007 reports, looked for in every trial.

Each diagnostic is plain data for ``trial.json``: whether it fired, the value, the threshold, and
what it means. A value of None says that it does not apply.
"""

import math
from collections.abc import Sequence
from itertools import combinations, pairwise
from statistics import fmean, median
from typing import TypedDict

from torch import Tensor, cdist

MIN_LOSS_DROP = 0.05
MIN_CLASS_SPREAD = 0.05
_MIN_ITERATIONS = 20
_MAX_PARTS = 50


class Diagnostic(TypedDict):
    """One check of a trial."""

    fired: bool
    value: float | None
    threshold: float
    meaning: str


def matching_loss_flat(losses: Sequence[float], draws: Sequence[str]) -> Diagnostic:
    """Whether the matching loss has hardly fallen.

    The loss is a sum over rows, so its scale differs between architectures: only iterations that
    drew the most frequent one are compared, of them those with a finite loss. The value is the
    relative drop of the median from the first to the last tenth of them.

    Args:
        losses: Loss of each iteration.
        draws: Label of each iteration's architecture, same length.
    """
    value = None
    if draws:
        main = max(sorted(set(draws)), key=list(draws).count)
        own = [
            loss
            for loss, label in zip(losses, draws, strict=True)
            if label == main and math.isfinite(loss)
        ]
        if len(own) >= _MIN_ITERATIONS:
            tenth = len(own) // 10
            first, last = median(own[:tenth]), median(own[-tenth:])
            value = 1 - last / first if first > 0 else 0.0
    return _below(value, MIN_LOSS_DROP, "relative drop of the matching loss; small: it is flat")


def matching_loss_slope(losses: Sequence[float], draws: Sequence[str], main: str) -> float | None:
    """How fast the matching loss falls: the slope of its logarithm over the iterations.

    Only iterations that drew the main model count, since the loss's scale differs between
    architectures, and only positive finite losses. They are cut, in order, into up to 50 parts as
    equal as they can be, each of which gives its median logarithm at its mean iteration; the slope
    is the median of the slopes between all pairs of parts (Theil-Sen), which up to 29% of outlying
    parts do not move far.

    Args:
        losses: Loss of each iteration.
        draws: Label of each iteration's architecture, same length; empty where none was drawn.
        main: Label of the main model.

    Returns:
        Nats an iteration, below 0 where the loss falls; None for fewer than 20 such iterations.
    """
    if not draws:
        return None
    own = [
        (iteration, math.log(loss))
        for iteration, (loss, label) in enumerate(zip(losses, draws, strict=True))
        if label == main and math.isfinite(loss) and loss > 0
    ]
    if len(own) < _MIN_ITERATIONS:
        return None
    parts = min(len(own), _MAX_PARTS)
    cuts = [len(own) * k // parts for k in range(parts + 1)]
    points = [
        (fmean(x for x, _ in own[a:b]), median(y for _, y in own[a:b])) for a, b in pairwise(cuts)
    ]
    return median((d - b) / (c - a) for (a, b), (c, d) in combinations(points, 2))


def classes_collapsed(images: Tensor, ipc: int) -> Diagnostic:
    """Whether the images of a class have become nearly the same image.

    The value is, at the worst class, the mean distance between its images, divided by the mean
    distance between images of different classes.

    Args:
        images: [S, C, H, W], grouped by class.
        ipc: Images per class; with 1 the diagnostic does not apply, nor with a single class.
    """
    value = None
    if ipc > 1 and len(images) > ipc and bool(images.isfinite().all()):
        flat = images.detach().flatten(1).double()
        distances = cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist")
        classes = len(images) // ipc
        blocks = distances.reshape(classes, ipc, classes, ipc)
        sums = blocks.sum(dim=(1, 3))
        within = sums.diagonal() / (ipc * (ipc - 1))
        between = (sums.sum() - sums.diagonal().sum()) / (classes * (classes - 1) * ipc**2)
        value = float(within.min() / between) if between > 0 else 0.0
    return _below(value, MIN_CLASS_SPREAD, "spread within a class over spread between classes")


def kd_below_control(gain: float | None) -> Diagnostic:
    """Whether students do worse with KD than with (1 - alpha) * CE alone.

    Args:
        gain: Accuracy with KD minus accuracy of the control, a fraction; None without KD.
    """
    return _below(gain, 0.0, "accuracy with KD minus that of its control, student seed 0")


def _below(value: float | None, threshold: float, meaning: str) -> Diagnostic:
    fired = value is not None and value < threshold
    return Diagnostic(fired=fired, value=value, threshold=threshold, meaning=meaning)
