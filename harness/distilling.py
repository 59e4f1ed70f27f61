"""Distilling: a trial's way to its distilled set, which the store may know in part or as a whole.

The states of one lineage (``Distillation.lineage``, the images and the arithmetic) lie in the
store by iteration. A trial takes the one it needs; else it continues from the longest shorter one
and leaves, on its way, those that others need, and checkpoints.
"""

import math
from collections.abc import Generator
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from harness import numerics
from harness.clock import Clock
from harness.config import TrialConfig
from harness.context import Context
from harness.distill import Distiller, UsesStore, build_distiller
from harness.errors import DivergedError
from harness.evaluate import quick_score
from harness.events import Decision, Event, Progress, StoppedEarlyError, StoppedError
from harness.images import draw_grid, shown_part
from harness.store import DIVERGED, Entry, Key
from harness.synthetic import SyntheticSet

KIND = "distillation"


def distillation_key(config: TrialConfig, context: Context) -> Key:
    """Where the states of a trial's distillation are; call it after ``numerics.configure``."""
    identity = {
        "distillation": config.lineage(),
        "dataset_checksum": context.data.checksum,
        "numerics": numerics.describe(context.device),
    }
    return Key(KIND, identity).at(config.num_iterations())


class Distilling:
    """The way to one distilled set, and what is known of it so far."""

    def __init__(self, config: TrialConfig, context: Context, clock: Clock) -> None:
        """Prepare; nothing is read or computed."""
        self.losses: list[float] = []
        self.quick: list[tuple[int, float]] = []
        self.draws: list[str] = []
        self.pool_path: list[tuple[int, float]] = []
        self._config = config
        self._context = context
        self._clock = clock
        self._distiller: Distiller | None = None
        self._reported = 0
        self._saved = 0

    def steps(self) -> Generator[Event, Decision, SyntheticSet | None]:
        """Learn the set, or take it from the store; yields at each report.

        Returns:
            The set; None where it is all training images.

        Raises:
            DivergedError: A loss or an image is not finite.
            StoppedError: It was told to stop; the state is saved.
            StoppedEarlyError: A scheduler's verdict; the state is saved, and kept.
            DeferredError: Another makes the set, and it was told not to wait.
            OSError: A state cannot be saved.
        """
        store = self._context.store
        self._heed_verdict(0)
        if store is None:
            yield from self._make()
        else:
            key = distillation_key(self._config, self._context)
            entry = self._get(key) or (yield from store.steps(key, self._make))
            if self._distiller is None or self._iteration < self._length:
                self._load(entry)
                yield from self._replay()
            store.keep(key)
            store.drop_checkpoints(key)
        assert self._distiller is not None
        synthetic = self._distiller.synthetic()
        if synthetic is not None and not bool(synthetic.images.isfinite().all()):
            raise DivergedError("images not finite after the last iteration")
        return synthetic

    @property
    def _length(self) -> int:
        return self._config.num_iterations()

    @property
    def _iteration(self) -> int:
        return 0 if self._distiller is None else self._distiller.iteration

    def _make(self) -> Generator[Event, Decision, Entry]:
        """Go on from the longest state; return the last one."""
        self._heed_verdict(0)  # it may have waited long
        self._start()
        yield from self._replay()
        while self._iteration < self._length:
            self._advance(self._next_stop())
            if self._context.stopping():
                self._stop()
            progress = self._progress() if self._is_report() else None
            self._save_if_due()
            if progress is not None:
                if (yield progress) is Decision.STOP:
                    self._stop()
                self._heed_verdict(progress.iteration)
        return self._entry()

    def _start(self) -> None:
        """Take the longest state that is not too long, or begin."""
        self._fail_if_known_to_diverge()
        if self._context.store is not None:
            key = distillation_key(self._config, self._context)
            shorter = [part for part in self._context.store.parts(key) if part < key.part]
            for part in reversed(shorter):
                entry = self._get(key.at(part))
                if entry is not None:
                    self._load(entry)
                    return
        with self._clock.measure("distill_s", "distill_cost_s"):
            self._distiller = self._build()

    def _fail_if_known_to_diverge(self) -> None:
        verdict = self._get(self._key(DIVERGED))
        if verdict is None or verdict.data["iteration"] > self._length:
            return
        self._restore(verdict)
        self.draws = list(verdict.data["draws"])
        self.pool_path = [(start, p) for start, p in verdict.data.get("pool_path", [])]
        self.losses = [math.nan if loss is None else loss for loss in self.losses]
        raise DivergedError(f"known to diverge at iteration {verdict.data['iteration']}")

    def _load(self, entry: Entry) -> None:
        """Continue from a stored state."""
        with self._clock.measure("distill_s"):
            self._distiller = self._build()
            self._distiller.load_state_dict({**entry.data["state"], **entry.tensors})
        self._restore(entry)
        self._note_draws()
        self._saved = self._distiller.iteration

    def _restore(self, entry: Entry) -> None:
        """Take over what is known of the way so far."""
        self.losses = list(entry.data["losses"])
        quick = [(iteration, score) for iteration, score in entry.data["quick"]]
        self.quick = [item for item in quick if self._reports_at(item[0])]
        self._clock.seconds["distill_cost_s"] = entry.cost_s

    def _replay(self) -> Generator[Event, Decision, None]:
        """Repeat the reports that a loaded state had passed, and give the one it stands at."""
        for iteration, score in [item for item in self.quick if item[0] < self._iteration]:
            if (yield self._report(iteration, score)) is Decision.STOP:
                raise StoppedError
            self._heed_verdict(iteration)
        if self._is_report():
            if (yield self._progress()) is Decision.STOP:
                raise StoppedError
            self._heed_verdict(self._iteration)

    def _heed_verdict(self, iteration: int) -> None:
        """Stop early where a scheduler said so of a longer way than to the verdict's iteration.

        The judged distillation stops where it was judged, also when it is run again: the way
        there is in the store, and its record is whole. Its other replicates stop where they are.
        What is known is cut to ``iteration``, so that a trial that the store had helped over it
        leaves the record of one that came no further.
        """
        verdict = self._context.verdict()
        if verdict is None or self._length <= verdict.iteration:
            return
        if self._context.replicate == 0 and iteration < verdict.iteration:
            return
        if self._distiller is not None and iteration == self._iteration:
            self._save(keep=True)  # what goes on from here goes on from this state
        self.losses, self.draws = self.losses[:iteration], self.draws[:iteration]
        self.quick = [item for item in self.quick if item[0] <= iteration]
        raise StoppedEarlyError(iteration, verdict.reason)

    def _advance(self, stop: int) -> None:
        """Iterate to the next stop, or to the iteration after which all is to stop."""
        distiller = self._distiller
        assert distiller is not None
        losses: list[Tensor] = []
        with self._clock.measure("distill_s", "distill_cost_s"):
            try:
                while distiller.iteration < stop:
                    losses.append(distiller.step())
                    if self._context.stopping():
                        break
            finally:
                self._note_draws()
                if isinstance(distiller, UsesStore):
                    self._clock.seconds["distill_cost_s"] += distiller.take_borrowed_s()
                # Losses leave the device once.
                self.losses += torch.stack(losses).tolist() if losses else []
        if not all(map(math.isfinite, self.losses[-len(losses) :])):
            self._record_divergence()
            raise DivergedError(f"matching loss not finite by iteration {distiller.iteration}")

    def _record_divergence(self) -> None:
        if self._context.store is None:
            return
        first = next(i for i, loss in enumerate(self.losses) if not math.isfinite(loss))
        losses = [loss if math.isfinite(loss) else None for loss in self.losses]
        data = {
            "losses": losses,
            "quick": self.quick,
            "draws": self.draws,
            "pool_path": self.pool_path,
            "iteration": first + 1,
        }
        with self._clock.measure("store_s"):
            self._context.store.put(
                self._key(DIVERGED), Entry({}, data, self._clock.seconds["distill_cost_s"])
            )

    def _next_stop(self) -> int:
        """The next iteration at which something is to be reported or saved."""
        run, done = self._config.run, self._iteration
        stops = {self._length, _next_multiple(done, run.report_every)}
        if self._context.store is not None:
            stops |= {_next_multiple(done, run.checkpoint_every), *self._kept()}
        return min(stop for stop in stops if stop > done)

    def _kept(self) -> set[int]:
        """Iterations that others need: by the plan, or because they wait."""
        store = self._context.store
        wanted = set() if store is None else store.wanted(self._key(self._length))
        return {*self._context.keep, *(int(part) for part in wanted if part.isdigit())}

    def _save_if_due(self) -> None:
        """Save the state where somebody needs it or a checkpoint is due."""
        if self._context.store is None or self._iteration == self._length:
            return
        keep = self._iteration in self._kept()
        if keep or self._iteration % self._config.run.checkpoint_every == 0:
            self._save(keep=keep)

    def _save(self, *, keep: bool) -> None:
        store = self._context.store
        if store is None:
            return
        key = self._key(self._iteration)
        if self._saved == self._iteration:
            if keep:
                store.keep(key)
            return
        with self._clock.measure("store_s"):
            store.put(key, self._entry(), keep=keep)
            store.drop_checkpoints(key)
        self._saved = self._iteration

    def _stop(self) -> None:
        self._save(keep=False)
        raise StoppedError

    def _entry(self) -> Entry:
        """The state as it stands, as an entry."""
        assert self._distiller is not None
        with self._clock.measure("distill_s", "distill_cost_s"):  # a baseline selects here
            state = self._distiller.state_dict()
        tensors = {name: item for name, item in state.items() if isinstance(item, Tensor)}
        plain = {name: item for name, item in state.items() if name not in tensors}
        data: dict[str, Any] = {"state": plain, "losses": self.losses, "quick": self.quick}
        return Entry(tensors, data, self._clock.seconds["distill_cost_s"])

    def _note_draws(self) -> None:
        assert self._distiller is not None
        self.draws = [architecture.label for architecture in self._distiller.draws]
        self.pool_path = list(self._distiller.pool_path)

    def _reports_at(self, iteration: int) -> bool:
        every = self._config.run.report_every
        return 0 < iteration < self._length and iteration % every == 0

    def _is_report(self) -> bool:
        return self._reports_at(self._iteration) and self._reported < self._iteration

    def _progress(self) -> Progress:
        """The report of the state as it stands, whose quick score may be known."""
        known = dict(self.quick)
        quick = known.get(self._iteration)
        if quick is None:
            assert self._distiller is not None
            synthetic = self._distiller.synthetic()
            assert synthetic is not None, "a set that is learned in iterations has images"
            with self._clock.measure("quick_s"):
                quick = quick_score(synthetic, self._config, self._context.data)
            if quick is not None:
                self.quick.append((self._iteration, quick))
        return self._report(self._iteration, quick)

    def _report(self, iteration: int, quick: float | None) -> Progress:
        self._reported = iteration
        losses = self.losses[max(0, iteration - self._config.run.report_every) : iteration]
        return Progress(
            iteration=iteration,
            iterations=self._length,
            matching_loss=fmean(losses),
            quick=quick,
            main_probability=next(
                (p for start, p in reversed(self.pool_path) if start < iteration), None
            ),
            losses=losses,
            picture=self._picture if iteration == self._iteration else None,
        )

    def _picture(self) -> bytes:
        assert self._distiller is not None
        synthetic = self._distiller.synthetic()
        assert synthetic is not None, "a set that is learned in iterations has images"
        shown = self._context.data.denormalise(synthetic.images)
        return shown_part(draw_grid(shown, columns=synthetic.per_class), self._config.ipc)

    def _key(self, part: int | str) -> Key:
        return distillation_key(self._config, self._context).at(part)

    def _get(self, key: Key) -> Entry | None:
        if self._context.store is None:
            return None
        with self._clock.measure("store_s"):
            return self._context.store.get(key)

    def _build(self) -> Distiller:
        context = self._context
        return build_distiller(self._config, context.data, context.device, context.store)


def _next_multiple(done: int, every: int) -> int:
    return (done // every + 1) * every
