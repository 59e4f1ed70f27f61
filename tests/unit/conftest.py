"""Images small enough to distil and to train on within a second."""

import pytest
import torch

from harness.datasets import ImageData, Split

CLASSES = 3


def _draw(per_class: int, patterns: torch.Tensor, rng: torch.Generator) -> Split:
    """Each class is a pattern of its own under noise; the order of the images is random."""
    labels = torch.arange(CLASSES).repeat_interleave(per_class)
    labels = labels[torch.randperm(len(labels), generator=rng)]
    noise = torch.randn(len(labels), 1, 28, 28, generator=rng)
    return Split(patterns[labels] + noise, labels)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tensors this small are slower on more threads, most of all where tests run side by side."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny() -> ImageData:
    """Three classes of 1x28x28 images: 12 of each to train on, 6 to validate, 6 to test."""
    rng = torch.Generator().manual_seed(0)
    patterns = torch.randn(CLASSES, 1, 28, 28, generator=rng)
    return ImageData(
        name="tiny",
        train=_draw(12, patterns, rng),
        validation=_draw(6, patterns, rng),
        test=_draw(6, patterns, rng),
        mean=(0.5,),
        std=(0.25,),
        classes=("a", "b", "c"),
        checksum="0" * 64,
    )
