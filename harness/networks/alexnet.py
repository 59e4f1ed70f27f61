"""AlexNet for small images: five convolutions, max pooling after the 1st, 2nd and 5th."""

from torch import nn

from harness.architecture import Norm
from harness.networks.droppath import Bypassed
from harness.networks.layers import first_padding, make_norm
from harness.networks.network import Network, Shape, map_side

# Output channels, kernel size and whether a pooling follows.
_LAYERS = ((128, 5, True), (192, 5, True), (256, 3, False), (192, 3, False), (192, 3, True))


def build_alexnet(
    in_shape: Shape, classes: int, *, norm: Norm = "none", droppath: bool = False
) -> Network:
    """Build the network.

    Args:
        in_shape: (C, H, H), H one of 28, 32, 64, 128; the last map is 4x4, 4x4, 8x8, 16x16.
        classes: Outputs of the network.
        norm: Follows every convolution; the original has none.
        droppath: Whether images may pass the third and fourth convolution by, whose input and
            output have as many channels, while a student learns.
    """
    channels, side = in_shape[0], map_side(in_shape[1])
    body = nn.Sequential()
    for layer, (width, kernel, pooled) in enumerate(_LAYERS, start=1):
        padding = kernel // 2
        if layer == 1:
            padding = first_padding(in_shape[1], padding)
        body.add_module(f"conv{layer}", nn.Conv2d(channels, width, kernel, padding=padding))
        body.add_module(f"norm{layer}", make_norm(norm, width, side))
        body.add_module(f"act{layer}", nn.ReLU())
        if pooled:
            body.add_module(f"pool{layer}", nn.MaxPool2d(2))
            side //= 2
        channels = width
    if droppath:
        body = _with_bypass(body)
    return Network(body, nn.Linear(channels * side * side, classes))


def _with_bypass(body: nn.Sequential) -> nn.Sequential:
    """The same layers, those of the third and fourth convolution as one block."""
    found, inner = nn.Sequential(), nn.Sequential()
    for name, module in body.named_children():
        if name[-1] in "34":
            inner.add_module(name, module)
            if name == "act4":
                found.add_module("block3", Bypassed(inner, nn.Identity()))
        else:
            found.add_module(name, module)
    return found
