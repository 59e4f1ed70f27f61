"""The folder that TensorBoard is shown: searches, under names that say what was tried.

A view of symbolic links, made anew each time and removed afterwards, so that the searches stay as
they are and may be on a file system that this process must not write to. Its parts:

    hparams                         the columns of the HParams table, with typed domains, once
    [<search>/]<settings>/          a trial: links to its events, and its row of that table

A finished trial without events, of an earlier release or after a logger failed, gets them from its
record. Every column of the table is of one type: a setting that does not count in a trial (the
temperature where KD is off) is left out of a column of numbers, and is "none" in one of words.
"""

import json
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.dotted import dig, get_dotted, setting_names
from harness.errors import ConfigError, HarnessError, ResultError
from harness.records import read_json
from harness.schema import (
    EVENTS_PREFIX,
    FINISHED,
    PLAN_FILE,
    QUICK,
    SEARCH_FILE,
    TEST_UNSEEN_MEAN,
    TRIAL_FILE,
    TRIALS_FOLDER,
    UNSEEN_MEAN,
)
from harness.search.folder import read_search_file
from harness.search.plan import PlannedTrial, read_plan
from harness.tracking import DONE_FILE, append_events, write_done

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

HPARAMS_FILE = f"{EVENTS_PREFIX}hparams"
METRICS = (
    UNSEEN_MEAN,
    "validation/main",
    TEST_UNSEEN_MEAN,
    "test/main",
    QUICK,
    "cost/distill_cost_s",
    "cost/eval_s",
)
"""Columns of the HParams table after the settings; TensorBoard's names of them are the tags."""
NONE = "none"
_LONGEST_NAME = 200
_MOST_VALUES = 12
"""Numbers that are still offered one by one, and not as an interval."""
_UNSHOWN = ("run.", "threads", "dataset.root")
"""Settings that are no property of a trial's result."""


class Column(NamedTuple):
    """A setting that differs between the trials."""

    name: str
    """Dotted."""
    kind: type
    """``float``, ``bool`` or ``str``: of all its values."""
    values: tuple[Any, ...]
    """All values of a discrete domain, or (low, high)."""
    discrete: bool

    def value(self, raw: Any) -> Any:
        """A setting's value as the table has it; None where the trial's row has none."""
        if self.kind is str:
            return _text(raw)
        return None if raw is None else self.kind(raw)


class _Search:
    """One search, read again when its plan has grown."""

    def __init__(self, folder: Path, label: str) -> None:
        self.folder = folder.resolve()
        self.label = label
        self._settings = _read_search(folder)
        self._size = -1
        self._plan: list[PlannedTrial] = []

    def plan(self) -> list[PlannedTrial]:
        path = self.folder / PLAN_FILE
        size = path.stat().st_size if path.exists() else 0
        if size != self._size:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a torn last line is being written
                self._plan = read_plan(path)
            self._size = size
        return self._plan

    def space(self) -> dict[str, dict[str, Any]]:
        """Dotted setting -> kind of values -> the values."""
        found: dict[str, dict[str, Any]] = self._settings.get("space", {})
        return found

    def replicates(self) -> int:
        return int(self._settings.get("search", {}).get("replicates", 1))


def _read_search(folder: Path) -> dict[str, Any]:
    if (data := read_search_file(folder)) is not None:
        return data
    got = f"no {SEARCH_FILE} in it" if folder.is_dir() else "no such folder"
    raise ConfigError(
        f"{folder}: {got}, expected the folder of a search; give the folder that "
        "'harness search' got as --out"
    )


class Board:
    """The view of some searches in a folder."""

    def __init__(self, view: Path, folders: Sequence[Path], tell: Callable[[str], None]) -> None:
        """Read the searches and write the table's columns.

        Args:
            view: Where to; an empty folder.
            folders: The searches.
            tell: Told, in a line, what cannot be shown.

        Raises:
            ConfigError: A folder holds no search.
            ResultError: A plan cannot be read.
        """
        self._view = view
        self._tell = tell
        labels = _labels(folders)
        self._searches = [_Search(*item) for item in zip(folders, labels, strict=True)]
        self.columns = _columns(self._searches)
        self._runs: dict[tuple[str, str], str] = {}
        """(search, trial id) -> name, different for each."""
        self._names: set[str] = set()
        self._begun: set[str] = set()
        self._over: set[str] = set()
        """Runs that have a result, and so do not change any more."""
        self._closed: set[str] = set()
        append_events(
            view / HPARAMS_FILE, [_event(_experiment(self.columns, _metrics(self._searches)))]
        )

    def refresh(self) -> int:
        """Show what has come since; return how many trials there are to see."""
        for search in self._searches:
            for trial in search.plan():
                run = self._run(search, trial)
                if run not in self._over:
                    self._show(run, trial, search.folder / TRIALS_FOLDER / trial.trial_id)
        return len(self._begun)

    def _run(self, search: _Search, trial: PlannedTrial) -> str:
        key = (search.label, trial.trial_id)
        if key not in self._runs:
            name = _run_name(trial, self.columns)
            if len(self._searches) > 1:
                name = f"{search.label}/{name}"
            number = trial.trial_id.split("-")[0]
            self._runs[key] = f"{name} #{number}" if name in self._names else name
            self._names.add(name)
        return self._runs[key]

    def _show(self, run: str, trial: PlannedTrial, folder: Path) -> None:
        found = sorted(folder.glob(f"{EVENTS_PREFIX}*"))
        record = _record(folder)
        if not found and record is None:
            return
        own = self._view / run
        own.mkdir(parents=True, exist_ok=True)
        if run not in self._begun:
            append_events(own / HPARAMS_FILE, [_event(_start(run, trial, self.columns, folder))])
            self._begun.add(run)
        finished = record is not None and record["status"] in FINISHED
        done = [path for path in found if path.name == DONE_FILE]
        if record is not None and finished and not done:
            self._make(own, record, folder)
        else:
            _link(own, done or found)
        if record is not None and run not in self._closed and record["status"] != "interrupted":
            append_events(own / HPARAMS_FILE, [_event(_end(record, folder))])
            self._closed.add(run)
        if finished:
            self._over.add(run)

    def _make(self, own: Path, record: Mapping[str, Any], folder: Path) -> None:
        _link(own, [])
        at = (folder / TRIAL_FILE).stat().st_mtime
        try:
            write_done(own, record, folder, {}, lambda _: at)
        except (OSError, ValueError, KeyError, HarnessError) as error:
            self._tell(f"{folder}: cannot be shown whole ({error})")


def _labels(folders: Sequence[Path]) -> list[str]:
    """A name for each search: its folder's, with that of the folder above where it is taken."""
    names = [folder.resolve().name for folder in folders]
    found: list[str] = []
    for folder, name in zip(folders, names, strict=True):
        label = name if names.count(name) == 1 else f"{folder.resolve().parent.name}-{name}"
        while label in found:
            label += "'"
        found.append(label)
    return found


def _columns(searches: Sequence[_Search]) -> tuple[Column, ...]:
    """What the spaces vary, in their order, then what differs otherwise, and the seed."""
    configs = [trial.config for search in searches for trial in search.plan()]
    dumps = [config.model_dump(mode="json") for config in configs]
    names = [name for search in searches for name in search.space()]
    known = dict.fromkeys([*setting_names(), *names])
    values = {name: [dig(dump, name) for dump in dumps] for name in known}
    if any(name.startswith("kd.") for name in names):
        names.insert(0, "kd.variant")  # says where temperature and alpha count
    names += [
        name
        for name, own in values.items()
        if not name.startswith(_UNSHOWN) and len({json.dumps(v) for v in own if v is not None}) > 1
    ]
    names = [name for name in dict.fromkeys(names) if name != "seed"] + ["seed"]
    return tuple(_column(name, values[name], searches) for name in names)


def _column(name: str, values: Sequence[Any], searches: Sequence[_Search]) -> Column:
    """Its type, and all values that it may have: those of the spaces, and of the plans."""
    listed, ends = list(values), []
    for search in searches:
        for kind, given in search.space().get(name, {}).items():
            if kind in ("grid", "choice"):
                listed += given
            elif kind != "when":
                ends += given
    if name == "seed" and values:
        ends += [value + search.replicates() - 1 for search in searches for value in values[:1]]
    known = [value for value in [*listed, *ends] if value is not None]
    if known and all(isinstance(value, bool) for value in known):
        return Column(name, bool, (False, True), True)
    if not known or not all(_is_number(value) for value in known):
        return Column(name, str, tuple(sorted({_text(value) for value in listed})), True)
    numbers = sorted({float(value) for value in known})
    if ends or len(numbers) > _MOST_VALUES:
        return Column(name, float, (numbers[0], numbers[-1]), False)
    return Column(name, float, tuple(numbers), True)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Any) -> str:
    """A value in a word: lists by the names of their items."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ":".join(_text(item) for item in value.values())
    if isinstance(value, list | tuple):
        return "+".join(_text(item) for item in value) or NONE
    return str(value)


def _run_name(trial: PlannedTrial, columns: Sequence[Column]) -> str:
    """What a trial tries, for example ``main_probability=0.8 ipc=10 seed=0``, as a folder name."""
    words = []
    leaves = [name.rsplit(".", 1)[-1] for name in setting_names()]
    for column in columns:
        raw = get_dotted(trial.config, column.name)
        if raw is not None:
            leaf = column.name.rsplit(".", 1)[-1]
            words.append(f"{leaf if leaves.count(leaf) == 1 else column.name}={_text(raw)}")
    name = " ".join(words).replace("/", "_") or trial.trial_id
    encoded = name.encode()
    if len(encoded) <= _LONGEST_NAME:
        return name
    return encoded[:_LONGEST_NAME].decode(errors="ignore") + f" #{trial.trial_id.split('-')[0]}"


def _record(folder: Path) -> dict[str, Any] | None:
    """A trial's record; None while it has not ended or cannot be read."""
    if not (folder / TRIAL_FILE).exists():
        return None
    try:
        record = read_json(folder / TRIAL_FILE)
    except ResultError:
        return None
    return record if isinstance(record.get("status"), str) else None


def _link(own: Path, files: Iterable[Path]) -> None:
    """Make a run's links those to the given files."""
    wanted = {path.name: path for path in files}
    for link in own.iterdir():
        if link.is_symlink() and link.name not in wanted:
            link.unlink()
    for name, path in wanted.items():
        link = own / name
        if not link.is_symlink():
            link.symlink_to(path)


def _event(summary: "Summary") -> "Event":
    from tensorboard.compat.proto.event_pb2 import Event

    return Event(wall_time=time.time(), summary=summary)


def _metrics(searches: Sequence[_Search]) -> list[str]:
    """Columns of results; where all train on all images there are none of validation."""
    protocols = {trial.config.protocol for search in searches for trial in search.plan()}
    return [tag for tag in METRICS if protocols != {"paper"} or not tag.startswith("validation/")]


def _experiment(columns: Sequence[Column], metrics: Sequence[str]) -> "Summary":
    from tensorboard.plugins.hparams import summary_v2 as hparams

    found = []
    for column in columns:
        domain = (
            hparams.Discrete(column.values, dtype=column.kind)
            if column.discrete
            else hparams.RealInterval(*column.values)
        )
        found.append(hparams.HParam(column.name, domain))
    return hparams.hparams_config_pb(found, [hparams.Metric(tag) for tag in metrics])


def _start(run: str, trial: PlannedTrial, columns: Sequence[Column], folder: Path) -> "Summary":
    from tensorboard.plugins.hparams import summary_v2 as hparams

    values = {
        column.name: column.value(get_dotted(trial.config, column.name)) for column in columns
    }
    found = {name: value for name, value in values.items() if value is not None}
    return hparams.hparams_pb(found, trial_id=run, start_time_secs=folder.stat().st_mtime)


def _end(record: Mapping[str, Any], folder: Path) -> "Summary":
    """How a trial ended: a success is a result that has accuracies."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    success = record["status"] in ("ok", "stopped_early")
    end = plugin_data_pb2.SessionEndInfo(
        status=api_pb2.STATUS_SUCCESS if success else api_pb2.STATUS_FAILURE,
        end_time_secs=(folder / TRIAL_FILE).stat().st_mtime,
    )
    data = plugin_data_pb2.HParamsPluginData(session_end_info=end)
    value = Summary.Value(
        tag=metadata.SESSION_END_INFO_TAG,
        metadata=metadata.create_summary_metadata(data),
        tensor=metadata.NULL_TENSOR,
    )
    return Summary(value=[value])
