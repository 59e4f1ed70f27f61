"""Tests of harness.synthetic."""

import errno
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from harness.errors import DataError
from harness.synthetic import (
    SyntheticSet,
    init_from_noise,
    init_from_real,
    labels_by_class,
    load_synthetic,
)

PROVENANCE = {"pixels": "normalised", "mean": [0.1], "classes": ["ä", "b"], "a": {"z": 1, "y": 2}}


def make_set(provenance: dict[str, Any] | None = None) -> SyntheticSet:
    images = torch.randn(4, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    return SyntheticSet(images, labels_by_class(2, 2), provenance or PROVENANCE)


# --- the file -------------------------------------------------------------------------------


def test_round_trip(tmp_path: Path) -> None:
    made = make_set()
    made.save(tmp_path / "a.safetensors")
    read = load_synthetic(tmp_path / "a.safetensors")
    assert torch.equal(read.images, made.images)
    assert torch.equal(read.labels, made.labels)
    assert read.provenance == PROVENANCE
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.safetensors"]


def test_gradients_and_strides_do_not_matter(tmp_path: Path) -> None:
    made = make_set()
    images = made.images.transpose(2, 3).contiguous().transpose(2, 3).requires_grad_()
    SyntheticSet(images, made.labels, PROVENANCE).save(tmp_path / "a")
    made.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_equal_sets_are_equal_files(tmp_path: Path) -> None:
    make_set().save(tmp_path / "a")
    make_set(dict(reversed(PROVENANCE.items()))).save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_metadata_is_one_key_with_sorted_json_and_nothing_else(tmp_path: Path) -> None:
    make_set().save(tmp_path / "a")
    with safe_open(tmp_path / "a", framework="pt") as file:
        metadata = file.metadata()
    assert metadata == {"harness": json.dumps(PROVENANCE, sort_keys=True)}
    size = int.from_bytes((tmp_path / "a").read_bytes()[:8], "little")
    header = json.loads((tmp_path / "a").read_bytes()[8 : 8 + size])
    assert set(header) == {"__metadata__", "images", "labels"}


def test_a_full_disk_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(OSError, match="No space left"):
        make_set().save(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


IMAGES, LABELS = torch.zeros(4, 1, 3, 3), torch.zeros(4, dtype=torch.int64)


def error_of(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        load_synthetic(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).endswith("; distil it again")
    return str(caught.value)


@pytest.mark.parametrize(
    ("tensors", "metadata", "words"),
    [
        ({"images": IMAGES}, "{}", "does not contain tensor labels"),
        ({"labels": LABELS}, "{}", "does not contain tensor images"),
        ({"images": IMAGES, "labels": LABELS}, None, "not a distilled set of this project"),
        ({"images": IMAGES, "labels": LABELS}, "{", "not a distilled set of this project"),
        ({"images": IMAGES, "labels": LABELS}, "[1]", "got provenance [1], expected a table"),
        (
            {"images": IMAGES[0], "labels": LABELS},
            "{}",
            "got images (1, 3, 3) and labels (4,), expected [S, C, H, W] and [S]",
        ),
        (
            {"images": IMAGES, "labels": LABELS[:3]},
            "{}",
            "got images (4, 1, 3, 3) and labels (3,), expected [S, C, H, W] and [S]",
        ),
        ({"images": IMAGES, "labels": LABELS[:, None]}, "{}", "labels (4, 1), expected"),
        (
            {"images": IMAGES.double(), "labels": LABELS},
            "{}",
            "got images of torch.float64 and labels of torch.int64, expected torch.float32",
        ),
        ({"images": IMAGES, "labels": LABELS.float()}, "{}", "labels of torch.float32, expected"),
        ({"images": IMAGES * math.nan, "labels": LABELS}, "{}", "the images hold NaN or infinity"),
        ({"images": IMAGES + math.inf, "labels": LABELS}, "{}", "the images hold NaN or infinity"),
    ],
)
def test_files_that_hold_something_else(
    tmp_path: Path, tensors: dict[str, Tensor], metadata: str | None, words: str
) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(save(tensors, metadata=None if metadata is None else {"harness": metadata}))
    assert words in error_of(path)


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    make_set().save(tmp_path / "a")
    whole = (tmp_path / "a").read_bytes()
    cut = tmp_path / "cut"
    for length in range(0, len(whole), 7):
        cut.write_bytes(whole[:length])
        assert "not a distilled set of this project" in error_of(cut)


@pytest.mark.parametrize("content", [b"not safetensors at all", b"\x80\x04K\x01.", b"PK\x03\x04"])
def test_other_formats_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pt").write_bytes(content)
    assert "not a distilled set of this project" in error_of(tmp_path / "a.pt")


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    assert "No such file" in error_of(tmp_path / "no.safetensors")
    error_of(tmp_path)


# --- starts ---------------------------------------------------------------------------------

REAL_LABELS = torch.tensor([1, 0, 1, 0, 1, 0, 2, 2, 2, 2])
REAL = torch.arange(10.0).reshape(10, 1, 1, 1).expand(10, 3, 4, 4)  # pixel value = row


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("ipc", [1, 2, 3])
def test_real_images_are_distinct_and_of_their_class(ipc: int) -> None:
    for seed in range(20):
        images = init_from_real(REAL, REAL_LABELS, ipc=ipc, rng=rng(seed))
        rows = images[:, 0, 0, 0].long()
        assert images.shape == (3 * ipc, 3, 4, 4)
        assert len(set(rows.tolist())) == 3 * ipc
        assert torch.equal(REAL_LABELS[rows], labels_by_class(3, ipc))


def test_real_images_are_copies_without_history() -> None:
    real = REAL.clone().requires_grad_()
    images = init_from_real(real, REAL_LABELS, ipc=1, rng=rng())
    assert not images.requires_grad
    images.fill_(-1)
    assert float(real.detach().min()) == 0.0


def test_real_images_depend_on_the_generator_alone() -> None:
    first, again = (init_from_real(REAL, REAL_LABELS, ipc=2, rng=rng(3)) for _ in range(2))
    assert torch.equal(first, again)
    others = [init_from_real(REAL, REAL_LABELS, ipc=2, rng=rng(seed)) for seed in range(10)]
    assert any(not torch.equal(first, other) for other in others)


def test_a_class_that_is_too_small_says_what_to_change() -> None:
    with pytest.raises(DataError) as caught:
        init_from_real(REAL, REAL_LABELS, ipc=4, rng=rng())
    assert str(caught.value) == (
        "class 0: got 3 training images, expected at least ipc = 4; lower ipc"
    )


def test_a_class_without_images() -> None:
    with pytest.raises(DataError, match="class 1: got 0 training images"):
        init_from_real(REAL[:2], torch.tensor([0, 2]), ipc=1, rng=rng())


def test_noise_is_standard_normal() -> None:
    noise = init_from_noise(classes=10, ipc=10, shape=(3, 8, 8), rng=rng())
    assert noise.shape == (100, 3, 8, 8)
    assert noise.dtype == torch.float32
    n = noise.numel()
    assert abs(float(noise.mean())) < 4 / math.sqrt(n)
    assert abs(float(noise.var()) - 1) < 4 * math.sqrt(2 / n)
    again = init_from_noise(classes=10, ipc=10, shape=(3, 8, 8), rng=rng())
    assert torch.equal(noise, again)


def test_labels_are_grouped_by_class() -> None:
    labels = labels_by_class(3, 2)
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert labels.dtype == torch.int64


def test_images_a_class_are_counted_in_hard_and_in_soft_labels() -> None:
    images, hard = torch.zeros(6, 1, 2, 2), torch.tensor([0, 0, 0, 1, 1, 1])
    assert SyntheticSet(images, hard, {}).per_class == 3
    assert SyntheticSet(images, torch.eye(2)[hard] * 0.6 + 0.2, {}).per_class == 3
