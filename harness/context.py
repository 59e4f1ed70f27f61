"""Context: what a trial is given besides its config."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from harness.datasets import ImageData
from harness.events import Decision, Event, Verdict
from harness.store import Store


@dataclass(frozen=True)
class Context:
    """What a trial is given besides its config."""

    folder: Path
    """Where its files go; made if missing."""
    device: torch.device
    """Where tensors live."""
    data: ImageData
    """Real images, on the device; kept by a warm worker."""
    trial_id: str
    """Name in rows and records."""
    search: str | None = None
    """Name of the search; None for a single run."""
    replicate: int = 0
    """Paired with equal replicates of other configurations."""
    report: Callable[[Event], Decision] = field(default=lambda _: Decision.CONTINUE)
    """Called every ``run.report_every`` iterations, and while the trial waits for another."""
    store: Store | None = None
    """Where states and teachers are shared and saved; None: nothing is."""
    keep: frozenset[int] = frozenset()
    """Iterations of this distillation that other planned trials need."""
    stopping: Callable[[], bool] = field(default=lambda: False)
    """Asked between iterations and between students: whether to save and stop now."""
    verdict: Callable[[], Verdict | None] = field(default=lambda: None)
    """Asked before the first iteration and after each report: a scheduler's verdict, if any."""
    gpu_share: float = 1.0
    """GPUs that the trial has, where its device is one: below 1 it shares one, with no wall
    between its memory and its neighbours'."""
    utilisation: Callable[[], float | None] = field(default=lambda: None)
    """Mean share of its time, 0..1, in which the GPU was busy so far; None where unknown."""
