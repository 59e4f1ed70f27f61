"""DC as its paper's algorithm: a DataLoader in the inner loop, optimisers from torch.

Random choices (initial images, networks, batches, orders) are given from outside, so that the
arithmetic can be compared step by step.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from tests.reference.matching import matching_loss, rows


def set_batch_norms(network: nn.Module, images: Tensor) -> None:
    """One forward in train mode to refresh the statistics, which are then constants."""
    network.train()
    network(images)
    for module in network.modules():
        if "BatchNorm" in module.__class__.__name__:
            module.eval()


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
    main: nn.Module | None = None,
) -> Tensor:
    """Run DC and return the images.

    With a main model, each loss is scaled to that one's number of rows. The set must fit one batch
    of 256, whose order then does not matter but for rounding.
    """
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
            loss = matching_loss(network, images, ipc, real_batches(it, ol))
            if main is not None:
                loss = loss / rows(network) * rows(main)
            optimizer_img.zero_grad()
            loss.backward()
            optimizer_img.step()
            if ol == outer_loop - 1:
                break
            loader = DataLoader(
                TensorDataset(images.detach().clone(), labels), batch_size=256, shuffle=False
            )
            network.train()
            for _ in range(inner_loop):
                for batch, target in loader:
                    optimizer_net.zero_grad()
                    functional.cross_entropy(network(batch), target).backward()
                    optimizer_net.step()
    return images.detach()
