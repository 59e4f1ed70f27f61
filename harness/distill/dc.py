"""DC: dataset condensation by gradient matching (arXiv 2006.05929), with a model pool.

Each iteration draws an architecture, initialises it, and alternates image steps with training the
network on the synthetic set. The reference runs one iteration more than it is asked for; here
``iterations`` is the number of iterations.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness import seeding
from harness.architecture import Architecture
from harness.config import Distillation
from harness.datasets import ImageData
from harness.distill.matching import freeze_batch_norms, has_batch_norm, match_gradients
from harness.networks import build_network
from harness.pool import ModelPool
from harness.synthetic import SyntheticSet, init_from_noise, init_from_real, labels_by_class

_MOMENTUM_IMG = 0.5
_BATCH_TRAIN = 256
_BATCH_NORM_IMAGES = 16


class DC:
    """Gradient matching of one network after another; see ``harness.distill.Distiller``."""

    def __init__(self, config: Distillation, data: ImageData, device: torch.device) -> None:
        """Start from noise or from real images.

        Args:
            config: Settings.
            data: Real images; only ``data.train`` is read.
            device: Where the images and networks live.
        """
        self.iteration = 0
        self.draws: list[Architecture] = []
        self._config = config
        self._data = data
        self._device = device
        self._pool = ModelPool(config.pool, config.network, config.seed)
        self._members = [
            torch.nonzero(data.train.labels == k).flatten() for k in range(data.num_classes)
        ]
        self._labels = labels_by_class(data.num_classes, config.ipc).to(device)
        self._images = self._initial_images().to(device)
        self._optimizer = torch.optim.SGD([self._images], config.lr_img, momentum=_MOMENTUM_IMG)

    def step(self) -> Tensor:
        """Draw a network and learn from it; return the matching loss a class and outer step."""
        architecture = self._pool.draw(self.iteration)
        network = self._build(architecture)
        total = torch.zeros((), device=self._device)
        for outer in range(self._config.outer_loop):
            if outer > 0:
                self._train(network, outer)
            total += self._match(network, outer)
        self.draws.append(architecture)
        self.iteration += 1
        return total / (self._data.num_classes * self._config.outer_loop)

    def synthetic(self) -> SyntheticSet:
        """The set as it stands."""
        provenance = {
            "pixels": self._data.pixels,
            "mean": list(self._data.mean),
            "std": list(self._data.std),
            "classes": list(self._data.classes),
            "dataset_checksum": self._data.checksum,
            "distillation": {**self._config.identity(), "iterations": self.iteration},
        }
        return SyntheticSet(self._images.detach().clone(), self._labels, provenance)

    def state_dict(self) -> dict[str, Any]:
        """Images, momentum, iteration and the draws so far."""
        momentum = self._optimizer.state[self._images].get("momentum_buffer")
        return {
            "images": self._images.detach().clone(),
            "momentum": None if momentum is None else momentum.clone(),
            "iteration": self.iteration,
            "draws": [architecture.label for architecture in self.draws],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        with torch.no_grad():
            self._images.copy_(state["images"])
        self._optimizer.state.clear()
        if state["momentum"] is not None:
            momentum = state["momentum"].to(self._device, copy=True)
            self._optimizer.state[self._images]["momentum_buffer"] = momentum
        self.iteration = state["iteration"]
        self.draws = [Architecture.parse(label) for label in state["draws"]]

    def _initial_images(self) -> Tensor:
        rng = seeding.generator(self._config.seed, "init-images")
        if self._config.init == "real":
            train = self._data.train
            return init_from_real(train.images, train.labels, ipc=self._config.ipc, rng=rng)
        return init_from_noise(
            classes=self._data.num_classes,
            ipc=self._config.ipc,
            shape=self._data.in_shape,
            rng=rng,
        )

    def _build(self, architecture: Architecture) -> nn.Module:
        network = build_network(
            architecture,
            in_shape=self._data.in_shape,
            classes=self._data.num_classes,
            generator=seeding.generator(self._config.seed, "network", self.iteration),
        )
        return network.to(self._device)

    def _match(self, network: nn.Module, outer: int) -> Tensor:
        """One image step on the loss summed over classes; return that loss."""
        network.train()
        if has_batch_norm(network):
            batches = self._real_batches("batch-norm", outer, _BATCH_NORM_IMAGES)
            freeze_batch_norms(network, torch.cat(batches))
        real = self._real_batches("real-batch", outer, self._config.batch_real)
        loss, self._images.grad = match_gradients(
            network, self._images, self._labels, real, precision=self._config.precision
        )
        self._optimizer.step()
        return loss

    def _real_batches(self, role: str, outer: int, size: int) -> list[Tensor]:
        """Real images of each class, without replacement; a smaller class is taken whole."""
        batches = []
        for k, members in enumerate(self._members):
            rng = seeding.generator(self._config.seed, role, self.iteration, outer, k)
            chosen = torch.randperm(len(members), generator=rng)[:size]
            batches.append(self._data.train.images[members[chosen.to(members.device)]])
        return batches

    def _train(self, network: nn.Module, outer: int) -> None:
        """Train the network on the synthetic set: ``inner_loop`` epochs of plain SGD."""
        network.train()
        parameters: list[Tensor] = list(network.parameters())
        images, labels = self._images.detach(), self._labels
        for epoch in range(self._config.inner_loop):
            rng = seeding.generator(self._config.seed, "inner-order", self.iteration, outer, epoch)
            order = torch.randperm(len(labels), generator=rng).to(self._device)
            for rows in torch.split(order, _BATCH_TRAIN):
                loss = cross_entropy(network(images[rows]), labels[rows])
                gradients = torch.autograd.grad(loss, parameters)
                with torch.no_grad():
                    torch._foreach_add_(parameters, gradients, alpha=-self._config.lr_net)
