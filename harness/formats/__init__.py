"""Distilled sets of others: read, checked, brought into a dataset's pixel space, and written.

The field has no common format (``FORMATS`` lists those known here). Loading one never runs code:
torch files are read with ``weights_only=True`` and a fixed list of harmless names, numpy archives
without pickles.

Shape letters: S images of a set, K classes, C channels, H height, W width.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from harness.errors import ConfigError, DataError, suggest
from harness.formats import dc, folder, idc, kip, own, tensors
from harness.formats.foreign import Foreign, Writer
from harness.formats.safe import load_torch
from harness.synthetic import SyntheticSet

__all__ = ["FORMATS", "Foreign", "read_distilled", "write_distilled"]

FORMATS: dict[str, tuple[str, Writer]] = {
    "harness": ("one .safetensors file", own.write),
    "dc": ("one .pt file (DC, DSA, DM, CAFE)", dc.write),
    "mtt": ("a folder: images_best.pt, labels_best.pt, lr_best.pt", tensors.write_mtt),
    "idc": ("one .pt file, pixels in [0, 1] (IDC, acc-DD)", idc.write),
    "dd-ranking": ("a folder: images.pt, labels.pt, lr.pt", tensors.write_dd_ranking),
    "kip": ("one .npz file, channels last", kip.write),
    "folder": ("a folder of PNG files for each class, 8 bits", folder.write),
    "png": ("one picture of all images", folder.write_picture),
}
"""Name for ``harness export --format`` -> (what it is, its writer)."""


def read_distilled(path: Path, entry: int | None = None) -> list[Foreign]:
    """Read a distilled set of any known format, which is told by what the file holds.

    Args:
        path: A ``.safetensors``, ``.pt``, ``.pth`` or ``.npz`` file, or a folder: of a trial, of
            tensors (``images_best.pt`` ...), or with a folder of images for each class.
        entry: Which set of a file that holds several, from 0; None: all.

    Returns:
        One item for each set, checked for what can be checked without the real images.

    Raises:
        DataError: The file is missing, broken, of no known format, needs unpickling, or holds
            what no distilled set holds.
        ConfigError: There is no such entry.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; give a distilled set")
    found = _read_folder(path) if path.is_dir() else _read_file(path)
    if entry is None:
        return found
    if not 0 <= entry < len(found):
        raise ConfigError(
            f"--entry: got {entry}, but {path} holds {len(found)} set(s); give 0 to "
            f"{len(found) - 1}, or leave it out for all"
        )
    return [found[entry]]


def write_distilled(synthetic: SyntheticSet, path: Path, name: str | None) -> str:
    """Write a distilled set in a format of others.

    Args:
        synthetic: The set; for ``idc``, ``folder`` and ``png`` its images are in [0, 1].
        path: File or folder; what is there is never overwritten in part.
        name: One of ``FORMATS``; None: by the suffix of ``path``.

    Returns:
        The format's name.

    Raises:
        ConfigError: The format is unknown, or the suffix does not tell it.
        DataError: The folder of ``path`` is missing, or ``path`` is a folder with other files.
    """
    chosen = name or _BY_SUFFIX.get(path.suffix)
    if chosen is None:
        raise ConfigError(
            f"--to: '{path.suffix}' does not tell the format; give --format, one of "
            f"{', '.join(FORMATS)}"
        )
    if chosen not in FORMATS:
        raise ConfigError(f"--format: got '{chosen}'; {suggest(chosen, FORMATS)}")
    if not path.absolute().parent.is_dir():
        raise DataError(f"--to: no folder {path.parent}; make it, or choose another place")
    FORMATS[chosen][1](synthetic, path)
    return chosen


_TORCH_FILES: tuple[
    tuple[Callable[[object], bool], Callable[[Path, object], list[Foreign]]], ...
] = ((dc.knows, dc.read), (idc.knows, idc.read), (tensors.knows, tensors.read))
_BY_SUFFIX = {".safetensors": "harness", ".npz": "kip", ".png": "png"}


def _read_file(path: Path) -> list[Foreign]:
    if path.suffix == ".safetensors":
        return own.read(path)
    if path.suffix == ".npz":
        return kip.read(path)
    if path.suffix not in (".pt", ".pth"):
        raise DataError(
            f"{path}: '{path.suffix}' is no known format; expected .safetensors, .pt, .pth, .npz "
            "or a folder"
        )
    content = load_torch(path)
    for knows, read in _TORCH_FILES:
        if knows(content):
            return read(path, content)
    raise DataError(
        f"{path}: holds {_describe(content)}, expected a dict with 'data' (DC), a list of images "
        "and labels (IDC), or a tensor of images (MTT, DD-Ranking)"
    )


def _read_folder(path: Path) -> list[Foreign]:
    """Read a folder: a trial's, one with tensor files, or one with a folder a class."""
    for name in ("distilled.safetensors", "images_best.pt", "images.pt", "data_best.pt", "data.pt"):
        if (path / name).is_file():
            return _read_file(path / name)
    return folder.read(path)


def _describe(content: object) -> str:
    if isinstance(content, dict):
        return f"a dict with {', '.join(map(str, list(content)[:5])) or 'nothing'}"
    if isinstance(content, Sequence):
        return f"a {type(content).__name__} of {len(content)}"
    return f"a {type(content).__name__}"
