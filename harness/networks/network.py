"""Network: the one interface of all architectures.

Shape letters of this folder: N images, C channels, H height, W width, F features, K classes.
"""

from torch import Tensor, nn

from harness.networks.layers import MAP

Shape = tuple[int, int, int]
"""Channels, height and width of one image."""


PADDED = 28
"""Side of images that a first convolution pads to 32."""


def map_side(side: int) -> int:
    """Return the side of the maps that a first convolution gives: 32 for 28x28 images."""
    return MAP if side == PADDED else side


class Network(nn.Module):
    """A feature extractor and the last linear layer.

    Parameters are registered from input to output, so ``parameters()`` follows the forward pass.
    """

    def __init__(self, body: nn.Module, classifier: nn.Linear) -> None:
        """Join the two parts.

        Args:
            body: Maps float32 [N, C, H, W] to anything that flattens to [N, F].
            classifier: The last linear layer, F inputs and K outputs.
        """
        super().__init__()
        self.body = body
        self.classifier = classifier

    def features(self, x: Tensor) -> Tensor:
        """Return the input of the last linear layer.

        Args:
            x: Images, float32 [N, C, H, W], of the size that the network was built for.

        Returns:
            Float32 [N, F].
        """
        x = self.body(x)
        return x.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Classify images.

        Args:
            x: Images, float32 [N, C, H, W], of the size that the network was built for.

        Returns:
            Logits, float32 [N, K].
        """
        logits: Tensor = self.classifier(self.features(x))
        return logits


def count_parameters(network: nn.Module) -> int:
    """Return how many numbers a module learns; buffers do not count."""
    return sum(parameter.numel() for parameter in network.parameters())
