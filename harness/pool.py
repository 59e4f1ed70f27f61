"""The model pool: which architecture each iteration of a distillation draws (arXiv 2402.13007)."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, product
from typing import TYPE_CHECKING, Any, NamedTuple

from harness import seeding
from harness.architecture import ACTIVATIONS, NORMS, POOLINGS, Architecture
from harness.config import BASELINES, Distillation, PoolSettings

if TYPE_CHECKING:
    from torch import Tensor

    from harness.synthetic import SyntheticSet


class Member(NamedTuple):
    """One architecture among the others, and its probability among them."""

    architecture: Architecture
    weight: float


class ModelPool:
    """Draws the main model with one probability, and the others by weight otherwise.

    A draw depends on (seed, iteration) alone: it can be repeated, and it shifts no other draw. A
    pool that adapts (``harness.distill.bandit``) is a subclass: it looks at the set, has a state,
    and keeps training images for itself.
    """

    def __init__(
        self, settings: PoolSettings, main: Architecture, seed: int, iterations: int = 0
    ) -> None:
        """Lay out the members.

        Args:
            settings: The pool's.
            main: The main model.
            seed: The trial's.
            iterations: Iterations of the distillation, which a schedule other than ``constant``
                is stretched over.
        """
        self._iterations = iterations
        self._settings = settings
        self._main = main
        self._seed = seed
        self._others = () if settings.main_probability == 1.0 else other_members(settings, main)
        self._cumulative = list(accumulate(member.weight for member in self._others))

    @property
    def members(self) -> frozenset[Architecture]:
        """Every architecture that an iteration can draw."""
        others = {member.architecture for member in self._others}
        scheduled = self._settings.schedule != "constant"
        main_is_drawn = (
            scheduled or self._settings.main_probability > 0.0 or self._settings.warmup > 0
        )
        return frozenset(others | {self._main} if main_is_drawn else others)

    def main_probability(self, iteration: int) -> float:
        """Chance that an iteration, counted from 0, draws the main model."""
        settings = self._settings
        if iteration < settings.warmup:
            return 1.0
        if settings.schedule == "constant":
            return settings.main_probability
        way = (iteration - settings.warmup) / max(1, self._iterations - 1 - settings.warmup)
        if settings.schedule == "cosine":
            way = (1 - math.cos(math.pi * way)) / 2
        return 1.0 - (1.0 - settings.main_probability) * way

    def draw(
        self, iteration: int, synthetic: "Callable[[], SyntheticSet] | None" = None
    ) -> Architecture:
        """Return the architecture of an iteration, counted from 0.

        Args:
            iteration: Iterations done so far.
            synthetic: Gives the set as it stands, for a pool that adapts to it.
        """
        if iteration < self._settings.warmup:
            return self._main
        random = seeding.python_random(self._seed, "pool", iteration)
        if random.random() < self.main_probability(iteration):
            return self._main
        return random.choices(self._others, cum_weights=self._cumulative)[0].architecture

    def path(self, iterations: int) -> list[tuple[int, float]]:
        """The main-model probability on the way: each iteration, counted from 0, where it changes.

        Args:
            iterations: Iterations done; a constant pool's path is ``[(0, main_probability)]``.
        """
        values = [self.main_probability(iteration) for iteration in range(iterations)]
        return [(i, p) for i, p in enumerate(values) if i == 0 or p != values[i - 1]]

    def usable(self, rows: "Tensor") -> "Tensor":
        """Of rows of the training images, those that distilling may see: all, or a part in order.

        To be asked of rows that are in random order already: so the order of the others, which
        replicates share, stays what it is.
        """
        return rows

    def state_dict(self) -> dict[str, Any]:
        """What later draws depend on: plain data, to be joined to a method's state."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a method's state."""


def path_values(path: Sequence[tuple[int, float]], iterations: int) -> list[float]:
    """The main-model probability of each iteration, from a pool's ``path``."""
    ends = [*(start for start, _ in path), iterations][1:]
    return [p for (start, p), end in zip(path, ends, strict=True) for _ in range(start, end)]


def drawn_by(config: Distillation) -> frozenset[Architecture]:
    """Every architecture that a distillation can draw; a baseline draws none."""
    if config.method in BASELINES:
        return frozenset()
    return ModelPool(config.pool, config.network, config.seed, config.iterations).members


def other_members(settings: PoolSettings, main: Architecture) -> tuple[Member, ...]:
    """The distribution of the non-main members.

    ``similar``: the main ConvNet's width and depth, with activation, norm (one of four) and
    pooling (one of two) uniform, 32 combinations of which one may be the main model itself
    (Table 3). ``similar-depth1``: the same with depth 1, as the reference code draws them.
    ``diverse``: LeNet, AlexNet and VGG11 (Table 5). Weights sum to 1.
    """
    if settings.others == "diverse":
        names = ("lenet", "alexnet", "vgg11")
        return tuple(Member(Architecture(name=name), 1 / len(names)) for name in names)
    if isinstance(settings.others, str):
        depth = 1 if settings.others == "similar-depth1" else main.depth
        combinations = list(product(ACTIVATIONS, NORMS[:4], POOLINGS[:2]))
        return tuple(
            Member(
                Architecture(
                    width=main.width, depth=depth, activation=activation, norm=norm, pooling=pooling
                ),
                1 / len(combinations),
            )
            for activation, norm, pooling in combinations
        )
    return tuple(
        Member(Architecture.parse(member.network), member.weight) for member in settings.others
    )


def describe_others(settings: PoolSettings) -> str:
    """One word for the distribution of the others: the preset, or ``label:weight,...``."""
    if isinstance(settings.others, str):
        return settings.others
    return ",".join(f"{member.network}:{member.weight:g}" for member in settings.others)
