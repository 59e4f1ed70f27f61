"""The pool that adapts: what it keeps, draws, learns and remembers."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from harness import distilling, seeding, trial
from harness.architecture import Architecture
from harness.config import TrialConfig, make_config
from harness.context import Context
from harness.datasets import ImageData, Split
from harness.distill import bandit, dc, probes
from harness.distill.bandit import BanditPool, make_pool
from harness.distill.dc import DC
from harness.distill.probes import Probes, probe_rows
from harness.errors import ConfigError, DataError
from harness.events import Decision, Event, Progress
from harness.networks import build_network
from harness.pool import ModelPool
from harness.store import Store
from harness.synthetic import SyntheticSet
from harness.trial import check_fits, run_trial
from tests.reference import probes as reference

CPU = torch.device("cpu")
MAIN = Architecture(width=4, depth=1)
OTHERS = [
    {"network": "convnet-w4-d1-sigmoid", "weight": 0.75},
    {"network": "convnet-w4-d1-maxpooling", "weight": 0.25},
]
BANDIT: dict[str, Any] = {
    "every": 2,
    "probes": ["convnet-w4-d1-swish", "convnet-w8-d1-batchnorm"],
    "probe_images": 4,
    "probe_steps": 3,
}


def configure(*, pool: dict[str, Any] | None = None, **more: Any) -> TrialConfig:
    own = dict(pool or {})
    base: dict[str, Any] = {
        "iterations": 9,
        "batch_real": 6,
        "ipc": 2,
        "outer_loop": 1,
        "inner_loop": 1,
        "network": {"width": 4, "depth": 1},
        "pool": {
            "schedule": "bandit",
            "others": OTHERS,
            "main_probability": 0.5,
            **own,
            "bandit": {**BANDIT, **own.get("bandit", {})},
        },
        "evaluation": {"students": ["main", "mlp"], "student_seeds": 1, "epochs": 2},
        "run": {"checkpoint_every": 2, "report_every": 3},
    }
    return make_config({**base, **more})


def pool_of(data: ImageData, **more: Any) -> BanditPool:
    pool = make_pool(configure(**more), data, CPU)
    assert isinstance(pool, BanditPool)
    return pool


def set_of(data: ImageData, value: float = 0.0) -> SyntheticSet:
    """A set that stands for a loss: ``scripted`` probes read it off the first pixel."""
    images = torch.full((6, *data.in_shape), value)
    return SyntheticSet(images, torch.arange(3).repeat_interleave(2), {})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quick scores that cost nothing."""
    monkeypatch.setattr(distilling, "quick_score", lambda *_: 0.5)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Probes, "loss", lambda _, synthetic: float(synthetic.images[0, 0, 0, 0]))


# --- Probe images and probes ----------------------------------------------------------------


def test_probe_images_are_a_part_of_each_class(tiny: ImageData) -> None:
    labels = tiny.train.labels
    for wanted, got in ((1, 1), (4, 4), (6, 6), (50, 6)):
        rows = probe_rows(tiny, wanted, seed=0)
        assert torch.bincount(labels[rows]).tolist() == [got] * 3
        assert len(set(rows.tolist())) == 3 * got
    assert probe_rows(tiny, 4, seed=0).tolist() != probe_rows(tiny, 4, seed=1).tolist()


def test_a_class_of_one_image_has_none_to_spare(tiny: ImageData) -> None:
    lonely = torch.cat([torch.nonzero(tiny.train.labels > 0).flatten(), torch.tensor([0])])
    rows = torch.cat([lonely[:-1], torch.nonzero(tiny.train.labels == 0).flatten()[:1]])
    data = replace(tiny, train=Split(tiny.train.images[rows], tiny.train.labels[rows]))
    with pytest.raises(DataError, match=r"pool\.schedule: got 'bandit', .* class 'a' has 1"):
        probe_rows(data, 4, seed=0)


@pytest.mark.parametrize("init", ["real", "noise"])
def test_no_probe_image_is_distilled_from(
    tiny: ImageData, monkeypatch: pytest.MonkeyPatch, init: str
) -> None:
    """Each image is its row's number, so that those which are read can be told."""
    numbered = torch.arange(36.0).reshape(36, 1, 1, 1).expand(36, 1, 28, 28).clone()
    data = replace(tiny, train=Split(numbered, tiny.train.labels))
    seen: set[float] = set()

    def match(learner: Any, rows: Tensor, statistics: Tensor | None) -> Tensor:
        seen.update(rows.tolist(), [] if statistics is None else statistics.tolist())
        return torch.zeros(())

    monkeypatch.setattr(dc.Learner, "match", match)
    norm = [{"network": "convnet-w4-d1-batchnorm", "weight": 1.0}]
    more: dict[str, Any] = {"init": init, "batch_real": 100, "pool": {"others": norm}}
    distiller = DC(configure(**more), data, CPU)
    kept = set(probe_rows(data, 4, seed=0).tolist())
    if init == "real":
        seen.update(distiller.synthetic().images[:, 0, 0, 0].tolist())
    for _ in range(9):
        distiller.step()
    assert len(set(distiller.draws)) == 2
    assert seen == set(range(36)) - kept


def test_the_order_of_other_images_is_that_of_a_constant_pool(tiny: ImageData) -> None:
    """Replicates are paired: nothing but the probe images is missing."""
    adaptive = DC(configure(batch_real=8), tiny, CPU)
    constant = DC(configure(batch_real=12, pool={"schedule": "constant"}), tiny, CPU)
    kept = set(probe_rows(tiny, 4, seed=0).tolist())
    whole = constant._real_rows("real-batch", 0, 12).tolist()
    assert adaptive._real_rows("real-batch", 0, 8).tolist() == [r for r in whole if r not in kept]


def test_losses_agree_with_plain_training(tiny: ImageData) -> None:
    config = configure()
    rows = probe_rows(tiny, 4, seed=0)
    synthetic = SyntheticSet(
        torch.randn(6, 1, 28, 28, generator=torch.Generator().manual_seed(0)),
        torch.arange(3).repeat_interleave(2),
        {},
    )
    expected = []
    for label in config.pool.bandit.probes:
        network = build_network(
            Architecture.parse(label),
            in_shape=tiny.in_shape,
            classes=3,
            generator=seeding.generator(0, "probe-network", label),
        )
        real, classes = tiny.train.images[rows], tiny.train.labels[rows]
        expected.append(
            reference.loss_after(network, synthetic.images, synthetic.labels, 3, real, classes)
        )
    measured = Probes(config.pool.bandit, tiny, rows, 0, CPU)
    found = measured.loss(synthetic)
    assert found == pytest.approx(sum(expected) / 2, rel=1e-5)
    assert measured.loss(replace(synthetic, images=synthetic.images + 1)) != found
    assert measured.loss(synthetic) == found


def test_a_set_beyond_one_batch_goes_in_the_same_batches_each_time(
    tiny: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "_BATCH", 4)
    measured = Probes(configure().pool.bandit, tiny, probe_rows(tiny, 4, 0), 0, CPU)
    orders = measured._orders(6)
    assert [len(rows) for rows in orders] == [4, 4, 4]
    assert orders[0].tolist() != orders[1].tolist()
    assert measured.loss(set_of(tiny)) == measured.loss(set_of(tiny))


def test_a_diverged_probe_has_an_infinite_loss(tiny: ImageData) -> None:
    measured = Probes(configure().pool.bandit, tiny, probe_rows(tiny, 4, 0), 0, CPU)
    assert measured.loss(set_of(tiny, math.nan)) == math.inf
    assert math.isfinite(measured.loss(set_of(tiny)))


# --- Draws ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("scripted")
def test_a_round_is_drawn_from_one_arm(tiny: ImageData) -> None:
    pool = pool_of(tiny, pool={"bandit": {"every": 5}})
    drawn = [pool.draw(i, lambda: set_of(tiny, 1.0)) == MAIN for i in range(200)]
    rounds = [drawn[start : start + 5] for start in range(0, 200, 5)]
    assert all(len(set(part)) == 1 for part in rounds)
    assert 5 < sum(part[0] for part in rounds) < 35


@pytest.mark.usefixtures("scripted")
def test_rounds_of_one_iteration_begin_as_a_constant_pool(tiny: ImageData) -> None:
    """The first draw, and whichever other is drawn where both leave the main model."""
    pool = pool_of(tiny, pool={"bandit": {"every": 1}})
    constant = ModelPool(configure().pool, MAIN, seed=0)
    constant.main_probability = lambda _: 0.5  # type: ignore[method-assign]
    pairs = [(pool.draw(i, lambda: set_of(tiny)), constant.draw(i)) for i in range(100)]
    assert pairs[0][0] == pairs[0][1]
    both = [(a, b) for a, b in pairs if MAIN not in (a, b)]
    assert len(both) > 20
    assert all(a == b for a, b in both)


@pytest.mark.usefixtures("scripted")
def test_the_warmup_draws_the_main_model_and_looks_at_nothing(tiny: ImageData) -> None:
    pool = pool_of(tiny, pool={"warmup": 7})
    assert [pool.draw(i) for i in range(7)] == [MAIN] * 7
    pool.draw(7, lambda: set_of(tiny))
    assert pool.path(7) == [(0, 1.0)]
    assert pool.path(8) == [(0, 1.0), (7, pytest.approx(0.5))]


@pytest.mark.usefixtures("scripted")
@pytest.mark.parametrize("better", ["main", "others"])
@pytest.mark.parametrize("arms", ["main-and-others", "members"])
def test_the_arm_that_helps_probes_is_found(tiny: ImageData, better: str, arms: str) -> None:
    """A set whose loss falls by 0.01 a round, and by as much again in the rounds of one arm."""
    pool = pool_of(tiny, seed=3, pool={"bandit": {"every": 1, "arms": arms, "exploration": 0.2}})
    loss, rng = 0.0, seeding.python_random(0, "noise")
    for i in range(1500):
        drawn = pool.draw(i, lambda: set_of(tiny, loss))  # noqa: B023
        loss -= 0.01 * ((drawn == MAIN) == (better == "main")) + 0.01 + rng.gauss(0, 0.002)
    path = pool.path(1500)
    assert path[0] == (0, pytest.approx(0.5))
    assert (path[-1][1] > 0.75) if better == "main" else (path[-1][1] < 0.25)


@pytest.mark.usefixtures("scripted")
def test_members_are_arms_of_their_own(tiny: ImageData) -> None:
    pool = pool_of(tiny, pool={"bandit": {"arms": "members", "every": 1}})
    drawn = [pool.draw(i, lambda: set_of(tiny, 1.0)) for i in range(600)]
    labels = [item.label for item in drawn]
    assert set(labels) == {MAIN.label, *(item["network"] for item in OTHERS)}
    assert pool.path(600)[0] == (0, pytest.approx(0.5))


@pytest.mark.usefixtures("scripted")
def test_a_diverged_probe_is_no_gain_and_leaves_a_state(tiny: ImageData) -> None:
    pool = pool_of(tiny, pool={"bandit": {"every": 1}})
    losses = [math.inf, 1.0, 0.9, math.inf, 0.7]
    for i, loss in enumerate(losses):
        pool.draw(i, lambda: set_of(tiny, loss))  # noqa: B023
        json.dumps(pool.state_dict(), allow_nan=False)
    assert pool.state_dict()["bandit"]["loss"] == pytest.approx(0.7)


# --- In a distillation ----------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path, tiny: ImageData) -> Callable[..., Context]:
    def make(name: str, **more: Any) -> Context:
        given = {"store": Store(tmp_path / "store", expiry_s=1.0, warn=lambda _: None), **more}
        return Context(folder=tmp_path / name, device=CPU, data=tiny, trial_id=name, **given)

    return make


def result(context: Context) -> tuple[bytes, Any, Any, Any]:
    record = json.loads((context.folder / "trial.json").read_text())
    distilled = (context.folder / "distilled.safetensors").read_bytes()
    return distilled, record["matching_loss"], record["pool_draws"], record["metrics"]


@pytest.mark.parametrize("warmup", [0, 3])
@pytest.mark.parametrize("after", range(1, 9))
def test_stopped_and_resumed_gives_the_same_bits(
    place: Callable[..., Context], after: int, warmup: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure(pool={"warmup": warmup})
    run_trial(config, place("whole", store=None))
    done: list[int] = []
    step = DC.step

    def counted(self: DC) -> Tensor:
        done.append(self.iteration)
        return step(self)

    monkeypatch.setattr(DC, "step", counted)
    assert run_trial(config, place("t", stopping=lambda: len(done) >= after))["status"] == (
        "interrupted"
    )
    assert run_trial(config, place("t"))["status"] == "ok"
    assert done == list(range(9))
    assert result(place("t")) == result(place("whole"))


def test_a_shorter_distillation_is_on_the_way_of_a_longer_one(
    place: Callable[..., Context],
) -> None:
    short, long = configure(iterations=5), configure(iterations=9)
    assert short.lineage() == long.lineage()
    run_trial(long, place("whole", store=None))
    run_trial(short, place("short"))
    run_trial(long, place("long"))
    assert result(place("long")) == result(place("whole"))


def test_the_path_is_recorded_and_reported(place: Callable[..., Context]) -> None:
    seen: list[tuple[int, float | None]] = []

    def report(event: Event) -> Decision:
        assert isinstance(event, Progress)
        seen.append((event.iteration, event.main_probability))
        return Decision.CONTINUE

    record = run_trial(configure(), place("t", report=report))
    path = record["pool_draws"]["main_probability"]
    assert path[0] == [0, pytest.approx(0.5)]
    assert len(path) > 2
    assert all(start % 2 == 0 and 0.05 <= p <= 0.95 for start, p in path)
    at = dict(path)
    assert seen == [(3, at[2]), (6, at[4])]
    # Rounds begin at 0, 2, 4, 6 and 8; the last has one iteration.
    values = [next(p for start, p in reversed(path) if start <= i) for i in range(9)]
    assert record["metrics"]["pool/main_probability_mean"] == pytest.approx(sum(values) / 9)
    assert record["metrics"]["pool/main_probability_last"] == values[-1]


@pytest.mark.parametrize(
    ("schedule", "path"),
    [
        ("constant", [[0, 0.5]]),
        ("linear", [[0, 1.0], [4, 0.875], [5, 0.75], [6, 0.625], [7, 0.5]]),
    ],
)
def test_known_paths_are_recorded_too(
    place: Callable[..., Context], schedule: str, path: list[list[float]]
) -> None:
    pool = {"schedule": schedule, "warmup": 3 if schedule == "linear" else 0}
    record = run_trial(configure(iterations=8, pool=pool), place("t"))
    assert record["pool_draws"]["main_probability"] == path
    assert record["metrics"]["pool/main_probability_last"] == 0.5


# --- Settings -------------------------------------------------------------------------------


def test_what_a_bandit_does_not_have_changes_no_hash() -> None:
    plain = configure(pool={"schedule": "constant"})
    other = configure(pool={"schedule": "constant", "bandit": {"every": 99}})
    assert plain != other
    assert plain.digest() == other.digest()
    assert plain.lineage() == other.lineage()
    assert "bandit" not in plain.identity()["pool"]
    assert configure().identity() != configure(pool={"bandit": {"every": 99}}).identity()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"pool": {"bandit": {"probes": ["convnet-w4-d1"]}}},
            "pool.bandit.probes: got 'convnet-w4-d1', which is also a network of "
            "evaluation.students, expected one that the trial is not judged on; name another",
        ),
        (
            {"pool": {"bandit": {"probes": ["lenet"]}}},
            "pool.bandit.probes: got 'lenet', which is also a network of the quick scores, "
            "expected one that the trial is not judged on; name another",
        ),
        (
            {"pool": {"bandit": {"probes": []}}},
            "pool.bandit.probes: got an empty list, expected at least one network",
        ),
        (
            {"pool": {"main_probability": 1.0}},
            "pool.main_probability: got 1, where pool.schedule 'bandit' starts, expected above "
            "0.05 and below 0.95; change it, or lower pool.bandit.exploration",
        ),
        (
            {"pool": {"bandit": {"arms": "members", "exploration": 0.9}}},
            "pool.main_probability: got 0.5, where pool.schedule 'bandit' starts, but an arm of 3 "
            "keeps 0.3, more than the start gives; lower pool.bandit.exploration",
        ),
        ({"pool": {"bandit": {"every": 0}}}, "pool.bandit.every: got 0, expected"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configure(**settings)
    assert str(caught.value).startswith(message)


def test_baselines_ignore_it() -> None:
    pool = {"bandit": {"probes": ["mlp"]}}
    assert configure(method="random-real", pool=pool).num_iterations() == 0


def test_images_must_be_left_to_distil(tiny: ImageData) -> None:
    check_fits(configure(ipc=10, outer_loop=1, inner_loop=1, pool={"schedule": "constant"}), tiny)
    config = configure(ipc=10, outer_loop=1, inner_loop=1)
    with pytest.raises(DataError, match=r"pool\.bandit\.probe_images: got 4, which leaves 8 of"):
        check_fits(config, tiny)


def test_probes_are_built_before_anything_starts(
    tiny: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []
    monkeypatch.setattr(trial, "_check_buildable", lambda label, *_: built.append(label))
    check_fits(configure(), tiny)
    assert set(BANDIT["probes"]) <= set(built)


def test_a_constant_pool_needs_no_probes(tiny: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bandit, "Probes", lambda *_: pytest.fail("probes are made"))
    pool = make_pool(configure(pool={"schedule": "cosine"}), tiny, CPU)
    rows = torch.tensor([3, 1, 2])
    assert pool.usable(rows) is rows
    assert pool.state_dict() == {}
