"""``harness datasets``: list, fetch and verify real images."""

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.common import SetOption, SkipBadOption, read_assignments, say

app = typer.Typer(help="List, fetch or verify datasets.", invoke_without_command=True)

Name = Annotated[str, typer.Argument(help="Name of the dataset.")]
Root = Annotated[
    Path | None,
    typer.Option("--root", metavar="DIR", help="Folder of the data [$HARNESS_DATA, else ./data]."),
]


@app.callback()
def datasets(context: typer.Context) -> None:
    """List the datasets, where each is looked for, and whether it is there."""
    if context.invoked_subcommand is not None:
        return
    from harness.datasets import dataset_status

    for row in dataset_status():
        there = "there" if row.there else "missing"
        say(f"{row.name:<14} {there:<8} {row.path}  {row.note}".rstrip())


@app.command("fetch")
def fetch_dataset(
    name: Name,
    root: Root = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="URL|FILE", help="In place of torchvision's mirrors."),
    ] = None,
) -> None:
    """Download a dataset where there is a network, and check it; jobs never download."""
    from harness.config import make_config
    from harness.datasets import data_root
    from harness.datasets.fetch import fetch

    given = {"name": name, "root": None if root is None else str(root)}
    settings = make_config({"dataset": given}).dataset
    folder = data_root(settings)
    fetched = fetch(name, folder, source=from_, say=say)
    say(f"{name}: {'fetched into' if fetched else 'is there already, in'} {folder}")


@app.command("verify")
def verify_dataset(
    name: Name, root: Root = None, set_: SetOption = None, skip_bad: SkipBadOption = False
) -> None:
    """Compare a dataset's files with their checksums, or decode every image of a folder."""
    from harness.config import make_config
    from harness.datasets.verify import verify
    from harness.dotted import set_dotted

    data = {"dataset": {"name": name, "root": None if root is None else str(root)}}
    for key, value in read_assignments(set_, skip_bad=skip_bad).items():
        set_dotted(data, key, value)
    say(verify(make_config(data).dataset))
