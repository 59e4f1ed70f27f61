"""The order of trials, and what Ray's searcher proposes."""

from typing import Any

import pytest

from harness.config import make_config
from harness.search.plan import PlannedTrial
from harness.search.schedule import in_order, lineage, needed_iterations


def trial(name: str, iterations: int = 10, seed: int = 0, **more: Any) -> PlannedTrial:
    config = make_config({"iterations": iterations, "seed": seed, **more})
    return PlannedTrial(name, 0, {}, config)


def kd(temperature: float) -> dict[str, Any]:
    return {"kd": {"variant": "softened", "temperature": temperature}}


def order(*trials: PlannedTrial) -> str:
    return "".join(item.trial_id for item in in_order(trials))


@pytest.mark.parametrize(
    ("trials", "expected"),
    [
        ([], ""),
        ([trial("a"), trial("b", seed=1), trial("c", seed=2)], "abc"),
        ([trial("a"), trial("b", **kd(2.0)), trial("c", seed=1)], "acb"),
        ([trial("a", 5), trial("b", 20), trial("c", 10), trial("d", 5, seed=1)], "bdac"),
        ([trial("a", 20), trial("b", 20, **kd(2.0)), trial("c", 5)], "abc"),
    ],
)
def test_distinct_distillations_go_first_and_the_longest_of_each(
    trials: list[PlannedTrial], expected: str
) -> None:
    assert order(*trials) == expected


def test_what_a_plan_needs_of_each_distillation() -> None:
    plan = [trial("a", 5), trial("b", 20), trial("c", 5, **kd(2.0)), trial("d", 7, seed=1)]
    needed = needed_iterations(plan)
    assert needed == {lineage(plan[0]): [5, 20], lineage(plan[3]): [7]}


def test_a_trial_that_comes_back_is_proposed_again_behind_the_others() -> None:
    from ray.tune.search import Searcher

    from harness.tune.searchers import PlanSearcher

    plan = [trial("a"), trial("b", **kd(2.0)), trial("c", seed=1)]
    searcher = PlanSearcher(plan, {"out": "o"}, needed_iterations(plan))
    first, second = searcher.suggest("t1"), searcher.suggest("t2")
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert (first["trial_id"], second["trial_id"]) == ("a", "b")
    assert first["keep"] == [10]
    assert not second["patient"]
    searcher.on_trial_complete("t2", {"status": "not_run"})
    third, fourth = searcher.suggest("t3"), searcher.suggest("t4")
    assert isinstance(third, dict)
    assert isinstance(fourth, dict)
    assert (third["trial_id"], fourth["trial_id"]) == ("c", "b")
    assert fourth["patient"]
    for name in ("t1", "t3"):
        assert searcher.suggest("t5") is None
        searcher.on_trial_complete(name, {"status": "ok"})
    searcher.on_trial_complete("t4", None, error=True)
    assert searcher.suggest("t5") == Searcher.FINISHED


def test_a_search_that_is_to_stop_proposes_nothing() -> None:
    from ray.tune.search import Searcher

    from harness.tune.searchers import PlanSearcher

    plan = [trial("a")]
    searcher = PlanSearcher(plan, {}, needed_iterations(plan), lambda: True)
    assert searcher.suggest("t1") == Searcher.FINISHED
