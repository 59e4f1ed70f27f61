"""Networks in two parts, front and rear, at maps that two architectures can have in common."""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import nn

from harness.architecture import Architecture
from harness.networks import BUILDERS
from harness.networks.network import Network, Shape
from harness.settings.elf import REAR_STARTS


class Parts(NamedTuple):
    """A network's layers as two modules, which share its weights."""

    front: nn.Sequential
    """Images to maps."""
    rear: nn.Sequential
    """Maps to logits."""


def split(network: Network, name: str) -> Parts:
    """Split a network.

    ConvNets are split after their last block, ResNet18 after the first block of its last stage,
    VGG11 before its sixth convolution.

    Args:
        network: Whose body is a sequence.
        name: Of its architecture, one of ``REAR_STARTS``.
    """
    layers = dict(network.body.named_children())
    start = REAR_STARTS[name]
    at = len(layers) if start is None else list(layers).index(start)
    front, rear = list(layers.values())[:at], list(layers.values())[at:]
    return Parts(nn.Sequential(*front), nn.Sequential(*rear, nn.Flatten(), network.classifier))


@lru_cache(maxsize=256)
def map_shape(architecture: Architecture, in_shape: Shape) -> tuple[int, int, int]:
    """Shape of the maps between front and rear (C, H, W); nothing is computed."""
    with torch.device("meta"):
        network = BUILDERS[architecture.name](architecture, in_shape, 2).eval()
        maps = split(network, architecture.name).front(torch.empty(1, *in_shape))
    channels, height, width = maps.shape[1:]
    return channels, height, width
