"""``harness export`` of a search: its rows as one table for other tools."""

from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import ConfigError
from harness.records import whole_file

if TYPE_CHECKING:
    import pandas as pd

_SUFFIXES = (".parquet", ".csv")


def write_frame(search: Path, to: Path) -> int:
    """Write the rows of a search's finished trials as one file.

    Columns are those of ``harness.schema.COLUMNS``, then the other settings that the space varies,
    under their dotted names (lists as text; null where a setting does not count). Null stays null,
    which is an empty field of CSV.

    Args:
        search: Its folder; it may still run.
        to: ``.parquet`` or ``.csv``; must not be there.

    Returns:
        How many rows were written.

    Raises:
        ConfigError: ``to`` is of another kind, or is there already.
        ResultError: The search cannot be read.
    """
    if to.suffix not in _SUFFIXES:
        raise ConfigError(
            f"--to: got '{to}' for the rows of a search, expected a name that ends in "
            f"{' or '.join(_SUFFIXES)}, or a folder"
        )
    if to.exists():
        raise ConfigError(f"--to: {to} is there already; choose another place, or remove it")
    if not to.parent.is_dir():
        raise ConfigError(f"--to: no folder {to.parent}; make it, or choose another file")
    frame = _frame(search)
    with whole_file(to) as aside:
        if to.suffix == ".csv":
            frame.to_csv(aside, index=False)
        else:
            frame.to_parquet(aside, index=False)
    return len(frame)


def write_folder(search: Path, to: Path) -> str:
    """Write what analysis reads of a search; say how much. See ``analysis.exports``."""
    from analysis.exports import write_export

    found = write_export(search, to)
    open_ones = f"; {found.left_out} not whole and left out" if found.left_out else ""
    return f"{found.rows} rows of {found.replicates} whole replicates{open_ones}"


def _frame(search: Path) -> "pd.DataFrame":
    from analysis.load import load_search

    found = load_search(search)
    varied = [name for name in found.varied if name not in found.rows.columns]
    settings = found.trials[["trial_id", *varied]].copy()
    for name in varied:
        values = settings[name].dropna()
        if values.map(type).nunique() > 1 and not values.map(_is_number).all():
            # One type a column: files have no others.
            settings[name] = settings[name].map(str, na_action="ignore")
    joined = found.rows.merge(settings, on="trial_id", how="left", validate="many_to_one")
    assert len(joined) == len(found.rows), "a planned trial is there once"
    return joined


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
