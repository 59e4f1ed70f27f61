"""Training on all real images as DD-Ranking has it, with torch's own loader and schedule."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset


def train(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    orders: list[Tensor],
    lr: float,
    batch: int,
) -> None:
    """One epoch an order; a tenth of the rate from half of the epochs on."""
    optimizer = torch.optim.SGD(network.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
    half = (len(orders) + 1) // 2
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [half], gamma=0.1)
    network.train()
    for order in orders:
        for x, y in DataLoader(TensorDataset(images, labels), batch, sampler=order.tolist()):
            optimizer.zero_grad()
            functional.cross_entropy(network(x), y).backward()
            optimizer.step()
        schedule.step()
