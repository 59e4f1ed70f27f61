"""IDC: gradient matching of mosaics (arXiv 2205.14959).

A stored image in [0, 1] is cut into factor x factor parts, each of which is enlarged and keeps the
label (multi-formation). Networks are trained on real images. Images are learned class by class, by
a step of SGD for each class; since a class's gradient depends on its own images alone, all classes'
gradients are still computed together, at the places where the momentum has taken the images in the
steps of the classes before.

Source: snu-mllab/Efficient-Dataset-Condensation. Shape letters: K classes, S = K * ipc stored
images, f factor.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from harness import seeding
from harness.augment import augment, draw_by_group
from harness.config import Distillation
from harness.datasets import ImageData
from harness.distill.dc import DC
from harness.distill.learner import MOMENTUM_IMG, Learner
from harness.distill.matching import match_gradients
from harness.distill.real_training import real_batches
from harness.formats.idc import decode
from harness.synthetic import SyntheticSet, init_from_noise

STAGES = (("color",), ("crop",), ("cutout",))
MOST_SHOWN = 128
"""Decoded images of a class in a matching step; of more, random ones are taken."""


class IDC(DC):
    """Gradient matching of mosaics; see ``harness.distill.Distiller``."""

    def __init__(self, config: Distillation, data: ImageData, device: torch.device) -> None:
        """Start from noise, from real images or from mosaics of them."""
        dtype = data.train.images.dtype
        constants = (torch.tensor(values, dtype=dtype) for values in (data.mean, data.std))
        self._mean, self._std = (values.reshape(-1, 1, 1).to(device) for values in constants)
        super().__init__(config, data, device)
        self._rows = _rows_by_class(data.num_classes, config.ipc, config.idc.factor).to(device)
        self._shown_labels = torch.arange(data.num_classes, device=device).repeat_interleave(
            min(self._rows.shape[1], MOST_SHOWN)
        )
        turns = torch.arange(data.num_classes).repeat_interleave(config.ipc).to(device)
        self._before = turns[:, None, None, None]

    def step(self) -> Tensor:
        """One network; see ``DC.step``."""
        self._learned.images.clamp_(0, 1)
        return super().step()

    def synthetic(self) -> SyntheticSet:
        """The decoded set as it stands: ipc * f**2 images of each class, normalised."""
        stored = super().synthetic()
        images = self._normalise(decode(stored.images, self._config.idc.factor))
        rows = self._rows.flatten()
        labels = stored.labels.repeat(self._config.idc.factor**2)[rows]
        return SyntheticSet(images[rows].contiguous(), labels, stored.provenance)

    def _initial_images(self) -> Tensor:
        """Stored images in [0, 1]."""
        config, train = self._config, self._data.train
        rng = seeding.generator(config.seed, "init-images")
        if config.init == "noise":
            noise = init_from_noise(
                classes=self._data.num_classes, ipc=config.ipc, shape=self._data.in_shape, rng=rng
            )
            return (noise / 4 + 0.5).clamp(0, 1).to(train.images.dtype)
        factor = config.idc.factor if config.init == "mix" else 1
        mosaics = []
        for members in self._members:
            order = self._pool.usable(members[torch.randperm(len(members), generator=rng)])
            count = config.ipc * factor**2
            own = order[torch.arange(count) % len(order)]  # a small class repeats itself
            real = train.images[own.to(self._device)] * self._std + self._mean
            mosaics.append(_mosaic(real.reshape(factor, factor, -1, *real.shape[1:])))
        return torch.cat(mosaics)

    def _normalise(self, images: Tensor) -> Tensor:
        return (images - self._mean) / self._std

    def _learner_options(self) -> dict[str, Any]:
        return {"compare": partial(match_gradients, distance=self._config.idc.distance)}

    def _match(self, learner: Learner, outer: int) -> Tensor:
        """One step of SGD for each class; return the loss summed over classes."""
        config = self._config
        address = (config.seed, "augmentation", self.iteration, outer)
        draws = draw_by_group(
            STAGES, [seeding.generator(*address, k) for k in range(self._data.num_classes)]
        ).to(self._device)
        rows = self._real_rows("real-batch", outer, config.batch_real)
        real = augment(self._data.train.images[rows.to(self._device)], draws, self._sizes)
        self._drift(self._before)
        leaf = self._learned.images.detach().requires_grad_()
        decoded = self._normalise(decode(leaf, config.idc.factor))[self._shown_rows(outer)]
        shown = augment(decoded, draws, [len(decoded) // self._data.num_classes] * len(self._sizes))
        loss, gradient = learner.compare(
            shown.detach(), self._shown_labels, real, self._batch_norm_rows(learner, outer)
        )
        (pulled_back,) = torch.autograd.grad(shown, leaf, gradient)
        self._learned.descend(pulled_back, config.lr_img)
        self._drift(self._data.num_classes - 1 - self._before)
        return loss

    def _drift(self, steps: Tensor) -> None:
        """Let the momentum alone move each image, for the steps of other classes."""
        images, momentum = self._learned.images, self._learned.momentum
        left = MOMENTUM_IMG ** steps.to(images.dtype)
        images.sub_(momentum * (1 - left), alpha=self._config.lr_img)
        momentum.mul_(left)

    def _shown_rows(self, outer: int) -> Tensor:
        """Decoded images of a matching step, grouped by class."""
        count = self._rows.shape[1]
        if count <= MOST_SHOWN:
            return self._rows.flatten()
        address = (self._config.seed, "decoded", self.iteration, outer)
        chosen = [
            torch.randperm(count, generator=seeding.generator(*address, k))[:MOST_SHOWN]
            for k in range(self._data.num_classes)
        ]
        return self._rows.gather(1, torch.stack(chosen).to(self._device)).flatten()

    def _train(self, learner: Learner, outer: int) -> None:
        """Train the network on real images."""
        address = (self._config.seed, "net-update", self.iteration, outer)
        usable = self._pool.usable(torch.arange(len(self._data.train.labels)))
        most = self._config.idc.net_images
        for images, targets in real_batches(self._data, usable, most, *address):
            learner.train_on_real(images, targets)


def _rows_by_class(classes: int, ipc: int, factor: int) -> Tensor:
    """Where the decoded images of each class lie: int64 [K, f**2 * ipc], part after part."""
    stored = torch.arange(classes * ipc).reshape(1, classes, ipc)
    parts = torch.arange(factor**2)[:, None, None] * (classes * ipc)
    return (parts + stored).transpose(0, 1).flatten(1)


def _mosaic(images: Tensor) -> Tensor:
    """Shrink images [f, f, n, C, H, H] into mosaics [n, C, H, H], to the nearest pixel.

    Parts that cannot be of equal size are one pixel larger at the top and at the left.
    """
    factor, side = len(images), images.shape[-1]
    sides = [side // factor + (part < side % factor) for part in range(factor)]
    rows = [
        torch.cat(
            [interpolate(images[i, j], size=(sides[i], sides[j])) for j in range(factor)],
            dim=3,
        )
        for i in range(factor)
    ]
    return torch.cat(rows, dim=2)
