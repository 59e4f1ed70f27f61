"""This project's own format: one safetensors file with its provenance."""

from pathlib import Path

from harness.formats.foreign import Foreign
from harness.synthetic import SyntheticSet, load_synthetic


def read(path: Path) -> list[Foreign]:
    """Read the set."""
    made = load_synthetic(path)
    lr, classes = made.provenance.get("lr"), made.provenance.get("classes")
    return [
        Foreign(
            where=str(path),
            format="harness",
            images=made.images,
            labels=made.labels,
            pixels=made.provenance.get("pixels"),
            lr=lr if isinstance(lr, float) else None,
            names=tuple(map(str, classes)) if isinstance(classes, list) else None,
            provenance=made.provenance,
        )
    ]


def write(synthetic: SyntheticSet, path: Path) -> None:
    """Write the set."""
    synthetic.save(path)
