"""MLP: two hidden layers of 128, no normalisation."""

import math

from torch import nn

from harness.networks.network import Network, Shape

HIDDEN = 128
"""Width of both hidden layers."""


def build_mlp(in_shape: Shape, classes: int) -> Network:
    """Build the network.

    Args:
        in_shape: (C, H, W) of any size.
        classes: Outputs of the network.
    """
    body = nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(in_shape), HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, HIDDEN),
        nn.ReLU(),
    )
    return Network(body, nn.Linear(HIDDEN, classes))
