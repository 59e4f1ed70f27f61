"""DC, DSA, DM and CAFE: ``{"data": [[images, labels], ...], "accs_all_exps": {...}}``.

Images are normalised by the dataset's mean and std; each entry is an experiment (or, for the
model pool's files, a snapshot). Source: VICO-UoE/DatasetCondensation, main.py.
"""

from pathlib import Path
from typing import cast

from harness.errors import DataError
from harness.formats.foreign import Foreign, check_images, check_labels
from harness.formats.safe import save_torch
from harness.synthetic import SyntheticSet


def knows(content: object) -> bool:
    """Whether a torch file holds this format."""
    return isinstance(content, dict) and isinstance(content.get("data"), list)


def read(path: Path, content: object) -> list[Foreign]:
    """Read every entry."""
    entries = cast("dict[str, list[object]]", content)["data"]
    if not entries:
        raise DataError(f"{path}: holds no entry in 'data'; the set cannot be used")
    found = []
    for i, item in enumerate(entries):
        where = f"{path} entry {i}"
        if not isinstance(item, list | tuple) or len(item) != 2:
            raise DataError(f"{where}: got {type(item).__name__}, expected images and labels")
        images = check_images(item[0], where)
        labels = check_labels(item[1], len(images), where)
        found.append(Foreign(where, "dc", images, labels, entry=i))
    return found


def write(synthetic: SyntheticSet, path: Path) -> None:
    """Write one entry, without accuracies."""
    entry = [synthetic.images.cpu(), synthetic.labels.cpu()]
    save_torch({"data": [entry], "accs_all_exps": {}}, path)
