"""ConvNet: the family of the main model and of most members of the model pool."""

from torch import nn

from harness.architecture import Architecture
from harness.networks.layers import (
    first_padding,
    make_activation,
    make_norm,
    make_pooling,
)
from harness.networks.network import Network, Shape, map_side

MAX_POOLED_DEPTH = 5
"""Layers that 32x32 maps can be halved after: 16, 8, 4, 2, 1."""

NUM_POOLINGS_BEYOND = 3
"""Poolings of a deeper ConvNet; a 32x32 map ends as 4x4, since instance norm flattens 1x1."""


def pooled_layers(depth: int) -> tuple[int, ...]:
    """Return the layers, counted from 1, that a pooling follows.

    Up to ``MAX_POOLED_DEPTH`` every layer is pooled. Beyond it, the layers form three stages as
    equal as they can be, the earlier ones longer, and each ends in a pooling: depth 6 pools after
    2, 4, 6; depth 10 after 4, 7, 10; depth 20 after 7, 14, 20; depth 30 after 10, 20, 30.

    Args:
        depth: Convolutions of the network, >= 1.
    """
    if depth <= MAX_POOLED_DEPTH:
        return tuple(range(1, depth + 1))
    # -(-a // b) rounds a / b up, in integers.
    stages = range(1, NUM_POOLINGS_BEYOND + 1)
    return tuple(-(-stage * depth // NUM_POOLINGS_BEYOND) for stage in stages)


def build_convnet(architecture: Architecture, in_shape: Shape, classes: int) -> Network:
    """Build ``depth`` blocks of convolution 3x3, norm, activation and pooling.

    Args:
        architecture: Its width, depth, activation, norm and pooling.
        in_shape: (C, H, H), H one of 28, 32, 64, 128; published are depth 3 for up to 32, depth 4
            for 64 and depth 5 for 128, whose last map is 4x4.
        classes: Outputs of the network.

    Raises:
        ConfigError: The width does not fit the norm ``groupnorm``.
    """
    width = architecture.width
    pooled = pooled_layers(architecture.depth) if architecture.pooling != "none" else ()
    channels, side = in_shape[0], map_side(in_shape[1])
    body = nn.Sequential()
    for layer in range(1, architecture.depth + 1):
        padding = first_padding(in_shape[1], 1) if layer == 1 else 1
        body.add_module(f"conv{layer}", nn.Conv2d(channels, width, 3, padding=padding))
        body.add_module(f"norm{layer}", make_norm(architecture.norm, width, side))
        body.add_module(f"act{layer}", make_activation(architecture.activation))
        if layer in pooled:
            body.add_module(f"pool{layer}", make_pooling(architecture.pooling))
            side //= 2
        channels = width
    return Network(body, nn.Linear(width * side * side, classes))
