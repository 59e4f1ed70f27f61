"""Losses of knowledge distillation against their formulas, in float64."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from harness.config import KDSettings
from harness.evaluate.kd import legacy_kl, needs_teacher, softened_kl, student_loss
from tests.reference import kd as reference

STUDENT = reference.random_logits(1)
TEACHER = reference.random_logits(2)
LABELS = torch.tensor([0, 1, 2, 3, 4, 0])
TEMPERATURES = (0.5, 1.0, 1.5, 4.0, 10.0)
ALPHAS = (0.1, 0.5, 0.9, 1.0)


def settings(variant: str, **more: Any) -> KDSettings:
    return KDSettings.model_validate({"variant": variant, **more})


def gradient(kd: KDSettings, student: Tensor = STUDENT, teacher: Tensor | None = TEACHER) -> Tensor:
    leaf = student.clone().requires_grad_()
    loss = student_loss(kd, leaf, LABELS, teacher)
    return torch.autograd.grad(loss, leaf)[0]


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("variant", ["softened", "legacy"])
def test_losses_agree_with_the_plain_version(
    variant: str, temperature: float, alpha: float
) -> None:
    kd = settings(variant, temperature=temperature, alpha=alpha)
    expected = getattr(reference, variant)(STUDENT, TEACHER, LABELS, temperature, alpha)
    loss = float(student_loss(kd, STUDENT, LABELS, TEACHER))
    assert loss == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("variant", ["softened", "legacy", "control"])
def test_alpha_zero_is_plain_cross_entropy_bit_for_bit(variant: str) -> None:
    kd = settings(variant, alpha=0.0)
    assert not needs_teacher(kd)
    student = STUDENT.float()
    plain = cross_entropy(student, LABELS)
    assert torch.equal(student_loss(kd, student, LABELS, None), plain)
    assert torch.equal(gradient(kd, student, None), gradient(KDSettings(), student, None))


def test_soft_labels_agree_with_the_plain_version() -> None:
    soft = reference.random_logits(3).softmax(1)
    plain = reference.soft_cross_entropy(STUDENT, soft)
    found = float(student_loss(KDSettings(), STUDENT, soft, None))
    assert found == pytest.approx(plain, rel=1e-12)
    kd = settings("softened", temperature=2.0, alpha=0.25)
    expected = reference.softened(STUDENT, TEACHER, LABELS, 2.0, 0.25)
    expected += 0.75 * (plain - reference.cross_entropy(STUDENT, LABELS))
    assert float(student_loss(kd, STUDENT, soft, TEACHER)) == pytest.approx(expected, rel=1e-12)


def test_without_kd_the_loss_is_cross_entropy() -> None:
    student = STUDENT.float()
    assert torch.equal(
        student_loss(KDSettings(), student, LABELS, None), cross_entropy(student, LABELS)
    )


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.9])
def test_the_control_weighs_the_labels_alone(alpha: float) -> None:
    loss = student_loss(settings("control", alpha=alpha), STUDENT, LABELS, None)
    assert float(loss) == pytest.approx((1 - alpha) * float(cross_entropy(STUDENT, LABELS)))


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_a_student_equal_to_its_teacher_has_no_divergence_and_no_gradient(
    temperature: float,
) -> None:
    student = TEACHER.clone().requires_grad_()
    loss = softened_kl(student, TEACHER, temperature)
    assert float(loss.detach()) == 0.0
    loss.backward()
    assert student.grad is not None
    assert float(student.grad.abs().max()) <= 1e-15 * temperature
    assert float(legacy_kl(TEACHER, TEACHER, temperature)) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_divergence_is_positive_and_ignores_a_shift_of_the_logits(temperature: float) -> None:
    loss = softened_kl(STUDENT, TEACHER, temperature)
    assert float(loss) > 0.0
    torch.testing.assert_close(softened_kl(STUDENT + 3, TEACHER - 5, temperature), loss)


def test_the_direction_is_from_teacher_to_student() -> None:
    torch.testing.assert_close(softened_kl(STUDENT, TEACHER, 1.0), legacy_kl(TEACHER, STUDENT, 1.0))
    assert float(softened_kl(STUDENT, TEACHER, 1.0)) != pytest.approx(
        float(softened_kl(TEACHER, STUDENT, 1.0)), rel=1e-3
    )


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_the_gradient_is_the_published_formula(temperature: float, alpha: float) -> None:
    p_student = (STUDENT / temperature).softmax(1)
    p_teacher = (TEACHER / temperature).softmax(1)
    labels = STUDENT.softmax(1) - one_hot(LABELS, 5)
    expected = (alpha * temperature * (p_student - p_teacher) + (1 - alpha) * labels) / 6
    found = gradient(settings("softened", temperature=temperature, alpha=alpha))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_at_a_large_temperature_the_teacher_pulls_centred_logits() -> None:
    alpha = 0.5
    kd = settings("softened", temperature=1e5, alpha=alpha)
    pull = gradient(kd) - gradient(settings("control", alpha=alpha), teacher=None)
    centred = [logits - logits.mean(1, keepdim=True) for logits in (STUDENT, TEACHER)]
    expected = alpha / 5 * (centred[0] - centred[1]) / 6
    torch.testing.assert_close(pull, expected, rtol=1e-3, atol=1e-4)


def test_the_legacy_gradient_is_not_a_number_once_a_probability_underflows() -> None:
    student = STUDENT.float()
    assert bool(gradient(settings("legacy"), student, TEACHER.float()).isfinite().all())
    student[0, 0] = -200.0
    assert float(student.softmax(1)[0, 0]) == 0.0
    assert bool(gradient(settings("legacy"), student, TEACHER.float()).isnan().any())
    assert bool(gradient(settings("softened"), student, TEACHER.float()).isfinite().all())


@pytest.mark.parametrize(
    ("variant", "alpha", "expected"),
    [
        ("off", None, False),
        ("control", 0.5, False),
        ("control", 0.0, False),
        ("softened", 0.5, True),
        ("softened", 0.0, False),
        ("softened", 1.0, True),
        ("legacy", 0.5, True),
        ("legacy", 0.0, False),
    ],
)
def test_a_teacher_is_needed_where_its_logits_count(
    variant: str, alpha: float | None, expected: bool
) -> None:
    assert needs_teacher(settings(variant, alpha=alpha)) is expected
