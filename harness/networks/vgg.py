"""VGG11 for small images: eight convolutions 3x3, five max poolings, one linear layer."""

from torch import nn

from harness.architecture import Norm
from harness.networks.droppath import Bypassed
from harness.networks.layers import first_padding, make_norm
from harness.networks.network import Network, Shape, map_side

# Output channels of the convolutions in each stage; a pooling ends a stage.
_STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))


def build_vgg11(
    in_shape: Shape, classes: int, *, norm: Norm = "instancenorm", droppath: bool = False
) -> Network:
    """Build the network; its classifier takes the last map whole.

    Args:
        in_shape: (C, H, H), H one of 28, 32, 64, 128; the last map is 1x1, 1x1, 2x2, 4x4.
        classes: Outputs of the network.
        norm: Follows every convolution.
        droppath: Whether images may pass each stage of two convolutions by, through a convolution
            1x1 where the channels change, while a student learns.
    """
    channels, side, layer = in_shape[0], map_side(in_shape[1]), 0
    body = nn.Sequential()
    for stage, widths in enumerate(_STAGES, start=1):
        layers, before = nn.Sequential(), channels
        for width in widths:
            layer += 1
            padding = first_padding(in_shape[1], 1) if layer == 1 else 1
            layers.add_module(f"conv{layer}", nn.Conv2d(channels, width, 3, padding=padding))
            layers.add_module(f"norm{layer}", make_norm(norm, width, side))
            layers.add_module(f"act{layer}", nn.ReLU())
            channels = width
        if droppath and len(widths) > 1:
            same = before == channels
            shortcut = nn.Identity() if same else nn.Conv2d(before, channels, 1)
            body.add_module(f"block{stage}", Bypassed(layers, shortcut))
        else:
            for name, module in layers.named_children():
                body.add_module(name, module)
        body.add_module(f"pool{stage}", nn.MaxPool2d(2))
        side //= 2
    return Network(body, nn.Linear(channels * side * side, classes))
