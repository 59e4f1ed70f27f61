"""torch files that are read without running anything they hold."""

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.serialization import safe_globals

from harness.errors import DataError
from harness.records import whole_file

# Files of DC keep accuracies as numpy scalars: these three names make a number of a few bytes.
_scalar = np.float64(0).__reduce__()[0]
_ALLOWED: list[Any] = [
    (_scalar, "numpy.core.multiarray.scalar"),
    _scalar,
    np.dtype,
    np.dtypes.Float64DType,
]


def load_torch(path: Path) -> object:
    """Read a torch file: tensors, numbers, text, lists and dicts, on the CPU.

    Raises:
        DataError: It is cut off or no torch file, or what it holds would need code to be run;
            none is.
    """
    try:
        with safe_globals(_ALLOWED), warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path}: {_reason(error)}, so it is not read, and nothing of it was run; ask its "
            "makers for plain tensors"
        ) from None
    except (
        AttributeError,
        EOFError,
        IndexError,
        KeyError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise DataError(
            f"{path}: cut off or no torch file ({' '.join(str(error).split())[:200]}); fetch it "
            "again"
        ) from error


def save_torch(content: object, path: Path) -> None:
    """Write a torch file whole."""
    with whole_file(path) as aside:
        torch.save(content, aside)


def _reason(error: pickle.UnpicklingError) -> str:
    """What torch refuses, in a few words."""
    text = str(error)
    for word in ("Unsupported global: GLOBAL ", "Trying to load unsupported GLOBAL "):
        if word in text:
            name = text.split(word, 1)[1].split()[0].rstrip(".,;")
            return f"holds objects that would have to be unpickled ({name})"
    return "holds what would have to be unpickled, or is no torch file"
