"""LeNet: two convolutions 5x5 and three linear layers, with ReLU and max pooling, no norm."""

from torch import nn

from harness.networks.layers import first_padding
from harness.networks.network import Network, Shape, map_side


def build_lenet(in_shape: Shape, classes: int) -> Network:
    """Build the network.

    Args:
        in_shape: (C, H, H), H one of 28, 32, 64, 128; the last map is 5x5, 5x5, 13x13, 29x29.
        classes: Outputs of the network.
    """
    # Two convolutions take 4 pixels away each, two poolings halve.
    side = ((map_side(in_shape[1]) - 4) // 2 - 4) // 2
    body = nn.Sequential(
        nn.Conv2d(in_shape[0], 6, 5, padding=first_padding(in_shape[1], 0)),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * side * side, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
    )
    return Network(body, nn.Linear(84, classes))
