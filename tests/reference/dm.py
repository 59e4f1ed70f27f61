"""DM as its paper's algorithm, one class and one image at a time; random choices are given."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tests.reference.dsa import Draw, show


def embed(network: nn.Module, images: Tensor) -> Tensor:
    """What the last linear layer reads."""
    kept: list[Tensor] = []
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    hook = last.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
    network(images)
    hook.remove()
    return kept[0]


def embed_classes(network: nn.Module, classes: list[Tensor]) -> list[Tensor]:
    """Features of each class; with batch norm all classes pass together."""
    if not any("BatchNorm" in m.__class__.__name__ for m in network.modules()):
        return [embed(network, images) for images in classes]
    together = embed(network, torch.cat(classes))
    return list(torch.split(together, [len(images) for images in classes]))


def distil(
    start: Tensor,
    *,
    classes: int,
    iterations: int,
    lr_img: float,
    make_network: Callable[[int], nn.Module],
    real_batches: Callable[[int], list[Tensor]],
    siamese_draw: Callable[[int, int], Draw],
) -> Tensor:
    """Run DM and return the images."""
    images = start.detach().clone().requires_grad_(True)
    ipc = len(start) // classes
    optimizer_img = torch.optim.SGD([images], lr=lr_img, momentum=0.5)
    for it in range(iterations):
        network = make_network(it).train()
        real, own = [], []
        for c, batch in enumerate(real_batches(it)):
            draw = siamese_draw(it, c)
            real.append(show(batch, [draw] * len(batch)))
            own.append(show(images[c * ipc : (c + 1) * ipc], [draw] * ipc))
        loss = torch.zeros((), dtype=images.dtype)
        for a, b in zip(embed_classes(network, real), embed_classes(network, own), strict=True):
            difference = a.detach().sum(0) / len(a) - b.sum(0) / len(b)
            loss = loss + (difference * difference).sum()
        optimizer_img.zero_grad()
        loss.backward()
        optimizer_img.step()
    return images.detach()
