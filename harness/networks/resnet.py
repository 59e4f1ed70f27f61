"""ResNet18 for small images: a 3x3 stem without pooling, then eight residual blocks."""

from typing import Literal

from torch import Tensor, nn

from harness.networks.droppath import DropPath
from harness.networks.layers import AveragePool, make_norm
from harness.networks.network import Network, Shape

SizeFreeNorm = Literal["instancenorm", "batchnorm"]
"""Norms that do not depend on the size of the maps."""

# Output channels and stride of each block.
_BLOCKS = ((64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1))
_BLOCKS_10 = ((64, 1), (128, 2), (256, 2), (512, 2))
_STEM = 64
_STEM_POOLED_ABOVE = 64


class BasicBlock(nn.Module):
    """Two convolutions 3x3 around a shortcut.

    A block of stride 2 halves the map, either by a stride in its first convolution and its
    shortcut or, with ``pooled``, by 2x2 average pooling: after the first activation, and in the
    shortcut between convolution and norm. A stride rounds an odd side up, a pooling rounds it
    down.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        *,
        norm: SizeFreeNorm,
        pooled: bool,
        droppath: bool = False,
    ) -> None:
        """Build the block.

        Args:
            in_channels: Channels of the input.
            channels: Channels of the output.
            stride: 1 keeps the size of the map, 2 halves it.
            norm: Follows every convolution.
            pooled: Whether to halve by pooling.
            droppath: Whether images may pass the convolutions by; the shortcut is then without
                norm and halves by max pooling before its convolution (an odd side rounded up).
        """
        super().__init__()
        pooled = pooled and stride == 2
        if pooled:
            stride = 1
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.norm1 = make_norm(norm, channels)
        self.act1 = nn.ReLU()
        self.pool = AveragePool() if pooled else nn.Identity()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = make_norm(norm, channels)
        self.path = DropPath() if droppath else None
        self.shortcut = nn.Sequential()  # empty, it passes its input on
        if droppath:
            if stride == 2:
                self.shortcut.add_module("pool", nn.MaxPool2d(2, ceil_mode=True))
            if in_channels != channels:
                self.shortcut.add_module("conv", nn.Conv2d(in_channels, channels, 1, bias=False))
        elif in_channels != channels:  # true of every block of stride 2
            self.shortcut.add_module(
                "conv", nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False)
            )
            if pooled:
                self.shortcut.add_module("pool", AveragePool())
            self.shortcut.add_module("norm", make_norm(norm, channels))
        self.act2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map float32 [N, in_channels, H, W] to [N, channels, H / stride, W / stride]."""
        y = self.pool(self.act1(self.norm1(self.conv1(x))))
        y = self.norm2(self.conv2(y))
        if self.path is not None:
            y = self.path.scale(y)
        out: Tensor = self.act2(y + self.shortcut(x))
        return out


def build_resnet18(
    in_shape: Shape,
    classes: int,
    *,
    norm: SizeFreeNorm = "instancenorm",
    pooled: bool = False,
    droppath: bool = False,
) -> Network:
    """Build the network; 28x28 images are not padded.

    Its last map is an eighth of the image (rounded up), averaged over 4x4. With ``pooled`` the
    last map is an eighth rounded down (3x3 for 28x28 images: 28, 14, 7, 3), and kept whole.

    Args:
        in_shape: (C, H, H), H one of 28, 32, 64, 128.
        classes: Outputs of the network.
        norm: Follows every convolution.
        pooled: Whether blocks halve their maps by average pooling in place of a stride (the
            variants named ``-ap``).
        droppath: Whether images may pass blocks by while a student learns; without ``pooled``.
    """
    body = nn.Sequential()
    body.add_module("conv1", nn.Conv2d(in_shape[0], _STEM, 3, padding=1, bias=False))
    body.add_module("norm1", make_norm(norm, _STEM))
    body.add_module("act1", nn.ReLU())
    channels = _STEM
    for index, (width, stride) in enumerate(_BLOCKS, start=1):
        block = BasicBlock(channels, width, stride, norm=norm, pooled=pooled, droppath=droppath)
        body.add_module(f"block{index}", block)
        channels = width
    if pooled:
        side = in_shape[1] // 8  # three halvings, each rounded down
        return Network(body, nn.Linear(channels * side * side, classes))
    side = -(-in_shape[1] // 8) // 4
    body.add_module("pool", nn.AvgPool2d(4))
    return Network(body, nn.Linear(channels * side * side, classes))


def build_resnet10_ap(in_shape: Shape, classes: int) -> Network:
    """Build ResNetAP-10, the network of IDC's ImageNet numbers.

    Four blocks of 64, 128, 256 and 512 channels that halve by average pooling; images above
    64x64 are halved by the stem already; the last map is averaged to 1x1.

    Source: snu-mllab/Efficient-Dataset-Condensation, models/resnet_ap.py. Initialisation is
    torch's own, as for every network here, not the Kaiming-normal one of that file.

    Args:
        in_shape: (C, H, H), H one of 28, 32, 64, 128.
        classes: Outputs of the network.
    """
    body, side = nn.Sequential(), in_shape[1]
    body.add_module("conv1", nn.Conv2d(in_shape[0], _STEM, 3, padding=1, bias=False))
    body.add_module("norm1", make_norm("instancenorm", _STEM))
    body.add_module("act1", nn.ReLU())
    if side > _STEM_POOLED_ABOVE:
        body.add_module("pool1", AveragePool())
        side //= 2
    channels = _STEM
    for index, (width, stride) in enumerate(_BLOCKS_10, start=1):
        block = BasicBlock(channels, width, stride, norm="instancenorm", pooled=True)
        body.add_module(f"block{index}", block)
        channels, side = width, side // stride
    body.add_module("pool", nn.AvgPool2d(side))
    return Network(body, nn.Linear(channels, classes))
