"""TensorBoard: what an executor writes of a trial while it runs, and when it has ended.

A view for people, which nothing reads back into a result: analysis never opens it, and a failure
here is told and costs the trial nothing. Fed from the trial's events and its record, so that a
trial itself knows nothing of it.

Each try of a trial appends to a file of its own, ``events.out.tfevents.<ns>.running``. Its record,
in whatever way it ended, makes one whole file, ``events.out.tfevents.done``, in its place. A killed
try leaves a file that may end in half a record, which readers pass over and the next try removes.

Tensorboard is imported at the first report; without TensorFlow and without torch.
"""

import bisect
import math
import struct
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, BinaryIO

from harness.events import Decision, Progress
from harness.events import Event as TrialEvent
from harness.images import shown_part
from harness.records import whole_file
from harness.schema import EVALUATIONS_FILE, EVENTS_PREFIX, IMAGES_FILE, NOT_RUN, POOL_MAIN, QUICK

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event

Steps = Generator[TrialEvent, Decision, dict[str, Any]]

DONE_FILE = f"{EVENTS_PREFIX}done"
"""Events of a trial that has a record, whole."""
IMAGE_STEPS = 10
"""Pictures of a set's way, at most."""
CURVE_POINTS = 1000
"""Points of a curve, at most."""
IMAGES_TAG = "distilled"
COSTS = ("distill_s", "distill_cost_s", "eval_s")
_LOSS = "matching_loss"
_WRITER = "harness {}"


class Tracker:
    """Writes the events of one try of one trial. Made before the trial, which clears its folder.

    No method raises: what goes wrong is told, once, and from then on nothing is written.
    """

    def __init__(self, folder: Path, digest: str, tell: Callable[[str], None]) -> None:
        """Read what an earlier try has drawn, since a resumed trial does not pass there again.

        Args:
            folder: The trial's; may be missing.
            digest: Of its config.
            tell: Told, in a line, if there will be no events.
        """
        self._folder = folder
        self._digest = digest
        self._tell = tell
        self._file: BinaryIO | None = None
        self._path = folder / f"{EVENTS_PREFIX}{time.time_ns()}.running"
        self._reported: list[tuple[int, float]] = []
        """Iteration and time of each report."""
        self._pictures: dict[int, bytes] = {}
        self._failed = False
        self._earlier: dict[int, tuple[float, bytes]] = {}
        self._try(self._read_earlier)

    def report(self, event: TrialEvent) -> None:
        """Append what a report says; readers see it at once."""
        if isinstance(event, Progress):
            self._try(lambda: self._append(event))

    def finish(self, record: Mapping[str, Any]) -> None:
        """Write all there is of a trial that has ended, in place of what was appended."""
        if record["status"] != NOT_RUN:
            self._try(lambda: self._write_done(record))
        self.close()

    def close(self) -> None:
        """End without a record: what was appended stays."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _try(self, write: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            write()
        except Exception as error:  # noqa: BLE001 - a view must not cost the trial, whatever fails
            self._failed = True
            reason = str(error) or type(error).__name__
            self._tell(f"no TensorBoard events from here on: {reason.splitlines()[0]}")

    def _append(self, progress: Progress) -> None:
        now = time.time()
        self._reported.append((progress.iteration, now))
        first = progress.iteration - len(progress.losses) + 1
        events = [
            *_curve(_LOSS, progress.losses, first, progress.iterations, lambda _: now),
            *_points(QUICK, [(progress.iteration, progress.quick)], lambda _: now),
            *_points(POOL_MAIN, [(progress.iteration, progress.main_probability)], lambda _: now),
        ]
        picture = self._picture(progress)
        if picture is not None:
            self._pictures[progress.iteration] = picture
            events.append(_image(picture, progress.iteration, now))
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("wb")
            events.insert(0, _header(self._digest, now))
        _write(self._file, events)

    def _picture(self, progress: Progress) -> bytes | None:
        """The set at a report, where the way has come to another stage of it."""
        seen = {_stage(step, progress.iterations) for step in self._pictures}
        if _stage(progress.iteration, progress.iterations) in seen:
            return None
        if progress.picture is not None:
            return progress.picture()
        quick, picture = self._earlier.get(progress.iteration, (None, None))
        # Another device or version goes another way, which the scores tell.
        same = (
            quick is not None and progress.quick is not None and _rounded(progress.quick) == quick
        )
        return picture if same else None

    def _write_done(self, record: Mapping[str, Any]) -> None:
        write_done(self._folder, record, self._folder, self._pictures, self._when(time.time()))
        self.close()
        self._path.unlink(missing_ok=True)

    def _when(self, now: float) -> Callable[[int], float]:
        """Time of an iteration: of the first report behind it."""
        steps = [step for step, _ in self._reported]
        times = [*(at for _, at in self._reported), now]
        return lambda step: times[bisect.bisect_left(steps, step)]

    def _read_earlier(self) -> None:
        for path in sorted(self._folder.glob(f"{EVENTS_PREFIX}*")):
            quick: dict[int, float] = {}
            pictures: dict[int, bytes] = {}
            for number, event in enumerate(read_events(path)):
                if number == 0 and event.source_metadata.writer != _WRITER.format(self._digest):
                    break
                for value in event.summary.value:
                    if value.tag == QUICK:
                        quick[event.step] = value.simple_value
                    elif value.tag == IMAGES_TAG:
                        pictures[event.step] = value.image.encoded_image_string
            self._earlier |= {
                step: (quick[step], picture) for step, picture in pictures.items() if step in quick
            }


def tracked(steps: Steps, tracker: Tracker) -> Steps:
    """The steps of a trial, written as they come; see ``harness.trial.trial_steps``."""
    try:
        event = next(steps)
        while True:
            tracker.report(event)
            event = steps.send((yield event))
    except StopIteration as end:
        record: dict[str, Any] = end.value
        tracker.finish(record)
        return record
    finally:
        tracker.close()


def write_done(
    folder: Path,
    record: Mapping[str, Any],
    source: Path,
    pictures: Mapping[int, bytes],
    when: Callable[[int], float],
) -> None:
    """Write the events of a trial that has ended as one whole file.

    Args:
        folder: Where to.
        record: The trial's ``trial.json``.
        source: The trial's folder.
        pictures: Iteration -> PNG, of its way; the finished set's is taken from the trial's folder.
        when: Time of an iteration, in seconds since the epoch.

    Raises:
        OSError, ValueError, KeyError: A file of the trial cannot be read, or lacks something.
    """
    folder.mkdir(parents=True, exist_ok=True)
    events = [_header(record["digest"], when(0)), *_of_record(record, source, pictures, when)]
    with whole_file(folder / DONE_FILE) as aside, aside.open("wb") as file:
        _write(file, events)


def _of_record(
    record: Mapping[str, Any],
    source: Path,
    pictures: Mapping[int, bytes],
    when: Callable[[int], float],
) -> "Iterator[Event]":
    """Events in the order of their steps within each tag."""
    last = len(record[_LOSS])
    at = when(last + 1)
    yield from _curve(_LOSS, record[_LOSS], 1, last, when)
    yield from _points(QUICK, record.get(QUICK, ()), when)
    yield from _points(POOL_MAIN, _pool_path(record, last), when)
    for step, picture in sorted(pictures.items()):
        yield _image(picture, step, when(step))
    if (source / IMAGES_FILE).exists():
        yield _image(_final_picture(source / IMAGES_FILE, record["config"]["ipc"]), last, at)
    costs = {f"cost/{name}": record["timings"].get(name) for name in COSTS}
    values = {
        **record["metrics"],
        **_students(source / EVALUATIONS_FILE),
        **costs,
        "cost/peak_gib": record["peak_gib"],
    }
    for tag, value in values.items():
        if value is not None:
            yield _scalar(tag, value, last, at)


def _curve(
    tag: str,
    values: Sequence[float | None],
    first: int,
    iterations: int,
    when: Callable[[int], float],
) -> "Iterator[Event]":
    """Values of consecutive iterations, thinned where there are very many, alike in each try."""
    stride = math.ceil(iterations / CURVE_POINTS)
    for step, value in enumerate(values, start=first):
        if value is not None and (step % stride == 0 or step == iterations):
            yield _scalar(tag, value, step, when(step))


def _points(
    tag: str, values: Iterable[tuple[int, float | None]], when: Callable[[int], float]
) -> "Iterator[Event]":
    for step, value in values:
        if value is not None:
            yield _scalar(tag, value, step, when(step))


def _pool_path(record: Mapping[str, Any], last: int) -> list[tuple[int, float]]:
    """The first and the last iteration of each stretch that had one main-model probability."""
    path = record["pool_draws"].get("main_probability")
    if not path:
        return []
    ends = [start for start, _ in path[1:]] + [last]
    points = [
        (step, p)
        for (start, p), end in zip(path, ends, strict=True)
        for step in sorted({start + 1, end})
    ]
    stride = math.ceil(len(points) / CURVE_POINTS) or 1
    return points[::-stride][::-1]


def _students(path: Path) -> dict[str, float]:
    """Tag -> mean accuracy of a student's networks on a split; those that diverged do not count."""
    if not path.exists():
        return {}
    from pyarrow import parquet

    table = parquet.read_table(path, columns=["split", "student", "accuracy"])
    found: dict[str, list[float]] = {}
    for row in table.to_pylist():
        if row["accuracy"] is not None:
            found.setdefault(f"{row['split']}/{row['student']}", []).append(row["accuracy"])
    return {tag: fmean(accuracies) for tag, accuracies in sorted(found.items())}


def _final_picture(path: Path, ipc: int) -> bytes:
    from PIL import Image

    with Image.open(path) as grid:
        return shown_part(grid, ipc)


def _stage(step: int, iterations: int) -> int:
    """Part of the way that a step is in; the finished set is one more."""
    return step * (IMAGE_STEPS - 1) // iterations


def _rounded(value: float) -> float:
    """A number as an event keeps it, in single precision."""
    rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return rounded


def _header(digest: str, at: float) -> "Event":
    from tensorboard.compat.proto.event_pb2 import Event, SourceMetadata

    writer = SourceMetadata(writer=_WRITER.format(digest))
    return Event(wall_time=at, file_version="brain.Event:2", source_metadata=writer)


def _scalar(tag: str, value: float, step: int, at: float) -> "Event":
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    found = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
    return Event(wall_time=at, step=step, summary=found)


def _image(png: bytes, step: int, at: float) -> "Event":
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    width, height = struct.unpack(">II", png[16:24])  # where every PNG says them
    image = Summary.Image(width=width, height=height, encoded_image_string=png)
    found = Summary(value=[Summary.Value(tag=IMAGES_TAG, image=image)])
    return Event(wall_time=at, step=step, summary=found)


def read_events(path: Path) -> "Iterator[Event]":
    """Yield the whole events of a file, up to where it is torn or corrupt."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.tensorflow_stub import errors
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New

    reader = PyRecordReader_New(str(path))
    while True:
        try:
            reader.GetNext()
        except (errors.OutOfRangeError, errors.DataLossError):
            return
        yield Event.FromString(reader.record())


def append_events(path: Path, events: "Iterable[Event]") -> None:
    """Append events to a file, which is made if missing."""
    with path.open("ab") as file:
        _write(file, events)


def _write(file: BinaryIO, events: "Iterable[Event]") -> None:
    """Write events and hand them to readers."""
    from tensorboard.summary.writer.record_writer import RecordWriter

    writer = RecordWriter(file)
    for event in events:
        writer.write(event.SerializeToString())
    file.flush()
