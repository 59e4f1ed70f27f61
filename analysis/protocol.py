"""How a search was made and measured: its settings, what its trials recorded, and its code."""

from collections.abc import Iterable

import pandas as pd

from analysis.aggregate import setting_text
from analysis.load import SearchResults

NOTHING = "-"
"""Text of a choice that a search does not have."""
_MOST_VALUES = 8
_RECORDED = {
    "students": "student",
    "epochs of students": "epochs",
    "augmentation of students": "augmentation",
    "device": "device",
}
"""Choices of a recipe, and where it ran: what rows say, since a setting may leave them open."""
_NO_CHOICE = ("trial_id", "seed", "run.")
"""Columns of settings, or starts of their names, in which searches may differ and be the same."""
_FIRST = ("protocol", "dataset.", "method", "ipc", "iterations", "pool.", "kd.", "evaluation.")


def protocol_choices(results: SearchResults) -> dict[str, str]:
    """Return every choice of a search, with its values as text.

    Args:
        results: A search, finished or not.

    Returns:
        By name, those of the protocol first: settings (under their dotted names), what finished
        trials recorded (students, epochs, augmentation, device), git hash and versions. Seeds
        and what changes no result are left out. Several values are joined by ``, ``.
    """
    settings = [name for name in results.settings.columns if not name.startswith(_NO_CHOICE)]
    settings.sort(key=_place)  # stable: within a group as in the config
    found = {name: values_text(results.settings[name]) for name in settings}
    if len(results.rows):
        found |= {name: values_text(results.rows[own]) for name, own in _RECORDED.items()}
    return {**found, **provenance(results)}


def protocol_summary(results: SearchResults) -> dict[str, str]:
    """Return the main choices of a search, as its finished trials recorded them.

    Args:
        results: A search, finished or not.

    Returns:
        As ``protocol_choices``, by a title; empty before the first trial has finished.
    """
    rows = results.rows
    if not len(rows):
        return {}
    found = {
        "dataset": "dataset",
        "method": "method",
        "images per class": "ipc",
        "iterations": "iterations",
        "main model": "main_model",
        "students": "student",
        "epochs": "epochs",
        "augmentation": "augmentation",
        "knowledge distillation": "kd_variant",
        "protocol": "protocol",
        "track": "track",
    }
    said = {title: values_text(rows[column]) for title, column in found.items()}
    judged = rows.groupby("split", sort=False)["n_images"].unique()
    images = [f"{values_text(pd.Series(numbers))} {split}" for split, numbers in judged.items()]
    return {**said, "images judged by": ", ".join(text for text in images if text[0] != NOTHING)}


def provenance(results: SearchResults) -> dict[str, str]:
    """Return where the code of a search came from: git hash, versions."""
    recorded = results.provenance
    found = {"git hash": str(recorded.get("git_hash") or "not a checkout")}
    hashes = values_text(results.rows["git_hash"])
    if hashes not in (NOTHING, found["git hash"]):
        # Resumed with other code: the rows then do not all come from one version.
        found["git hash of the trials"] = hashes
    versions = recorded.get("versions")
    if isinstance(versions, dict):
        found |= {f"version of {name}": str(text) for name, text in sorted(versions.items())}
    return found


def values_text(column: Iterable[object]) -> str:
    """Return the values of a column in the order in which they come, each once, as short text."""
    values = pd.Series(list(column), dtype="object").dropna().unique()
    texts = list(dict.fromkeys(setting_text(value) for value in values))
    if len(texts) <= _MOST_VALUES:
        return ", ".join(texts) or NOTHING
    if all(isinstance(value, (int, float)) for value in values):
        ends = f"{setting_text(min(values))} to {setting_text(max(values))}"
        return f"{ends} ({len(texts)} values)"
    return f"{', '.join(texts[:_MOST_VALUES])} and {len(texts) - _MOST_VALUES} more"


def _place(name: str) -> int:
    return next((i for i, start in enumerate(_FIRST) if name.startswith(start)), len(_FIRST))
