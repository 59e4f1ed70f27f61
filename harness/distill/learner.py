"""What the iterations of one architecture do: match the drawn network's gradients, and train it.

A learner is made once for each architecture of the pool. Its network is filled with fresh weights
for each iteration, in place, so that the steps on it can be recorded or compiled once.

Methods that show their networks other images than the learned ones (augmented, decoded) make them
outside of these steps: ``compare`` gives the gradient to what is shown, and the method pulls it
back to what it learns. Shape letters: M shown synthetic images, N real images of a step.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn.functional import cross_entropy

from harness.config import Distillation
from harness.datasets import Images
from harness.distill.matching import (
    Match,
    freeze_batch_norms,
    has_batch_norm,
    match_gradients,
)
from harness.distill.programs import Compiled, Eager
from harness.distill.real_training import RealTraining
from harness.graphs import StaticStep, Work, overwrite
from harness.networks import Network
from harness.networks.initialise import fill

MOMENTUM_IMG = 0.5
BATCH_TRAIN = 256
BATCH_NORM_IMAGES = 16
"""Real images of each class that refresh the statistics of batch norms (methods of DC)."""


Compare = Callable[..., Match]
"""A function with the arguments of ``match_gradients``."""


@dataclass(frozen=True)
class Learned:
    """What a distillation learns; changed in place."""

    images: Tensor
    """Float32 [S, C, H, W]."""
    labels: Tensor
    """Int64 [S], sorted; constant."""
    momentum: Tensor
    """Of the images."""

    def descend(self, gradient: Tensor, lr: float) -> None:
        """One step of SGD with momentum on the images."""
        self.momentum.mul_(MOMENTUM_IMG).add_(gradient)
        self.images.add_(self.momentum, alpha=-lr)


class _Shown:
    """Where the images of a comparison lie, and the gradient to the synthetic ones."""

    def __init__(self, images: Tensor, real: Tensor) -> None:
        self.images = images
        self.real = real
        self.gradient = torch.zeros_like(images)


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
        compare: Compare | None = None,
        *,
        freeze: bool = True,
        weight: float = 1.0,
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
            compare: What a matching step does; called as ``match_gradients``, the default.
            freeze: Whether statistics of batch norms are refreshed, then constant in that step.
            weight: What the loss is multiplied with.
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
        self._label = label
        self._compared = compare or match_gradients
        self._freeze = freeze and has_batch_norm(self._network)
        self._weight = weight
        written = [learned.images, learned.momentum]
        self._match = self._static("matching step", self._match_once, written)
        self._train = self._static("inner loop", self._train_once)
        self._on_real: RealTraining | None = None
        self._comparison: tuple[_Shown, StaticStep] | None = None
        self._batches: dict[int, tuple[Tensor, Tensor, StaticStep]] = {}

    def _static(self, name: str, work: Work, written: Sequence[Tensor] = ()) -> StaticStep:
        """A step that changes the network and some other tensors."""
        return StaticStep(
            f"{self._label}: {name}",
            work,
            written=[*written, *self._network.state_dict().values()],
            device=self._learned.images.device,
        )

    def refill(self, generator: Generator) -> None:
        """Give the network fresh weights, drawn on the CPU."""
        if self._on_real is not None:
            self._on_real.restart()
        fill(self._source, generator)
        if self._source is not self._network:
            pairs = zip(
                self._network.state_dict().values(),
                self._source.state_dict().values(),
                strict=True,
            )
            for static, values in pairs:
                overwrite(static, values)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Give the network weights that were made elsewhere, by name, on the CPU."""
        if self._on_real is not None:
            self._on_real.restart()
        for name, static in self._network.state_dict().items():
            overwrite(static, weights[name])

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

    def compare(
        self, shown: Tensor, labels: Tensor, real: Tensor, batch_norm_rows: Tensor | None
    ) -> Match:
        """The distance of shown images to real ones, summed over classes.

        Args:
            shown: Synthetic images [M, C, H, W], grouped by class, as many of each; detached.
            labels: Int64 [M]; the same in every call.
            real: Real images [N, C, H, W], grouped by class.
            batch_norm_rows: See ``match``.

        Returns:
            That sum, and its gradient to ``shown``, which the next call overwrites.
        """
        if self._comparison is None:
            place = _Shown(torch.zeros_like(shown), torch.zeros_like(real))
            step = self._static(
                "matching step", lambda: self._compare_at(place, labels), [place.gradient]
            )
            self._comparison = (place, step)
        place, step = self._comparison
        place.images.copy_(shown)
        place.real.copy_(real)
        if batch_norm_rows is not None:
            overwrite(self._batch_norm_rows, batch_norm_rows)
        return Match(step(), place.gradient)

    def train_on(self, images: Tensor, labels: Tensor) -> None:
        """Train the network on one batch [B, C, H, W] by a step of plain SGD."""
        if len(labels) not in self._batches:
            place = (torch.zeros_like(images), torch.zeros_like(labels))
            self._batches[len(labels)] = (
                *place,
                self._static("training step", lambda: self._train_at(*place)),
            )
        static_images, static_labels, step = self._batches[len(labels)]
        static_images.copy_(images)
        static_labels.copy_(labels)
        step()

    def train_on_real(self, images: Tensor, targets: Tensor) -> None:
        """Train the network on one batch of real images, with momentum since ``refill``.

        Args:
            images: [B, C, H, W].
            targets: Class probabilities [B, K].
        """
        if self._on_real is None:
            self._on_real = RealTraining(self._label, self._network, self._gradients)
        self._on_real.step(images, targets, self._config.lr_net)

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
        images, labels = self._learned.images, self._learned.labels
        loss, gradient = self._matched(images, labels, self._real_images[self._rows])
        self._learned.descend(gradient, self._config.lr_img)
        return loss

    def _compare_at(self, place: "_Shown", labels: Tensor) -> Tensor:
        loss, gradient = self._matched(place.images, labels, place.real)
        place.gradient.copy_(gradient)
        return loss

    def _matched(self, images: Tensor, labels: Tensor, real: Tensor) -> Match:
        """Compare synthetic and real images, in the network's mode for it."""
        self._network.train()
        if self._freeze:
            freeze_batch_norms(self._network, self._real_images[self._batch_norm_rows])
        loss, gradient = self._compared(
            self._network,
            images,
            labels,
            torch.split(real, self._sizes),
            precision=self._config.precision,
            programs=self._programs,
        )
        return Match(loss * self._weight, gradient * self._weight)

    def _train_once(self) -> Tensor:
        images, labels = self._learned.images, self._learned.labels
        whole = len(labels) <= BATCH_TRAIN
        for order in self._orders:
            for rows in [None] if whole else torch.split(order, BATCH_TRAIN):
                batch = (images, labels) if rows is None else (images[rows], labels[rows])
                self._train_on(*batch)
        return labels

    def _train_at(self, images: Tensor, labels: Tensor) -> Tensor:
        self._train_on(images, labels)
        return labels

    def _train_on(self, images: Tensor, labels: Tensor) -> None:
        """One step of plain SGD on a batch."""
        gradients = self._gradients(images, labels)
        parameters: list[Tensor] = list(self._network.parameters())
        with torch.no_grad():
            torch._foreach_add_(parameters, gradients, alpha=-self._config.lr_net)

    def _gradients(self, images: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        """Gradients of the loss on a batch to all parameters, in training mode."""
        self._network.train()
        # Statistics of batch norms move in training, which a compiled program must not do.
        programs = Eager(self._network) if self.has_batch_norm else self._programs
        return programs(training_gradients, images, targets)


def training_gradients(network: Network, images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
    """Gradients of the mean cross-entropy to all parameters."""
    loss = cross_entropy(network(images), labels)
    return torch.autograd.grad(loss, list(network.parameters()))
