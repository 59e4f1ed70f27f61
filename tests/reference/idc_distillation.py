"""IDC as its paper's algorithm: one class after the other, optimisers from torch.

Random choices (networks, batches, augmentation, CutMix) are given from outside.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.reference.dc import set_batch_norms
from tests.reference.dsa import Draw, show
from tests.reference.idc import decode


class NetBatch(NamedTuple):
    """A batch of real images: its augmentation, and a CutMix (order, kept share, row, column)."""

    images: Tensor
    labels: Tensor
    draws: list[Draw]
    mix: tuple[list[int], float, int, int] | None


def mosaic(images: list[Tensor], factor: int) -> Tensor:
    """Shrink factor**2 images into one, row by row, by taking the nearest pixel."""
    side = images[0].shape[-1]
    out = torch.zeros_like(images[0])
    sizes = [side // factor + (1 if i < side % factor else 0) for i in range(factor)]
    top = 0
    for i in range(factor):
        left = 0
        for j in range(factor):
            image = images[i * factor + j]
            for y in range(sizes[i]):
                for x in range(sizes[j]):
                    place = math.floor(y * side / sizes[i]), math.floor(x * side / sizes[j])
                    out[:, top + y, left + x] = image[:, place[0], place[1]]
            left += sizes[j]
        top += sizes[i]
    return out


def gradient_distance(a: Tensor, b: Tensor, kind: str) -> Tensor:
    """Of convolutions alone."""
    if a.dim() != 4:
        return a.new_zeros(())
    return ((a - b) ** 2).sum() if kind == "mse" else (a - b).abs().sum()


def train_on(network: nn.Module, optimizer: torch.optim.Optimizer, batch: NetBatch) -> None:
    images = show(batch.images, batch.draws)
    if batch.mix is None:
        loss = functional.cross_entropy(network(images), batch.labels)
    else:
        order, kept, row, column = batch.mix
        height, width = images.shape[2:]
        cut = math.sqrt(1 - kept)
        tall, wide = math.floor(height * cut) // 2, math.floor(width * cut) // 2
        top, bottom = max(row - tall, 0), min(row + tall, height)
        left, right = max(column - wide, 0), min(column + wide, width)
        source = images.clone()
        for k, other in enumerate(order):
            images[k, :, top:bottom, left:right] = source[other, :, top:bottom, left:right]
        ratio = 1 - (bottom - top) * (right - left) / (height * width)
        logits = network(images)
        loss = functional.cross_entropy(logits, batch.labels) * ratio
        loss = loss + functional.cross_entropy(logits, batch.labels[order]) * (1 - ratio)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def distil(
    start: Tensor,
    *,
    classes: int,
    iterations: int,
    outer_loop: int,
    lr_img: float,
    lr_net: float,
    factor: int,
    distance: str,
    mean: list[float],
    std: list[float],
    make_network: Callable[[int], nn.Module],
    real_batches: Callable[[int, int], list[Tensor]],
    batch_norm_images: Callable[[int, int], Tensor],
    siamese_draw: Callable[[int, int, int], Draw],
    shown: Callable[[int, int, int], list[int]],
    net_batches: Callable[[int, int], list[NetBatch]],
) -> Tensor:
    """Run IDC and return the stored images, in [0, 1] but for the last steps."""
    images = start.detach().clone().requires_grad_(True)
    ipc = len(start) // classes
    centre, spread = (torch.tensor(v, dtype=start.dtype).reshape(-1, 1, 1) for v in (mean, std))
    optimizer_img = torch.optim.SGD([images], lr=lr_img, momentum=0.5)
    for it in range(iterations):
        network = make_network(it)
        optimizer_net = torch.optim.SGD(
            network.parameters(), lr=lr_net, momentum=0.9, weight_decay=5e-4
        )
        with torch.no_grad():
            images.copy_(images.clamp(0, 1))
        for ol in range(outer_loop):
            network.train()
            if ol > 0:
                for batch in net_batches(it, ol):
                    train_on(network, optimizer_net, batch)
            if any("BatchNorm" in m.__class__.__name__ for m in network.modules()):
                set_batch_norms(network, batch_norm_images(it, ol))
            for c, real in enumerate(real_batches(it, ol)):
                draw = siamese_draw(it, ol, c)
                decoded = decode(images[c * ipc : (c + 1) * ipc], factor)[shown(it, ol, c)]
                own = (decoded - centre) / spread
                gradients = []
                for batch in (show(real, [draw] * len(real)), show(own, [draw] * len(own))):
                    target = torch.full((len(batch),), c, dtype=torch.int64)
                    value = functional.cross_entropy(network(batch), target)
                    gradients.append(
                        torch.autograd.grad(value, list(network.parameters()), create_graph=True)
                    )
                loss = torch.zeros((), dtype=images.dtype)
                for a, b in zip(gradients[1], gradients[0], strict=True):
                    loss = loss + gradient_distance(a, b.detach(), distance)
                optimizer_img.zero_grad()
                loss.backward()
                optimizer_img.step()
    return images.detach()
