"""``harness export``: a distilled set in a format of others, or the rows of a search."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.common import (
    EntryOption,
    FactorOption,
    LabelsOption,
    PixelsOption,
    SetOption,
    config_of,
    read_assignments,
    say,
)
from harness.errors import ConfigError
from harness.schema import SEARCH_FILE

if TYPE_CHECKING:
    from harness.formats import Foreign
    from harness.synthetic import SyntheticSet

_IN_UNIT = ("idc", "folder", "png")


def export(
    distilled: Annotated[
        Path,
        typer.Argument(
            metavar="DISTILLED|OUT", help="File or folder of a distilled set, or a search's folder."
        ),
    ],
    to: Annotated[Path, typer.Option(metavar="PATH", help="File or folder to write.")],
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="harness, dc, mtt, idc, dd-ranking, kip, folder or png [by the suffix].",
        ),
    ] = None,
    entry: EntryOption = None,
    pixels: PixelsOption = None,
    labels: LabelsOption = None,
    factor: FactorOption = None,
    set_: SetOption = None,
) -> None:
    """Write a distilled set in another format, or a search's rows as FILE.parquet or FILE.csv.

    Of a distilled set, the dataset is read only where it is needed. Of a search, there is a row for
    each finished trial, student, student seed and split, as harness/schema.py describes it, with
    the settings that were varied; it may still run. To a folder go rows and records of the
    replicates that are whole, two small files to publish: analysis reads them like the search, and
    unpacked they are a search to go on with.
    """
    if (distilled / SEARCH_FILE).exists():
        from harness.commands.frame import write_folder, write_frame

        given: dict[str, object] = {"--format": format_, "--entry": entry, "--pixels": pixels}
        given |= {"--labels": labels, "--factor": factor, "--set": set_ or None}
        for option, value in given.items():
            if value is not None:
                raise ConfigError(f"{option}: is for distilled sets, and {distilled} is a search")
        if to.suffix:
            say(f"{to}: {write_frame(distilled, to)} rows")
        else:
            say(f"{to}: {write_folder(distilled, to)}")
        return
    from harness.formats import read_distilled, write_distilled

    found = read_distilled(distilled, entry)
    if len(found) != 1:
        raise ConfigError(
            f"--entry: {distilled} holds {len(found)} sets; give --entry 0 to {len(found) - 1}"
        )
    made = _as_set(found[0], format_ or to.suffix.lstrip("."), pixels, labels, factor, set_)
    if to.exists() and (to.is_file() or any(to.iterdir())):
        raise ConfigError(f"--to: {to} is there already; choose another place, or remove it")
    chosen = write_distilled(made, to, format_)
    say(f"{to}: format {chosen}, {len(made.labels)} images in {made.provenance['pixels']} space")


def _as_set(
    foreign: "Foreign",
    target: str,
    pixels: str | None,
    labels: str | None,
    factor: int | None,
    set_: list[str] | None,
) -> "SyntheticSet":
    """Bring a set into the pixel space that a format wants: [0, 1], normalised, or its own."""
    from dataclasses import replace

    from harness.datasets import load_dataset
    from harness.formats.fit import fit_to_dataset
    from harness.synthetic import SyntheticSet

    assignments = read_assignments(set_)
    own = foreign.provenance
    if foreign.format == "harness" and own.get("pixels") == "normalised" and not assignments:
        # All that is needed stands in the file.
        assert foreign.labels is not None
        made = SyntheticSet(foreign.images, foreign.labels, own)
        return _to_unit_by_constants(made, foreign.where) if target in _IN_UNIT else made
    config = config_of(foreign, assignments, pixels=pixels)
    data = load_dataset(config.dataset, protocol=config.protocol)
    made = fit_to_dataset(foreign, data, pixels=pixels, labels=labels, factor=factor)
    if target in _IN_UNIT:
        return replace(
            made,
            images=data.to_unit(made.images),
            provenance={**made.provenance, "pixels": "unit"},
        )
    return made


def _to_unit_by_constants(made: "SyntheticSet", where: str) -> "SyntheticSet":
    from dataclasses import replace

    import torch

    from harness.errors import DataError

    try:
        mean, std = (
            torch.tensor(made.provenance[name], dtype=torch.float32).reshape(-1, 1, 1)
            for name in ("mean", "std")
        )
        images = made.images * std + mean
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{where}: does not record mean and std of its pixels; give --set dataset.name=..."
        ) from error
    return replace(made, images=images, provenance={**made.provenance, "pixels": "unit"})
