"""ELF as its formula says it: a student's loss term by term, and plain training by it."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

Maps = Callable[[Tensor], Tensor]


def parts(network: nn.Module, rear_starts: str | None) -> tuple[Maps, Maps]:
    """Front and rear of a network that is a body of named layers and a classifier."""

    def front(x: Tensor) -> Tensor:
        for name, layer in network.body.named_children():  # type: ignore[operator, union-attr]
            if name == rear_starts:
                break
            x = layer(x)
        return x

    def rear(x: Tensor) -> Tensor:
        reached = False
        for name, layer in network.body.named_children():  # type: ignore[operator, union-attr]
            reached = reached or name == rear_starts
            if reached:
                x = layer(x)
        return network.classifier(x.reshape(len(x), -1))  # type: ignore[operator, no-any-return]

    return front, rear


def distance(name: str, maps: Tensor, features: Tensor) -> Tensor:
    """Pixel by pixel, image by image."""
    if name == "cosine":
        inner = (maps * features).sum()
        return 1 - inner / (maps.square().sum().sqrt() * features.square().sum().sqrt())
    rows = maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])
    wanted = features.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])
    total = maps.new_zeros(())
    for row, target in zip(rows, wanted, strict=True):
        if name == "ce":
            total = total - (target * (row - row.exp().sum().log())).sum() / len(rows)
        elif name == "l2":
            total = total + (row - target).pow(2).sum() / maps.numel()
        else:
            total = total + (row - target).abs().sum() / maps.numel()
    return total


def task(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean negative log-likelihood."""
    chosen = [row[label] - row.exp().sum().log() for row, label in zip(logits, labels, strict=True)]
    return -torch.stack(chosen).mean()


def loss(
    variant: str,
    how: str,
    front: Maps,
    rear: Maps,
    batch: tuple[Tensor, Tensor, Tensor],
    weights: tuple[float, float],
) -> Tensor:
    """lambda_f * d(front(x), F) + lambda_r * CE(rear(F), y) + CE(rear(front(x)), y), or parts."""
    images, labels, features = batch
    maps = front(images)
    total = maps.new_zeros(())
    if variant in ("front_rear_task", "front_task", "front_rear"):
        total = total + weights[0] * distance(how, maps, features)
    if variant in ("front_rear_task", "rear_task", "front_rear"):
        total = total + weights[1] * task(rear(features), labels)
    if variant != "front_rear":
        total = total + task(rear(maps), labels)
    return total


def train(
    network: nn.Module,
    batches: list[list[tuple[Tensor, Tensor, Tensor]]],
    objective: Callable[[tuple[Tensor, Tensor, Tensor]], Tensor],
    *,
    epochs: int,
    lr: float,
) -> None:
    """Passes 0 .. epochs by SGD written out; after ``epochs // 2 + 1`` a tenth, fresh momentum."""
    parameters = list(network.parameters())
    momenta = [torch.zeros_like(p) for p in parameters]
    network.train()
    for epoch, own in enumerate(batches):
        for batch in own:
            gradients = torch.autograd.grad(objective(batch), parameters, allow_unused=True)
            for p, momentum, gradient in zip(parameters, momenta, gradients, strict=True):
                step = 5e-4 * p.data + (0 if gradient is None else gradient)
                momentum.copy_(0.9 * momentum + step)
                p.data -= lr * momentum
        if epoch == math.floor(epochs / 2) + 1:
            lr = lr * 0.1
            momenta = [torch.zeros_like(p) for p in parameters]


def pretrain(
    network: nn.Module, images: Tensor, labels: Tensor, orders: list[Tensor], batch: int
) -> None:
    """A feature network: SGD at a constant 0.01, momentum 0.9, weight decay 5e-4."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    network.train()
    for order in orders:
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            optimizer.zero_grad()
            task(network(images[rows]), labels[rows]).backward()
            optimizer.step()
