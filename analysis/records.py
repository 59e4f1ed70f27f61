"""What analysis keeps of a ``trial.json``: single values, not its long lists."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from pydantic_core import SchemaValidator, ValidationError, core_schema, from_json

from harness.schema import PHASES, QUICK, TEST_UNSEEN_MEAN, UNSEEN_MEAN

METRICS = (UNSEEN_MEAN, "validation/main", TEST_UNSEEN_MEAN, "test/main", QUICK)
"""Columns of metrics that a frame of trials always has; a record may hold more."""
TIMINGS = ("distill_s", "distill_cost_s", "quick_s", "eval_s", "control_s", "store_s")
"""Columns of seconds that a frame of trials always has; a record may hold more."""
GPU_SECONDS = {phase: f"{phase}/gpu_s" for phase in PHASES}
"""Column of the GPU-seconds of each phase."""
PEAKS_GIB = {phase: f"{phase}/peak_gib" for phase in PHASES}
"""Column of the peak memory of each phase."""
CPU_CAPABILITY = "cpu_capability"
"""Column of the instructions that torch used on the CPU, in its words: AVX2, AVX512."""
DIAGNOSTIC_COLUMNS = ("trial_id", "diagnostic", "fired", "value", "threshold", "meaning")
"""Columns of a frame of diagnostics."""


# The long lists of a record (matching loss, draws) are read over: no objects are made of them.
_PARTS = (
    "schema_version", "status", "stopped", "metrics", QUICK, "timings", "peak_gib", "phases", "gpu",
    "device", "numerics", "notes", "diagnostics",
)  # fmt: skip
_ANY = core_schema.typed_dict_field(core_schema.any_schema(), required=False)
_READER = SchemaValidator(core_schema.typed_dict_schema(dict.fromkeys(_PARTS, _ANY)))


def parse_object(text: bytes) -> dict[str, Any]:
    """Parse a JSON object; ValueError says what is wrong."""
    data = from_json(text)  # several times as fast as ``json``
    if not isinstance(data, dict):
        raise ValueError(f"got {type(data).__name__}, expected a JSON object")
    return data


def parse_parts(text: bytes) -> dict[str, Any]:
    """Parse what analysis keeps of a ``trial.json``; ValueError says what is wrong."""
    try:
        found: dict[str, Any] = _READER.validate_json(text)
    except ValidationError:
        return parse_object(text)  # which says the same in a line
    return found


def summarise_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the single values of a record, by column.

    A part that is absent or is not what it should be is left out: records of other versions open.

    Args:
        record: As ``trial.json`` holds it.

    Returns:
        Metrics by name (fractions), the last quick score as ``validation/quick``, timings by name
        (seconds), ``peak_gib``, of each phase ``<phase>/gpu_s`` (not of a trial without a GPU,
        which has none to spend) and ``<phase>/peak_gib``, ``device``, ``cpu_capability`` (not of a
        trial on a GPU), ``notes`` (joined by ``; ``), ``diagnostics`` (a list of tables).
    """
    found: dict[str, Any] = {}
    for name, value in _items(record.get("metrics")):
        found[name] = _number(value)
    quick = record.get(QUICK)
    if isinstance(quick, list) and quick and isinstance(quick[-1], list) and len(quick[-1]) == 2:
        found[QUICK] = _number(quick[-1][1])
    for name, value in _items(record.get("timings")):
        if name.endswith("_s"):
            found[name] = _number(value)
    found["peak_gib"] = _number(record.get("peak_gib"))
    on_gpu = isinstance(record.get("gpu"), dict)
    for phase, spent in _items(record.get("phases")):
        if phase in PHASES and isinstance(spent, dict):
            found[PEAKS_GIB[phase]] = _number(spent.get("peak_gib"))
            if on_gpu:
                found[GPU_SECONDS[phase]] = _number(spent.get("gpu_s"))
    if isinstance(device := record.get("device"), str):
        found["device"] = device
    for name, value in _items(record.get("numerics")):
        if name == CPU_CAPABILITY and isinstance(value, str):
            found[name] = value
    if isinstance(notes := record.get("notes"), list):
        found["notes"] = "; ".join(map(str, notes))
    found["diagnostics"] = [
        {"diagnostic": name, **item}
        for name, item in _items(record.get("diagnostics"))
        if isinstance(item, dict)
    ]
    return found


def record_columns(summaries: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return columns of numbers and texts, one value a trial.

    Args:
        summaries: As ``summarise_record`` returns them; empty for a trial without a record.

    Returns:
        - ``validation/unseen_mean`` ... : float64, fractions; NaN where there is none
        - ``distill_s`` ... : float64, seconds
        - ``peak_gib``, ``<phase>/gpu_s`` and ``<phase>/peak_gib`` of each phase, and further
          metrics and timings by name: float64
        - ``device``, ``cpu_capability``, ``notes``: texts, empty where there are none
        - ``fired``: names of the diagnostics that fired, joined by ``, ``; empty where none did
    """
    summaries = list(summaries)
    texts = ("device", CPU_CAPABILITY, "notes")
    always = (*METRICS, *TIMINGS, "peak_gib", *GPU_SECONDS.values(), *PEAKS_GIB.values())
    more = sorted(
        {name for summary in summaries for name in summary}.difference(
            always, texts, ("diagnostics",)
        )
    )
    columns: dict[str, Any] = {
        name: np.array([summary.get(name, np.nan) for summary in summaries], dtype="float64")
        for name in (*always, *more)
    }
    for name in texts:
        columns[name] = pd.Series([summary.get(name, "") for summary in summaries], dtype="str")
    fired = [
        ", ".join(item["diagnostic"] for item in summary.get("diagnostics", ()) if _fired(item))
        for summary in summaries
    ]
    columns["fired"] = pd.Series(fired, dtype="str")
    return columns


def diagnostic_frame(summaries: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Return a row for each diagnostic of each trial.

    Args:
        summaries: By trial, as ``summarise_record`` returns them.

    Returns:
        - ``trial_id``, ``diagnostic``: texts
        - ``fired``: bool
        - ``value``, ``threshold``: float64; a value of NaN: it does not apply
        - ``meaning``: text
    """
    rows = [
        (
            trial_id,
            item["diagnostic"],
            _fired(item),
            _number(item.get("value")),
            _number(item.get("threshold")),
            str(item.get("meaning", "")),
        )
        for trial_id, summary in summaries.items()
        for item in summary.get("diagnostics", ())
    ]
    frame = pd.DataFrame(rows, columns=list(DIAGNOSTIC_COLUMNS))
    types = {"fired": "bool", "value": "float64", "threshold": "float64"}
    return frame.astype({**dict.fromkeys(DIAGNOSTIC_COLUMNS, "str"), **types})


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by dotted name; lists and tables inside lists stay as they are."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            found.update(flatten(value, f"{prefix}{name}."))
        else:
            found[f"{prefix}{name}"] = value
    return found


def _items(table: object) -> Iterable[tuple[str, Any]]:
    return table.items() if isinstance(table, dict) else ()


def _fired(item: Mapping[str, Any]) -> bool:
    return item.get("fired") is True


def _number(value: object) -> float:
    """A JSON number; NaN for null and for anything else."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number else np.nan  # type: ignore[arg-type]
