"""Students of a distilled set: who is trained, with which teacher, and what is paired."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.architecture import Architecture
from harness.config import EvaluationSettings, TrialConfig, make_config
from harness.datasets import ImageData
from harness.evaluate import StudentScore, evaluate, kd_gain, quick_score, students
from harness.evaluate.training import Recipe, Score, Student
from harness.synthetic import SyntheticSet, init_from_real, labels_by_class

MAIN = Architecture(width=4, depth=1)
SPLITS = ("validation", "test")
SOFTENED = {"variant": "softened", "temperature": 2.0, "alpha": 0.5}


def configure(**more: Any) -> TrialConfig:
    base: dict[str, Any] = {
        "network": {"width": 4, "depth": 1},
        "evaluation": {"students": ["main", "mlp"], "student_seeds": 2, "epochs": 3, "lr": 0.05},
    }
    return make_config({**base, **more})


def evaluation(**more: Any) -> dict[str, Any]:
    return {"students": ["main", "mlp"], "student_seeds": 2, "epochs": 3, "lr": 0.05, **more}


@pytest.fixture(scope="module")
def synthetic(tiny: ImageData) -> SyntheticSet:
    rng = torch.Generator().manual_seed(4)
    images = init_from_real(*tiny.train, ipc=2, rng=rng)
    return SyntheticSet(images, labels_by_class(3, 2), {})


class Call:
    """One training: the weights that it began with and ended with, and what it was given."""

    def __init__(self, student: Student, options: dict[str, Any]) -> None:
        self.network = student.network
        self.start = flat(student.network)
        self.role: str = str(student.address[0])
        self.seed = int(student.address[-1])
        self.kd = options["kd"]
        self.teacher: nn.Module | None = student.teacher.network if student.teacher else None


def flat(network: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    made: list[Call] = []
    train = students.train_network

    def spying(student: Student, *args: Any, **options: Any) -> None:
        made.append(Call(student, options))
        train(student, *args, **options)

    monkeypatch.setattr(students, "train_network", spying)
    return made


def scores(
    synthetic: SyntheticSet, config: TrialConfig, data: ImageData, splits: tuple[str, ...] = SPLITS
) -> list[StudentScore]:
    return list(evaluate(synthetic, config, data, splits))


# --- Rows -----------------------------------------------------------------------------------


def test_there_is_a_score_for_each_student_seed_and_split(
    tiny: ImageData, synthetic: SyntheticSet
) -> None:
    found = scores(synthetic, configure(), tiny)
    assert [(item.student.name, item.student_seed, item.split) for item in found] == [
        (name, seed, split) for name in ("convnet", "mlp") for seed in (0, 1) for split in SPLITS
    ]
    assert found[0].student == MAIN
    for item in found:
        assert item.recipe == Recipe(3, 0.05, 256, "none")
        assert item.score.n_images == 18
        assert 0.0 <= item.score.accuracy <= 1.0
        assert math.isfinite(item.score.loss)
        assert item.teacher_accuracy is None
    assert len({item.score.loss for item in found}) == len(found)


def test_students_learn_from_a_good_set(tiny: ImageData, synthetic: SyntheticSet) -> None:
    found = scores(synthetic, configure(evaluation=evaluation(epochs=30)), tiny)
    assert all(item.score.accuracy > 0.8 for item in found)


def test_only_the_splits_asked_for_are_read(tiny: ImageData, synthetic: SyntheticSet) -> None:
    blind = replace(tiny, validation=None)
    found = scores(synthetic, configure(), blind, splits=("test",))
    assert {item.split for item in found} == {"test"}
    whole = scores(synthetic, configure(), tiny)
    assert found == [item for item in whole if item.split == "test"]


def test_scores_repeat_bit_for_bit(tiny: ImageData, synthetic: SyntheticSet) -> None:
    torch.manual_seed(1)
    first = scores(synthetic, configure(kd=SOFTENED), tiny)
    torch.manual_seed(2)
    assert scores(synthetic, configure(kd=SOFTENED), tiny) == first


def test_the_distillation_shifts_no_student(tiny: ImageData, synthetic: SyntheticSet) -> None:
    one = configure(pool={"main_probability": 1.0}, iterations=1, lr_img=0.5)
    other = configure(pool={"main_probability": 0.1}, iterations=9)
    assert scores(synthetic, one, tiny) == scores(synthetic, other, tiny)


def test_a_student_does_not_depend_on_the_other_students(
    tiny: ImageData, synthetic: SyntheticSet
) -> None:
    both = scores(synthetic, configure(kd=SOFTENED), tiny)
    alone = configure(kd=SOFTENED, evaluation=evaluation(students=["mlp"], student_seeds=1))
    assert scores(synthetic, alone, tiny) == [
        item for item in both if item.student.name == "mlp" and item.student_seed == 0
    ]


def test_networks_differ_by_student_seed_and_by_trial_seed(
    tiny: ImageData, synthetic: SyntheticSet, calls: list[Call]
) -> None:
    for seed in (0, 1):
        scores(synthetic, configure(seed=seed, evaluation=evaluation(students=["mlp"])), tiny)
    assert len({tuple(call.start[:20].tolist()) for call in calls}) == 4


def test_lenets_are_trained_together_in_groups_of_five(
    tiny: ImageData, synthetic: SyntheticSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups: list[list[Any]] = []
    train = students.train_together

    def spying(group: list[Student], *args: Any, **options: Any) -> None:
        groups.append([student.address[-1] for student in group])
        train(group, *args, **options)

    monkeypatch.setattr(students, "train_together", spying)
    seven = configure(kd=SOFTENED, evaluation=evaluation(students=["lenet"], student_seeds=7))
    found = scores(synthetic, seven, tiny, splits=("test",))
    assert groups == [[0, 1, 2, 3, 4], [5, 6]]
    assert [item.student_seed for item in found] == list(range(7))
    assert len({item.score.loss for item in found}) == 7
    five = configure(kd=SOFTENED, evaluation=evaluation(students=["lenet"], student_seeds=5))
    assert scores(synthetic, five, tiny, splits=("test",)) == found[:5]


# --- Teachers -------------------------------------------------------------------------------


def test_each_student_seed_has_one_frozen_teacher_for_all_students(
    tiny: ImageData, synthetic: SyntheticSet, calls: list[Call]
) -> None:
    found = scores(synthetic, configure(kd=SOFTENED), tiny)
    teachers = [call for call in calls if call.role == "teacher"]
    trained = [call for call in calls if call.role == "student"]
    assert [call.seed for call in teachers] == [0, 1]
    assert len(trained) == 4
    for call in teachers:
        assert call.kd.variant == "off"
        assert call.teacher is None
        assert not call.network.training
        assert not any(parameter.requires_grad for parameter in call.network.parameters())
        assert not torch.equal(flat(call.network), call.start)
    for call in trained:
        assert call.teacher is teachers[call.seed].network
        assert call.kd.variant == "softened"
    for item in found:
        network = teachers[item.student_seed].network
        expected = students.score(network, getattr(tiny, item.split)).accuracy
        assert item.teacher_accuracy == expected


def test_a_teacher_stays_as_it_was_while_students_learn(
    tiny: ImageData, synthetic: SyntheticSet, calls: list[Call]
) -> None:
    kd = {**SOFTENED, "teacher": "convnet-w4-d1-batchnorm"}
    steps = evaluate(
        synthetic, configure(kd=kd, evaluation=evaluation(student_seeds=1)), tiny, SPLITS
    )
    next(steps)
    teacher = next(call.network for call in calls if call.role == "teacher")
    before = [tensor.clone() for tensor in teacher.state_dict().values()]
    list(steps)
    assert all(map(torch.equal, before, teacher.state_dict().values()))
    assert isinstance(teacher, nn.Module)
    assert not teacher.training


def test_a_teacher_is_in_eval_mode_without_having_been_scored(
    tiny: ImageData, synthetic: SyntheticSet, calls: list[Call]
) -> None:
    scores(synthetic, configure(kd=SOFTENED), tiny, splits=())
    assert [call.teacher.training for call in calls if call.teacher is not None] == [False] * 4


@pytest.mark.parametrize(
    "kd",
    [
        {},
        {"variant": "control"},
        {"variant": "softened", "alpha": 0.0},
        {"variant": "legacy", "alpha": 0.0},
    ],
)
def test_no_teacher_is_trained_where_none_is_needed(
    tiny: ImageData, synthetic: SyntheticSet, calls: list[Call], kd: dict[str, Any]
) -> None:
    found = scores(synthetic, configure(kd=kd), tiny)
    assert {call.role for call in calls} == {"student"}
    assert {item.teacher_accuracy for item in found} == {None}


@pytest.mark.parametrize("variant", ["softened", "legacy", "control"])
def test_alpha_zero_scores_as_without_kd(
    tiny: ImageData, synthetic: SyntheticSet, variant: str
) -> None:
    plain = scores(synthetic, configure(), tiny)
    assert scores(synthetic, configure(kd={"variant": variant, "alpha": 0.0}), tiny) == plain


def test_arms_of_a_comparison_start_from_the_same_networks(
    tiny: ImageData, synthetic: SyntheticSet, calls: list[Call]
) -> None:
    arms: list[list[Tensor]] = []
    ends = []
    for kd in ({}, SOFTENED, {**SOFTENED, "variant": "legacy"}, {**SOFTENED, "variant": "control"}):
        calls.clear()
        scores(synthetic, configure(kd=kd), tiny)
        arms.append([call.start for call in calls if call.role == "student"])
        ends.append([flat(call.network) for call in calls if call.role == "student"])
    for arm in arms[1:]:
        assert all(map(torch.equal, arm, arms[0]))
    assert len({tuple(end[0][:20].tolist()) for end in ends}) == 4


def test_a_diverged_teacher_has_no_accuracy(tiny: ImageData, synthetic: SyntheticSet) -> None:
    config = configure(kd=SOFTENED, evaluation=evaluation(lr=1e20, student_seeds=1))
    for item in scores(synthetic, config, tiny):
        assert item.teacher_accuracy is None
        assert not math.isfinite(item.score.loss)


# --- Quick scores ---------------------------------------------------------------------------


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quick scores with a few epochs."""
    monkeypatch.setattr(
        students, "EvaluationSettings", lambda: EvaluationSettings(epochs=3, lr=0.05)
    )


@pytest.mark.usefixtures("short")
def test_a_quick_score_is_the_mean_of_an_mlp_and_a_lenet(
    tiny: ImageData, synthetic: SyntheticSet
) -> None:
    config = configure(evaluation=evaluation(students=["mlp", "lenet"], student_seeds=1))
    found = scores(synthetic, config, tiny, splits=("validation",))
    expected = sum(item.score.accuracy for item in found) / 2
    assert quick_score(synthetic, config, tiny) == pytest.approx(expected)


@pytest.mark.usefixtures("short")
def test_a_quick_score_depends_on_the_set_alone(tiny: ImageData, synthetic: SyntheticSet) -> None:
    expected = quick_score(synthetic, configure(), tiny)
    other = configure(kd=SOFTENED, evaluation=evaluation(epochs=1, lr=0.5, student_seeds=1))
    assert quick_score(synthetic, other, tiny) == expected


@pytest.mark.usefixtures("short")
def test_a_quick_score_leaves_the_main_model_out(
    tiny: ImageData, synthetic: SyntheticSet, calls: list[Call]
) -> None:
    config = make_config({"network": {"name": "mlp"}, "pool": {"main_probability": 1.0}})
    assert quick_score(synthetic, config, tiny) is not None
    assert len(calls) == 1
    assert len(calls[0].start) > 0


def test_there_is_no_quick_score_without_validation_images(
    tiny: ImageData, synthetic: SyntheticSet
) -> None:
    assert quick_score(synthetic, configure(), replace(tiny, validation=None)) is None


@pytest.mark.usefixtures("short")
def test_there_is_no_quick_score_of_diverged_students(
    tiny: ImageData, synthetic: SyntheticSet
) -> None:
    broken = replace(synthetic, images=torch.full_like(synthetic.images, math.nan))
    assert quick_score(broken, configure(), tiny) is None


# --- The gain of KD -------------------------------------------------------------------------


def test_the_gain_is_measured_against_the_control_of_seed_zero(
    tiny: ImageData, synthetic: SyntheticSet
) -> None:
    config = configure(kd=SOFTENED)
    control = scores(synthetic, configure(kd={**SOFTENED, "variant": "control"}), tiny)
    known = {("convnet", 0): 0.25, ("mlp", 0): 0.5}
    with_kd = [
        item._replace(score=Score(known.get((item.student.name, item.student_seed), 0.0), 1.0, 18))
        for item in scores(synthetic, config, tiny)
    ]
    differences = [
        one.score.accuracy - other.score.accuracy
        for one, other in zip(with_kd, control, strict=True)
        if one.student_seed == 0 and one.split == "validation"
    ]
    assert len(differences) == 2
    expected = sum(differences) / 2
    assert kd_gain(synthetic, config, tiny, with_kd, "validation") == pytest.approx(expected)


def test_without_a_teacher_s_weight_the_gain_is_zero(
    tiny: ImageData, synthetic: SyntheticSet
) -> None:
    lenet_too = evaluation(students=["main", "mlp", "lenet"])
    config = configure(kd={**SOFTENED, "alpha": 0.0}, evaluation=lenet_too)
    found = scores(synthetic, config, tiny)
    assert kd_gain(synthetic, config, tiny, found, "test") == 0.0


def test_diverged_students_are_in_no_gain(tiny: ImageData, synthetic: SyntheticSet) -> None:
    config = configure(kd=SOFTENED)
    found = scores(synthetic, config, tiny)
    diverged = [item._replace(score=Score(0.3, math.nan, 18)) for item in found]
    assert kd_gain(synthetic, config, tiny, diverged, "test") is None
    assert kd_gain(synthetic, config, tiny, [], "test") is None
    reckless = configure(kd=SOFTENED, evaluation=evaluation(lr=1e20))
    assert kd_gain(synthetic, reckless, tiny, found, "test") is None
