"""MTT and its successors, and DD-Ranking's inputs: tensors in files of their own.

``images_best.pt`` with ``labels_best.pt`` and perhaps ``lr_best.pt``; ``images.pt`` with
``labels.pt`` and ``lr.pt``. Sources: GeorgeCazenavette/mtt-distillation, distill.py;
NUS-HPC-AI-Lab/DD-Ranking.
"""

from pathlib import Path

from torch import Tensor, tensor

from harness.errors import DataError
from harness.formats.foreign import Foreign, check_images, check_labels, check_lr
from harness.formats.safe import load_torch, save_torch
from harness.synthetic import SyntheticSet


def knows(content: object) -> bool:
    """Whether a torch file holds this format."""
    return isinstance(content, Tensor)


def read(path: Path, content: object) -> list[Foreign]:
    """Read the images, and the labels and learned rate from the files beside them."""
    where = str(path)
    if not path.stem.startswith("images"):
        raise DataError(
            f"{path}: holds one tensor; expected a name such as images_best.pt, beside "
            "labels_best.pt"
        )
    images = check_images(content, where)
    labels = _beside(path, "labels")
    lr = _beside(path, "lr")
    return [
        Foreign(
            where,
            "dd-ranking" if path.stem == "images" else "mtt",
            images,
            None if labels is None else check_labels(load_torch(labels), len(images), str(labels)),
            lr=None if lr is None else check_lr(load_torch(lr), str(lr)),
        )
    ]


def write_mtt(synthetic: SyntheticSet, path: Path) -> None:
    """Write ``images_best.pt``, ``labels_best.pt`` and, where there is one, ``lr_best.pt``."""
    _write(synthetic, path, "_best")


def write_dd_ranking(synthetic: SyntheticSet, path: Path) -> None:
    """Write ``images.pt``, ``labels.pt`` and, where there is one, ``lr.pt``."""
    _write(synthetic, path, "")


def _beside(path: Path, kind: str) -> Path | None:
    """Find the file of labels or rate that goes with a file of images."""
    for stem in (path.stem, path.stem.replace("images_zca", "images")):
        found = path.with_name(stem.replace("images", kind, 1) + path.suffix)
        if found.is_file():
            return found
    return None


def _write(synthetic: SyntheticSet, path: Path, suffix: str) -> None:
    path.mkdir(exist_ok=True)
    if others := sorted(entry.name for entry in path.iterdir()):
        raise DataError(f"--to: {path} is not empty ({others[0]}); choose another folder")
    save_torch(synthetic.images.cpu(), path / f"images{suffix}.pt")
    save_torch(synthetic.labels.cpu(), path / f"labels{suffix}.pt")
    if (lr := synthetic.provenance.get("lr")) is not None:
        save_torch(tensor(lr), path / f"lr{suffix}.pt")
