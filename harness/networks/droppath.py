"""DropPath: while a student learns, each image passes some blocks of its network by.

Source: arXiv 2309.04195 (CityU-MLO/mitigate_architecture_overfitting). Which image passes which
block by is drawn outside and set before a forward pass (``set_paths``); where nothing is set, and
in evaluation mode, all images take all blocks.

Shape letters: L blocks of a network, N images of a batch.
"""

from torch import Tensor, nn


class DropPath(nn.Module):
    """One block's paths; without parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.paths: Tensor | None = None
        """[N]: 0 for an image that passes the block by, else 1 / keep rate."""

    def scale(self, branch: Tensor) -> Tensor:
        """A residual branch [N, C, H, W], whose expectation stays."""
        if self.paths is None or not self.training:
            return branch
        return branch * self.paths[:, None, None, None]

    def choose(self, block: Tensor, shortcut: Tensor) -> Tensor:
        """For each image the output of a block [N, C, H, W] or of its shortcut."""
        assert self.paths is not None
        return block.where(self.paths[:, None, None, None] > 0, shortcut)


class Bypassed(nn.Module):
    """Layers without a shortcut of their own, and one that an image takes in their place."""

    def __init__(self, main: nn.Sequential, shortcut: nn.Module) -> None:
        """Join them; both map [N, C, H, W] to maps of one shape."""
        super().__init__()
        self.main = main
        self.shortcut = shortcut
        self.path = DropPath()

    def forward(self, maps: Tensor) -> Tensor:
        """The layers' output; while paths are set, for some images the shortcut's."""
        if self.path.paths is None or not self.training:
            out: Tensor = self.main(maps)
            return out
        return self.path.choose(self.main(maps), self.shortcut(maps))


def count_paths(network: nn.Module) -> int:
    """Blocks that can be passed by: L."""
    return sum(isinstance(module, DropPath) for module in network.modules())


def set_paths(network: nn.Module, paths: Tensor | None) -> None:
    """Say which images of the next batches pass which blocks by.

    Args:
        network: With L such blocks, from input to output.
        paths: [L, N], see ``DropPath.paths``; None: every image takes every block.
    """
    blocks = [module for module in network.modules() if isinstance(module, DropPath)]
    for place, block in enumerate(blocks):
        block.paths = None if paths is None else paths[place]
