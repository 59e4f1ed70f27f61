"""Tests of harness.datasets."""

import hashlib
import pickle
import random
import struct
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from harness.config import DATASETS, DatasetSettings
from harness.datasets import ImageData, Split, data_root, dataset_status, load_dataset
from harness.datasets.image_data import measure
from harness.datasets.published import PUBLISHED, fetch_command
from harness.datasets.splits import apportion
from harness.errors import ConfigError, DataError

JPEG_CIFAR10 = Path(__file__).parents[3] / "shared" / "data" / "cifar10-jpeg.tar.xz"


def load(name: str, root: Path | None = None, protocol: str = "held-out", **more: Any) -> ImageData:
    """Load with every image as a float tensor, whatever the dataset keeps them as."""
    settings = DatasetSettings(name=name, root=None if root is None else str(root), **more)
    data = load_dataset(settings, protocol=protocol)

    def floats(split: Split) -> Split:
        return Split(split.images[:], split.labels)

    return replace(
        data,
        train=floats(data.train),
        validation=None if data.validation is None else floats(data.validation),
        test=floats(data.test),
    )


def prints(images: torch.Tensor) -> list[str]:
    """One fingerprint an image."""
    return [hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in images]


def assert_sound(data: ImageData) -> None:
    for split in (data.train, data.validation, data.test):
        if split is not None:
            assert split.images.dtype == torch.float32
            assert split.images.is_contiguous()
            assert split.images.shape == (len(split.labels), *data.in_shape)
            assert split.labels.dtype == torch.int64
            assert set(split.labels.tolist()) == set(range(data.num_classes))
    assert len(data.checksum) == 64


# --- digits ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load("digits")


def test_digits_sizes_and_strata(digits: ImageData) -> None:
    assert_sound(digits)
    assert digits.validation is not None
    assert digits.in_shape == (1, 28, 28)
    assert digits.classes == tuple("0123456789")
    sizes = [len(split.labels) for split in (digits.train, digits.validation, digits.test)]
    assert sizes == [1200, 197, 400]
    every = torch.tensor([178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
    for split, total in ((digits.train, 1200), (digits.validation, 197), (digits.test, 400)):
        counts = split.labels.bincount()
        # Training gets what rounding leaves twice: validation and test are each off by < 1.
        assert (counts - every * total / 1797).abs().max() < (2 if total == 1200 else 1)


def test_digits_splits_are_disjoint_and_complete(digits: ImageData) -> None:
    from sklearn.datasets import load_digits

    assert len(np.unique(load_digits().data, axis=0)) == 1797  # else two splits could share one
    assert digits.validation is not None
    splits = (digits.train, digits.validation, digits.test)
    assert len(set(prints(torch.cat([split.images for split in splits])))) == 1797


def test_digits_are_normalised_by_the_training_images(digits: ImageData) -> None:
    pixels = digits.train.images.double()
    assert pixels.mean().item() == pytest.approx(0, abs=1e-6)
    assert pixels.std(correction=0).item() == pytest.approx(1, abs=1e-6)


def test_digits_are_upright_and_scaled(digits: ImageData) -> None:
    from sklearn.datasets import load_digits

    # Blocks of a bilinear enlargement average to nearly what they were made from.
    small = torch.nn.functional.interpolate(
        digits.denormalise(digits.train.images), size=8, mode="area"
    ).flatten(1)
    originals = torch.from_numpy(load_digits().data / 16).float()
    nearest = torch.cdist(small, originals).argmin(1)
    assert torch.equal(torch.from_numpy(load_digits().target)[nearest], digits.train.labels)


def test_digits_are_the_same_each_time(digits: ImageData) -> None:
    torch.manual_seed(1)
    again = load("digits")
    assert again.checksum == digits.checksum
    assert torch.equal(again.train.images, digits.train.images)


def test_paper_protocol_trains_on_all_but_test(digits: ImageData) -> None:
    paper = load("digits", protocol="paper")
    assert digits.validation is not None
    assert paper.validation is None
    assert len(paper.train.labels) == 1397
    assert torch.equal(paper.test.images, digits.test.images)
    assert (paper.mean, paper.std) == (digits.mean, digits.std)
    held_out = prints(digits.train.images) + prints(digits.validation.images)
    assert sorted(prints(paper.train.images)) == sorted(held_out)
    assert paper.checksum != digits.checksum


def test_unknown_protocol() -> None:
    with pytest.raises(ConfigError, match=r"protocol: got 'papers'; did you mean 'paper'\?"):
        load("digits", protocol="papers")


def test_denormalise_inverts_and_clamps(digits: ImageData) -> None:
    pixels = digits.denormalise(digits.test.images)
    assert pixels.dtype == torch.float32
    assert pixels.min() == 0
    assert pixels.max() == 1
    mean, std = digits.mean[0], digits.std[0]
    torch.testing.assert_close((pixels - mean) / std, digits.test.images, atol=1e-5, rtol=0)
    beyond = torch.tensor([-100.0, 100.0]).reshape(2, 1, 1, 1)
    assert digits.denormalise(beyond).flatten().tolist() == [0, 1]
    assert digits.denormalise(digits.test.images[0]).shape == (1, 28, 28)


def test_to_moves_every_tensor(digits: ImageData) -> None:
    there = digits.to("meta")
    assert there.validation is not None
    tensors = [*there.train, *there.validation, *there.test]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert there.checksum == digits.checksum
    assert load("digits", protocol="paper").to("cpu").validation is None


def test_apportion_gives_leftovers_to_the_largest_remainders() -> None:
    assert apportion(10, [1, 1, 1]) == [4, 3, 3]
    assert apportion(3, [5, 3, 2]) == [1, 1, 1]
    assert apportion(0, [4, 4]) == [0, 0]


def test_measure_is_the_population_mean_and_std() -> None:
    images = torch.randint(0, 256, (20, 3, 5, 4), dtype=torch.uint8)
    pixels = images.double() / 255
    for given in (images, pixels.float()):
        mean, std = measure(given)
        assert mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=1e-7)
        assert std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist(), abs=1e-7)


# --- published datasets, as tiny files in their real layouts -----------------------------------


def make_images(n: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def make_labels(n: int, classes: int = 10) -> np.ndarray:
    """Every class equally often, shuffled."""
    return np.random.default_rng(1).permutation(np.arange(n) % classes)


def write_idx(path: Path, array: np.ndarray) -> None:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def write_mnist(root: Path, folder: str) -> None:
    raw = root / folder / "raw"
    raw.mkdir(parents=True)
    for part, n in (("train", 40), ("t10k", 20)):
        write_idx(raw / f"{part}-images-idx3-ubyte", make_images(n, 28, 28, seed=n))
        write_idx(raw / f"{part}-labels-idx1-ubyte", make_labels(n))


def write_svhn(root: Path) -> None:
    from scipy.io import savemat

    for part, n in (("train", 40), ("test", 20)):
        images = make_images(n, 3, 32, 32, seed=n).transpose(2, 3, 1, 0)  # H, W, C, N on disk
        labels = make_labels(n)
        labels[labels == 0] = 10  # as the zeros are labelled there
        savemat(root / f"{part}_32x32.mat", {"X": images, "y": labels[:, None].astype(np.uint8)})


def write_pickle(path: Path, content: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(pickle.dumps(content))


def write_cifar10(root: Path) -> None:
    folder = root / "cifar-10-batches-py"
    images, labels = make_images(40, 3072, seed=40), make_labels(40)
    for i in range(5):
        part = slice(8 * i, 8 * (i + 1))
        batch = {"data": images[part], "labels": labels[part].tolist()}
        write_pickle(folder / f"data_batch_{i + 1}", batch)
    batch = {"data": make_images(20, 3072, seed=20), "labels": make_labels(20).tolist()}
    write_pickle(folder / "test_batch", batch)
    write_pickle(folder / "batches.meta", {"label_names": [f"name{k}" for k in range(10)]})


def write_cifar100(root: Path) -> None:
    folder = root / "cifar-100-python"
    for part, n in (("train", 200), ("test", 100)):
        labels = make_labels(n, 100).tolist()
        batch = {"data": make_images(n, 3072, seed=n), "fine_labels": labels}
        write_pickle(folder / part, batch)
    write_pickle(folder / "meta", {"fine_label_names": [f"name{k}" for k in range(100)]})


WRITERS: dict[str, Callable[[Path], None]] = {
    "mnist": lambda root: write_mnist(root, "MNIST"),
    "fashionmnist": lambda root: write_mnist(root, "FashionMNIST"),
    "svhn": write_svhn,
    "cifar10": write_cifar10,
    "cifar100": write_cifar100,
}


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Write a tiny dataset; torchvision's MD5 check, which knows the real one, is taken out."""

    def is_there(path: str, md5: str | None = None) -> bool:
        return Path(path).is_file()

    def write(name: str) -> Path:
        for module in ("cifar", "svhn"):
            monkeypatch.setattr(f"torchvision.datasets.{module}.check_integrity", is_there)
        WRITERS[name](tmp_path)
        return tmp_path

    return write


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_files_are_read_as_laid_out(name: str, tiny: Callable[[str], Path]) -> None:
    from torchvision.transforms import Compose, Normalize, ToTensor

    known = PUBLISHED[name]
    data = load(name, tiny(name), protocol="paper")
    assert_sound(data)
    assert data.validation is None
    assert data.in_shape == known.shape
    assert data.num_classes == known.num_classes
    assert (data.mean, data.std) == known.constants
    for split in (data.train, data.test):
        n = len(split.labels)
        written = make_images(n, *known.shape, seed=n)
        published = Compose([ToTensor(), Normalize(data.mean, data.std)])
        # ToTensor takes [H, W, C]; bit for bit the pixels that published code trains on.
        expected = torch.stack([published(image.transpose(1, 2, 0)) for image in written])
        assert torch.equal(split.images, expected)
        assert split.labels.tolist() == make_labels(n, data.num_classes).tolist()


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_training_images_are_held_out(name: str, tiny: Callable[[str], Path]) -> None:
    root = tiny(name)
    data, paper = load(name, root), load(name, root, protocol="paper")
    assert_sound(data)
    assert data.validation is not None
    assert set(data.validation.labels.bincount().tolist()) == {1}
    train, validation = prints(data.train.images), prints(data.validation.images)
    assert sorted(train + validation) == sorted(prints(paper.train.images))
    assert [image for image in prints(paper.train.images) if image in train] == train
    assert torch.equal(data.test.images, paper.test.images)


def test_class_names(tiny: Callable[[str], Path]) -> None:
    expected = {
        "mnist": tuple("0123456789"),
        "svhn": tuple("0123456789"),
        "cifar10": tuple(f"name{k}" for k in range(10)),
        "cifar100": tuple(f"name{k}" for k in range(100)),
    }
    for name, classes in expected.items():
        assert load(name, tiny(name)).classes == classes
    names = load("fashionmnist", tiny("fashionmnist")).classes
    assert (names[0], names[-1]) == ("T-shirt/top", "Ankle boot")


def test_smaller_fractions_are_part_of_larger_ones(tiny: Callable[[str], Path]) -> None:
    root = tiny("mnist")
    few, many = load("mnist", root), load("mnist", root, validation_fraction=0.5)
    assert few.validation is not None
    assert many.validation is not None
    assert many.validation.labels.bincount().tolist() == [2] * 10
    assert set(prints(few.validation.images)) < set(prints(many.validation.images))
    almost_all = load("mnist", root, validation_fraction=0.99)
    assert almost_all.train.labels.bincount().tolist() == [1] * 10


def test_checksum_is_of_the_content(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_mnist(tmp_path / folder, "MNIST")
        write_mnist(tmp_path / folder, "FashionMNIST")
    first = load("mnist", tmp_path / "a")
    assert load("mnist", tmp_path / "b").checksum == first.checksum
    renamed = load("fashionmnist", tmp_path / "a", normalise_as="mnist")
    assert renamed.checksum == first.checksum
    assert load("mnist", tmp_path / "a", normalise_as="digits").checksum != first.checksum
    file = tmp_path / "b" / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert load("mnist", tmp_path / "b").checksum != first.checksum


FIRST_FILES = {
    "mnist": "MNIST/raw/train-images-idx3-ubyte",
    "fashionmnist": "FashionMNIST/raw/train-images-idx3-ubyte",
    "svhn": "train_32x32.mat",
    "cifar10": "cifar-10-batches-py/data_batch_1",
    "cifar100": "cifar-100-python/train",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_missing_dataset_says_how_to_fetch_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        load(name, tmp_path)
    command = f"harness datasets fetch {name} --root {tmp_path}"
    assert str(error.value) == (
        f"{name}: no file {tmp_path / FIRST_FILES[name]}; run {command}, or set dataset.root (or "
        "$HARNESS_DATA) to the folder that it is in"
    )


def test_the_command_survives_odd_folder_names() -> None:
    import shlex

    for folder in ("/it's", '/a "b"', "/$HOME", "/plain folder"):
        words = shlex.split(fetch_command("cifar10", Path(folder)))
        assert words == ["harness", "datasets", "fetch", "cifar10", "--root", folder]


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_a_foreign_pickle_is_never_loaded(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path)  # complete, but not the files whose MD5 torchvision knows
    folder = tmp_path / PUBLISHED[name].folder
    for file in folder.iterdir():
        file.write_bytes(b"cos\nabort\n(tR.")  # would end this process if it were unpickled
    with pytest.raises(DataError) as error:
        load(name, tmp_path)
    assert str(error.value).startswith(f"{name}: corrupt files in {folder} (Dataset not found or ")
    command = f"harness datasets fetch {name} --root {tmp_path}"
    assert str(error.value).endswith(f"; remove the folder, then run {command}")


def test_corrupt_svhn_names_its_files(tmp_path: Path) -> None:
    write_svhn(tmp_path)
    with pytest.raises(
        DataError,
        match=r"^svhn: corrupt files in .*; remove train_32x32\.mat and test_32x32\.mat, then run",
    ):
        load("svhn", tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", ""),
        (b"not an idx file at all", ""),
        (struct.pack(">HBB3I", 0, 8, 3, 40, 28, 28) + b"short", ""),
        (struct.pack(">HBB3I", 0, 8, 3, 1, 28, 28) + bytes(784), "1 images but 40 labels"),
        (
            struct.pack(">HBB3I", 0, 8, 3, 40, 2, 2) + bytes(160),
            r"images are \(1, 2, 2\), expected \(1, 28, 28\)",
        ),
    ],
    ids=["empty", "garbage", "truncated", "count", "size"],
)
def test_corrupt_mnist(tmp_path: Path, content: bytes, reason: str) -> None:
    write_mnist(tmp_path, "MNIST")
    (tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(DataError, match=rf"^mnist: corrupt files in \S+MNIST \(.*{reason}.*\); "):
        load("mnist", tmp_path)


def test_labels_beyond_the_classes(tmp_path: Path) -> None:
    write_mnist(tmp_path, "MNIST")
    labels = make_labels(40)
    labels[0] = 10
    write_idx(tmp_path / "MNIST" / "raw" / "train-labels-idx1-ubyte", labels)
    with pytest.raises(DataError, match=r"\(labels are not within 0 to 9\)"):
        load("mnist", tmp_path)


def test_a_class_too_small_to_hold_out(tmp_path: Path) -> None:
    write_mnist(tmp_path, "MNIST")
    labels = make_labels(40)
    labels[labels == 3] = 4
    labels[0] = 3
    write_idx(tmp_path / "MNIST" / "raw" / "train-labels-idx1-ubyte", labels)
    message = (
        "mnist: class '3' has 1 training image(s), expected at least 2 to hold one out for "
        "validation; add images, or set protocol = 'paper'"
    )
    with pytest.raises(DataError) as error:
        load("mnist", tmp_path)
    assert str(error.value) == message
    assert len(load("mnist", tmp_path, protocol="paper").train.labels) == 40


# --- normalise_as ------------------------------------------------------------------------------


def test_normalise_as_takes_the_constants_of_another(tiny: Callable[[str], Path]) -> None:
    root = tiny("cifar100")
    own, other = load("cifar100", root), load("cifar100", root, normalise_as="cifar10")
    assert (other.mean, other.std) == PUBLISHED["cifar10"].constants
    torch.testing.assert_close(
        own.denormalise(own.test.images), other.denormalise(other.test.images)
    )


def test_normalise_as_digits(digits: ImageData, tiny: Callable[[str], Path]) -> None:
    data = load("mnist", tiny("mnist"), normalise_as="digits")
    assert (data.mean, data.std) == (digits.mean, digits.std)


def test_normalise_as_with_other_channels() -> None:
    with pytest.raises(ConfigError) as error:
        load("digits", normalise_as="cifar10")
    assert str(error.value) == (
        "dataset.normalise_as: 'cifar10' has 3 channel(s), but the images of 'digits' have 1; "
        "remove it or name a dataset with 1"
    )


# --- imagefolder -------------------------------------------------------------------------------

SIZES = {"train": {"bee": 7, "Ant": 3, "cat": 12}, "test": {"bee": 2, "Ant": 4, "cat": 1}}


def write_folder(root: Path, *, mode: str = "RGB", suffix: str = ".png") -> Path:
    """Files whose names sort as they are numbered; pixel [0, 0] holds class and number."""
    for part, sizes in SIZES.items():
        for name, count in sizes.items():
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = make_images(1, 6, 5, 3, seed=i)[0]
                pixels[0, 0] = (sorted(SIZES["train"]).index(name), i, 0)
                if mode == "L":
                    pixels = pixels[:, :, 1]
                Image.fromarray(pixels).save(folder / f"{i:03d}{suffix}")
    return root


def test_imagefolder_reads_by_class_and_name(tmp_path: Path) -> None:
    data = load("imagefolder", write_folder(tmp_path), protocol="paper")
    assert_sound(data)
    assert data.in_shape == (3, 6, 5)
    assert data.classes == ("Ant", "bee", "cat")
    for split, part in ((data.train, "train"), (data.test, "test")):
        expected = [(k, i) for k, name in enumerate(data.classes) for i in range(SIZES[part][name])]
        corner = (data.denormalise(split.images)[:, :2, 0, 0] * 255).round().int().tolist()
        assert [tuple(values) for values in corner] == expected
        assert split.labels.tolist() == [label for label, _ in expected]
    pixels = data.train.images.double()
    assert pixels.mean((0, 2, 3)).abs().max() < 1e-6
    assert (pixels.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-6


def test_imagefolder_holds_out_of_each_class(tmp_path: Path) -> None:
    data = load("imagefolder", write_folder(tmp_path), validation_fraction=0.25)
    assert data.validation is not None
    assert data.train.labels.bincount().tolist() == [2, 5, 9]
    assert data.validation.labels.bincount().tolist() == [1, 2, 3]
    # Measured after the split: the validation images have no part in it.
    assert data.train.images.double().mean((0, 2, 3)).abs().max() < 1e-6
    assert not set(prints(data.train.images)) & set(prints(data.validation.images))


def test_imagefolder_of_grayscale_images(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, mode="L")
    gray = load("imagefolder", folder, protocol="paper")
    assert gray.in_shape == (1, 6, 5)
    assert (gray.denormalise(gray.test.images)[-1, 0, 0, 0] * 255).round() == 0
    file = folder / "test" / "cat" / "000.png"
    Image.fromarray(make_images(1, 6, 5, 3)[0]).save(file)
    mixed = load("imagefolder", folder, protocol="paper")
    assert mixed.in_shape == (3, 6, 5)
    assert torch.equal(
        mixed.denormalise(mixed.train.images)[:, :1].mul(255).round(),
        gray.denormalise(gray.train.images).mul(255).round(),
    )


@pytest.mark.parametrize("suffix", [".JPG", ".jpeg", ".bmp", ".webp"])
def test_imagefolder_extensions(tmp_path: Path, suffix: str) -> None:
    folder = write_folder(tmp_path, suffix=suffix)
    for name in (".hidden.png", "Thumbs.db", "notes.txt"):
        (folder / "train" / "cat" / name).write_bytes(b"no image")
    (folder / "train" / "cat" / "folder.png").mkdir()
    (folder / "train" / ".cache").mkdir()
    (folder / "train" / "README.md").write_text("no class")
    assert len(load("imagefolder", folder, protocol="paper").train.labels) == 22


def test_imagefolder_is_the_same_with_any_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path)
    monkeypatch.setattr("harness.datasets.listing._CHUNK", 2)
    checksums = set()
    for cores in (1, 7):
        monkeypatch.setattr("harness.datasets.listing.available_cpus", lambda cores=cores: cores)
        checksums.add(load("imagefolder", folder).checksum)
    assert len(checksums) == 1


def test_imagefolder_without_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    with pytest.raises(ConfigError) as error:
        load("imagefolder")
    assert str(error.value) == (
        "dataset.root: not set, but 'imagefolder' needs it; set dataset.root to a folder that "
        "holds train/<class>/ and test/<class>/"
    )


def test_imagefolder_without_its_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        load("imagefolder", tmp_path / "nowhere")
    root = tmp_path / "nowhere"
    assert str(error.value) == (
        f"imagefolder: no folder {root}/train; expected {root}/train/<class>/ and "
        f"{root}/test/<class>/; check dataset.root"
    )
    (root / "train").mkdir(parents=True)
    (root / "test").mkdir()
    with pytest.raises(DataError, match=r"no class folders in \S+/train; expected one folder of"):
        load("imagefolder", root)


def test_imagefolder_with_differing_classes(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    (folder / "train" / "dog").mkdir()
    (folder / "test" / "bee").rename(folder / "test" / "wasp")
    with pytest.raises(DataError) as error:
        load("imagefolder", folder)
    assert str(error.value) == (
        f"imagefolder: {folder}/train and {folder}/test hold different classes (only in train: "
        "bee, dog; only in test: wasp); give both the same class folders"
    )


def test_imagefolder_with_an_empty_class(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    for file in (folder / "test" / "cat").iterdir():
        file.unlink()
    with pytest.raises(DataError) as error:
        load("imagefolder", folder)
    assert str(error.value) == (
        f"imagefolder: no images in {folder}/test/cat; expected .png, .jpg, .jpeg, .bmp, .webp "
        "files; add some, or remove the class from train and test"
    )


def test_imagefolder_names_the_first_image_of_another_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.datasets.listing._CHUNK", 2)
    folder = write_folder(tmp_path)
    for odd in ("test/Ant/000.png", "train/cat/011.png", "train/bee/002.png"):
        Image.new("RGB", (8, 6)).save(folder / odd)
    with pytest.raises(DataError) as error:
        load("imagefolder", folder)
    assert str(error.value) == (
        f"imagefolder: {folder}/train/bee/002.png is 8x6 (width x height), expected 5x6 as "
        f"{folder}/train/Ant/000.png; set dataset.resize, or resize "
        "the images to one size"
    )


def test_imagefolder_names_a_truncated_jpeg(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, suffix=".jpg")
    file = folder / "train" / "bee" / "004.jpg"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError) as error:
        load("imagefolder", folder)
    assert str(error.value).startswith(
        f"imagefolder: {file} cannot be read as an image (image file is truncated"
    )
    assert str(error.value).endswith(
        "); replace or remove it, or leave such images out with dataset.skip_bad=true"
    )


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n\0\0", bytes(99)])
@pytest.mark.parametrize("file", ["train/Ant/000.png", "test/cat/000.png"])
def test_imagefolder_names_a_corrupt_image(tmp_path: Path, file: str, content: bytes) -> None:
    folder = write_folder(tmp_path)
    (folder / file).write_bytes(content)
    with pytest.raises(DataError, match=rf"^imagefolder: \S+/{file} cannot be read as an image"):
        load("imagefolder", folder)


def test_imagefolder_any_damage_is_a_data_error(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    file = folder / "train" / "bee" / "004.png"
    whole = file.read_bytes()
    rng = random.Random(0)
    refused = 0
    for _ in range(30):
        damaged = bytearray(whole)
        for _ in range(4):
            damaged[rng.randrange(len(whole))] = rng.randrange(256)
        file.write_bytes(damaged)
        try:
            load("imagefolder", folder)
        except DataError:
            refused += 1
    assert refused > 20


def test_imagefolder_refuses_16_bits(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, mode="L")
    file = folder / "train" / "bee" / "000.png"
    Image.fromarray(np.full((6, 5), 40_000, np.uint16)).save(file)
    with pytest.raises(DataError, match=r"bee/000.png has more than 8 bits .*, expected 8;"):
        load("imagefolder", folder)


def test_imagefolder_of_one_colour(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    for file in folder.rglob("*.png"):
        Image.new("RGB", (5, 6), (9, 0, 0)).save(file)
    with pytest.raises(DataError) as error:
        load("imagefolder", folder)
    assert str(error.value) == (
        "imagefolder: channel 0 has the same value in every training pixel (std 0), so it cannot "
        "be normalised; set dataset.normalise_as, or check the images"
    )
    assert load("imagefolder", folder, normalise_as="cifar10").in_shape == (3, 6, 5)


def test_imagefolder_normalised_as_cifar10(tmp_path: Path) -> None:
    data = load("imagefolder", write_folder(tmp_path), normalise_as="cifar10")
    assert (data.mean, data.std) == PUBLISHED["cifar10"].constants


@pytest.mark.slow
@pytest.mark.skipif(not JPEG_CIFAR10.exists(), reason="no shared/data/cifar10-jpeg.tar.xz")
def test_real_images_of_cifar10(tmp_path: Path) -> None:
    with tarfile.open(JPEG_CIFAR10) as archive:
        some = [m for m in archive if not m.isfile() or int(Path(m.name).stem) < 20]
        archive.extractall(tmp_path, members=some, filter="data")
    data = load("imagefolder", tmp_path)
    assert_sound(data)
    assert data.validation is not None
    assert data.in_shape == (3, 32, 32)
    assert (data.classes[0], data.classes[-1]) == ("airplane", "truck")
    sizes = [len(split.labels) for split in (data.train, data.validation, data.test)]
    assert sizes == [180, 20, 200]
    assert data.mean == pytest.approx((0.491, 0.482, 0.447), abs=0.05)


# --- where datasets are looked for -------------------------------------------------------------


def test_data_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_DATA", "/env")
    assert data_root(DatasetSettings(root="/given")) == Path("/given")
    assert data_root(DatasetSettings(root="~/given")) == Path.home() / "given"
    assert data_root(DatasetSettings(root="given")) == tmp_path / "given"
    assert data_root(DatasetSettings()) == Path("/env")
    monkeypatch.setenv("HARNESS_DATA", "")
    assert data_root(DatasetSettings()) == tmp_path / "data"


def test_status_has_a_row_for_every_dataset(tmp_path: Path) -> None:
    rows = {row.name: row for row in dataset_status(str(tmp_path))}
    assert tuple(rows) == DATASETS
    assert [name for name, row in rows.items() if row.there] == ["digits"]
    assert rows["cifar10"].path == str(tmp_path / "cifar-10-batches-py")
    assert rows["cifar10"].note == (
        f"no data_batch_1; run harness datasets fetch cifar10 --root {tmp_path}"
    )
    assert rows["imagefolder"].note == "no train/<class>/ and test/<class>/ in it"


def test_status_sees_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    for write in WRITERS.values():
        write(tmp_path)
    write_folder(tmp_path)
    (tmp_path / "val").mkdir()
    rows = {row.name: row for row in dataset_status()}
    assert [name for name, row in rows.items() if not row.there] == ["imagefolder"]
    assert rows["imagefolder"].path == "dataset.root"
    assert rows["svhn"].note == "3x32x32, 10 classes"
    assert all(row.there for row in dataset_status(str(tmp_path)))


def test_heavy_libraries_wait_for_their_reader() -> None:
    import subprocess

    code = (
        "import sys; from harness.datasets import dataset_status; dataset_status(); "
        "print([name for name in ('torchvision', 'sklearn', 'PIL', 'scipy', 'pandas', 'ray') "
        "if name in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_digits_are_read_alike_with_and_without_scikit_learn_s_loader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from harness.datasets import digits

    direct = digits._read_table()
    monkeypatch.setattr(digits.importlib.util, "find_spec", lambda name: None)
    assert np.array_equal(direct, digits._read_table())
