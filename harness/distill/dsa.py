"""DSA: gradient matching of images that are augmented alike (arXiv 2102.08259).

As DC, but in every matching step the real and the synthetic images of a class undergo one operation
with one set of parameters (siamese), and the network is trained on synthetic images that share the
operation of their batch alone. The gradient goes through the augmentation.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from harness import seeding
from harness.augment import augment, draw_by_group, draw_by_image
from harness.distill.dc import DC
from harness.distill.learner import BATCH_TRAIN, Learner


class DSA(DC):
    """Gradient matching under siamese augmentation; see ``harness.distill.Distiller``."""

    def _match(self, learner: Learner, outer: int) -> Tensor:
        address = (self._config.seed, "augmentation", self.iteration, outer)
        draws = draw_by_group(
            [self._config.dsa.operations],
            [seeding.generator(*address, k) for k in range(self._data.num_classes)],
        ).to(self._device)
        rows = self._real_rows("real-batch", outer, self._config.batch_real)
        real = self._data.train.images[rows.to(self._device)]
        leaf = self._learned.images.detach().requires_grad_()
        shown = augment(leaf, draws, [self._config.ipc] * self._data.num_classes)
        loss, gradient = learner.compare(
            shown.detach(),
            self._learned.labels,
            augment(real, draws, self._sizes),
            self._batch_norm_rows(learner, outer),
        )
        (pulled_back,) = torch.autograd.grad(shown, leaf, gradient)
        self._learned.descend(pulled_back, self._config.lr_img)
        return loss

    def _train(self, learner: Learner, outer: int) -> None:
        for images, labels in self._training_batches(outer):
            learner.train_on(images, labels)

    def _training_batches(self, outer: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the augmented synthetic images in the batches of the inner loop."""
        images, labels = self._learned.images, self._learned.labels
        orders = self._orders(outer)
        for epoch in range(self._config.inner_loop):
            rng = seeding.generator(
                self._config.seed, "inner-augmentation", self.iteration, outer, epoch
            )
            order = torch.arange(len(labels)) if orders is None else orders[epoch]
            for rows in torch.split(order.to(self._device), BATCH_TRAIN):
                draws = draw_by_image([self._config.dsa.operations], rng, len(rows))
                yield augment(images[rows], draws.to(self._device)), labels[rows]
