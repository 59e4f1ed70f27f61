"""Layers by name: normalisation, activation and pooling, and the padding of 28x28 images."""

import torch
from torch import Tensor, nn
from torch.nn.functional import group_norm

from harness.architecture import Activation, Norm, Pooling
from harness.errors import ConfigError

MAP = 32
"""Side of the maps that all architectures but the ResNets and the MLP are laid out for."""

GROUPS = 4
"""Groups of the norm named ``groupnorm``."""

_ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "leakyrelu": nn.LeakyReLU,  # slope 0.01, torch's default
    "swish": nn.SiLU,  # x * sigmoid(x)
}


class AveragePool(nn.AvgPool2d):
    """Average pooling 2x2 with stride 2.

    On the CPU it adds neighbours: torch's kernel takes twice as long there, both ways. The two
    differ by rounding alone.
    """

    def __init__(self) -> None:
        super().__init__(2)

    def forward(self, images: Tensor) -> Tensor:
        """Halve height and width of [N, C, H, W]; an odd last row or column is left out."""
        if images.device.type != "cpu":
            return super().forward(images)
        height, width = (side // 2 for side in images.shape[2:])
        even = images[:, :, : 2 * height, : 2 * width]
        # Unlike slices with a step, unbind has a backward that fills nothing with zeros.
        top, bottom = torch.unflatten(even, 2, (height, 2)).unbind(3)
        left, right = torch.unflatten(top + bottom, 3, (width, 2)).unbind(4)
        pooled: Tensor = (left + right) * 0.25
        return pooled


class LayerNorm(nn.LayerNorm):
    """Normalisation over all of (C, H, W), with a scale and shift for each value.

    It is computed as group norm with one group: the second derivative of torch's own layer norm
    is wrong when it is batched over classes (``torch.func.vmap`` of ``grad``).
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise maps [N, C, H, W]."""
        return group_norm(maps, 1, eps=self.eps) * self.weight + self.bias


def first_padding(side: int, padding: int) -> int:
    """Return the padding of a first convolution, which makes 28x28 images as good as 32x32.

    Args:
        side: Height and width of the images, 28 pixels, 32 or more.
        padding: What the convolution pads larger images by, pixels on each side.

    Returns:
        Pixels on each side: ``padding``, and 2 more for 28x28 images.
    """
    return padding + max(MAP - side, 0) // 2


def make_norm(name: Norm, channels: int, side: int | None = None) -> nn.Module:
    """Build a normalisation with a learned scale and shift.

    Args:
        name: ``instancenorm`` is a GroupNorm with one channel a group, which keeps no running
            statistics and so computes the same in training and evaluation; ``groupnorm`` has
            ``GROUPS`` groups; ``layernorm`` normalises (and scales) all of (C, H, W);
            ``none`` passes its input on.
        channels: C of the maps.
        side: H and W of the maps; only ``layernorm`` needs it.

    Raises:
        ConfigError: ``groupnorm`` cannot split this many channels evenly.
    """
    match name:
        case "instancenorm":
            return nn.GroupNorm(channels, channels)
        case "groupnorm":
            if channels % GROUPS:
                raise ConfigError(
                    f"network.width: got {channels}, expected a multiple of {GROUPS} with "
                    "norm 'groupnorm'; change the width or the norm"
                )
            return nn.GroupNorm(GROUPS, channels)
        case "batchnorm":
            return nn.BatchNorm2d(channels)
        case "layernorm":
            assert side is not None, "layernorm learns a scale for every pixel"
            return LayerNorm([channels, side, side])
        case "none":
            return nn.Identity()


def make_activation(name: Activation) -> nn.Module:
    """Build an activation; none of them works in place, so that all can be differentiated twice."""
    return _ACTIVATIONS[name]()


def make_pooling(name: Pooling) -> nn.Module:
    """Build a 2x2 pooling with stride 2, or for ``none`` a layer that passes its input on."""
    match name:
        case "avgpooling":
            return AveragePool()
        case "maxpooling":
            return nn.MaxPool2d(2)
        case "none":
            return nn.Identity()
