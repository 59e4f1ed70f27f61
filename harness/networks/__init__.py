"""Networks: every architecture that distils, teaches or learns as a student.

``build_network`` makes any of them; all are ``Network``s: features, then one linear layer.
"""

from collections.abc import Callable

import torch

from harness.architecture import Architecture
from harness.errors import DataError
from harness.networks.alexnet import build_alexnet
from harness.networks.convnet import build_convnet
from harness.networks.initialise import fill
from harness.networks.lenet import build_lenet
from harness.networks.mlp import build_mlp
from harness.networks.network import Network, Shape, count_parameters
from harness.networks.resnet import build_resnet10_ap, build_resnet18
from harness.networks.vgg import build_vgg11

__all__ = ["BUILDERS", "Network", "build_network", "count_parameters"]

SIDES = (28, 32, 64, 128)
"""Heights and widths, in pixels, that the architectures are laid out for."""

BUILDERS: dict[str, Callable[[Architecture, Shape, int], Network]] = {
    "convnet": build_convnet,
    "mlp": lambda _, shape, classes: build_mlp(shape, classes),
    "lenet": lambda _, shape, classes: build_lenet(shape, classes),
    "alexnet": lambda _, shape, classes: build_alexnet(shape, classes),
    "alexnet-bn": lambda _, shape, classes: build_alexnet(shape, classes, norm="batchnorm"),
    "vgg11": lambda _, shape, classes: build_vgg11(shape, classes),
    "vgg11-bn": lambda _, shape, classes: build_vgg11(shape, classes, norm="batchnorm"),
    "resnet18": lambda _, shape, classes: build_resnet18(shape, classes),
    "resnet18-bn": lambda _, shape, classes: build_resnet18(shape, classes, norm="batchnorm"),
    "resnet18-ap": lambda _, shape, classes: build_resnet18(shape, classes, pooled=True),
    "resnet18-bn-ap": lambda _, shape, classes: build_resnet18(
        shape, classes, norm="batchnorm", pooled=True
    ),
    "resnet10-ap": lambda _, shape, classes: build_resnet10_ap(shape, classes),
    "alexnet-droppath": lambda _, shape, classes: build_alexnet(shape, classes, droppath=True),
    "vgg11-droppath": lambda _, shape, classes: build_vgg11(shape, classes, droppath=True),
    "resnet18-droppath": lambda _, shape, classes: build_resnet18(shape, classes, droppath=True),
}
"""The maker of each of ``harness.architecture.NETWORK_NAMES``; called as (architecture, in_shape,
classes), it lays the layers out and leaves their initialisation to ``build_network``."""


def build_network(
    architecture: Architecture,
    *,
    in_shape: tuple[int, int, int],
    classes: int,
    generator: torch.Generator,
) -> Network:
    """Build a network with fresh random weights.

    No global generator is read or moved: the same architecture, shape, classes and state of
    ``generator`` give the same weights, bit for bit.

    Args:
        architecture: What to build.
        in_shape: Channels, height and width of an image; 28x28, 32x32, 64x64 or 128x128 pixels.
        classes: Outputs of the network, >= 1.
        generator: CPU generator that all weights are drawn from, input to output.

    Returns:
        The network, float32, on the CPU, in training mode.

    Raises:
        DataError: No architecture takes images of this size.
        ConfigError: The width does not fit the norm ``groupnorm``.
    """
    channels, height, width = in_shape
    if height not in SIDES or width != height or channels < 1:
        raise DataError(
            f"network '{architecture.label}': got images of {channels}x{height}x{width}, "
            "expected 28x28, 32x32, 64x64 or 128x128 pixels and at least one channel; set "
            "dataset.resize, or resize or pad the images"
        )
    # On the meta device a layer's own initialisation costs nothing and draws nothing.
    with torch.device("meta"):
        network = BUILDERS[architecture.name](architecture, in_shape, classes)
    network.to_empty(device="cpu")
    fill(network, generator)
    return network
