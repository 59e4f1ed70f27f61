"""Training of a network on real images, as IDC updates the networks that it matches.

Source: snu-mllab/Efficient-Dataset-Condensation, condense.py, train.py and augment.py. SGD with
momentum 0.9 and weight decay 5e-4, batches of 64; colours and crops for each image, and with
probability one half CutMix, whose labels are mixed by area.

Shape letters: B images of a batch, C channels, H height, W width, K classes.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn.functional import one_hot

from harness import seeding
from harness.augment import augment, draw_by_image
from harness.datasets import ImageData
from harness.evaluate.cohort import descend
from harness.graphs import StaticStep
from harness.networks import Network

BATCH = 64
STAGES = (("color",), ("crop",))
_MIX_PROBABILITY = 0.5

Gradients = Callable[[Tensor, Tensor], Sequence[Tensor]]
"""Called with images and class probabilities; gradients of the loss to all parameters."""


class Mix(NamedTuple):
    """One CutMix: what a batch's images are given a rectangle of."""

    order: Tensor
    """Int64 [B]: the image that each takes its rectangle from."""
    kept: float
    """Share of the area that is to be kept, in [0, 1)."""
    row: int
    """Centre of the rectangle."""
    column: int


def draw_mix(rng: Generator, count: int, height: int, width: int) -> Mix | None:
    """Draw the CutMix of a batch of ``count`` images; None: it stays as it is."""
    numbers = torch.rand(4, generator=rng, dtype=torch.float64).tolist()
    order = torch.randperm(count, generator=rng)
    if numbers[0] >= _MIX_PROBABILITY:
        return None
    return Mix(order, numbers[1], int(numbers[2] * height), int(numbers[3] * width))


def cut_and_mix(images: Tensor, targets: Tensor, mix: Mix) -> tuple[Tensor, Tensor]:
    """Paste a rectangle of other images of the batch, and mix the labels by area.

    Args:
        images: [B, C, H, W].
        targets: Class probabilities [B, K].
        mix: What to paste.
    """
    height, width = images.shape[2:]
    side = math.sqrt(1 - mix.kept)
    tall, wide = int(height * side) // 2, int(width * side) // 2
    rows = slice(max(mix.row - tall, 0), min(mix.row + tall, height))
    columns = slice(max(mix.column - wide, 0), min(mix.column + wide, width))
    order = mix.order.to(images.device)
    mixed = images.clone()
    mixed[:, :, rows, columns] = images[order][:, :, rows, columns]
    share = (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)
    return mixed, (1 - share) * targets + share * targets[order]


def real_batches(
    data: ImageData, usable: Tensor, most: int, *address: int | str
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield augmented and mixed batches of real images, each image at most once.

    Args:
        data: Real images.
        usable: Int64, the rows of the training images that may be taken, on the CPU.
        most: Images after which it ends; batches are whole, and the rest of an epoch is left out.
        address: Seed, role and index of all draws.

    Yields:
        Images [B, C, H, W] and class probabilities [B, K].
    """
    seed, role, *index = address
    assert isinstance(seed, int)
    order, shown, mixed = (
        seeding.generator(seed, f"{role}-{part}", *index) for part in ("order", "augment", "mix")
    )
    total = len(usable)
    size = min(BATCH, total)
    batches = min(math.ceil(most / size), total // size)
    chosen = usable[torch.randperm(total, generator=order)[: batches * size]]
    rows = chosen.to(data.train.labels.device)
    for own in torch.split(rows, size):
        draws = draw_by_image(STAGES, shown, size)
        images = augment(data.train.images[own], draws.to(own.device))
        targets = one_hot(data.train.labels[own], data.num_classes).to(images.dtype)
        mix = draw_mix(mixed, size, *images.shape[2:])
        yield (images, targets) if mix is None else cut_and_mix(images, targets, mix)


class RealTraining:
    """Steps of a network on batches of real images; on a GPU replayed as CUDA graphs."""

    def __init__(self, label: str, network: Network, gradients: Gradients) -> None:
        """Prepare to train a network in place.

        Args:
            label: Of its architecture, for the log.
            network: On the device to train on.
            gradients: Puts it into training mode and takes gradients to its parameters.
        """
        self._label = label
        self._parameters: list[Tensor] = list(network.parameters())
        self._momenta = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._written = [*network.state_dict().values(), *self._momenta]
        self._gradients = gradients
        self._steps: dict[tuple[int, float], tuple[Tensor, Tensor, StaticStep]] = {}

    def restart(self) -> None:
        """Start the momentum from zero, for another network."""
        torch._foreach_zero_(self._momenta)

    def step(self, images: Tensor, targets: Tensor, lr: float) -> None:
        """One step on images [B, C, H, W] and class probabilities [B, K]."""
        key = (len(images), lr)
        if key not in self._steps:
            place = (torch.zeros_like(images), torch.zeros_like(targets))
            step = StaticStep(
                f"{self._label}: training on real images",
                lambda: self._descend(*place, lr),
                written=self._written,
                device=images.device,
            )
            self._steps[key] = (*place, step)
        static_images, static_targets, step = self._steps[key]
        static_images.copy_(images)
        static_targets.copy_(targets)
        step()

    def _descend(self, images: Tensor, targets: Tensor, lr: float) -> Tensor:
        descend(self._parameters, self._gradients(images, targets), self._momenta, lr)
        return targets
