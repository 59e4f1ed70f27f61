"""``harness evaluate``: a fair score for anybody's distilled set."""

import hashlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.commands.common import (
    EntryOption,
    FactorOption,
    LabelsOption,
    PixelsOption,
    SetOption,
    SkipBadOption,
    config_of,
    name_of,
    read_assignments,
    say,
    with_ipc,
)
from harness.errors import ConfigError, DataError

if TYPE_CHECKING:
    import torch

    from harness.config import TrialConfig
    from harness.datasets import ImageData
    from harness.evaluate import StudentScore
    from harness.evaluate.scoring import FairScore
    from harness.formats import Foreign

EVALUATION_FILE = "evaluation.json"


def evaluate(
    distilled: Annotated[
        list[Path], typer.Argument(metavar="DISTILLED...", help="Files or folders of sets.")
    ],
    entry: EntryOption = None,
    pixels: PixelsOption = None,
    labels: LabelsOption = None,
    factor: FactorOption = None,
    set_: SetOption = None,
    real_accuracy: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, metavar="X", help="Of the main model on all real images, for LRS."
        ),
    ] = None,
    real_epochs: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Measure it: train on all real images so long."),
    ] = None,
    no_ranking: Annotated[
        bool, typer.Option("--no-ranking", help="Leave LRS and ARS out.")
    ] = False,
    no_random: Annotated[
        bool,
        typer.Option("--no-random", help="Leave random real images out, and LRS and ARS."),
    ] = False,
    skip_bad: SkipBadOption = False,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write rows and record there.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Score distilled sets of any format, beside random real images under the same recipe."""
    from harness.formats import read_distilled
    from harness.numerics import choose_device

    assignments = read_assignments(set_, skip_bad=skip_bad)
    where = choose_device(device)
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out: {out} is there and not empty; choose another --out")
    found = [(path, item) for path in distilled for item in read_distilled(path, entry)]
    # Every set is checked before the first is trained on.
    tasks = [
        _Task(path, item, assignments, pixels, labels, factor, where, random=not no_random)
        for path, item in found
    ]
    real = _RealAccuracy(real_accuracy, real_epochs)
    results = []
    for task in tasks:
        task.describe()
        score = task.score(ranking=not no_ranking)
        results.append(task.report(score, real))
    if out is not None:
        _write(out, results)
        say(f"results: {out}")


class _Task:
    """One set, fitted to its dataset."""

    def __init__(
        self,
        path: Path,
        foreign: "Foreign",
        assignments: dict[str, Any],
        pixels: str | None,
        labels: str | None,
        factor: int | None,
        where: "torch.device",
        *,
        random: bool,
    ) -> None:
        from harness.evaluate.cohort import check_lion
        from harness.formats.fit import fit_to_dataset, images_per_class
        from harness.synthetic import SyntheticSet
        from harness.trial import configure_process, shared_data

        self.path, self.foreign, self.random = path, foreign, random
        self.settings_lr = "evaluation.lr" in assignments
        config = config_of(foreign, assignments, pixels=pixels)
        if config.elf.terms:
            raise ConfigError(
                f"elf.loss: got '{config.elf.loss}', which is a setting of trials; remove "
                "it, or use harness run"
            )
        if config.evaluation.optimizer == "lion":
            check_lion()
        configure_process(config)
        self.data = shared_data(config.dataset, config.protocol, where)
        fitted = fit_to_dataset(foreign, self.data, pixels=pixels, labels=labels, factor=factor)
        self.synthetic = SyntheticSet(
            fitted.images.to(where), fitted.labels.to(where), fitted.provenance
        )
        self.config = with_ipc(config, images_per_class(foreign, self.data.num_classes))
        self.where = where
        self.seconds = 0.0
        _check_students(self.config, self.data)

    def describe(self) -> None:
        """Print what is about to be scored, and what was assumed."""
        config, synthetic = self.config, self.synthetic
        soft = synthetic.labels.is_floating_point()
        say(
            f"{self.foreign.where}: format {self.foreign.format}, {len(synthetic.labels)} images "
            f"(ipc {config.ipc}) of {config.dataset.name}, {self.data.pixels}, "
            f"{'soft' if soft else 'hard'} labels; protocol {config.protocol}, rate "
            f"{config.evaluation.lr:g}, kd {config.kd.variant}"
        )
        for note in self.notes():
            say(f"note: {note}")

    def notes(self) -> list[str]:
        """What a reader of the numbers should know."""
        found = list(self.data.notes)
        if self.foreign.labels is None:
            found.append("no labels in the file: images are taken as sorted by class")
        if self.foreign.lr is not None and not self.settings_lr:
            found.append(f"the rate {self.foreign.lr:g} comes with the set")
        made_from = self.foreign.provenance.get("dataset_checksum")
        if made_from is not None and made_from != self.data.checksum:
            found.append(
                "the set records another dataset checksum: other images, split or normalisation"
            )
        if self.random and self.synthetic.labels.is_floating_point():
            found.append("random real images have hard labels, since soft ones need their teacher")
        return found

    def score(self, *, ranking: bool) -> "FairScore":
        """Train everything."""
        import time

        from harness.evaluate.scoring import score_fairly
        from harness.trial import configure_process

        configure_process(self.config)  # sets may record different ones
        start = time.perf_counter()
        try:
            return score_fairly(
                self.synthetic, self.config, self.data, ranking=ranking, random=self.random
            )
        finally:
            self.seconds = time.perf_counter() - start

    def report(self, score: "FairScore", real: "_RealAccuracy") -> dict[str, Any]:
        """Print a set's results and return them as plain data, with its rows."""
        from harness.numerics import describe
        from harness.provenance import describe as provenance

        table = _tabulate(score)
        for split in dict.fromkeys(split for split, _ in table):
            _print_table(split, {name: row for (of, name), row in table.items() if of == split})
        ranking = _rank(score, self.config, self.data, real)
        if ranking is not None:
            _print_ranking(ranking)
        return {
            "set": self.foreign.where,
            "sha256": _digest(self.path),
            "format": self.foreign.format,
            "name": name_of(self.path, self.foreign),
            "notes": self.notes(),
            "config": self.config.model_dump(mode="json"),
            "dataset_checksum": self.data.checksum,
            "pixels": self.data.pixels,
            "results": [{"split": of, "student": name, **row} for (of, name), row in table.items()],
            "ranking": ranking,
            "numerics": describe(self.where),
            "provenance": provenance(),
            "rows": self._rows(score),
        }

    def _rows(self, score: "FairScore") -> list[dict[str, Any]]:
        from harness.numerics import device_name, peak_gib
        from harness.provenance import git_hash
        from harness.results import common_columns, student_rows
        from harness.schema import SCHEMA_VERSION

        record = {
            "search": None,
            "trial_id": name_of(self.path, self.foreign),
            "replicate": 0,
            "timings": {"distill_s": None, "distill_cost_s": None, "eval_s": self.seconds},
            "peak_gib": peak_gib(self.where),
            "device": device_name(self.where),
            "provenance": {"git_hash": git_hash()},
            "schema_version": SCHEMA_VERSION,
        }
        common = common_columns(self.config, record)
        unknown = dict.fromkeys(("iterations", "pool", "main_probability"))
        own = common if self.foreign.format == "harness" else {**common, **unknown}
        if self.foreign.format != "harness":
            own["method"] = "foreign"
        random = {**common, **unknown, "method": "random-real"}
        return [
            *student_rows(own, self.config, score.distilled),
            *student_rows(random, self.config, score.random),
        ]


class _RealAccuracy:
    """Accuracy of the main model trained on all real images: told, or measured once a dataset."""

    def __init__(self, told: float | None, epochs: int | None) -> None:
        if told is not None and epochs is not None:
            raise ConfigError(
                "--real-accuracy: got both it and --real-epochs, which measures it; give one"
            )
        self._told = told
        self._epochs = epochs
        self._measured: dict[tuple[str, str, int], float | None] = {}

    def get(self, config: "TrialConfig", data: "ImageData") -> float | None:
        """Return it as a fraction; None where it is unknown or the network diverged."""
        if self._epochs is None:
            return self._told
        key = (data.checksum, config.network.label, config.seed)
        if key not in self._measured:
            from harness.evaluate.baselines import train_on_all

            say(f"training {config.network.label} on all real images for {self._epochs} epochs")
            score = train_on_all(config, data, epochs=self._epochs, k=0)
            self._measured[key] = score.accuracy if math.isfinite(score.loss) else None
        return self._measured[key]


def _check_students(config: "TrialConfig", data: "ImageData") -> None:
    """Find out that a network does not take the images before anything is trained.

    Raises:
        DataError: A network or the number of images a class does not fit.
    """
    import torch

    from harness.trial import check_fits

    smallest = int(torch.bincount(data.train.labels, minlength=data.num_classes).min())
    if config.ipc > smallest:
        raise DataError(
            f"ipc: the set has {config.ipc} images a class, but the smallest class of "
            f"'{data.name}' has {smallest} training images to pick random ones from; check "
            "dataset.name"
        )
    check_fits(config, data)


def _tabulate(score: "FairScore") -> dict[tuple[str, str], dict[str, Any]]:
    """(split, student) -> mean accuracy, interval, n and diverged networks, beside random's."""
    table: dict[tuple[str, str], dict[str, Any]] = {}
    for prefix, scores in (("", score.distilled), ("random_", score.random)):
        groups: dict[tuple[str, str], list[StudentScore]] = {}
        for item in scores:
            groups.setdefault((item.split, item.student.label), []).append(item)
        for key, own in groups.items():
            table.setdefault(key, {}).update(_summarise(prefix, own))
    return table


def _summarise(prefix: str, scores: "list[StudentScore]") -> dict[str, Any]:
    from analysis.statistics import mean_interval

    finite = [item.score.accuracy for item in scores if math.isfinite(item.score.loss)]
    found = mean_interval(finite)
    return {
        f"{prefix}accuracy": _finite(found.mean),
        f"{prefix}low": _finite(found.low),
        f"{prefix}high": _finite(found.high),
        f"{prefix}n": found.n,
        f"{prefix}diverged": len(scores) - len(finite),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _print_table(split: str, rows: dict[str, dict[str, Any]]) -> None:
    say(f"{split:<16} {'distilled':>20}  {'random real':>20}  {'gain':>7}")
    for name, row in rows.items():
        ours, random = row["accuracy"], row.get("random_accuracy")
        gain = "" if ours is None or random is None else f"{ours - random:+.4f}"
        say(f"{name:<16} {_cell(row, ''):>20}  {_cell(row, 'random_'):>20}  {gain:>7}")


def _cell(row: dict[str, Any], prefix: str) -> str:
    if f"{prefix}accuracy" not in row:
        return "-"
    mean, high, n = row[f"{prefix}accuracy"], row[f"{prefix}high"], row[f"{prefix}n"]
    if mean is None:
        return f"diverged (n={row[f'{prefix}diverged']})"
    half = "" if high is None else f" ±{high - mean:.4f}"
    return f"{mean:.4f}{half} (n={n})"


def _rank(
    score: "FairScore", config: "TrialConfig", data: "ImageData", real: _RealAccuracy
) -> dict[str, Any] | None:
    from harness.evaluate import ranking

    found = score.comparison
    if found is None:
        return None
    accuracy = real.get(config, data)
    recovery = None if accuracy is None else ranking.hard_label_recovery(found, accuracy)
    return {
        **found._asdict(),
        "n": config.evaluation.student_seeds,
        "real": accuracy,
        "ior": ranking.improvement_over_random(found),
        "hlr": recovery,
        "lrs": None if accuracy is None else ranking.label_robust_score(found, accuracy),
        "ars": ranking.augmentation_robust_score(found),
    }


def _print_ranking(found: dict[str, Any]) -> None:
    say(f"main model, n={found['n']}: improvement over random {found['ior']:+.4f}")
    if found["lrs"] is None:
        say("LRS      unknown: give --real-accuracy X, or --real-epochs 200 to measure it")
    else:
        say(f"LRS      {found['lrs']:.4f}  (hard-label recovery {found['hlr']:+.4f})")
    say(
        f"ARS      {found['ars']:.4f}  (with augmentation {found['augmented']:.4f} against "
        f"{found['augmented_random']:.4f}, without {found['plain']:.4f} against "
        f"{found['plain_random']:.4f})"
    )


def _digest(path: Path) -> str | None:
    """SHA-256 of a set's file; None for a folder."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _write(out: Path, results: list[dict[str, Any]]) -> None:
    from harness.records import write_json, write_rows
    from harness.schema import EVALUATIONS_FILE

    out.mkdir(parents=True, exist_ok=True)
    write_rows(out / EVALUATIONS_FILE, [row for result in results for row in result.pop("rows")])
    write_json(out / EVALUATION_FILE, {"sets": results})
