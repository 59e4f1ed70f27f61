"""Knowledge distillation: losses of a student that also follows a teacher.

Formula (1) of arXiv 2402.13007 is L = alpha * tau^2 * KL + (1 - alpha) * CE. ``softened`` is that
formula with both logits divided by tau and KL(teacher || student), batch mean. ``legacy`` is what
the reference code computes instead. ``control`` is (1 - alpha) * CE alone, since alpha also
changes the size of the step: a gain of KD counts only against it.
"""

from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from harness.config import KDSettings


def softened_kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL(teacher || student) of logits softened by a temperature, times its square.

    Args:
        student: Logits [B, K].
        teacher: Logits [B, K], without gradient.
        temperature: tau > 0. The gradient to the student's logits is tau * (p_s - p_t) / B.

    Returns:
        Scalar, nats * tau^2, >= 0.
    """
    log_p_student = log_softmax(student / temperature, dim=1)
    log_p_teacher = log_softmax(teacher / temperature, dim=1)
    divergence = kl_div(log_p_student, log_p_teacher, reduction="batchmean", log_target=True)
    return temperature**2 * divergence


def legacy_kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """The reference code's term: tau^3 * KL(student || teacher), never softened.

    Source: Distill-Generalization-Group/Distill-Generalization at the commit of its sweeps. Its
    gradient is not finite once a probability of the student underflows, which is why its runs
    at large tau ended as NaN; that is kept.
    """
    p_student = student.softmax(dim=1)
    divergence = kl_div(log_softmax(teacher, dim=1), p_student, reduction="batchmean")
    return temperature**3 * divergence


def needs_teacher(settings: KDSettings) -> bool:
    """Whether the loss reads a teacher's logits."""
    return settings.variant in ("softened", "legacy") and settings.alpha != 0.0


def student_loss(
    settings: KDSettings, logits: Tensor, labels: Tensor, teacher: Tensor | None
) -> Tensor:
    """The loss of one batch.

    Args:
        settings: Variant, temperature and alpha.
        logits: The student's [B, K].
        labels: Int64 [B], or soft: float32 [B, K], class probabilities, of which cross-entropy is
            -sum(p * log_softmax(logits)), batch mean.
        teacher: The teacher's logits [B, K] on the same images where ``needs_teacher``.

    Returns:
        Scalar. With alpha = 0 it is the plain cross-entropy, bit for bit.
    """
    loss = cross_entropy(logits, labels)
    if settings.alpha is None or settings.temperature is None:
        return loss
    weighted = (1.0 - settings.alpha) * loss
    if not needs_teacher(settings):
        return weighted
    assert teacher is not None
    term = softened_kl if settings.variant == "softened" else legacy_kl
    return weighted + settings.alpha * term(logits, teacher, settings.temperature)
