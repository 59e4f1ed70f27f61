"""Settings of the model pool."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from harness.errors import suggest
from harness.settings.base import Settings, as_tuple, check_label

POOL_PRESETS = {"similar": 32, "similar-depth1": 32, "diverse": 3}
"""Named distributions of the others -> how many networks they hold, all of one weight."""


def _as_others(value: object) -> object:
    if not isinstance(value, str | list | tuple):
        raise ValueError(f"got {value!r}, expected a preset or a list of {{network, weight}}")
    return as_tuple(value)


class WeightedNetwork(Settings):
    """One member of a list given to ``pool.others``."""

    network: str
    """Label of an architecture, for example ``lenet`` or ``convnet-w32-sigmoid``."""
    weight: float = Field(gt=0.0, le=1.0)
    """Probability among the others; the weights of a list sum to 1."""


class BanditSettings(Settings):
    """What only ``pool.schedule = "bandit"`` has; see ``harness.distill.bandit``."""

    every: int = Field(default=10, ge=1)
    """Iterations of a round: all are drawn from one arm, then the probes are trained."""
    arms: Literal["main-and-others", "members"] = "main-and-others"
    """``main-and-others``: two, the others drawn by their weights; ``members``: each one."""
    exploration: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Gamma of Exp3: share of rounds that are drawn uniformly, and the learning rate."""
    probes: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = (
        "convnet-w16-d2-groupnorm",
        "convnet-w16-d2-nonorm-maxpooling",
    )
    """Networks whose loss is the reward; none that a trial is judged on."""
    probe_images: int = Field(default=20, ge=1)
    """Training images of each class that the loss is taken on, at most half of the class; they are
    in no matching batch."""
    probe_steps: int = Field(default=30, ge=1)
    """Steps of SGD that a probe is trained for on the synthetic set."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.probes:
            raise ValueError("pool.bandit.probes: got an empty list, expected at least one network")
        for name in self.probes:
            check_label(name, "pool.bandit.probes")
        return self


class PoolSettings(Settings):
    """Which architecture each iteration draws (arXiv 2402.13007)."""

    others: Annotated[str | tuple[WeightedNetwork, ...], BeforeValidator(_as_others)] = "similar"
    """Distribution of the rest: a preset, or a list of {network, weight}."""
    main_probability: float = Field(default=0.9, ge=0.0, le=1.0)
    """Chance that an iteration draws the main model; 1.0 is plain gradient matching. With a
    schedule, that of the last iteration; with ``bandit``, of the first."""
    warmup: int = Field(default=0, ge=0)
    """Iterations at the start that draw the main model only (the reference code draws 501)."""
    balanced: bool = False
    """Whether each matching loss counts the main model's rows over the network's (``dc``, ``dsa``).
    The loss is a sum over rows, output units of all layers, of which VGG11 has 7 times as many as
    the published main model."""
    schedule: Literal["constant", "linear", "cosine", "bandit"] = "constant"
    """How the main-model probability moves over the iterations after the warm-up: not at all, from
    1 down to ``main_probability``, in a line or in half a cosine wave, or from there as a bandit
    finds it good for networks that learn from the set."""
    bandit: BanditSettings = BanditSettings()
    """Of the schedule ``bandit`` alone."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._check_others()
        if self.schedule == "bandit":
            self._check_start()
        return self

    def _check_others(self) -> None:
        if isinstance(self.others, str):
            if self.others not in POOL_PRESETS:
                raise ValueError(
                    f"pool.others: got '{self.others}'; {suggest(self.others, POOL_PRESETS)}, "
                    "or a list of {network, weight}"
                )
            return
        if not self.others:
            raise ValueError("pool.others: got an empty list, expected a preset or networks")
        total = sum(member.weight for member in self.others)
        if abs(total - 1.0) > 1e-6:
            raise ValueError(
                f"pool.others: the weights sum to {total:g}, expected 1; scale them to sum to 1"
            )
        for member in self.others:
            check_label(member.network, "pool.others")

    def _check_start(self) -> None:
        """Every arm must start above the share of uniform draws that it always has."""
        weights = [1.0]
        if self.bandit.arms == "members":
            weights = (
                [1 / POOL_PRESETS[self.others]] * POOL_PRESETS[self.others]
                if isinstance(self.others, str)
                else [member.weight for member in self.others]
            )
        least = self.bandit.exploration / (1 + len(weights))
        highest = 1.0 - least / min(weights)
        if not least < self.main_probability < highest:
            expected = (
                f"expected above {least:g} and below {highest:g}; change it, or lower"
                if least < highest
                else f"but an arm of {len(weights) + 1} keeps {least:g}, more than the start gives;"
                " lower"
            )
            raise ValueError(
                f"pool.main_probability: got {self.main_probability:g}, where pool.schedule "
                f"'bandit' starts, {expected} pool.bandit.exploration"
            )
