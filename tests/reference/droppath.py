"""DropPath and Lion as their papers say it: image by image, number by number."""

import torch
from torch import Tensor, nn
from torch.nn import functional


def keep_rate(epoch: int) -> float:
    """Of 4000 epochs: from 1 down by 0.1 every 500 to 0.5; 0.8 in the last 1000."""
    if epoch >= 3000:
        return 0.8
    return round(1.0 - 0.1 * (epoch // 500), 1)


def residual(block: nn.Module, image: Tensor, taken: bool, keep: float) -> Tensor:
    """ResNet: relu(branch / keep + shortcut), or the shortcut alone."""
    halves = block.conv1.stride == (2, 2)  # type: ignore[union-attr]
    x = image
    if halves:
        x = functional.max_pool2d(x, 2, ceil_mode=True)
        x = functional.conv2d(x, block.shortcut.conv.weight)  # type: ignore[arg-type, union-attr]
    if not taken:
        return functional.relu(x)
    y = functional.relu(block.norm1(block.conv1(image)))  # type: ignore[operator]
    y = block.norm2(block.conv2(y))  # type: ignore[operator]
    return functional.relu(y / keep + x)


def forward(network: nn.Module, images: Tensor, taken: Tensor, keep: float) -> Tensor:
    """Logits; ``taken`` is bool [L, N]."""
    rows = []
    for n in range(len(images)):
        x, block = images[n : n + 1], 0
        for name, layer in network.body.named_children():  # type: ignore[operator, union-attr]
            if not name.startswith("block"):
                x = layer(x)
                continue
            kept = bool(taken[block, n])
            block += 1
            if hasattr(layer, "main"):
                x = layer.main(x) if kept else layer.shortcut(x)
            else:
                x = residual(layer, x, kept, keep)
        rows.append(network.classifier(x.flatten(1)))  # type: ignore[operator]
    return torch.cat(rows)


def lion(p: Tensor, gradient: Tensor, average: Tensor, lr: float) -> None:
    """Betas 0.9 and 0.99, weight decay 5e-3, in place."""
    direction = torch.sign(0.9 * average + (1 - 0.9) * gradient)
    p.data = p.data - lr * direction - lr * 5e-3 * p.data
    average.copy_(0.99 * average + (1 - 0.99) * gradient)


def sgd(p: Tensor, gradient: Tensor, average: Tensor, lr: float) -> None:
    """Momentum 0.9, weight decay 5e-4, in place."""
    average.copy_(0.9 * average + gradient + 5e-4 * p.data)
    p.data = p.data - lr * average
