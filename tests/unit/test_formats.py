"""Tests of harness.formats: reading, checking, fitting and writing distilled sets of others."""

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from harness.config import DatasetSettings
from harness.datasets import ImageData, load_dataset
from harness.errors import ConfigError, DataError, HarnessError
from harness.formats import FORMATS, read_distilled, write_distilled
from harness.formats.fit import fit_to_dataset, images_per_class, pixel_space
from harness.formats.foreign import Foreign
from harness.formats.idc import decode
from harness.synthetic import SyntheticSet, labels_by_class
from tests.reference import idc as reference

PUBLISHED = Path(__file__).parents[3] / "shared" / "data" / "published"
LABELS = labels_by_class(10, 2)


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load_dataset(DatasetSettings(), protocol="paper")


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


IMAGES = draw(20, 1, 28, 28)


def soft_labels() -> Tensor:
    return (draw(20, 10, seed=1) + 4 * torch.eye(10)[LABELS]).softmax(1)


def make_set(digits: ImageData, labels: Tensor = LABELS, **more: Any) -> SyntheticSet:
    provenance = {
        "pixels": "normalised",
        "mean": list(digits.mean),
        "std": list(digits.std),
        "classes": list(digits.classes),
        **more,
    }
    return SyntheticSet(IMAGES, labels, provenance)


def in_unit(made: SyntheticSet, digits: ImageData) -> SyntheticSet:
    images = digits.to_unit(made.images)
    return SyntheticSet(images, made.labels, {**made.provenance, "pixels": "unit"})


def write_dc(path: Path, *entries: Any, accuracies: Any = None) -> Path:
    torch.save({"data": list(entries), "accs_all_exps": accuracies or {}}, path)
    return path


# --- round trips ----------------------------------------------------------------------------------

FILES = {
    "harness": "a.safetensors",
    "dc": "a.pt",
    "mtt": "a",
    "idc": "a.pt",
    "dd-ranking": "a",
    "kip": "a.npz",
    "folder": "a",
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("soft", [False, True])
def test_a_set_comes_back_as_it_was(
    name: str, soft: bool, digits: ImageData, tmp_path: Path
) -> None:
    made = make_set(digits, soft_labels() if soft else LABELS, lr=0.03125)
    written = in_unit(made, digits) if name in ("idc", "folder") else made
    path = tmp_path / FILES[name]
    if name == "folder" and soft:
        with pytest.raises(DataError, match="'folder' holds no soft labels"):
            write_distilled(written, path, name)
        assert not path.exists()
        return
    assert write_distilled(written, path, name) == name
    (foreign,) = read_distilled(path)
    assert foreign.format == name
    assert foreign.lr == (0.03125 if name in ("harness", "mtt", "dd-ranking") else None)
    told = "normalised" if foreign.pixels is None else None
    read = fit_to_dataset(foreign, digits, pixels=told, factor=1 if name == "idc" else None)
    assert images_per_class(foreign, 10) == 2
    if name == "folder":  # 8 bits, clamped
        expected = digits.denormalise(IMAGES)
        assert (digits.denormalise(read.images) - expected).abs().max() <= 0.5 / 255 + 1e-6
    elif name == "idc":
        torch.testing.assert_close(read.images, IMAGES, atol=1e-5, rtol=0)
    else:
        assert torch.equal(read.images, IMAGES)
    if soft:
        torch.testing.assert_close(read.labels, soft_labels())
    else:
        assert torch.equal(read.labels, LABELS)
        assert read.labels.dtype == torch.int64


def test_own_sets_of_mosaics_count_what_is_stored() -> None:
    made = {"distillation": {"method": "idc", "ipc": 2, "idc": {"factor": 2}}}
    images = torch.zeros(10 * 8, 1, 28, 28)
    foreign = Foreign("set", "harness", images, None, provenance=made)
    assert images_per_class(foreign, 10) == 2
    plain = Foreign("set", "harness", images, None, provenance={"distillation": {"method": "dc"}})
    assert images_per_class(plain, 10) == 8


def test_every_format_has_a_round_trip_or_is_a_picture() -> None:
    assert set(FORMATS) == {*FILES, "png"}


def test_the_suffix_tells_some_formats(digits: ImageData, tmp_path: Path) -> None:
    for name, file in (("harness", "a.safetensors"), ("kip", "b.npz"), ("png", "c.png")):
        assert write_distilled(make_set(digits), tmp_path / file, None) == name
    with pytest.raises(ConfigError, match=r"--to: '\.pt' does not tell the format; give --format"):
        write_distilled(make_set(digits), tmp_path / "a.pt", None)
    with pytest.raises(ConfigError, match=r"--format: got 'dcc'; did you mean 'dc'\?"):
        write_distilled(make_set(digits), tmp_path / "a.pt", "dcc")
    with pytest.raises(DataError, match="--to: no folder"):
        write_distilled(make_set(digits), tmp_path / "none" / "a.pt", "dc")


def test_a_picture_has_a_row_a_class(digits: ImageData, tmp_path: Path) -> None:
    write_distilled(in_unit(make_set(digits), digits), tmp_path / "a.png", "png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (2 * 30, 10 * 30)


@pytest.mark.parametrize("name", ["mtt", "dd-ranking", "folder"])
def test_a_folder_with_other_files_is_left_alone(
    name: str, digits: ImageData, tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.txt").write_text("years")
    with pytest.raises(DataError, match=r"is not empty \(thesis\.txt\); choose another folder"):
        write_distilled(in_unit(make_set(digits), digits), tmp_path / "a", name)
    assert [entry.name for entry in (tmp_path / "a").iterdir()] == ["thesis.txt"]


# --- what files of others look like ---------------------------------------------------------------


def test_dc_files_hold_entries_and_numpy_accuracies(tmp_path: Path) -> None:
    path = write_dc(
        tmp_path / "res_DC.pt",
        [IMAGES, LABELS],
        [IMAGES + 1, LABELS],
        accuracies={"ConvNet": [np.float64(0.28), np.float64(0.29)]},
    )
    first, second = read_distilled(path)
    assert torch.equal(first.images, IMAGES)
    assert torch.equal(second.images, IMAGES + 1)
    assert (first.where, second.where) == (f"{path} entry 0", f"{path} entry 1")
    (only,) = read_distilled(path, 1)
    assert torch.equal(only.images, IMAGES + 1)
    with pytest.raises(ConfigError, match=r"--entry: got 2, but \S+ holds 2 set\(s\); give 0 to 1"):
        read_distilled(path, 2)


@pytest.mark.parametrize(
    ("images", "labels", "lr", "format_"),
    [
        ("images_best.pt", "labels_best.pt", "lr_best.pt", "mtt"),
        ("images_1000.pt", "labels_1000.pt", "lr_1000.pt", "mtt"),
        ("images_zca_1000.pt", "labels_1000.pt", "lr_1000.pt", "mtt"),
        ("images.pt", "labels.pt", "lr.pt", "dd-ranking"),
    ],
)
def test_tensors_in_files_of_their_own(
    tmp_path: Path, images: str, labels: str, lr: str, format_: str
) -> None:
    torch.save(IMAGES.double().requires_grad_(), tmp_path / images)
    torch.save(soft_labels(), tmp_path / labels)
    torch.save(torch.tensor([0.02]), tmp_path / lr)
    (foreign,) = read_distilled(tmp_path / images)
    assert torch.equal(foreign.images, IMAGES)
    assert foreign.labels is not None
    assert torch.equal(foreign.labels, soft_labels())
    assert foreign.lr == pytest.approx(0.02)
    assert (foreign.format, foreign.pixels) == (format_, None)
    if "best" in images or images == "images.pt":
        assert read_distilled(tmp_path)[0].format == format_


def test_images_without_labels_are_sorted_by_class(tmp_path: Path, digits: ImageData) -> None:
    torch.save(IMAGES, tmp_path / "images.pt")
    (foreign,) = read_distilled(tmp_path)
    assert foreign.labels is None
    assert torch.equal(fit_to_dataset(foreign, digits, pixels="normalised").labels, LABELS)
    torch.save(IMAGES[:19], tmp_path / "images.pt")
    with pytest.raises(DataError, match="got 19 images without labels for 10 classes"):
        fit_to_dataset(read_distilled(tmp_path)[0], digits, pixels="normalised")


def test_sets_are_sorted_by_class(tmp_path: Path, digits: ImageData) -> None:
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    path = write_dc(tmp_path / "a.pt", [IMAGES[order], LABELS[order].int()])
    read = fit_to_dataset(read_distilled(path)[0], digits, pixels="normalised")
    assert torch.equal(read.labels, LABELS)
    assert {image.numpy().tobytes() for image in read.images} == {
        image.numpy().tobytes() for image in IMAGES
    }
    for image, label in zip(read.images, read.labels, strict=True):
        place = next(i for i in range(20) if torch.equal(IMAGES[i], image))
        assert LABELS[place] == label


def test_one_image_a_class(tmp_path: Path, digits: ImageData) -> None:
    path = write_dc(tmp_path / "a.pt", [IMAGES[:10], torch.arange(10)])
    assert fit_to_dataset(read_distilled(path)[0], digits, pixels="normalised").labels.tolist() == (
        list(range(10))
    )


@pytest.mark.parametrize(("side", "factor"), [(28, 2), (28, 3), (32, 2), (8, 1), (7, 4)])
def test_mosaics_are_decoded_as_published(side: int, factor: int) -> None:
    images = torch.rand(3, 2, side, side, generator=torch.Generator().manual_seed(0))
    expected = reference.decode(images, factor)
    torch.testing.assert_close(decode(images, factor), expected, atol=1e-6, rtol=0)


def test_labels_follow_their_parts(tmp_path: Path, digits: ImageData) -> None:
    """Each image has one colour, its class's, so that parts can be told."""
    images = (LABELS.float() / 10).reshape(-1, 1, 1, 1).expand(-1, 1, 28, 28).contiguous()
    torch.save([images, LABELS], tmp_path / "data.pt")
    (foreign,) = read_distilled(tmp_path / "data.pt")
    assert (foreign.format, foreign.pixels) == ("idc", "unit")
    read = fit_to_dataset(foreign, digits, factor=2)
    assert torch.equal(read.labels, labels_by_class(10, 8))
    colours = (digits.to_unit(read.images).mean((1, 2, 3)) * 10).round().long()
    assert torch.equal(colours, read.labels)
    assert images_per_class(foreign, 10) == 2


def test_kip_s_labels_are_centred(tmp_path: Path, digits: ImageData) -> None:
    centred = torch.eye(10)[LABELS] - 0.1
    channels_last = IMAGES.permute(0, 2, 3, 1).numpy()
    np.savez(tmp_path / "kip.npz", images=channels_last, labels=centred.numpy().astype(np.float64))
    (foreign,) = read_distilled(tmp_path / "kip.npz")
    with pytest.raises(ConfigError, match=r"neither class numbers nor probabilities .* --labels"):
        fit_to_dataset(foreign, digits, pixels="normalised")
    hard = fit_to_dataset(foreign, digits, pixels="normalised", labels="hard")
    assert torch.equal(hard.labels, LABELS)
    assert torch.equal(hard.images, IMAGES)
    with pytest.raises(ConfigError, match="KIP's whitening is another one"):
        pixel_space(foreign, "zca")


def test_logits_become_probabilities(tmp_path: Path, digits: ImageData) -> None:
    logits = 3 * draw(20, 10, seed=5)
    torch.save(IMAGES, tmp_path / "images_best.pt")
    torch.save(logits, tmp_path / "labels_best.pt")
    (foreign,) = read_distilled(tmp_path)
    read = fit_to_dataset(foreign, digits, pixels="normalised", labels="logits")
    order = logits.argmax(1).sort(stable=True).indices
    torch.testing.assert_close(read.labels, logits.softmax(1)[order])
    assert torch.equal(read.images, IMAGES[order])


@pytest.mark.parametrize("named", ["names", "numbers", "mixed up"])
def test_folders_are_matched_to_classes(named: str, tmp_path: Path, digits: ImageData) -> None:
    names = {"names": "{}", "numbers": "{:05d}", "mixed up": "x{}"}[named]
    for k in range(10):
        folder = tmp_path / "a" / names.format(k)
        folder.mkdir(parents=True)
        Image.new("L", (28, 28), 20 * k).save(folder / "0.png")
    (foreign,) = read_distilled(tmp_path / "a")
    if named == "mixed up":
        with pytest.raises(DataError, match=r"its classes are not those of 'digits' \(.*'0'\)"):
            fit_to_dataset(foreign, digits)
        return
    read = fit_to_dataset(foreign, digits)
    assert read.labels.tolist() == list(range(10))
    colours = (digits.to_unit(read.images).mean((1, 2, 3)) * 255 / 20).round().long()
    assert colours.tolist() == list(range(10))


def test_a_folder_takes_soft_labels_and_a_rate_from_files_beside_it(
    tmp_path: Path, digits: ImageData
) -> None:
    path = tmp_path / "a"
    write_distilled(in_unit(make_set(digits), digits), path, "folder")
    torch.save(soft_labels(), path / "labels.pt")
    torch.save(torch.tensor(0.5), path / "lr.pt")
    (foreign,) = read_distilled(path)
    assert foreign.lr == 0.5
    torch.testing.assert_close(fit_to_dataset(foreign, digits).labels, soft_labels())


def test_own_sets_are_turned_into_the_dataset_s_constants(tmp_path: Path) -> None:
    data = load_dataset(DatasetSettings(normalise_as="mnist"), protocol="paper")
    digits = load_dataset(DatasetSettings(), protocol="paper")
    write_distilled(make_set(digits), tmp_path / "a.safetensors", None)
    (foreign,) = read_distilled(tmp_path / "a.safetensors")
    read = fit_to_dataset(foreign, data)
    torch.testing.assert_close(data.to_unit(read.images), digits.to_unit(IMAGES))
    assert read.provenance["mean"] == list(data.mean)


@pytest.mark.parametrize("pixels", ["normalised", "zca"])
def test_unit_images_go_into_the_dataset_s_space(tmp_path: Path, pixels: str) -> None:
    data = load_dataset(DatasetSettings.model_validate({"pixels": pixels}), protocol="paper")
    unit = torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    path = write_dc(tmp_path / "a.pt", [unit, LABELS])
    read = fit_to_dataset(read_distilled(path)[0], data, pixels="unit")
    torch.testing.assert_close(data.to_unit(read.images), unit, atol=1e-4, rtol=0)
    assert read.provenance["pixels"] == pixels


def test_a_zca_set_needs_the_dataset_in_zca(tmp_path: Path, digits: ImageData) -> None:
    zca = load_dataset(DatasetSettings(pixels="zca"), protocol="paper")
    images = zca.test.images[torch.arange(20)]
    path = write_dc(tmp_path / "a.pt", [images, LABELS])
    (foreign,) = read_distilled(path)
    assert torch.equal(fit_to_dataset(foreign, zca, pixels="zca").images, images)
    with pytest.raises(ConfigError, match=r"is in 'zca' space, but dataset\.pixels is 'normal"):
        fit_to_dataset(foreign, digits, pixels="zca")


# --- bad input ------------------------------------------------------------------------------------


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    bomb = Bomb(tmp_path / "ran")
    torch.save({"data": [[IMAGES, LABELS]], "accs_all_exps": bomb}, tmp_path / "zip.pt")
    torch.save(bomb, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(bomb))
    objects = np.empty(1, dtype=object)
    objects[0] = bomb
    np.savez(tmp_path / "kip.npz", images=objects, labels=objects)
    torch.save(IMAGES, tmp_path / "images.pt")
    torch.save(bomb, tmp_path / "labels.pt")
    for name in ("zip.pt", "old.pt", "plain.pt", "kip.npz", "images.pt"):
        with pytest.raises(DataError, match=r"unpickled.* nothing of it was run; ask its"):
            read_distilled(tmp_path / name)
    assert not (tmp_path / "ran").exists()
    pickle.loads((tmp_path / "plain.pt").read_bytes())  # else this test would prove nothing
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["a.pt", "a.npz", "a.safetensors"])
def test_files_that_are_cut_off(name: str, tmp_path: Path, digits: ImageData) -> None:
    path = tmp_path / name
    write_distilled(make_set(digits), path, "dc" if name == "a.pt" else None)
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError) as caught:
            read_distilled(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


def test_damage_within_an_archive_is_found(tmp_path: Path, digits: ImageData) -> None:
    path = tmp_path / "a.npz"
    write_distilled(make_set(digits), path, "kip")
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("images.npy").header_offset + 2000
    content = bytearray(path.read_bytes())
    content[start] ^= 255
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"cut off or no \.npz archive"):
        read_distilled(path)


def content_of(images: Any = IMAGES, labels: Any = LABELS) -> dict[str, Any]:
    return {"data": [[images, labels]], "accs_all_exps": {}}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (content_of(IMAGES * float("nan")), "the images hold NaN or infinity"),
        (content_of(IMAGES * float("inf")), "the images hold NaN or infinity"),
        (content_of(labels=soft_labels() * float("nan")), "the soft labels hold NaN"),
        (content_of(IMAGES[0]), r"got images \(1, 28, 28\) of torch.float32, expected a float"),
        (content_of(IMAGES.long()), "of torch.int64, expected a float tensor"),
        (content_of([1, 2]), "got images of type list, expected"),
        (content_of(IMAGES[:0], LABELS[:0]), "got no images"),
        (content_of(labels=LABELS[:19]), r"got labels \(19,\) of torch.int64 for 20 images"),
        (content_of(labels=LABELS + 0.5), "labels are not whole numbers"),
        (content_of(labels=[0] * 20), "got labels of type list for 20 images"),
        ({"data": []}, "holds no entry in 'data'"),
        ({"data": [[IMAGES]]}, "got list, expected images and labels"),
        ({"model": 1}, "holds a dict with model, expected a dict with 'data'"),
        ([IMAGES, LABELS, 0.1], "holds a list of 3, expected"),
        (3, "holds a int, expected"),
    ],
)
def test_torch_files_that_hold_no_set(tmp_path: Path, content: Any, words: str) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(DataError, match=words):
        read_distilled(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": np.zeros((2, 4, 4, 1))}, "holds images, expected images and labels"),
        (
            {"images": np.zeros((2, 4, 4), np.float32), "labels": np.zeros(2)},
            r"got images \(2, 4, 4\) of float32",
        ),
        ({"images": np.zeros((2, 4, 4, 1)), "labels": np.array(["a", "b"])}, "labels of <U1"),
    ],
)
def test_archives_that_hold_no_set(tmp_path: Path, arrays: Any, words: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=words):
        read_distilled(tmp_path / "a.npz")


def test_a_rate_that_is_none(tmp_path: Path) -> None:
    torch.save(IMAGES, tmp_path / "images.pt")
    for value in (torch.tensor(-0.1), torch.tensor(float("nan")), torch.zeros(2), "fast"):
        torch.save(value, tmp_path / "lr.pt")
        with pytest.raises(DataError, match="expected one learning rate > 0"):
            read_distilled(tmp_path)


def test_paths_that_are_no_set(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    torch.save(IMAGES, tmp_path / "weights.pt")
    (tmp_path / "empty" / "a").mkdir(parents=True)
    (tmp_path / "nothing").mkdir()
    for name, words in (
        ("none.pt", "no such file or folder"),
        ("a.txt", "'.txt' is no known format"),
        ("weights.pt", "expected a name such as images_best.pt"),
        ("empty", "holds no images; expected some for each class"),
        ("nothing", "holds neither a distilled set nor a folder of images"),
    ):
        with pytest.raises(DataError, match=words):
            read_distilled(tmp_path / name)


def test_an_unreadable_image_is_named(tmp_path: Path, digits: ImageData) -> None:
    write_distilled(in_unit(make_set(digits), digits), tmp_path / "a", "folder")
    file = tmp_path / "a" / "3" / "00001.png"
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(DataError, match=rf"{file} cannot be read .*; replace it$"):
        read_distilled(tmp_path / "a")
    Image.new("L", (28, 27)).save(file)
    with pytest.raises(DataError, match="holds images of 2 sizes, expected one"):
        read_distilled(tmp_path / "a")


UNIT = torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("images", "labels", "told", "words"),
    [
        (IMAGES, LABELS, {}, "does not record its pixel space; give --pixels normalised"),
        (IMAGES, LABELS, {"pixels": "units"}, "did you mean 'unit'"),
        (IMAGES, LABELS, {"pixels": "unit"}, "implausible in 'unit' space: values go from -"),
        (UNIT, LABELS, {"pixels": "normalised"}, "implausible in 'normalised' space: all values"),
        (IMAGES * 9, LABELS, {"pixels": "normalised"}, "implausible in 'normalised'.*a std of 9"),
        (IMAGES / 9, LABELS, {"pixels": "normalised"}, "implausible in 'normalised'.*a std of 0.1"),
        (draw(20, 3, 32, 32), LABELS, {"pixels": "unit"}, "got images 3x32x32, but those of 'dig"),
        (IMAGES, LABELS + 1, {}, "labels go from 1 to 10, but 'digits' has the classes 0 to 9"),
        (IMAGES, LABELS - 1, {}, "labels go from -1 to 8"),
        (IMAGES, LABELS.clamp(max=8), {}, "unbalanced classes: class 9 has 0 images and class 8 h"),
        (IMAGES[:19], LABELS[:19], {}, "unbalanced classes: class 9 has 1 images"),
        (IMAGES, soft_labels()[:, :9], {}, "soft labels of 9 classes, but 'digits' has 10"),
        (IMAGES, soft_labels() * 2, {}, "neither class numbers nor probabilities"),
        (IMAGES, soft_labels(), {"labels": "soft"}, "--labels: got 'soft'"),
        (IMAGES, LABELS, {"labels": "logits"}, "the labels are class numbers; leave it out"),
        (IMAGES, LABELS, {"factor": 2}, "which has no mosaics; leave it out"),
    ],
)
def test_sets_that_do_not_fit(
    images: Tensor, labels: Tensor, told: Any, words: str, tmp_path: Path, digits: ImageData
) -> None:
    if words.startswith(("labels go", "unbalanced", "soft labels", "neither", "--lab", "the lab")):
        told = {"pixels": "normalised", **told}
    if "mosaics" in words:
        told = {"pixels": "normalised", **told}
    (foreign,) = read_distilled(write_dc(tmp_path / "a.pt", [images, labels]))
    with pytest.raises(HarnessError, match=words):
        fit_to_dataset(foreign, digits, **told)


def test_mosaics_need_their_factor(tmp_path: Path, digits: ImageData) -> None:
    torch.save([UNIT, LABELS], tmp_path / "data.pt")
    (foreign,) = read_distilled(tmp_path)
    with pytest.raises(ConfigError, match="does not record its factor; give --factor 1"):
        fit_to_dataset(foreign, digits)
    with pytest.raises(ConfigError, match="--factor: got 29, expected 1 to 28"):
        fit_to_dataset(foreign, digits, factor=29)
    with pytest.raises(ConfigError, match="got 'normalised', but the set is in 'unit'; leave"):
        fit_to_dataset(foreign, digits, pixels="normalised", factor=1)


def test_unit_images_may_overshoot(tmp_path: Path, digits: ImageData) -> None:
    torch.save([UNIT * 1.4 - 0.2, LABELS], tmp_path / "data.pt")
    fit_to_dataset(read_distilled(tmp_path)[0], digits, factor=1)


@pytest.mark.parametrize("mean", [0.1307, 0.47])
def test_whitened_images_are_no_pixels(mean: float, tmp_path: Path, digits: ImageData) -> None:
    """Even a set learned from noise in MNIST's dark images has fewer values below 0."""
    path = write_dc(tmp_path / "a.pt", [IMAGES * 0.3 + mean, LABELS])
    fit_to_dataset(read_distilled(path)[0], digits, pixels="unit")
    path = write_dc(tmp_path / "a.pt", [IMAGES * 0.3, LABELS])
    with pytest.raises(DataError, match="of them below 0, expected about 0 to 1"):
        fit_to_dataset(read_distilled(path)[0], digits, pixels="unit")


@pytest.mark.skipif(not PUBLISHED.exists(), reason="no shared/data/published")
@pytest.mark.parametrize("prefix", ["", "modelpool_"])
def test_published_files(prefix: str) -> None:
    path = PUBLISHED / f"{prefix}res_DC_CIFAR10_ConvNet_1ipc_3000.pt"
    found = read_distilled(path)
    assert len(found) == 3
    for item in found:
        assert item.images.shape == (10, 3, 32, 32)
        assert item.labels is not None
        assert item.labels.tolist() == list(range(10))
        assert 1.1 < float(item.images.std()) < 1.7
