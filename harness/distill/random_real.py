"""Random real images: what every method of distillation has to beat."""

from torch import Tensor

from harness import seeding
from harness.distill.selection import Selection
from harness.synthetic import draw_rows


class RandomReal(Selection):
    """``ipc`` random training images of each class; a seed is a draw."""

    def choose(self) -> Tensor:
        """Draw the rows: those of ``harness.evaluate.baselines.random_real``, draw 0."""
        rng = seeding.generator(self._config.seed, "random-real", 0)
        return draw_rows(self._data.train.labels, ipc=self._config.ipc, rng=rng)
