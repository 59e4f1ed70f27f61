"""Distilling through the store: the bits of an uninterrupted run, and no iteration twice."""

import json
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

from harness import distilling
from harness.config import TrialConfig, make_config
from harness.context import Context
from harness.datasets import ImageData
from harness.distill.dc import DC
from harness.evaluate import students
from harness.events import Decision, Event, Progress, Verdict, Waiting
from harness.store import Store
from harness.store_files import StoreFiles
from harness.trial import run_trial, trial_steps

DEVICES = [
    torch.device("cpu"),
    pytest.param(torch.device("cuda"), marks=pytest.mark.gpu),
]


def configure(**more: Any) -> TrialConfig:
    base: dict[str, Any] = {
        "iterations": 7,
        "batch_real": 8,
        "ipc": 2,
        "outer_loop": 2,
        "inner_loop": 2,
        "network": {"width": 4, "depth": 1},
        "pool": {"main_probability": 0.5, "others": [{"network": "lenet", "weight": 1.0}]},
        "evaluation": {"students": ["main", "mlp"], "student_seeds": 1, "epochs": 2},
        "run": {"checkpoint_every": 2, "report_every": 3},
    }
    return make_config({**base, **more})


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often each iteration was done."""
    done: Counter[int] = Counter()
    step = DC.step

    def counted(self: DC) -> Tensor:
        done[self.iteration] += 1
        return step(self)

    monkeypatch.setattr(DC, "step", counted)
    return done


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Quick scores that cost nothing and tell sets apart; the list has an item for each."""
    calls: list[int] = []

    def quick_score(synthetic: Any, *_: object) -> float:
        calls.append(synthetic.provenance["distillation"]["iterations"])
        return float(synthetic.images.double().abs().mean())

    monkeypatch.setattr(distilling, "quick_score", quick_score)
    return calls


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", expiry_s=1.0, warn=lambda _: None)


@pytest.fixture
def place(tmp_path: Path, tiny: ImageData, store: Store) -> Callable[..., Context]:
    def make(name: str, **more: Any) -> Context:
        device = more.pop("device", torch.device("cpu"))
        given = {"store": store, "data": tiny.to(device), **more}
        return Context(folder=tmp_path / name, device=device, trial_id=name, **given)

    return make


def result(folder: Path) -> tuple[bytes, list[Any], Any, Any, Any]:
    """What must not depend on interruptions: set, rows, losses, quick scores and draws."""
    record = json.loads((folder / "trial.json").read_text())
    columns = ["student", "student_seed", "split", "status", "accuracy", "loss"]
    rows = pd.read_parquet(folder / "evaluations.parquet")[columns].to_numpy().tolist()
    distilled = (folder / "distilled.safetensors").read_bytes()
    shown = (record["matching_loss"], record["validation/quick"], record["pool_draws"])
    return distilled, rows, *shown


def stop_at(iteration: int) -> Callable[[Event], Decision]:
    def report(event: Event) -> Decision:
        assert isinstance(event, Progress)
        return Decision.STOP if event.iteration == iteration else Decision.CONTINUE

    return report


# --- The same bits --------------------------------------------------------------------------


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("after", range(1, 8))
def test_stopped_after_any_iteration_and_resumed_gives_the_same_bits(
    place: Callable[..., Context], steps: Counter[int], device: torch.device, after: int
) -> None:
    if device.type == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device is there")
    run_trial(configure(), place("whole", store=None, device=device))
    steps.clear()
    first = run_trial(
        configure(), place("t", device=device, stopping=lambda: steps.total() >= after)
    )
    assert first["status"] == "interrupted"
    again = run_trial(configure(), place("t", device=device))
    assert again["status"] == "ok"
    assert set(steps.values()) == {1}
    assert result(place("t").folder) == result(place("whole").folder)


class KilledError(BaseException):
    """Stands for SIGKILL: nothing of the trial runs after it."""


@pytest.mark.parametrize("at", range(7))
def test_killed_in_any_iteration_it_goes_on_from_the_last_checkpoint(
    place: Callable[..., Context], monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    run_trial(configure(), place("whole", store=None))
    step, done = DC.step, []

    def killed(self: DC) -> Tensor:
        if self.iteration == at and len(done) == at:
            raise KilledError
        done.append(self.iteration)
        return step(self)

    monkeypatch.setattr(DC, "step", killed)
    with pytest.raises(KilledError):
        run_trial(configure(), place("t"))
    done.append(-1)
    record = run_trial(configure(), place("t"))
    assert record["status"] == "ok"
    assert done[at + 1 :] == list(range(at // 2 * 2, 7))
    assert result(place("t").folder) == result(place("whole").folder)


def test_a_stop_at_a_report_saves_the_state(
    place: Callable[..., Context], steps: Counter[int]
) -> None:
    run_trial(configure(), place("whole", store=None))
    steps.clear()
    assert run_trial(configure(), place("t", report=stop_at(3)))["status"] == "interrupted"
    assert run_trial(configure(), place("t", report=stop_at(6)))["status"] == "interrupted"
    assert run_trial(configure(), place("t"))["status"] == "ok"
    assert steps == Counter(range(7))
    assert result(place("t").folder) == result(place("whole").folder)


def test_a_corrupt_state_is_noted_and_done_again(
    place: Callable[..., Context], steps: Counter[int], store: Store
) -> None:
    run_trial(configure(), place("whole", store=None))
    run_trial(configure(), place("a", report=stop_at(6)))
    states = sorted(store.path.glob("distillation/*/0000000[46]"))
    assert [path.name for path in states] == ["00000006"]
    content = states[0] / "content.safetensors"
    content.write_bytes(content.read_bytes()[:-1])
    steps.clear()
    record = run_trial(configure(), place("b"))
    assert steps == Counter(range(7))
    (note,) = record["notes"]
    assert str(states[0]) in note
    assert result(place("b").folder) == result(place("whole").folder)


# --- Sharing --------------------------------------------------------------------------------


def test_an_equal_distillation_costs_nothing_the_second_time(
    place: Callable[..., Context], steps: Counter[int], quick: list[int]
) -> None:
    first = run_trial(configure(), place("a"))
    second = run_trial(configure(), place("b"))
    assert steps == Counter(range(7))
    assert quick == [3, 6]
    assert result(place("a").folder) == result(place("b").folder)
    cost = first["timings"]["distill_cost_s"]
    assert first["timings"]["distill_s"] == cost
    assert second["timings"]["distill_cost_s"] == cost
    assert second["timings"]["distill_s"] < cost
    assert second["timings"]["store_s"] > 0


def test_the_cost_of_a_continued_set_is_that_of_all_its_parts(
    place: Callable[..., Context],
) -> None:
    first = run_trial(configure(), place("a", report=stop_at(3)))["timings"]
    second = run_trial(configure(), place("a"))["timings"]
    assert first["distill_s"] > 0
    assert second["distill_cost_s"] > first["distill_cost_s"]
    assert second["distill_s"] < second["distill_cost_s"] + first["distill_cost_s"]


@pytest.mark.parametrize("order", [(3, 5, 7), (7, 5, 3), (5, 7, 3)])
def test_shorter_sets_are_on_the_way_of_longer_ones(
    place: Callable[..., Context], steps: Counter[int], order: tuple[int, ...], store: Store
) -> None:
    for iterations in order:
        run_trial(configure(iterations=iterations), place(f"alone{iterations}", store=None))
    steps.clear()
    keep = frozenset(order)
    for iterations in order:
        run_trial(configure(iterations=iterations), place(f"t{iterations}", keep=keep))
    assert steps == Counter(range(7))
    for iterations in order:
        shared, alone = (result(place(f"{name}{iterations}").folder) for name in ("t", "alone"))
        assert shared == alone
    (folder,) = store.path.glob("distillation/*")
    parts = sorted(path.name for path in folder.iterdir() if path.is_dir())
    assert parts == [f"{iterations:08d}" for iterations in sorted(order)]


def test_a_hit_repeats_the_reports_that_a_scheduler_would_have_seen(
    place: Callable[..., Context], quick: list[int]
) -> None:
    def reports(name: str) -> list[Event]:
        seen: list[Event] = []

        def report(event: Event) -> Decision:
            seen.append(event)
            return Decision.CONTINUE

        run_trial(configure(), place(name, report=report))
        return seen

    first, second = reports("a"), reports("b")
    assert [event.iteration for event in first if isinstance(event, Progress)] == [3, 6]
    assert first == second
    assert quick == [3, 6]


def test_a_scheduler_may_stop_a_hit(place: Callable[..., Context], steps: Counter[int]) -> None:
    run_trial(configure(), place("a"))
    assert run_trial(configure(), place("b", report=stop_at(3)))["status"] == "interrupted"
    assert run_trial(configure(), place("b"))["status"] == "ok"
    assert steps == Counter(range(7))


@pytest.mark.parametrize(
    "more",
    [
        {"seed": 1},
        {"lr_img": 0.2},
        {"ipc": 1},
        {"pool": {"main_probability": 1.0}},
        {"network": {"width": 4, "depth": 2}},
    ],
)
def test_another_distillation_is_another_entry(
    place: Callable[..., Context], steps: Counter[int], more: dict[str, Any], store: Store
) -> None:
    run_trial(configure(), place("a"))
    run_trial(configure(**more), place("b"))
    assert steps.total() == 14
    assert len(list(store.path.glob("distillation/*"))) == 2


@pytest.mark.parametrize(
    "more",
    [
        {"evaluation": {"students": ["lenet"], "student_seeds": 2, "epochs": 1}},
        {"kd": {"variant": "softened", "temperature": 3.0}},
        {"run": {"report_every": 5, "checkpoint_every": 4}},
        {"dataset": {"root": "/elsewhere"}},
    ],
)
def test_what_does_not_determine_the_set_shares_it(
    place: Callable[..., Context], steps: Counter[int], more: dict[str, Any]
) -> None:
    run_trial(configure(), place("a"))
    run_trial(configure(**more), place("b"))
    assert steps == Counter(range(7))


def test_a_method_whose_schedule_depends_on_its_length_shares_no_states(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lineages = [configure(iterations=iterations).lineage() for iterations in (3, 7)]
    assert lineages[0] == lineages[1]
    monkeypatch.setattr("harness.config.SCHEDULED_METHODS", frozenset({"dc"}))
    lineages = [configure(iterations=iterations).lineage() for iterations in (3, 7)]
    assert lineages[0] != lineages[1]


# --- Teachers -------------------------------------------------------------------------------


def test_a_teacher_is_trained_once_for_all_temperatures_and_alphas(
    place: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: Counter[str] = Counter()
    train = students.train_network

    def counted(student: students.Student, *args: Any, **more: Any) -> None:
        trained[str(student.address[0])] += 1
        train(student, *args, **more)

    monkeypatch.setattr(students, "train_network", counted)
    for temperature in (1.0, 2.0):
        for alpha in (0.3, 0.7):
            kd = {"variant": "softened", "temperature": temperature, "alpha": alpha}
            for name, store in (("shared", {}), ("alone", {"store": None})):
                where = place(f"{name}-{temperature}-{alpha}", **store)
                run_trial(configure(kd=kd), where)
            shared, alone = (
                result(place(f"{name}-{temperature}-{alpha}").folder)
                for name in ("shared", "alone")
            )
            assert shared == alone
    assert trained["teacher"] == 1 + 4


@pytest.mark.parametrize(
    "more",
    [
        {"seed": 1},
        {"iterations": 6},
        {"evaluation": {"students": ["mlp"], "student_seeds": 1, "epochs": 3}},
        {"kd": {"variant": "softened", "teacher": "mlp"}},
    ],
)
def test_another_teacher_is_another_entry(
    place: Callable[..., Context], store: Store, more: dict[str, Any]
) -> None:
    kd = {"kd": {"variant": "softened"}}
    run_trial(configure(**kd), place("a"))
    run_trial(configure(**{**kd, **more}), place("b"))
    assert len(list(store.path.glob("teacher/*"))) == 2


# --- Divergence -----------------------------------------------------------------------------


def test_a_divergence_is_found_once_for_all(
    place: Callable[..., Context], steps: Counter[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = DC.step

    def diverging(self: DC) -> Tensor:
        loss = counted(self)
        return loss * float("nan") if self.iteration == 5 else loss

    monkeypatch.setattr(DC, "step", diverging)
    first = run_trial(configure(), place("a"))
    done = steps.total()
    second = run_trial(configure(kd={"variant": "softened"}), place("b"))
    assert first["status"] == second["status"] == "diverged"
    assert first["matching_loss"] == second["matching_loss"]
    assert first["pool_draws"] == second["pool_draws"]
    assert second["timings"]["distill_cost_s"] == first["timings"]["distill_cost_s"]
    assert steps.total() == done
    assert run_trial(configure(iterations=4), place("c"))["status"] == "ok"
    assert run_trial(configure(iterations=5), place("d"))["status"] == "diverged"


# --- Verdicts -------------------------------------------------------------------------------


class Judge:
    """Stops at a report, as a scheduler would, and from then on whoever asks."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.verdict: Verdict | None = None

    def report(self, event: Event) -> Decision:
        if isinstance(event, Progress) and event.iteration >= self.at:
            self.verdict = self.verdict or Verdict(event.iteration, "too low")
        return Decision.CONTINUE

    def given(self) -> dict[str, Any]:
        return {"report": self.report, "verdict": lambda: self.verdict}


def stored(store: Store) -> dict[str, bool]:
    """Iterations that are stored -> whether for good."""
    return {
        path.name.lstrip("0"): (path / "keep").exists()
        for path in sorted(store.path.glob("distillation/*/0*"))
    }


@pytest.mark.parametrize(("at", "remaining"), [(3, 4), (6, 1)])
def test_stopped_early_and_promoted_it_does_what_remains_and_gives_the_same_bits(
    place: Callable[..., Context], steps: Counter[int], store: Store, at: int, remaining: int
) -> None:
    run_trial(configure(), place("whole", store=None))
    steps.clear()
    record = run_trial(configure(), place("t", **Judge(at).given()))
    assert record["status"] == "stopped_early"
    assert record["stopped"] == {"iteration": at, "reason": "too low"}
    assert [iteration for iteration, _ in record["validation/quick"]] == list(range(3, at + 1, 3))
    assert len(record["matching_loss"]) == len(record["pool_draws"]["draws"]) == at
    assert set(place("t").folder.iterdir()) == {place("t").folder / "trial.json"}
    assert stored(store) == {str(at): True}
    assert StoreFiles(store.path).prune() == (0, 0)
    done = steps.total()
    assert done == at
    assert run_trial(configure(), place("t"))["status"] == "ok"
    assert steps.total() - done == remaining
    assert result(place("t").folder) == result(place("whole").folder)


def test_a_checkpoint_where_it_is_stopped_is_kept(
    place: Callable[..., Context], store: Store
) -> None:
    config = configure(run={"checkpoint_every": 3, "report_every": 3})
    run_trial(config, place("t", **Judge(3).given()))
    assert stored(store) == {"3": True}


def test_a_whole_set_in_the_store_is_judged_as_one_that_is_made(
    place: Callable[..., Context], steps: Counter[int]
) -> None:
    made = run_trial(configure(), place("t", store=None, **Judge(3).given()))
    run_trial(configure(), place("whole"))
    steps.clear()
    taken = run_trial(configure(), place("t", **Judge(3).given()))
    shown = ("status", "stopped", "matching_loss", "validation/quick", "pool_draws")
    assert [made[name] for name in shown] == [taken[name] for name in shown]
    assert not steps


def test_who_shares_a_stopped_distillation_stops_where_it_did(
    place: Callable[..., Context], steps: Counter[int]
) -> None:
    judge = Judge(3)
    first = trial_steps(configure(), place("a", **judge.given()))
    event = next(first)
    other = trial_steps(configure(kd={"variant": "softened"}), place("b", **judge.given()))
    assert isinstance(next(other), Waiting)
    judge.report(event)
    assert finish(first)["status"] == "stopped_early"
    record = finish(other)
    assert (record["status"], record["stopped"]["iteration"]) == ("stopped_early", 3)
    assert [iteration for iteration, _ in record["validation/quick"]] == [3]
    assert steps.total() == 3


def test_a_set_that_is_no_longer_than_the_verdict_is_made(
    place: Callable[..., Context], steps: Counter[int]
) -> None:
    judge = Judge(6)
    keep = frozenset({5, 6, 7})
    run_trial(configure(), place("long", keep=keep, **judge.given()))
    for iterations in (5, 6):
        where = place(f"t{iterations}", **judge.given())
        assert run_trial(configure(iterations=iterations), where)["status"] == "ok"
    assert steps.total() == 6


def test_other_replicates_do_not_begin(place: Callable[..., Context], steps: Counter[int]) -> None:
    judge = Judge(3)
    run_trial(configure(), place("a", **judge.given()))
    steps.clear()
    record = run_trial(configure(seed=1), place("b", replicate=1, **judge.given()))
    assert (record["status"], record["stopped"]["iteration"]) == ("stopped_early", 0)
    assert not steps


def test_another_replicate_on_its_way_stops_at_its_next_report(
    place: Callable[..., Context], steps: Counter[int]
) -> None:
    judge = Judge(3)
    other = trial_steps(configure(seed=1), place("b", replicate=1, **judge.given()))
    next(other), next(other)
    judge.verdict = Verdict(3, "too low")
    record = finish(other)
    assert (record["status"], record["stopped"]["iteration"]) == ("stopped_early", 6)


def test_a_user_s_stop_is_no_verdict(place: Callable[..., Context], steps: Counter[int]) -> None:
    judge = Judge(6)
    first = run_trial(configure(), place("t", stopping=lambda: steps.total() >= 4, **judge.given()))
    assert (first["status"], first["stopped"]) == ("interrupted", None)
    again = run_trial(configure(), place("t", **judge.given()))
    assert (again["status"], again["stopped"]["iteration"]) == ("stopped_early", 6)
    assert steps == Counter(range(6))


# --- Two at once ----------------------------------------------------------------------------


def finish(trial: Generator[Event, Decision, dict[str, Any]]) -> dict[str, Any]:
    """Let a trial run to its end and return its record."""
    try:
        while True:
            trial.send(Decision.CONTINUE)
    except StopIteration as end:
        record: dict[str, Any] = end.value
        return record


def test_a_trial_waits_for_the_set_that_another_makes(
    place: Callable[..., Context], steps: Counter[int]
) -> None:
    run_trial(configure(iterations=5), place("alone", store=None))
    steps.clear()
    long = trial_steps(configure(), place("long"))
    next(long)
    short = trial_steps(configure(iterations=5), place("short"))
    assert next(short) == Waiting("distillation")
    assert finish(long)["status"] == "ok"
    assert finish(short)["status"] == "ok"
    assert steps == Counter(range(7))  # the long one was told on its way that 5 is wanted
    assert result(place("short").folder) == result(place("alone").folder)


def test_a_trial_that_may_not_wait_leaves_nothing(place: Callable[..., Context]) -> None:
    long = trial_steps(configure(), place("long"))
    next(long)
    second = run_trial(configure(), place("second", report=lambda _: Decision.STOP))
    assert second["status"] == "not_run"
    assert not place("second").folder.exists()
    long.close()
    assert run_trial(configure(), place("second"))["status"] == "ok"


def test_a_part_that_the_other_has_passed_is_made_beside_it(
    place: Callable[..., Context], steps: Counter[int]
) -> None:
    long = trial_steps(configure(), place("long"))
    next(long), next(long)
    record = run_trial(configure(iterations=3), place("short", report=stop_at(-1)))
    assert record["status"] == "ok"
    assert steps[2] == 2
    long.close()
