"""A fair score for any distilled set: its students, those of random real images, LRS and ARS."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from harness import seeding
from harness.config import MAIN, EvaluationSettings, KDSettings, TrialConfig
from harness.datasets import ImageData
from harness.evaluate.augmentation import resolve
from harness.evaluate.baselines import random_real
from harness.evaluate.ranking import Comparison
from harness.evaluate.students import StudentScore, evaluate
from harness.evaluate.training import is_finite
from harness.schema import TEST, VALIDATION
from harness.synthetic import SyntheticSet

_AUGMENTED = "crop-scale-rotate"


@dataclass(frozen=True)
class FairScore:
    """Students of a set, beside those of random real images under the same recipe."""

    distilled: list[StudentScore]
    random: list[StudentScore]
    comparison: Comparison | None
    """On test images; None where it was not asked for, or the main model diverged throughout."""


def score_fairly(
    synthetic: SyntheticSet,
    config: TrialConfig,
    data: ImageData,
    *,
    ranking: bool,
    random: bool = True,
) -> FairScore:
    """Train students on a set and on as many random real images, by one recipe.

    Each student seed has a random subset of its own. A teacher, where the recipe has one, is
    trained on the same images as its students.

    Args:
        synthetic: The set, in the pixel space of ``data`` and on its device.
        config: Students, seeds, recipe; ``config.ipc`` random images a class are picked.
        data: Real images.
        ranking: Whether to train what LRS and ARS need besides; not without ``random``.
        random: Whether to train on random images at all.
    """
    splits = (TEST,) if data.validation is None else (VALIDATION, TEST)
    distilled = list(evaluate(synthetic, config, data, splits))
    picked = _of_random(config, data, splits) if random else []
    wanted = random and ranking
    comparison = _compare(synthetic, config, data, distilled, picked) if wanted else None
    return FairScore(distilled, picked, comparison)


def hard_labels(synthetic: SyntheticSet) -> SyntheticSet:
    """Return the same images with the largest class of each soft label."""
    if not synthetic.labels.is_floating_point():
        return synthetic
    return replace(synthetic, labels=synthetic.labels.argmax(1))


def _of_random(config: TrialConfig, data: ImageData, splits: Sequence[str]) -> list[StudentScore]:
    """Score ``student_seeds`` subsets of real images, one student of each kind for each."""
    found = []
    for k in range(config.evaluation.student_seeds):
        subset = random_real(data, config.ipc, seed=config.seed, draw=k)
        seed = seeding.derive(config.seed, "random-real-students", k)
        one = _with(config, student_seeds=1).model_copy(update={"seed": seed})
        found += [item._replace(student_seed=k) for item in evaluate(subset, one, data, splits)]
    return found


def _compare(
    synthetic: SyntheticSet,
    config: TrialConfig,
    data: ImageData,
    distilled: Sequence[StudentScore],
    picked: Sequence[StudentScore],
) -> Comparison | None:
    """Complete what is known of the main model; nothing is trained twice."""
    main = _with(config, students=(MAIN,))
    own = resolve(config.evaluation.augmentation, config.dataset.name, config.network)
    plain = _with(main, augmentation="none")
    augmented = _with(main, augmentation=_AUGMENTED if own == "none" else own)
    no_kd = plain.model_copy(update={"kd": KDSettings()})
    known: dict[tuple[str, bool], float | None] = {}
    if config.network in config.students():
        key = _key(_with(main, augmentation=own), soft=_is_soft(synthetic))
        known = {
            (key, False): _mean(config, distilled),
            (_key(_with(main, augmentation=own)), True): _mean(config, picked),
        }

    def of_set(wanted: TrialConfig, images: SyntheticSet) -> float | None:
        key = (_key(wanted, soft=_is_soft(images)), False)
        if key not in known:
            known[key] = _mean(wanted, evaluate(images, wanted, data, (TEST,)))
        return known[key]

    def of_random(wanted: TrialConfig) -> float | None:
        key = (_key(wanted), True)
        if key not in known:
            known[key] = _mean(wanted, _of_random(wanted, data, (TEST,)))
        return known[key]

    recipe = _with(main, augmentation=own)
    values = (
        of_set(recipe, synthetic),
        of_random(recipe),
        of_set(no_kd, hard_labels(synthetic)),
        of_set(plain, synthetic),
        of_random(plain),
        of_set(augmented, synthetic),
        of_random(augmented),
    )
    finite = [value for value in values if value is not None]
    return Comparison(*finite) if len(finite) == len(values) else None


def _with(config: TrialConfig, **changes: object) -> TrialConfig:
    """The same trial with other evaluation settings, checked."""
    settings = EvaluationSettings.model_validate({**dict(config.evaluation), **changes})
    return config.model_copy(update={"evaluation": settings})


def _key(config: TrialConfig, *, soft: bool = False) -> str:
    return f"{config.evaluation.model_dump_json()} {config.kd.model_dump_json()} {soft}"


def _is_soft(synthetic: SyntheticSet) -> bool:
    return synthetic.labels.is_floating_point()


def _mean(config: TrialConfig, scores: Iterable[StudentScore]) -> float | None:
    """Mean test accuracy of the main model's finite networks; None where there is none."""
    accuracies = [
        item.score.accuracy
        for item in scores
        if item.student == config.network and item.split == TEST and is_finite(item.score)
    ]
    return fmean(accuracies) if accuracies else None
