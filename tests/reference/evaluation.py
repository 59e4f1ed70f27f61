"""Training of one student, as the published protocol describes it, with a DataLoader."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset


def train(
    network: nn.Module, images: Tensor, labels: Tensor, *, epochs: int, lr: float, batch: int
) -> None:
    """Epochs 0 .. epochs; from epoch ``epochs // 2 + 2`` on a tenth of the rate, fresh momentum."""
    loader = DataLoader(TensorDataset(images, labels), batch_size=batch, shuffle=False)
    optimizer = torch.optim.SGD(network.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
    schedule = [epochs // 2 + 1]
    network.train()
    for epoch in range(epochs + 1):
        for x, y in loader:
            loss = functional.cross_entropy(network(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if epoch in schedule:
            lr = lr * 0.1
            optimizer = torch.optim.SGD(
                network.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4
            )


def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of images whose largest logit is their label's, one image at a time."""
    network.eval()
    right = 0
    with torch.no_grad():
        for image, label in zip(images, labels, strict=True):
            right += int(network(image[None])[0].argmax()) == int(label)
    return right / len(labels)
