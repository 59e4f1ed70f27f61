"""TensorBoard's files of a trial: what is in them, after a kill too, and that they cost nothing."""

import io
import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from harness import tracking
from harness.config import TrialConfig, make_config
from harness.events import Decision, Progress
from harness.schema import EVENTS_PREFIX, IMAGES_FILE, POOL_MAIN, QUICK
from harness.tracking import CURVE_POINTS, DONE_FILE, IMAGE_STEPS, Tracker, read_events, tracked

DIGEST = "d" * 64


def png(shade: int = 0, size: tuple[int, int] = (6, 4)) -> bytes:
    encoded = io.BytesIO()
    Image.new("L", size, shade).save(encoded, format="png")
    return encoded.getvalue()


def progress(
    iteration: int, *, iterations: int = 20, quick: float | None = 0.25, picture: bytes | None = b""
) -> Progress:
    """A report every five iterations, whose losses are the iterations' numbers."""
    drawn = png(iteration) if picture == b"" else picture
    return Progress(
        iteration=iteration,
        iterations=iterations,
        matching_loss=float(iteration),
        quick=quick,
        main_probability=0.75,
        losses=[float(i) for i in range(iteration - 4, iteration + 1)],
        picture=None if drawn is None else lambda: drawn,
    )


def record(iterations: int = 20, **more: Any) -> dict[str, Any]:
    return {
        "digest": DIGEST,
        "status": "ok",
        "config": make_config({}).model_dump(mode="json"),
        "matching_loss": [float(i) for i in range(1, iterations + 1)],
        QUICK: [[5, 0.25], [10, 0.5]],
        "pool_draws": {"main_probability": [[0, 1.0], [4, 0.75], [5, 0.5]]},
        "metrics": {"validation/unseen_mean": 0.75, "test/main": None},
        "timings": {"distill_s": 1.0, "distill_cost_s": 2.0, "eval_s": 3.0},
        "peak_gib": 0.5,
        **more,
    }


def tracker(folder: Path, told: list[str] | None = None, digest: str = DIGEST) -> Tracker:
    def fail(text: str) -> None:
        raise AssertionError(text)

    return Tracker(folder, digest, fail if told is None else told.append)


def scalars(path: Path, tag: str) -> list[tuple[int, float]]:
    return [
        (event.step, value.simple_value)
        for event in read_events(path)
        for value in event.summary.value
        if value.tag == tag and value.HasField("simple_value")
    ]


def pictures(path: Path) -> dict[int, bytes]:
    return {
        event.step: value.image.encoded_image_string
        for event in read_events(path)
        for value in event.summary.value
        if value.HasField("image")
    }


def running(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{EVENTS_PREFIX}*.running"))


def test_a_report_is_seen_at_once(tmp_path: Path) -> None:
    own = tracker(tmp_path / "t")
    assert not (tmp_path / "t").exists()  # a trial that is put back leaves no folder
    own.report(progress(5))
    (path,) = running(tmp_path / "t")
    assert scalars(path, "matching_loss") == [(i, float(i)) for i in range(1, 6)]
    assert scalars(path, QUICK) == [(5, 0.25)]
    assert scalars(path, POOL_MAIN) == [(5, 0.75)]
    assert pictures(path) == {5: png(5)}
    own.report(progress(10))
    assert len(scalars(path, "matching_loss")) == 10


def test_an_ended_trial_has_one_whole_file(tmp_path: Path) -> None:
    own = tracker(tmp_path)
    own.report(progress(5))
    Image.open(io.BytesIO(png(9))).save(tmp_path / IMAGES_FILE)
    own.finish(record())
    assert [path.name for path in tmp_path.glob(f"{EVENTS_PREFIX}*")] == [DONE_FILE]
    done = tmp_path / DONE_FILE
    assert scalars(done, "matching_loss") == [(i, float(i)) for i in range(1, 21)]
    assert scalars(done, QUICK) == [(5, 0.25), (10, 0.5)]
    assert scalars(done, POOL_MAIN) == [(1, 1.0), (4, 1.0), (5, 0.75), (6, 0.5), (20, 0.5)]
    assert scalars(done, "validation/unseen_mean") == [(20, 0.75)]
    assert scalars(done, "test/main") == []
    assert scalars(done, "cost/distill_cost_s") == [(20, 2.0)]
    assert list(pictures(done)) == [5, 20]


def test_what_diverged_has_gaps_and_no_picture(tmp_path: Path) -> None:
    tracker(tmp_path).finish(record(status="diverged", matching_loss=[1.0, None, None], metrics={}))
    assert scalars(tmp_path / DONE_FILE, "matching_loss") == [(1, 1.0)]
    assert pictures(tmp_path / DONE_FILE) == {}


def test_a_curve_and_the_pictures_are_bounded(tmp_path: Path) -> None:
    own = tracker(tmp_path)
    for iteration in range(5, 10_000, 5):
        own.report(progress(iteration, iterations=10_000))
    (path,) = running(tmp_path)
    live = scalars(path, "matching_loss")
    assert len(pictures(path)) == IMAGE_STEPS - 1
    Image.open(io.BytesIO(png())).save(tmp_path / IMAGES_FILE)
    own.finish(record(10_000))
    found = scalars(tmp_path / DONE_FILE, "matching_loss")
    assert len(found) == CURVE_POINTS
    assert found[: len(live)] == live
    assert found[-1][0] == 10_000
    assert len(pictures(tmp_path / DONE_FILE)) == IMAGE_STEPS


def clear(folder: Path) -> None:
    """As a trial does that begins."""
    for path in folder.glob(f"{EVENTS_PREFIX}*"):
        path.unlink()


def resumed(folder: Path, *, digest: str = DIGEST, quick: float = 0.25) -> dict[int, bytes]:
    """Pictures after a try that went on from iteration 10."""
    own = tracker(folder, digest=digest)
    clear(folder)
    own.report(progress(5, quick=quick, picture=None))
    own.report(progress(10, quick=quick, picture=png(10)))
    own.finish(record(digest=digest))
    return pictures(folder / DONE_FILE)


@pytest.mark.parametrize("how", ["killed", "torn", "interrupted"])
def test_a_resumed_trial_keeps_one_file_and_its_pictures(tmp_path: Path, how: str) -> None:
    first = tracker(tmp_path)
    first.report(progress(5))
    if how == "interrupted":
        first.finish(record(8, status="interrupted"))
    else:
        first.close()
    if how == "torn":
        (path,) = running(tmp_path)
        with path.open("ab") as file:
            file.write(struct.pack("<Q", 100) + b"half")
    assert resumed(tmp_path) == {5: png(5), 10: png(10)}
    assert [path.name for path in tmp_path.glob(f"{EVENTS_PREFIX}*")] == [DONE_FILE]


@pytest.mark.parametrize("other", [{"digest": "e" * 64}, {"quick": 0.3}])
def test_pictures_of_another_way_are_dropped(tmp_path: Path, other: dict[str, Any]) -> None:
    tracker(tmp_path).report(progress(5))
    assert list(resumed(tmp_path, **other)) == [10]


def test_an_event_file_that_is_none_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / f"{EVENTS_PREFIX}1.running").write_bytes(b"not a record at all, but longer")
    assert list(resumed(tmp_path)) == [10]


def test_a_failure_is_told_once_and_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ImportError("no tensorboard\nhere")

    monkeypatch.setattr(tracking, "_write", fail)
    told: list[str] = []
    own = tracker(tmp_path, told)
    own.report(progress(5))
    own.report(progress(10))
    own.finish(record())
    own.close()
    assert told == ["no TensorBoard events from here on: no tensorboard"]
    assert not (tmp_path / DONE_FILE).exists()


def test_a_trial_that_is_put_back_leaves_nothing(tmp_path: Path) -> None:
    tracker(tmp_path / "t").finish(record(status="not_run"))
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize("answers", [[Decision.CONTINUE] * 2, [Decision.CONTINUE, Decision.STOP]])
def test_steps_pass_through(tmp_path: Path, answers: Sequence[Decision]) -> None:
    heard = []

    def steps() -> tracking.Steps:
        for iteration in (5, 10):
            heard.append((yield progress(iteration)))
        return record()

    own = tracked(steps(), tracker(tmp_path))
    assert next(own).iteration == 5  # type: ignore[union-attr]
    assert own.send(answers[0]).iteration == 10  # type: ignore[union-attr]
    with pytest.raises(StopIteration) as end:
        own.send(answers[1])
    assert end.value.value == record()
    assert heard == list(answers)
    assert (tmp_path / DONE_FILE).exists()


def test_stages_are_at_most_nine_before_the_end() -> None:
    config = TrialConfig()
    for iterations in (1, 7, 20, config.iterations):
        stages = {tracking._stage(step, iterations) for step in range(1, iterations)}
        assert len(stages) <= min(IMAGE_STEPS - 1, max(0, iterations - 1))
        assert all(0 <= stage < IMAGE_STEPS - 1 for stage in stages)


def test_single_precision_is_what_an_event_keeps() -> None:
    assert tracking._rounded(0.25) == 0.25
    assert tracking._rounded(0.1) != 0.1
    assert math.isclose(tracking._rounded(0.1), 0.1, rel_tol=1e-6)
