"""Fetching: the files of a published dataset, from mirrors, a URL or a file, into their layout.

Only ``harness datasets fetch`` comes here, on a machine with a network; trials never do. Addresses,
checksums and layout are torchvision's. A download goes on where an earlier one was cut off; what
does not have the right checksum is removed; files appear in the data folder whole or not at all,
and one process at a time fetches a dataset.
"""

import gzip
import hashlib
import http.client
import os
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.datasets import imagenet
from harness.datasets.cache import cache_folder, claim
from harness.datasets.published import PUBLISHED, missing_file
from harness.errors import ConfigError, DataError
from harness.records import whole_file

_BLOCK = 1 << 20
_TIMEOUT_S = 60
_RESUMES = 5

Say = Callable[[str], None]


@dataclass(frozen=True)
class Resource:
    """One file to fetch."""

    file: str
    """Its name."""
    urls: tuple[str, ...]
    """Where it is, mirrors in order."""
    md5: str | None
    """Its checksum, 32 hex digits; None: none is published."""
    kind: str
    """``tar``, ``zip``: unpacked into the data root; ``gzip``: kept and unpacked beside; ``plain``.
    """
    folder: str = ""
    """Where it belongs below the data root."""


def resources(name: str) -> list[Resource]:
    """Return what a dataset is made of, as torchvision knows it.

    Raises:
        ConfigError: It cannot be fetched.
    """
    if name == imagenet.TINY:
        return [Resource(f"{imagenet.TINY_FOLDER}.zip", (), None, "zip")]
    if name not in PUBLISHED:
        reason = {
            "digits": "'digits' needs no files",
            "imagefolder": "'imagefolder' stands for your own images; set dataset.root",
        }.get(name, f"{name}: {imagenet.expected(name) if name in imagenet.SUBSETS else ''}")
        raise ConfigError(f"datasets fetch: {reason}")
    from torchvision import datasets

    known: Any = getattr(datasets, PUBLISHED[name].factory)
    if name == "svhn":
        return [
            Resource(file, (url,), md5, "plain")
            for url, file, md5 in (known.split_list[part] for part in ("train", "test"))
        ]
    if name.startswith("cifar"):
        return [Resource(known.filename, (known.url,), known.tgz_md5, "tar")]
    folder = f"{PUBLISHED[name].folder}/raw"
    return [
        Resource(file, tuple(mirror + file for mirror in known.mirrors), md5, "gzip", folder)
        for file, md5 in known.resources
    ]


def fetch(name: str, root: Path, *, source: str | None = None, say: Say = lambda _: None) -> bool:
    """Fetch a dataset, unless it is there.

    Args:
        name: One of ``PUBLISHED``, or ``tinyimagenet``.
        root: The data root; made if missing.
        source: A URL or a file in place of the mirrors; of a dataset of several files, the URL or
            folder that they are in.
        say: Is told what goes on.

    Returns:
        Whether anything was fetched.

    Raises:
        ConfigError: The dataset cannot be fetched, or needs a source.
        DataError: No mirror has the right file.
    """
    wanted = resources(name)
    wanted = [_redirect(resource, source, len(wanted)) for resource in wanted]
    made = _make_folders(root)
    try:
        if is_there(name, root):
            return False
        with claim(root / f".{name}"):
            if is_there(name, root):
                return False
            _clear(root, name)
            for resource in wanted:
                _fetch_one(name, resource, root, say)
            return True
    finally:
        for folder in reversed(made):
            with suppress(OSError):  # not empty: that is, there was success
                folder.rmdir()


def is_there(name: str, root: Path) -> bool:
    """Whether every file of a dataset is in its place; they are not opened."""
    if name == imagenet.TINY:
        folder = imagenet.locate(name, root)
        return all((folder / part).is_dir() for part in ("train", "val"))
    return missing_file(name, root) is None


def _redirect(resource: Resource, source: str | None, number: int) -> Resource:
    """The same file from where the user says."""
    if source is None:
        if not resource.urls:
            raise ConfigError(
                f"datasets fetch: no mirror of {resource.file} is known; give --from URL or FILE"
            )
        return resource
    if "://" in source:
        if not source.startswith(("http://", "https://")):
            raise ConfigError(f"--from: got '{source}', expected http://, https:// or a file")
        whole = number == 1 and not source.endswith("/")
        url = source if whole else f"{source.rstrip('/')}/{resource.file}"
        return Resource(resource.file, (url,), resource.md5, resource.kind, resource.folder)
    path = Path(source).expanduser().absolute()
    if path.is_dir():
        path = path / resource.file
    elif number > 1:
        raise ConfigError(
            f"--from: got '{source}', expected the folder or URL that holds {resource.file} and "
            f"{number - 1} more"
        )
    if not path.is_file():
        raise ConfigError(f"--from: no file {path}; give an existing file or a URL")
    return Resource(resource.file, (str(path),), resource.md5, resource.kind, resource.folder)


def _fetch_one(name: str, resource: Resource, root: Path, say: Say) -> None:
    """Try each mirror until one has the right file, and put it in its place."""
    failures = []
    for url in resource.urls:
        say(f"{name}: {resource.file} from {url}")
        try:
            with _obtained(url, resource) as file:
                _place(name, file, resource, root)
            return
        except (
            EOFError,
            OSError,
            ValueError,
            http.client.HTTPException,
            tarfile.TarError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            failures.append(f"{url}: {' '.join(str(error).split()) or type(error).__name__}")
    raise DataError(
        f"{name}: {resource.file} could not be fetched ({'; '.join(failures)}); try again, or give "
        "--from another URL or a FILE that was copied here"
    )


@contextmanager
def _obtained(url: str, resource: Resource) -> Iterator[Path]:
    """Yield a local file with the right checksum; a downloaded one is removed afterwards.

    Downloads are collected in the cache folder, so that a data folder never holds a part.
    """
    if "://" not in url:
        _check_md5(Path(url), resource)
        yield Path(url)
        return
    parts = cache_folder() / "fetch"
    parts.mkdir(parents=True, exist_ok=True)
    address = hashlib.sha256(f"{resource.file} {resource.md5 or url}".encode()).hexdigest()[:16]
    part = parts / f"{address}.part"
    _download(url, part)
    try:
        _check_md5(part, resource)
        yield part
    finally:
        part.unlink(missing_ok=True)


def _download(url: str, part: Path) -> None:
    """Download a file, from where an earlier try stopped.

    Raises:
        OSError: The server is not there, has no such file, or stops time and again; what came
            stays for the next try.
    """
    for _ in range(_RESUMES):
        have = part.stat().st_size if part.exists() else 0
        request = urllib.request.Request(url, headers={"User-Agent": "harness"})
        if have:
            request.add_header("Range", f"bytes={have}-")
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                if have and not _continues(answer, have):
                    have = 0
                expected = answer.headers.get("Content-Length")
                with part.open("ab" if have else "wb") as file:
                    shutil.copyfileobj(answer, file, _BLOCK)
        except urllib.error.HTTPError as error:
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
                return  # all of it was there; the checksum decides
            raise
        except http.client.IncompleteRead:
            continue
        if expected is None or part.stat().st_size - have >= int(expected):
            return
    raise OSError(f"the connection broke {_RESUMES} times; the same command goes on")


def _continues(answer: Any, have: int) -> bool:
    """Whether a server sends what is missing, and not all of it again."""
    start = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return bool(answer.status == http.HTTPStatus.PARTIAL_CONTENT) and start == str(have)


def _check_md5(path: Path, resource: Resource) -> None:
    if resource.md5 is None:
        return
    found = md5_of(path)
    if found != resource.md5:
        raise ValueError(f"wrong or broken file, MD5 {found}, expected {resource.md5}")


def md5_of(path: Path) -> str:
    """Return the MD5 of a file, 32 hex digits."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _place(name: str, file: Path, resource: Resource, root: Path) -> None:
    """Put a checked file, or what is in it, where it belongs."""
    folder = root / resource.folder
    folder.mkdir(parents=True, exist_ok=True)
    if resource.kind in ("tar", "zip"):
        _unpack(name, file, resource, root)
        return
    if resource.kind == "gzip":
        unpacked = folder / resource.file.removesuffix(".gz")
        with whole_file(unpacked) as aside, gzip.open(file) as content, aside.open("wb") as out:
            shutil.copyfileobj(content, out, _BLOCK)
    with whole_file(folder / resource.file) as aside:
        shutil.copyfile(file, aside)


def _unpack(name: str, file: Path, resource: Resource, root: Path) -> None:
    """Unpack an archive beside its place, then move each of its top folders there."""
    aside = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=".unpacking", dir=root))
    try:
        if resource.kind == "tar":
            with tarfile.open(file) as archive:
                archive.extractall(aside, filter="data")
        else:
            with zipfile.ZipFile(file) as archive:
                archive.extractall(aside)
        tops = [entry for entry in aside.iterdir() if not entry.name.startswith((".", "__"))]
        if not is_there(name, aside):
            raise ValueError(f"holds {', '.join(top.name for top in tops[:3])}, not '{name}'")
        for top in tops:
            place = root / top.name
            if place.exists():  # incomplete, else nothing would be fetched
                place.replace(aside / f".old-{top.name}")
            top.replace(place)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _make_folders(folder: Path) -> list[Path]:
    """Make a folder and return those that were not there, outermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise DataError(f"{folder}: cannot be written to; choose another --root")
    return list(reversed(missing))


def _clear(root: Path, name: str) -> None:
    """Remove what a killed process left; nobody else is at work, since the claim is ours."""
    for left in root.glob(f".{name}.*.unpacking"):
        shutil.rmtree(left, ignore_errors=True)
