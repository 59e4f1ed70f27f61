"""TinyImageNet, and subsets of ten classes of ImageNet, from folders that the user has.

Class numbers of the subsets are places among the 1,000 folders of ImageNet in sorted order, as in
GeorgeCazenavette/mtt-distillation, utils.py.
"""

from pathlib import Path

from harness.datasets.folder import list_folders
from harness.datasets.listing import Listing
from harness.datasets.pixels import Constants
from harness.errors import DataError

CONSTANTS = Constants((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and std that published numbers on ImageNet and TinyImageNet rest on."""

SIDE = 128
"""Side of the subsets' images in pixels, unless ``dataset.resize`` says otherwise."""

TINY = "tinyimagenet"
TINY_FOLDER = "tiny-imagenet-200"
IMAGENET_FOLDER = "imagenet"
_NUM_CLASSES, _NUM_TINY = 1000, 200

SUBSETS: dict[str, tuple[int, ...]] = {
    "imagenette": (0, 217, 482, 491, 497, 566, 569, 571, 574, 701),
    "imagewoof": (193, 182, 258, 162, 155, 167, 159, 273, 207, 229),
    "imagemeow": (281, 282, 283, 284, 285, 291, 292, 290, 289, 287),
    "imagesquawk": (84, 130, 88, 144, 145, 22, 96, 9, 100, 89),
    "imagefruit": (953, 954, 949, 950, 951, 957, 952, 945, 943, 948),
    "imageyellow": (309, 986, 954, 951, 987, 779, 599, 291, 72, 11),
}
"""Name -> the classes, in the order of the labels."""

NAMES = (TINY, *SUBSETS)


def locate(name: str, root: Path) -> Path:
    """Return the folder of a dataset: its own below the data root, else the data root itself."""
    own = root / (TINY_FOLDER if name == TINY else IMAGENET_FOLDER)
    return own if own.is_dir() else root


def list_imagenet(name: str, root: Path) -> Listing:
    """List the images of TinyImageNet or of a subset of ImageNet.

    Args:
        name: One of ``NAMES``.
        root: The data root.

    Raises:
        DataError: Folders or files are missing, or are not those of the dataset.
    """
    folder = locate(name, root)
    for part in ("train", "val"):
        if not (folder / part).is_dir():
            raise DataError(f"{name}: no folder {folder / part}; {expected(name)}")
    return _list_tiny(folder) if name == TINY else _list_subset(name, folder)


def expected(name: str) -> str:
    """Return what a user must have, for messages."""
    if name == TINY:
        return (
            f"expected train/<class>/images/ and val/images/ as {TINY_FOLDER}.zip holds them; run "
            f"harness datasets fetch {TINY} --from FILE, or set dataset.root"
        )
    return (
        "expected the ImageNet (ILSVRC 2012) images in train/<class>/ and val/<class>/, which have "
        "to be asked for at image-net.org; set dataset.root to the folder that they are in"
    )


def describe(name: str) -> str:
    """Return shape and classes, for ``harness datasets``."""
    if name == TINY:
        return f"3x64x64, {_NUM_TINY} classes"
    return f"3x{SIDE}x{SIDE} (dataset.resize), {len(SUBSETS[name])} classes of ImageNet"


def _list_subset(name: str, folder: Path) -> Listing:
    every = list_folders(folder / "train")
    if len(every) != _NUM_CLASSES:
        raise DataError(
            f"{name}: got {len(every)} class folders in {folder / 'train'}, expected all "
            f"{_NUM_CLASSES} of ImageNet, since classes are known by their place among them; empty "
            "folders will do for the others"
        )
    listing = Listing(name, folder, tuple(every[k] for k in SUBSETS[name]))
    for part in ("train", "val"):
        for label, wnid in enumerate(listing.classes):
            if not (folder / part / wnid).is_dir() or not listing.add_folder(
                f"{part}/{wnid}", label
            ):
                raise DataError(f"{name}: no images in {folder / part / wnid}; {expected(name)}")
        if part == "train":
            listing.num_train = len(listing.files)
    return listing


def _list_tiny(folder: Path) -> Listing:
    classes = tuple(list_folders(folder / "train"))
    if len(classes) != _NUM_TINY:
        raise DataError(
            f"{TINY}: got {len(classes)} class folders in {folder / 'train'}, expected "
            f"{_NUM_TINY}; {expected(TINY)}"
        )
    listing = Listing(TINY, folder, classes)
    for label, wnid in enumerate(classes):
        images = f"train/{wnid}/images"
        if not (folder / images).is_dir() or not listing.add_folder(images, label):
            raise DataError(f"{TINY}: no images in {folder / images}; {expected(TINY)}")
    listing.num_train = len(listing.files)
    for file, wnid in _read_annotations(folder / "val" / "val_annotations.txt"):
        path = folder / "val" / "images" / file
        if wnid not in classes or not path.is_file():
            raise DataError(
                f"{TINY}: {folder}/val/val_annotations.txt names {file} of class {wnid}, but there "
                f"is no such image or class; {expected(TINY)}"
            )
        status = path.stat()
        label = classes.index(wnid)
        listing.add(f"val/images/{file}", label, status.st_size, status.st_mtime_ns)
    return listing


def _read_annotations(path: Path) -> list[tuple[str, str]]:
    """File and class of each validation image."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{TINY}: {path} cannot be read ({error}); {expected(TINY)}") from error
    pairs = [line.split("\t")[:2] for line in lines if line.strip()]
    if not pairs or any(len(pair) < 2 for pair in pairs):
        raise DataError(
            f"{TINY}: {path} does not hold a file and a class in each line; {expected(TINY)}"
        )
    return [(file, wnid) for file, wnid in pairs]
