"""What several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from harness.config import TrialConfig
    from harness.formats import Foreign

SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated."),
]
EntryOption = Annotated[
    int | None,
    typer.Option("--entry", min=0, metavar="N", help="One set of a file that holds several."),
]
PixelsOption = Annotated[
    str | None,
    typer.Option(
        "--pixels",
        metavar="SPACE",
        help="Pixel space of a set that does not record it: normalised, unit or zca.",
    ),
]
LabelsOption = Annotated[
    str | None,
    typer.Option(
        "--labels",
        metavar="KIND",
        help="How to take soft labels: hard, probabilities or logits [as stored].",
    ),
]
FactorOption = Annotated[
    int | None,
    typer.Option("--factor", min=1, metavar="F", help="Parts a side of IDC's mosaics."),
]
SkipBadOption = Annotated[
    bool,
    typer.Option("--skip-bad", help="Leave unreadable real images out, and say how many."),
]


def say(text: str) -> None:
    """Print a line of result."""
    typer.echo(text)


def config_of(
    foreign: "Foreign", assignments: dict[str, Any], *, pixels: str | None
) -> "TrialConfig":
    """Settings to evaluate a set by: what it records, then what the user says.

    A set that records nothing needs ``dataset.name``; it is evaluated under protocol ``paper``,
    since it was most likely distilled from all training images.

    Raises:
        ConfigError: The dataset is not known, or a setting is wrong.
    """
    from harness.config import make_config
    from harness.dotted import set_dotted
    from harness.errors import ConfigError
    from harness.formats.fit import pixel_space
    from harness.plugins import OF_PLUGINS, is_plugin

    recorded = foreign.provenance.get("distillation")
    data: dict[str, Any] = dict(recorded) if isinstance(recorded, dict) else {}
    if is_plugin(data.get("method")):  # a name in a file imports nothing
        data = {name: item for name, item in data.items() if name not in OF_PLUGINS}
    if not data:
        if "dataset.name" not in assignments:
            raise ConfigError(
                f"{foreign.where}: does not record what it was distilled from; give, for example, "
                "--set dataset.name=cifar10"
            )
        data = {"protocol": "paper", "pool": {"main_probability": 1.0}}
        data["dataset"] = {"name": assignments["dataset.name"]}
    data["dataset"] = dict(data["dataset"])
    space = pixel_space(foreign, pixels)
    if recorded is None and space == "zca":
        data["dataset"]["pixels"] = "zca"
    if foreign.lr is not None:
        data["evaluation"] = {"lr": foreign.lr}
    for name, value in assignments.items():
        set_dotted(data, name, value)
    return make_config(data, foreign.where)


def with_ipc(config: "TrialConfig", ipc: int) -> "TrialConfig":
    """Return the settings with the ipc that a set turned out to have."""
    return config.model_copy(update={"ipc": ipc})


def read_assignments(set_: list[str] | None, *, skip_bad: bool = False) -> dict[str, Any]:
    """Read ``--set`` options, and what other options stand for."""
    from harness.overrides import parse_assignments

    found = parse_assignments(set_ or [])
    if skip_bad:
        found["dataset.skip_bad"] = True
    return found


def name_of(path: Path, foreign: "Foreign") -> str:
    """A set's name in rows: the file's without its suffix (of a trial, the folder's), and entry."""
    name = path.absolute().parent.name if path.stem == "distilled" else path.stem
    return name if foreign.entry is None else f"{name}#{foreign.entry}"
