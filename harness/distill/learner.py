"""What the iterations of one architecture do: match the drawn network's gradients, and train it.

A learner is made once for each architecture of the pool. Its network is filled with fresh weights
for each iteration, in place, so that the steps on it can be recorded or compiled once.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn.functional import cross_entropy

from harness.config import Distillation
from harness.datasets import Images
from harness.distill.matching import (
    freeze_batch_norms,
    has_batch_norm,
    match_gradients,
)
from harness.distill.programs import Compiled, Eager
from harness.graphs import StaticStep, overwrite
from harness.networks import Network
from harness.networks.initialise import fill

MOMENTUM_IMG = 0.5
BATCH_TRAIN = 256
BATCH_NORM_IMAGES = 16
"""Real images of each class that refresh the statistics of batch norms (methods of DC)."""


@dataclass(frozen=True)
class Learned:
    """What a distillation learns; changed in place."""

    images: Tensor
    """Float32 [S, C, H, W]."""
    labels: Tensor
    """Int64 [S], sorted; constant."""
    momentum: Tensor
    """Of the images."""


class Learner:
    """A network of one architecture, and the steps of gradient matching on it."""

    def __init__(
        self,
        network: Network,
        learned: Learned,
        real_images: Images,
        config: Distillation,
        sizes: Sequence[int],
        batch_norm_images: int,
        label: str,
    ) -> None:
        """Lay out the tensors that the steps read.

        Args:
            network: On the CPU; its weights are overwritten.
            learned: Images and momentum, on the device to compute on.
            real_images: Training images [N, C, H, W], on that device.
            config: Settings.
            sizes: Real images of each class in a matching step.
            batch_norm_images: Real images that refresh the statistics of batch norms.
            label: Of the architecture, for the log.
        """
        device = learned.images.device
        self._source = network
        self._network = network if device.type == "cpu" else deepcopy(network).to(device)
        self._learned = learned
        self._real_images = real_images
        self._config = config
        self._sizes = list(sizes)
        self._programs = (Compiled if config.compile else Eager)(self._network)
        self._rows = torch.zeros(sum(sizes), dtype=torch.int64, device=device)
        self._batch_norm_rows = torch.zeros(batch_norm_images, dtype=torch.int64, device=device)
        self._orders = torch.zeros(
            (config.inner_loop, len(learned.labels)), dtype=torch.int64, device=device
        )
        state = list(self._network.state_dict().values())
        self._match = StaticStep(
            f"{label}: matching step",
            self._match_once,
            written=[learned.images, learned.momentum, *state],
            device=device,
        )
        self._train = StaticStep(
            f"{label}: inner loop", self._train_once, written=state, device=device
        )

    def refill(self, generator: Generator) -> None:
        """Give the network fresh weights, drawn on the CPU."""
        fill(self._source, generator)
        if self._source is not self._network:
            pairs = zip(
                self._network.state_dict().values(),
                self._source.state_dict().values(),
                strict=True,
            )
            for static, values in pairs:
                overwrite(static, values)

    @property
    def has_batch_norm(self) -> bool:
        """Whether the network keeps running statistics."""
        return has_batch_norm(self._network)

    def match(self, rows: Tensor, batch_norm_rows: Tensor | None) -> Tensor:
        """One image step on the loss summed over classes; return that loss.

        Args:
            rows: Int64, rows of the training images: the batch of class 0, of class 1, and so on.
            batch_norm_rows: Those that refresh the statistics of batch norms, where there are any.
        """
        overwrite(self._rows, rows)
        if batch_norm_rows is not None:
            overwrite(self._batch_norm_rows, batch_norm_rows)
        return self._match()

    def train(self, orders: Tensor | None) -> None:
        """Train the network on the synthetic set: ``inner_loop`` epochs of plain SGD.

        Args:
            orders: Int64 [inner_loop, S], the order of each epoch; None where one batch holds all,
                whose order would change nothing but rounding.
        """
        if orders is not None:
            overwrite(self._orders, orders)
        self._train()

    def _match_once(self) -> Tensor:
        network, learned = self._network, self._learned
        network.train()
        if self.has_batch_norm:
            freeze_batch_norms(network, self._real_images[self._batch_norm_rows])
        loss, gradient = match_gradients(
            network,
            learned.images,
            learned.labels,
            torch.split(self._real_images[self._rows], self._sizes),
            precision=self._config.precision,
            programs=self._programs,
        )
        learned.momentum.mul_(MOMENTUM_IMG).add_(gradient)
        learned.images.add_(learned.momentum, alpha=-self._config.lr_img)
        return loss

    def _train_once(self) -> Tensor:
        self._network.train()
        images, labels = self._learned.images, self._learned.labels
        # Statistics of batch norms move in training, which a compiled program must not do.
        programs = Eager(self._network) if self.has_batch_norm else self._programs
        parameters: list[Tensor] = list(self._network.parameters())
        whole = len(labels) <= BATCH_TRAIN
        for order in self._orders:
            for rows in [None] if whole else torch.split(order, BATCH_TRAIN):
                batch = (images, labels) if rows is None else (images[rows], labels[rows])
                gradients = programs(training_gradients, *batch)
                with torch.no_grad():
                    torch._foreach_add_(parameters, gradients, alpha=-self._config.lr_net)
        return labels


def training_gradients(network: Network, images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
    """Gradients of the mean cross-entropy to all parameters."""
    loss = cross_entropy(network(images), labels)
    return torch.autograd.grad(loss, list(network.parameters()))
