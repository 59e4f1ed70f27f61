"""Probes: small networks that tell how well a set trains networks, on images kept for that.

Shape letters: S synthetic images, N probe images, C channels, H height, W width, K classes.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from harness import seeding
from harness.architecture import Architecture
from harness.config import BanditSettings
from harness.datasets import ImageData
from harness.errors import DataError
from harness.graphs import StaticStep, overwrite
from harness.networks import Network, build_network
from harness.synthetic import SyntheticSet

_LR = 0.05
_MOMENTUM = 0.9
_BATCH = 256


def probe_rows(data: ImageData, per_class: int, seed: int) -> Tensor:
    """Choose the training images that probes are measured on.

    Args:
        data: Real images.
        per_class: Images of each class; of a class with fewer than twice as many, half.
        seed: The trial's.

    Returns:
        Int64 [N] on the CPU, rows of ``data.train``.

    Raises:
        DataError: A class has fewer than two images.
    """
    labels = data.train.labels.cpu()
    chosen = []
    for k, name in enumerate(data.classes):
        members = torch.nonzero(labels == k).flatten()
        count = min(per_class, len(members) // 2)
        if count == 0:
            raise DataError(
                f"pool.schedule: got 'bandit', which keeps training images of each class for its "
                f"probes, but class '{name}' has {len(members)}; add images, or choose another"
            )
        rng = seeding.generator(seed, "probe-images", k)
        chosen.append(members[torch.randperm(len(members), generator=rng)[:count]])
    return torch.cat(chosen)


class Probes:
    """Trains a network of each architecture on a set, always from the same weights."""

    def __init__(
        self,
        settings: BanditSettings,
        data: ImageData,
        rows: Tensor,
        seed: int,
        device: torch.device,
    ) -> None:
        """Fix networks and images; nothing is trained.

        Args:
            settings: Architectures and steps.
            data: Real images, on ``device``.
            rows: Of ``data.train``, as ``probe_rows`` gives them.
            seed: The trial's.
            device: Where to train.
        """
        own = rows.to(data.train.labels.device)
        self._images = data.train.images[own].to(device)
        self._labels = data.train.labels[own].to(device)
        self._steps = settings.probe_steps
        self._seed = seed
        self._device = device
        self._networks = [
            build_network(
                Architecture.parse(label),
                in_shape=data.in_shape,
                classes=data.num_classes,
                generator=seeding.generator(seed, "probe-network", label),
            ).to(device)
            for label in settings.probes
        ]
        self._trainings: list[_Training] = []

    def loss(self, synthetic: SyntheticSet) -> float:
        """Mean cross-entropy on the probe images, over probes that were trained on a set.

        Weights and order of the images are the same each time, so that two losses differ by their
        sets alone.

        Returns:
            Nats; not finite where a probe diverged.
        """
        if not self._trainings:
            self._trainings = [_Training(net, synthetic, self._device) for net in self._networks]
        orders = self._orders(len(synthetic.labels))
        losses = []
        for training in self._trainings:
            network = training.train(synthetic, orders)
            losses.append(_measure(network, self._images, self._labels))
        mean = float(torch.stack(losses).mean())
        return mean if math.isfinite(mean) else math.inf

    def _orders(self, count: int) -> list[Tensor]:
        """Rows of each step's batch: all, or 256 random ones."""
        if count <= _BATCH:
            return [torch.arange(count)] * self._steps
        return [
            torch.randperm(count, generator=seeding.generator(self._seed, "probe-order", step))[
                :_BATCH
            ]
            for step in range(self._steps)
        ]


class _Training:
    """SGD of one network on tensors that stay in place, so that its step is recorded once."""

    def __init__(self, network: Network, synthetic: SyntheticSet, device: torch.device) -> None:
        self._network = network
        self._start = {name: item.clone() for name, item in network.state_dict().items()}
        self._parameters: list[Tensor] = list(network.parameters())
        self._momentum = [torch.zeros_like(item) for item in self._parameters]
        self._images = synthetic.images.clone()
        self._labels = synthetic.labels.clone()
        size = min(_BATCH, len(synthetic.labels))
        self._rows = torch.arange(size, device=device)
        written = [*network.state_dict().values(), *self._momentum]
        self._step = StaticStep("probe", self._step_once, written=written, device=device)

    def train(self, synthetic: SyntheticSet, orders: Sequence[Tensor]) -> Network:
        """Train from the first weights; return the network, in eval mode."""
        self._images.copy_(synthetic.images)
        self._labels.copy_(synthetic.labels)
        for name, item in self._network.state_dict().items():
            item.copy_(self._start[name])
        for item in self._momentum:
            item.zero_()
        self._network.train()
        for rows in orders:
            if len(orders[0]) < len(self._labels):
                overwrite(self._rows, rows)
            self._step()
        return self._network.eval()

    def _step_once(self) -> Tensor:
        logits = self._network(self._images[self._rows])
        loss = cross_entropy(logits, self._labels[self._rows])
        gradients = torch.autograd.grad(loss, self._parameters)
        with torch.no_grad():
            torch._foreach_mul_(self._momentum, _MOMENTUM)
            torch._foreach_add_(self._momentum, gradients)
            torch._foreach_add_(self._parameters, self._momentum, alpha=-_LR)
        return loss.detach()


def _measure(network: Network, images: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy, float64, in batches."""
    with torch.no_grad():
        sums = [
            cross_entropy(network(x), y, reduction="sum").double()
            for x, y in zip(torch.split(images, _BATCH), torch.split(labels, _BATCH), strict=True)
        ]
    return torch.stack(sums).sum() / len(labels)
