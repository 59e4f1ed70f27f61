"""Tests of harness.datasets.cache, and of the bytes that are normalised as they are taken."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

from harness.config import DatasetSettings
from harness.datasets import ImageData, at_hand, cache, image_data, load_dataset, reading
from harness.datasets.cache import ABSENT, Stored, Write, get_or_build, remember, write_store
from harness.datasets.pixels import Constants, Pixels
from harness.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 6), dtype=np.uint8)
LABELS = [0, 1, 0, 1, 1]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test alone."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Build:
    """Writes ``IMAGES``, one by one, and counts how often."""

    def __init__(self, skipped: tuple[int, ...] = ()) -> None:
        self.calls = 0
        self.skipped = skipped

    def __call__(self, to: Path) -> None:
        self.calls += 1

        def fill(write: Write) -> tuple[int, ...]:
            for place in reversed(range(len(IMAGES))):
                write(place, IMAGES[place])
            return self.skipped

        write_store(to, IMAGES.shape, LABELS, num_train=3, classes=("a", "ü"), fill=fill)


def assert_whole(stored: Stored) -> None:
    assert np.array_equal(stored.images.numpy(), IMAGES)
    assert stored.labels.tolist() == LABELS
    assert (stored.num_train, stored.classes) == (3, ("a", "ü"))


def test_it_is_built_once(folder: Path) -> None:
    build = Build()
    first, again = get_or_build("x", "k" * 64, build), get_or_build("x", "k" * 64, build)
    assert build.calls == 1
    assert_whole(first)
    assert_whole(again)
    assert first.content == again.content
    assert [entry.name for entry in folder.iterdir()] == [f"x-{'k' * 24}.safetensors"]


def test_the_file_is_plain_safetensors(folder: Path) -> None:
    stored = get_or_build("x", "k" * 64, Build())
    assert stored.path is not None
    tensors = load_file(stored.path)
    assert np.array_equal(tensors["images"], IMAGES)
    assert tensors["labels"].tolist() == LABELS


def test_skipped_places_are_marked() -> None:
    stored = get_or_build("x", "k" * 64, Build(skipped=(1, 4)))
    assert stored.labels.tolist() == [0, ABSENT, 0, 1, ABSENT]


def test_writing_to_the_images_changes_neither_file_nor_neighbours() -> None:
    one, two = (get_or_build("x", "k" * 64, Build()) for _ in range(2))
    one.images.zero_()
    assert_whole(two)
    assert_whole(get_or_build("x", "k" * 64, Build()))


@pytest.mark.parametrize("damage", ["pixel", "label", "header", "cut", "empty", "garbage"])
def test_a_damaged_file_is_made_again(damage: str, caplog: pytest.LogCaptureFixture) -> None:
    build = Build()
    path = get_or_build("x", "k" * 64, build).path
    assert path is not None
    content = bytearray(path.read_bytes())
    match damage:
        case "pixel":
            content[-1] ^= 1
        case "label":
            content[-IMAGES.size - 8] ^= 1
        case "header":
            content = bytearray(bytes(content).replace(b'"num_train": "3"', b'"num_train": "4"'))
        case "cut":
            del content[-10:]
        case "empty":
            content.clear()
        case "garbage":
            content = bytearray(b"\xff" * 100)
    path.write_bytes(content)
    assert_whole(get_or_build("x", "k" * 64, build))
    assert build.calls == 2
    assert "does not hold what it should" in caplog.text


def test_a_build_that_fails_leaves_nothing(folder: Path) -> None:
    def build(to: Path) -> None:
        to.write_bytes(b"half of it")
        raise DataError("broken image")

    with pytest.raises(DataError, match="broken image"):
        get_or_build("x", "k" * 64, build)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("place", ["file", "none"])
def test_without_a_cache_folder_it_works_and_says_so(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "file" / "cache"))
    if place == "none":
        monkeypatch.setattr(cache.tempfile, "mkstemp", _refuse)
        with pytest.raises(DataError, match=r"^cache: neither .* can be written to .*; set \$HARN"):
            get_or_build("x", "k" * 64, Build())
        return
    stored = get_or_build("x", "k" * 64, Build())
    assert_whole(stored)
    assert stored.path is None
    assert "set $HARNESS_CACHE" in caplog.text


def _refuse(*_: object, **__: object) -> None:
    raise OSError("no space")


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", "~/own")
    assert cache.cache_folder() == Path.home() / "own"
    monkeypatch.delenv("HARNESS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache.cache_folder() == Path("/xdg/harness")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.cache_folder() == Path.home() / ".cache" / "harness"


def test_others_wait_for_the_one_that_builds(folder: Path) -> None:
    started, go_on = threading.Event(), threading.Event()
    plain, late = Build(), Build()

    def slow(to: Path) -> None:
        started.set()
        assert go_on.wait(20)
        plain(to)

    first = threading.Thread(target=get_or_build, args=("x", "k" * 64, slow))
    first.start()
    assert started.wait(20)
    second = threading.Thread(target=get_or_build, args=("x", "k" * 64, late))
    second.start()
    second.join(0.5)
    assert second.is_alive()
    go_on.set()
    first.join(20)
    second.join(20)
    assert (plain.calls, late.calls) == (1, 0)
    assert [entry.name for entry in folder.iterdir()] == [f"x-{'k' * 24}.safetensors"]


def test_a_claim_of_nobody_alive_is_taken_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir()
    claim = folder / f"x-{'k' * 24}.safetensors.building"
    claim.touch()
    monkeypatch.setattr(cache, "_EXPIRY_S", 0.3)
    assert_whole(get_or_build("x", "k" * 64, Build()))
    assert not claim.exists()


def test_old_parts_are_removed_and_fresh_ones_kept(folder: Path) -> None:
    folder.mkdir()
    name = f".x-{'k' * 24}.safetensors."
    for part in ("old.tmp", "new.tmp"):
        (folder / (name + part)).touch()
    os.utime(folder / (name + "old.tmp"), (1, 1))
    get_or_build("x", "k" * 64, Build())
    assert sorted(entry.name for entry in folder.glob(".*")) == [name + "new.tmp"]


def test_notes_are_believed_for_their_content_alone() -> None:
    stored = get_or_build("x", "k" * 64, Build())
    assert remember(stored, "q", lambda: {"n": 1}) == {"n": 1}
    assert remember(stored, "q", lambda: {"n": 2}) == {"n": 1}
    assert remember(stored, "other", lambda: {"n": 3}) == {"n": 3}
    assert remember(stored._replace(content="0"), "q", lambda: {"n": 4}) == {"n": 4}
    assert remember(stored._replace(path=None), "q", lambda: {"n": 5}) == {"n": 5}
    assert stored.path is not None
    for note in stored.path.parent.glob("*.json"):
        note.write_text("{")
    assert remember(stored, "q", lambda: {"n": 6}) == {"n": 6}


# --- datasets through it ------------------------------------------------------------------------


def write_folder(root: Path, *, size: tuple[int, int] = (6, 5)) -> Path:
    rng = np.random.default_rng(0)
    for part, count in (("train", 6), ("test", 3)):
        for name in ("a", "b"):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{i}.png")
    return root


def load(root: Path, protocol: str = "held-out", **more: object) -> ImageData:
    settings = {"name": "imagefolder", "root": str(root), **more}
    return load_dataset(DatasetSettings.model_validate(settings), protocol=protocol)


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """One entry for each time that image files are decoded."""
    calls: list[Path] = []
    decode = reading.decode

    def record(*given: object, **more: object) -> None:
        calls.append(Path())
        decode(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(reading, "decode", record)
    return calls


def test_images_are_decoded_once_whatever_the_split(tmp_path: Path, decodes: list[Path]) -> None:
    root = write_folder(tmp_path / "images")
    held_out, paper = load(root), load(root, "paper")
    again = load(root, validation_fraction=0.1)
    assert len(decodes) == 1
    assert again.checksum == held_out.checksum != paper.checksum
    assert (again.mean, again.std) == (held_out.mean, held_out.std)
    assert load(root, normalise_as="cifar10").mean == (0.4914, 0.4822, 0.4465)


def test_checksums_are_those_of_an_uncached_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_folder(tmp_path / "images")
    first = load(root)
    cached = load(root)
    monkeypatch.setenv("HARNESS_CACHE", str(root / "train" / "a" / "0.png" / "no"))
    uncached = load(root)
    assert first.checksum == cached.checksum == uncached.checksum
    assert first.mean == cached.mean == uncached.mean
    assert torch.equal(cached.train.images[:], uncached.train.images[:])


def change_in_place(root: Path) -> None:
    path = root / "train" / "a" / "0.png"
    Image.new("RGB", (5, 6), (1, 2, 3)).save(path)


@pytest.mark.parametrize(
    "change",
    [
        change_in_place,
        lambda root: (root / "test" / "b" / "2.png").unlink(),
        lambda root: (root / "test" / "b" / "2.png").rename(root / "test" / "b" / "7.png"),
    ],
)
def test_changed_files_are_decoded_again(
    tmp_path: Path, decodes: list[Path], change: Callable[[Path], None]
) -> None:
    root = write_folder(tmp_path / "images")
    load(root)
    change(root)
    load(root)
    load(root)
    assert len(decodes) == 2


def test_another_place_or_size_has_a_file_of_its_own(tmp_path: Path, decodes: list[Path]) -> None:
    one = load(write_folder(tmp_path / "one"))
    two = load(write_folder(tmp_path / "two"))
    small = load(tmp_path / "one", resize=8)
    assert len(decodes) == 3
    assert one.checksum == two.checksum
    assert small.in_shape == (3, 8, 8)


@pytest.mark.timeout(300)
def test_eight_processes_that_start_at_once(tmp_path: Path, folder: Path) -> None:
    root = write_folder(tmp_path / "images")
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from harness.config import DatasetSettings
from harness.datasets import load_dataset, reading
decode = reading.decode
def record(*given, **more):
    print("decoded", flush=True)
    decode(*given, **more)
reading.decode = record
sys.stdin.readline()
settings = DatasetSettings(name="imagefolder", root={str(root)!r})
print(load_dataset(settings, protocol="held-out").checksum)
"""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for _ in range(8)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=280)[0].split() for process in started]
    assert [process.returncode for process in started] == [0] * 8
    assert len({words[-1] for words in said}) == 1
    assert sum(len(words) == 2 for words in said) == 1
    assert not list(folder.glob("*.building"))
    assert not list(folder.glob(".*.tmp"))


def test_a_process_that_is_killed_while_it_decodes_leaves_no_file(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_folder(tmp_path / "images")
    code = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from harness.config import DatasetSettings
from harness.datasets import listing, load_dataset
read = listing.read_pixels
seen = []
def die(path, *more):
    seen.append(path)
    if len(seen) == 8:
        os.kill(os.getpid(), 9)
    return read(path, *more)
listing.read_pixels = die
load_dataset(DatasetSettings(name="imagefolder", root={str(root)!r}), protocol="paper")
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert not list(folder.glob("*.safetensors"))
    monkeypatch.setattr(cache, "_EXPIRY_S", 0.3)
    assert len(load(root, "paper").train.labels) == 12


# --- images that are skipped or resized -----------------------------------------------------------


def notes_of_a_trial(data: ImageData) -> list[str]:
    """What a trial on these images notes, its own notes aside."""
    from harness.config import make_config
    from harness.trial import Context, _Run

    context = Context(Path(), torch.device("cpu"), data, "t")
    return _Run(make_config({"batch_real": 1}), context)._own_notes()


def test_bad_images_are_skipped_and_counted(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "images")
    for bad in ("train/a/0.png", "train/b/3.png", "test/a/1.png"):
        (root / bad).write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match=r"train/a/0\.png cannot be read .*dataset\.skip_bad=true$"):
        load(root, "paper")
    data = load(root, "paper", skip_bad=True)
    assert data.train.labels.tolist() == [0] * 5 + [1] * 5
    assert data.test.labels.tolist() == [0] * 2 + [1] * 3
    assert data.notes == (
        "imagefolder: 3 of 18 images cannot be read and are left out (the first is "
        f"{root}/train/a/0.png)",
    )
    assert load(root, "paper", skip_bad=True).notes == data.notes
    assert notes_of_a_trial(data) == list(data.notes)
    for bad in ("train/a/0.png", "train/b/3.png", "test/a/1.png"):
        (root / bad).unlink()
    assert load(root, "paper").checksum == data.checksum


def test_a_class_without_a_readable_image(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "images")
    for file in (root / "test" / "b").iterdir():
        file.write_bytes(b"")
    with pytest.raises(DataError, match="no test image of class 'b' can be read"):
        load(root, skip_bad=True)
    for file in root.rglob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(DataError, match="none of the 18 images below"):
        load(root, skip_bad=True)


@pytest.mark.parametrize("size", [(40, 60), (61, 33), (33, 33), (20, 21)])
def test_resizing_is_torchvision_s(tmp_path: Path, size: tuple[int, int]) -> None:
    from torchvision.transforms import CenterCrop, Compose, PILToTensor, Resize

    root = write_folder(tmp_path / "images", size=size)
    data = load(root, "paper", resize=33)
    assert data.in_shape == (3, 33, 33)
    published = Compose([Resize(33), CenterCrop(33), PILToTensor()])
    expected = published(Image.open(root / "train" / "a" / "0.png"))
    pixels = (data.denormalise(data.train.images[0]) * 255).round().byte()
    assert torch.equal(pixels, expected)


def test_images_of_many_sizes_need_a_resize(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "images")
    Image.new("RGB", (9, 9)).save(root / "train" / "b" / "2.png")
    with pytest.raises(DataError, match=r"train/b/2\.png is 9x9 .*; set dataset\.resize, or"):
        load(root)
    assert load(root, resize=8).in_shape == (3, 8, 8)


# --- bytes, normalised as they are taken ---------------------------------------------------------

CONSTANTS = Constants((0.1, 0.5, 0.9), (0.2, 0.3, 0.7))


def floats() -> torch.Tensor:
    images = torch.from_numpy(IMAGES.copy()).float() / 255
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in CONSTANTS)
    return (images - mean) / std


@pytest.mark.parametrize(
    "index",
    [
        0,
        -1,
        slice(None),
        slice(1, 3),
        slice(None, None, 2),
        slice(4, 9),
        torch.tensor([3, 0, 0]),
        torch.tensor([True, False, True, False, False]),
        torch.tensor([], dtype=torch.int64),
    ],
)
@pytest.mark.parametrize("rows", [None, torch.tensor([4, 2, 2, 0, 1])])
def test_an_index_gives_what_normalised_images_would(
    index: int | slice | torch.Tensor, rows: torch.Tensor | None
) -> None:
    pixels = Pixels(torch.from_numpy(IMAGES.copy()), CONSTANTS, rows)
    expected = (floats() if rows is None else floats()[rows])[index]
    given = pixels[index]
    assert torch.equal(given, expected)
    assert given.is_contiguous()
    assert pixels.shape == (5, 3, 4, 6)
    assert pixels.dtype == given.dtype


def test_pixels_can_be_walked_through_and_moved() -> None:
    pixels = Pixels(torch.from_numpy(IMAGES.copy()), CONSTANTS, torch.tensor([4, 1]))
    assert torch.equal(torch.stack(list(pixels)), floats()[[4, 1]])
    assert torch.equal(pixels.tensor(), floats()[[4, 1]])
    assert pixels.to("cpu") is pixels
    there = pixels.to("meta")
    assert there.device.type == "meta"
    assert there.shape == pixels.shape


def test_a_split_copies_no_pixels(tmp_path: Path) -> None:
    data = load(write_folder(tmp_path / "images"))
    assert data.validation is not None
    splits = (data.train, data.validation, data.test)
    assert all(isinstance(split.images, Pixels) for split in splits)
    assert len({split.images._stored.data_ptr() for split in splits}) == 1  # type: ignore[union-attr]


def test_settings_that_do_not_fit(tmp_path: Path) -> None:
    for more, words in (
        ({"name": "cifar10", "resize": 32}, "dataset.resize: got 32, but 'cifar10'"),
        ({"name": "digits", "skip_bad": True}, "dataset.skip_bad: got True, but 'digits'"),
        ({"pixels": "zca", "normalise_as": "mnist"}, "remove one of the two"),
    ):
        with pytest.raises(ValueError, match=words):
            DatasetSettings.model_validate(more)


def test_the_note_holds_what_the_checksum_does(tmp_path: Path, folder: Path) -> None:
    data = load(write_folder(tmp_path / "images"))
    (note,) = folder.glob("*.json")
    assert json.loads(note.read_text())["answer"]["checksum"] == data.checksum


def test_images_read_again_and_again_are_made_floats_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = Pixels(torch.from_numpy(IMAGES.copy()), CONSTANTS)
    found = at_hand(pixels)
    assert isinstance(found, torch.Tensor)
    assert torch.equal(found, pixels.tensor())
    assert at_hand(pixels) is found
    assert at_hand(found) is found
    monkeypatch.setattr(image_data, "_AT_HAND_BYTES", 4 * IMAGES.size - 1)
    assert at_hand(pixels) is pixels
