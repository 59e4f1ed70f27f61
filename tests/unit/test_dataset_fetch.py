"""Tests of harness.datasets.fetch and verify: fixtures served over HTTP on the loopback."""

import gzip
import hashlib
import io
import pickle
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision import datasets

from harness.config import DatasetSettings
from harness.datasets import load_dataset
from harness.datasets.fetch import fetch, resources
from harness.datasets.verify import verify
from harness.errors import ConfigError, DataError


class Served:
    """Files of a server, and how it misbehaves."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.break_after: int | None = None
        self.ranges = True


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Served]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            served.asked.append((self.path, wanted))
            content = served.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
            if start and not served.ranges:
                start = 0
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/*")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            stop = len(content) if served.break_after is None else start + served.break_after
            self.wfile.write(content[start:stop])

        def log_message(self, format: str, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = Served(f"http://127.0.0.1:{http.server_address[1]}")
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield served
    http.shutdown()
    http.server_close()


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def make_cifar10(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A tiny CIFAR10 in its archive, whose checksums torchvision is made to know."""
    rng = np.random.default_rng(0)
    files = {
        name: pickle.dumps(
            {"data": rng.integers(0, 256, (20, 3072), dtype=np.uint8), "labels": [*range(10)] * 2}
        )
        for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
    }
    files["batches.meta"] = pickle.dumps({"label_names": [f"name{k}" for k in range(10)]})
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    known = datasets.CIFAR10
    sums = [(name, md5(content)) for name, content in files.items()]
    monkeypatch.setattr(known, "train_list", sums[:5])
    monkeypatch.setattr(known, "test_list", sums[5:6])
    monkeypatch.setattr(
        known, "meta", {"filename": "batches.meta", "key": "label_names", "md5": sums[6][1]}
    )
    monkeypatch.setattr(known, "tgz_md5", md5(out.getvalue()))
    return out.getvalue()


@pytest.fixture
def cifar10(server: Served, monkeypatch: pytest.MonkeyPatch) -> bytes:
    content = make_cifar10(monkeypatch)
    monkeypatch.setattr(datasets.CIFAR10, "url", f"{server.url}/cifar.tar.gz")
    server.files["/cifar.tar.gz"] = content
    return content


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data root that is not there yet."""
    return tmp_path / "some" / "data"


def assert_nothing_left(root: Path) -> None:
    assert not root.exists()
    assert not list((root.parents[1] / "cache").rglob("*.part"))


def test_an_archive_is_fetched_checked_and_unpacked(
    server: Served, cifar10: bytes, root: Path
) -> None:
    said: list[str] = []
    assert fetch("cifar10", root, say=said.append)
    assert said == [f"cifar10: cifar-10-python.tar.gz from {server.url}/cifar.tar.gz"]
    assert sorted(entry.name for entry in root.iterdir()) == ["cifar-10-batches-py"]
    data = load_dataset(DatasetSettings(name="cifar10", root=str(root)), protocol="paper")
    assert len(data.train.labels) == 100
    assert verify(DatasetSettings(name="cifar10", root=str(root))) == (
        f"cifar10: 100 training and 20 test images in {root}/cifar-10-batches-py, 7 files with the "
        "published checksum"
    )
    assert not fetch("cifar10", root)
    assert len(server.asked) == 1
    assert not list((root.parents[1] / "cache").rglob("*.part"))


def test_an_incomplete_folder_is_replaced(server: Served, cifar10: bytes, root: Path) -> None:
    (root / "cifar-10-batches-py").mkdir(parents=True)
    (root / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"old")
    (root / ".cifar10.xyz.unpacking").mkdir()
    assert fetch("cifar10", root)
    assert sorted(entry.name for entry in root.iterdir()) == ["cifar-10-batches-py"]
    verify(DatasetSettings(name="cifar10", root=str(root)))


def test_a_broken_connection_goes_on_where_it_stopped(
    server: Served, cifar10: bytes, root: Path
) -> None:
    server.break_after = len(cifar10) // 3 + 1
    assert fetch("cifar10", root)
    steps = [wanted for _, wanted in server.asked]
    assert steps == [None, f"bytes={server.break_after}-", f"bytes={2 * server.break_after}-"]


def test_the_next_call_goes_on_too(server: Served, cifar10: bytes, root: Path) -> None:
    server.break_after = len(cifar10) // 9
    with pytest.raises(DataError, match=r"the connection broke 5 times; the same command goes on"):
        fetch("cifar10", root)
    assert not root.exists()
    server.break_after = None
    assert fetch("cifar10", root)
    assert server.asked[-1][1] == f"bytes={5 * (len(cifar10) // 9)}-"


def test_a_server_that_cannot_go_on_starts_again(
    server: Served, cifar10: bytes, root: Path
) -> None:
    server.ranges = False
    server.break_after = len(cifar10) // 2
    with pytest.raises(DataError, match="the connection broke"):
        fetch("cifar10", root)
    server.break_after = None
    assert fetch("cifar10", root)


@pytest.mark.parametrize("damage", ["wrong", "short", "empty"])
def test_a_file_with_another_checksum_leaves_nothing(
    damage: str, server: Served, cifar10: bytes, root: Path
) -> None:
    changed = bytearray(cifar10)
    changed[-1] ^= 1
    server.files["/cifar.tar.gz"] = {
        "wrong": bytes(changed),
        "short": cifar10[:-9],
        "empty": b"",
    }[damage]
    with pytest.raises(DataError) as caught:
        fetch("cifar10", root)
    message = str(caught.value)
    assert message.startswith("cifar10: cifar-10-python.tar.gz could not be fetched (")
    assert message.endswith(
        "; try again, or give --from another URL or a FILE that was copied here"
    )
    assert "\n" not in message
    assert_nothing_left(root)


def test_a_missing_file_and_a_dead_server(server: Served, cifar10: bytes, root: Path) -> None:
    server.files.clear()
    with pytest.raises(DataError, match="HTTP Error 404"):
        fetch("cifar10", root)
    with pytest.raises(DataError, match="refused"):
        fetch("cifar10", root, source="http://127.0.0.1:9/cifar.tar.gz")
    assert_nothing_left(root)


def test_an_archive_of_something_else(server: Served, root: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("thesis/a.txt", "years of work")
    with pytest.raises(DataError, match=r"\(\S+a\.zip: holds thesis, not 'tinyimagenet'\)"):
        fetch("tinyimagenet", root, source=str(tmp_path / "a.zip"))
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(DataError, match="File is not a zip file"):
        fetch("tinyimagenet", root, source=str(tmp_path / "a.zip"))
    assert_nothing_left(root)


def test_a_file_or_a_url_in_place_of_the_mirrors(
    server: Served, cifar10: bytes, root: Path, tmp_path: Path
) -> None:
    file = tmp_path / "copied.tgz"
    file.write_bytes(cifar10)
    assert fetch("cifar10", root, source=str(file))
    assert file.exists()
    server.files["/elsewhere/cifar-10-python.tar.gz"] = cifar10
    assert fetch("cifar10", root / "2", source=f"{server.url}/elsewhere/")
    server.files["/c"] = cifar10
    assert fetch("cifar10", root / "3", source=f"{server.url}/c")
    file.write_bytes(cifar10[:-1])
    with pytest.raises(DataError, match="wrong or broken file, MD5"):
        fetch("cifar10", root / "4", source=str(file))
    assert not (root / "4").exists()


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes())


@pytest.fixture
def mnist(server: Served, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A tiny MNIST on the second of two mirrors."""
    rng = np.random.default_rng(0)
    files = {}
    for part, n in (("train", 40), ("t10k", 20)):
        files[f"{part}-images-idx3-ubyte.gz"] = idx(rng.integers(0, 256, (n, 28, 28)))
        files[f"{part}-labels-idx1-ubyte.gz"] = idx(np.arange(n) % 10)
    known = datasets.MNIST
    monkeypatch.setattr(known, "mirrors", [f"{server.url}/dead/", f"{server.url}/good/"])
    monkeypatch.setattr(known, "resources", [(name, md5(text)) for name, text in files.items()])
    server.files.update({f"/good/{name}": content for name, content in files.items()})
    return files


def test_the_next_mirror_is_tried(server: Served, mnist: dict[str, bytes], root: Path) -> None:
    first = next(iter(mnist))
    server.files[f"/dead/{first}"] = b"<html>moved</html>"
    assert fetch("mnist", root)
    asked = [path for path, _ in server.asked]
    assert asked == [f"/{mirror}/{name}" for name in mnist for mirror in ("dead", "good")]
    raw = root / "MNIST" / "raw"
    assert sorted(entry.name for entry in raw.iterdir()) == sorted(
        [*mnist, *(name.removesuffix(".gz") for name in mnist)]
    )
    assert verify(DatasetSettings(name="mnist", root=str(root))) == (
        f"mnist: 40 training and 20 test images in {root}/MNIST, 4 files with the published "
        "checksum"
    )
    labels = raw / "t10k-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1] + b"\x05")
    with pytest.raises(DataError, match=rf"{labels} differs from t10k-labels-idx1-ubyte\.gz;"):
        verify(DatasetSettings(name="mnist", root=str(root)))


def test_several_files_come_from_a_folder(
    server: Served, mnist: dict[str, bytes], root: Path, tmp_path: Path
) -> None:
    (tmp_path / "copied").mkdir()
    for name, content in mnist.items():
        (tmp_path / "copied" / name).write_bytes(content)
    assert fetch("mnist", root, source=str(tmp_path / "copied"))
    assert not server.asked
    with pytest.raises(ConfigError, match=r"expected the folder or URL that holds train-images"):
        fetch("mnist", root / "2", source=str(tmp_path / "copied" / next(iter(mnist))))


def test_svhn_is_two_plain_files(
    server: Served, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scipy.io import savemat

    files = {}
    for part, n in (("train", 20), ("test", 10)):
        out = io.BytesIO()
        images = np.random.default_rng(n).integers(0, 256, (32, 32, 3, n), dtype=np.uint8)
        savemat(out, {"X": images, "y": (np.arange(n) % 10 + 1).astype(np.uint8)[:, None]})
        files[part] = out.getvalue()
        server.files[f"/{part}.mat"] = out.getvalue()
    known = {
        part: [f"{server.url}/{part}.mat", f"{part}_32x32.mat", md5(content)]
        for part, content in files.items()
    }
    monkeypatch.setattr(datasets.SVHN, "split_list", known)
    assert fetch("svhn", root)
    assert sorted(entry.name for entry in root.iterdir()) == ["test_32x32.mat", "train_32x32.mat"]
    assert "2 files with the published checksum" in verify(
        DatasetSettings(name="svhn", root=str(root))
    )
    (root / "test_32x32.mat").write_bytes(b"x")
    with pytest.raises(DataError, match=r"test_32x32\.mat has MD5 \w+, expected \w+; remove it, t"):
        verify(DatasetSettings(name="svhn", root=str(root)))


def test_two_at_once_fetch_once(server: Served, cifar10: bytes, root: Path) -> None:
    results: list[bool] = []
    threads = [
        threading.Thread(target=lambda: results.append(fetch("cifar10", root))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(results) == [False, False, False, True]
    assert len(server.asked) == 1
    assert sorted(entry.name for entry in root.iterdir()) == ["cifar-10-batches-py"]


def test_archives_cannot_write_elsewhere(
    server: Served, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        info = tarfile.TarInfo("../../escaped")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", md5(out.getvalue()))
    (tmp_path / "a.tgz").write_bytes(out.getvalue())
    with pytest.raises(DataError, match="could not be fetched"):
        fetch("cifar10", root, source=str(tmp_path / "a.tgz"))
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("digits", None, "'digits' needs no files"),
        ("imagefolder", None, "set dataset.root"),
        ("imagenette", None, "asked for at image-net.org"),
        ("tinyimagenet", None, "no mirror of tiny-imagenet-200.zip is known; give --from"),
        ("cifar10", "ftp://a/b", "expected http://, https:// or a file"),
        ("cifar10", "/none/such", "--from: no file /none/such"),
    ],
)
def test_what_cannot_be_fetched(name: str, source: str | None, words: str, root: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        fetch(name, root, source=source)
    assert words in str(caught.value)
    assert not root.exists()


def test_addresses_are_torchvision_s() -> None:
    assert resources("cifar100")[0].urls == (datasets.CIFAR100.url,)
    assert [item.file for item in resources("fashionmnist")] == [
        file for file, _ in datasets.FashionMNIST.resources
    ]


# --- TinyImageNet and ImageNet's subsets ----------------------------------------------------------


def png(colour: int, side: int = 64) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(colour).integers(0, 256, (side, side, 3), dtype=np.uint8)
    pixels[0, 0] = colour % 256
    Image.fromarray(pixels).save(out, format="png")
    return out.getvalue()


@pytest.fixture
def tiny_zip(tmp_path: Path) -> Path:
    """TinyImageNet's layout: 200 classes of two training and one validation image."""
    path = tmp_path / "tiny.zip"
    with zipfile.ZipFile(path, "w") as archive:
        lines = []
        for k in range(200):
            wnid = f"n{k:08d}"
            for i in range(2):
                name = f"tiny-imagenet-200/train/{wnid}/images/{wnid}_{i}.png"
                archive.writestr(name, png(k))
            archive.writestr(f"tiny-imagenet-200/val/images/val_{k}.png", png(199 - k))
            lines.append(f"val_{k}.png\tn{199 - k:08d}\t0\t32\t44\t62\n")
        archive.writestr("tiny-imagenet-200/val/val_annotations.txt", "".join(lines))
    return path


def test_tiny_imagenet(
    server: Served, tiny_zip: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fetch("tinyimagenet", root, source=str(tiny_zip))
    settings = DatasetSettings(name="tinyimagenet", root=str(root))
    data = load_dataset(settings, protocol="paper")
    assert data.in_shape == (3, 64, 64)
    assert (data.mean, data.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert data.num_classes == 200
    assert len(data.train.labels) == 400
    for split in (data.train, data.test):
        corner = (data.denormalise(split.images[:])[:, 0, 0, 0] * 255).round().long()
        assert corner.tolist() == split.labels.tolist()
    assert verify(settings).startswith("tinyimagenet: 400 training and 200 test images of 200")
    folder = root / "tiny-imagenet-200"
    direct = DatasetSettings(name="tinyimagenet", root=str(folder))
    assert load_dataset(direct, protocol="paper").checksum == data.checksum
    notes = folder / "val" / "val_annotations.txt"
    notes.write_text("val_0.png\tn99999999\t0\n")
    with pytest.raises(DataError, match=r"names val_0\.png of class n99999999, but there is no"):
        load_dataset(settings, protocol="paper")
    notes.write_text("val_0.png\n")
    with pytest.raises(DataError, match="does not hold a file and a class in each line"):
        load_dataset(settings, protocol="paper")
    notes.unlink()
    with pytest.raises(DataError, match=r"val_annotations\.txt cannot be read"):
        load_dataset(settings, protocol="paper")


def test_imagenet_s_subsets(server: Served, root: Path) -> None:
    from harness.datasets.imagenet import SUBSETS

    wnids = [f"n{k:08d}" for k in range(1000)]
    chosen = SUBSETS["imagewoof"]
    for part in ("train", "val"):
        for k, wnid in enumerate(wnids):
            (root / part / wnid).mkdir(parents=True)
            if k in chosen:
                for i in range(2):
                    file = root / part / wnid / f"{i}.JPEG"
                    Image.new("RGB", (150 + i, 140), (k % 256,) * 3).save(file, quality=95)
    settings = DatasetSettings(name="imagewoof", root=str(root))
    data = load_dataset(settings, protocol="paper")
    assert data.in_shape == (3, 128, 128)
    assert data.classes == tuple(wnids[k] for k in chosen)
    assert data.train.labels.tolist() == [label for label in range(10) for _ in range(2)]
    grey = (data.denormalise(data.train.images[:])[:, 1, 64, 64] * 255).round().int().tolist()
    assert grey == pytest.approx([chosen[label] % 256 for label in data.train.labels], abs=1)
    small = DatasetSettings(name="imagewoof", root=str(root), resize=64)
    assert load_dataset(small, protocol="paper").in_shape == (3, 64, 64)
    with pytest.raises(DataError, match=r"no images in \S+/train/n00000000; expected the ImageNet"):
        load_dataset(DatasetSettings(name="imagenette", root=str(root)), protocol="paper")
    (root / "train" / wnids[-1]).rmdir()
    with pytest.raises(DataError, match=r"got 999 class folders in .*, expected all 1000 of"):
        load_dataset(settings, protocol="paper")


def test_missing_image_files_say_what_is_expected(root: Path) -> None:
    for name, words in (
        ("tinyimagenet", "run harness datasets fetch tinyimagenet --from FILE"),
        ("imagenette", "set dataset.root to the folder that they are in"),
    ):
        with pytest.raises(DataError) as caught:
            load_dataset(DatasetSettings(name=name, root=str(root)), protocol="paper")
        assert words in str(caught.value)
        assert str(caught.value).startswith(f"{name}: no folder {root}/train; ")


def test_verifying_a_folder_of_images(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in "ab":
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(3):
                (tmp_path / part / name / f"{i}.png").write_bytes(png(i, 8))
    settings = DatasetSettings(name="imagefolder", root=str(tmp_path))
    said = f"imagefolder: 6 training and 6 test images of 2 classes below {tmp_path}"
    assert verify(settings) == said
    bad = tmp_path / "train" / "b" / "1.png"
    bad.write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match=rf"{bad} cannot be read as an image"):
        verify(settings)
    counted = verify(settings.model_copy(update={"skip_bad": True}))
    assert counted.startswith(f"{said}, 1 of them unreadable (the first: imagefolder: {bad}")
    bad.write_bytes(png(1, 9))
    with pytest.raises(DataError, match=r"images have 2 sizes; set dataset\.resize to"):
        verify(settings)
    assert verify(settings.model_copy(update={"resize": 8})) == said
    assert verify(DatasetSettings()) == "digits: needs no files"
