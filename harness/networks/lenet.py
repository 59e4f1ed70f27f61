"""LeNet: two convolutions 5x5 and three linear layers, with ReLU and max pooling, no norm."""

from torch import nn

from harness.networks.layers import first_padding
from harness.networks.network import Network, Shape


def build_lenet(in_shape: Shape, classes: int) -> Network:
    """Build the network.

    Args:
        in_shape: (C, 28, 28) or (C, 32, 32).
        classes: Outputs of the network.
    """
    body = nn.Sequential(
        nn.Conv2d(in_shape[0], 6, 5, padding=first_padding(in_shape[1], 0)),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 5 * 5, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
    )
    return Network(body, nn.Linear(84, classes))
