"""KIP: a numpy archive of ``images`` [S, H, W, C] and ``labels`` [S, K].

KIP's own whitening (each image centred and scaled to norm 1, regularised by a share of the trace)
is another than this project's ``zca``. Source: google-research, kip (arXiv 2107.13034).
"""

import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from harness.errors import DataError
from harness.formats.foreign import Foreign, check_images, check_labels
from harness.records import whole_file
from harness.synthetic import SyntheticSet


def read(path: Path) -> list[Foreign]:
    """Read the archive; arrays of objects, which would need unpickling, are refused."""
    where = str(path)
    images, labels = _load(path)
    if images.ndim != 4 or images.dtype.kind != "f" or labels.dtype.kind not in "fiu":
        raise DataError(
            f"{path}: got images {images.shape} of {images.dtype} and labels of {labels.dtype}, "
            "expected floats [S, H, W, C] and numbers"
        )
    # Through torch's own widths: numpy knows floats and byte orders that torch does not.
    pixels = torch.from_numpy(images.astype("=f4")).permute(0, 3, 1, 2)
    kind = "=f4" if labels.dtype.kind == "f" else "=i8"
    checked = check_images(pixels, where)
    targets = check_labels(torch.from_numpy(labels.astype(kind)), len(checked), where)
    return [Foreign(where, "kip", checked, targets)]


def write(synthetic: SyntheticSet, path: Path) -> None:
    """Write the archive; hard labels become rows of 0 and 1."""
    labels = synthetic.labels.cpu()
    if not labels.is_floating_point():
        labels = torch.nn.functional.one_hot(labels).float()
    images = synthetic.images.cpu().permute(0, 2, 3, 1).contiguous()
    with whole_file(path) as aside, aside.open("wb") as file:
        np.savez(file, images=images.numpy(), labels=labels.numpy())


def _load(path: Path) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(f"{path}: holds one array, expected an archive (.npz) of two")
            lacking = {"images", "labels"} - set(archive.files)
            if lacking:
                raise DataError(
                    f"{path}: holds {', '.join(archive.files) or 'nothing'}, expected images and "
                    "labels"
                )
            return archive["images"], archive["labels"]
    except (
        EOFError,
        KeyError,
        OSError,
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
    ) as error:
        if "allow_pickle" in str(error) or "pickled" in str(error):
            raise DataError(
                f"{path}: holds objects that would have to be unpickled, so it is not read, and "
                "nothing of it was run; ask its makers for plain arrays"
            ) from None
        raise DataError(
            f"{path}: cut off or no .npz archive ({' '.join(str(error).split())[:200]}); fetch it "
            "again"
        ) from error
