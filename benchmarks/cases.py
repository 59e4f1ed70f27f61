"""What is timed: settings, and the cases of each benchmark. Nothing here imports torch.

Numbers of rounds and the reductions of long work keep all cases together below about 15 minutes
on two cores. A reduction is part of a case's label, hence of every row.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

CLASSES = 10


@dataclass(frozen=True)
class Setting:
    """Sizes of a distillation."""

    dataset: str
    """Name in the settings of a trial; the pixels are random."""
    in_shape: tuple[int, int, int]
    """Channels, height and width of an image."""
    width: int
    """Channels of the main model's layers."""
    batch_real: int
    """Real images of a class in a matching step."""
    train_per_class: int
    """Real images of a class to draw from."""
    ipc: int
    """Synthetic images of a class."""


_DIGITS = Setting("digits", (1, 28, 28), 32, 64, 120, 1)
# CIFAR-10 has 5000 a class. Fewer save memory and time the same: a step reads batch_real of them.
_CIFAR = Setting("cifar10", (3, 32, 32), 128, 256, 512, 1)

SETTINGS: dict[str, Setting] = {
    "digits-ipc1": _DIGITS,
    "digits-ipc10": replace(_DIGITS, ipc=10),
    "cifar-ipc1": _CIFAR,
    "cifar-ipc10": replace(_CIFAR, ipc=10),
}


@dataclass(frozen=True)
class Case:
    """One piece of work, which every arm of its benchmark does on the same inputs."""

    benchmark: str
    """Key of ``arms.ARMS``."""
    setting: str
    """Key of ``SETTINGS``."""
    rounds: int
    """Timed rounds, after one that is thrown away."""
    outer_loop: int = 1
    """Matching steps of an iteration."""
    epochs: int = 1
    """Of the inner loop, or of a student (which makes one pass more, as published)."""
    student: str = ""
    """Label of the student's architecture."""
    student_seeds: int = 5
    """Students trained, one after another in the plain version."""
    test_images: int = 1
    """Images that each student is scored on."""
    compiled: bool = False
    """Whether compiled arms take part, each of which compiles for half a minute first."""
    counted: bool = False
    """Whether the floor is counted on the CPU too; it takes as long as a plain call."""
    round_s: float = 0.5
    """The work is repeated until a round has lasted this long."""

    @property
    def label(self) -> str:
        """The setting and all that was reduced, in one line."""
        details = {
            "matching": "",
            "inner": f" {self.epochs} epochs",
            "iteration": f" outer {self.outer_loop}, inner {self.epochs}",
            "evaluation": f" {self.student_seeds} x {self.student}, {self.epochs} epochs, "
            f"{self.test_images} test images",
        }
        return self.setting + details[self.benchmark]


def _evaluation(
    setting: str, students: tuple[str, ...], *, epochs: int, test_images: int, rounds: int = 3
) -> tuple[Case, ...]:
    return tuple(
        Case(
            "evaluation",
            setting,
            rounds,
            student=student,
            epochs=epochs,
            test_images=test_images,
        )
        for student in students
    )


_SMALL = ("mlp", "lenet")

# Test images are as few, against the published 300 epochs (301 passes) and whole test set, as the
# passes are: a student's training and scoring keep their shares of its time.
CASES: tuple[Case, ...] = (
    Case("matching", "digits-ipc1", rounds=5, compiled=True, counted=True),
    Case("matching", "digits-ipc10", rounds=5),
    Case("matching", "cifar-ipc1", rounds=3, compiled=True, counted=True),
    Case("matching", "cifar-ipc10", rounds=2),
    Case("inner", "digits-ipc10", rounds=5, epochs=50, compiled=True, counted=True),
    Case("inner", "cifar-ipc10", rounds=3, epochs=10),
    Case("iteration", "digits-ipc1", rounds=3),
    Case("iteration", "cifar-ipc1", rounds=2),
    Case("iteration", "digits-ipc10", rounds=3, outer_loop=2, epochs=50),
    Case("iteration", "cifar-ipc10", rounds=2, outer_loop=2, epochs=20),
    *_evaluation("digits-ipc1", _SMALL, epochs=60, test_images=80),
    *_evaluation("digits-ipc1", ("convnet-w32",), epochs=20, test_images=28),
    *_evaluation("digits-ipc10", _SMALL, epochs=60, test_images=80),
    *_evaluation("digits-ipc10", ("convnet-w32",), epochs=20, test_images=28),
    *_evaluation("cifar-ipc1", _SMALL, epochs=60, test_images=2000),
    *_evaluation("cifar-ipc1", ("convnet", "alexnet", "vgg11"), epochs=4, test_images=160),
    *_evaluation("cifar-ipc1", ("resnet18",), epochs=4, test_images=160, rounds=2),
    # The larger students at ipc 10 take minutes a round and are bound by their convolutions alone.
    *_evaluation("cifar-ipc10", _SMALL, epochs=60, test_images=2000),
    *_evaluation("cifar-ipc10", ("convnet",), epochs=4, test_images=160),
)

BENCHMARKS: tuple[str, ...] = tuple(dict.fromkeys(case.benchmark for case in CASES))


def select(
    benchmarks: Collection[str], settings: Collection[str] = (), *, quick: bool = False
) -> list[Case]:
    """Choose cases.

    Args:
        benchmarks: Keys of ``arms.ARMS``.
        settings: Keys of ``SETTINGS``; none: all.
        quick: Shrink the work to a trial of the machinery, whose times mean nothing; without
            ``settings``, take the first case of each benchmark alone.

    Returns:
        The cases in the order of ``CASES``; none where the benchmarks lack the settings.
    """
    chosen = [
        case
        for case in CASES
        if case.benchmark in benchmarks and (not settings or case.setting in settings)
    ]
    if not quick:
        return chosen
    if not settings:
        chosen = [next(c for c in chosen if c.benchmark == name) for name in benchmarks]
    return [_shrink(case) for case in chosen]


def _shrink(case: Case) -> Case:
    return replace(
        case,
        rounds=1,
        compiled=False,
        outer_loop=min(case.outer_loop, 2),
        epochs=min(case.epochs, 2),
        student_seeds=2,
        test_images=min(case.test_images, 40),
        round_s=0.0,
    )
