"""DSA as its paper's algorithm: DC, with every image augmented one by one.

Random choices (networks, batches, operations and their numbers) are given from outside. A draw is
(operations, numbers): the names of the operations, and three uniform numbers for each.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.reference.augment import augment
from tests.reference.dc import set_batch_norms
from tests.reference.matching import parameter_distance

Draw = tuple[list[str], list[list[float]]]


def show(images: Tensor, draws: list[Draw]) -> Tensor:
    return torch.stack([augment(image, *draw) for image, draw in zip(images, draws, strict=True)])


def distil(
    start: Tensor,
    *,
    classes: int,
    iterations: int,
    outer_loop: int,
    inner_loop: int,
    lr_img: float,
    lr_net: float,
    make_network: Callable[[int], nn.Module],
    real_batches: Callable[[int, int], list[Tensor]],
    batch_norm_images: Callable[[int, int], Tensor],
    siamese_draw: Callable[[int, int, int], Draw],
    training_draws: Callable[[int, int, int], list[Draw]],
) -> Tensor:
    """Run DSA and return the images; the set must fit one batch."""
    images = start.detach().clone().requires_grad_(True)
    ipc = len(start) // classes
    labels = torch.tensor([c for c in range(classes) for _ in range(ipc)])
    optimizer_img = torch.optim.SGD([images], lr=lr_img, momentum=0.5)
    for it in range(iterations):
        network = make_network(it)
        optimizer_net = torch.optim.SGD(network.parameters(), lr=lr_net)
        for ol in range(outer_loop):
            network.train()
            if any("BatchNorm" in m.__class__.__name__ for m in network.modules()):
                set_batch_norms(network, batch_norm_images(it, ol))
            loss = torch.zeros((), dtype=images.dtype)
            for c, real in enumerate(real_batches(it, ol)):
                draw = siamese_draw(it, ol, c)
                own = images[c * ipc : (c + 1) * ipc]
                gradients = []
                for batch in (show(real, [draw] * len(real)), show(own, [draw] * ipc)):
                    value = functional.cross_entropy(
                        network(batch), torch.full((len(batch),), c, dtype=torch.int64)
                    )
                    gradients.append(
                        torch.autograd.grad(value, list(network.parameters()), create_graph=True)
                    )
                for a, b in zip(gradients[1], gradients[0], strict=True):
                    loss = loss + parameter_distance(a, b.detach())
            optimizer_img.zero_grad()
            loss.backward()
            optimizer_img.step()
            if ol == outer_loop - 1:
                break
            network.train()
            for epoch in range(inner_loop):
                batch = show(images.detach(), training_draws(it, ol + 1, epoch))
                optimizer_net.zero_grad()
                functional.cross_entropy(network(batch), labels).backward()
                optimizer_net.step()
    return images.detach()
