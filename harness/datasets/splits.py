"""Stratified splits, drawn with fixed seeds: every trial of a search judges on the same images."""

from collections.abc import Sequence

import torch
from torch import Tensor

from harness.datasets.image_data import RawSplit
from harness.errors import DataError
from harness.seeding import generator

SPLIT_SEED = 0
"""Seed of every split; another one would make old and new validation scores incomparable."""


def shuffled_members(labels: Tensor, label: int) -> Tensor:
    """Return where a class is, in a fixed random order.

    Args:
        labels: Class of each image, int64 [N], in any order.
        label: The class.

    Returns:
        int64 [n], the indices of the class's n images.
    """
    members = torch.nonzero(labels == label).flatten()
    order = torch.randperm(len(members), generator=generator(SPLIT_SEED, "split", label))
    return members[order]


def select(split: RawSplit, parts: Sequence[Tensor]) -> RawSplit:
    """Take the images at the given indices, in the order of the files; no pixel is copied."""
    indices = torch.cat(list(parts)).sort().values
    rows = indices if split.rows is None else split.rows[indices]
    return RawSplit(split.images, split.labels[indices], rows)


def hold_out(
    train: RawSplit, classes: Sequence[str], fraction: float, *, name: str
) -> tuple[RawSplit, RawSplit]:
    """Split a share of each class off for validation.

    Args:
        train: All training images.
        classes: Name of each class.
        fraction: Share of each class, in (0, 1); rounded to a count, at least one image, and at
            least one is left for training. A smaller share is part of a larger one.
        name: Name of the dataset, for messages.

    Returns:
        The rest, and the validation images; disjoint, each in the order of ``train``.

    Raises:
        DataError: A class has fewer than two images.
    """
    kept, held = [], []
    for label, title in enumerate(classes):
        members = shuffled_members(train.labels, label)
        if len(members) < 2:
            raise DataError(
                f"{name}: class '{title}' has {len(members)} training image(s), expected at least "
                "2 to hold one out for validation; add images, or set protocol = 'paper'"
            )
        count = min(max(round(len(members) * fraction), 1), len(members) - 1)
        held.append(members[:count])
        kept.append(members[count:])
    return select(train, kept), select(train, held)


def apportion(total: int, sizes: Sequence[int]) -> list[int]:
    """Divide a total in proportion to sizes, by the largest remainder.

    Args:
        total: What is to be divided, >= 0.
        sizes: Size of each class, >= 0, not all 0.

    Returns:
        A count for each class; they sum to ``total``. Ties go to the lower class.
    """
    whole = sum(sizes)
    counts = [total * size // whole for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda k: -(total * sizes[k] % whole))
    for k in by_remainder[: total - sum(counts)]:
        counts[k] += 1
    return counts
