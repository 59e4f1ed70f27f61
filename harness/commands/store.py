"""``harness store``: look into a store, check it, and remove what nobody needs."""

from pathlib import Path
from typing import Annotated

import typer

store_app = typer.Typer(help="List, verify or prune a store of states and teachers.")

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A store, or a search's folder.")]
_INCOMPLETE = 1


@store_app.command("ls")
def list_store(folder: Folder) -> None:
    """List distillations and teachers: what each is of, its parts, size and cost."""
    from harness.store_files import StoreFiles

    files = StoreFiles(folder)
    total = 0
    for work in files.works():
        size = sum(item.bytes for item in work.entries)
        total += size
        held = f"  being made by {work.held_by}" if work.held_by else ""
        typer.echo(
            f"{work.kind:<13} {work.digest[:8]}  {work.describe()}  {len(work.entries)} entries "
            f"({work.parts()})  {size / 2**20:.1f} MiB  {work.cost_s():.1f} s{held}"
        )
    typer.echo(f"{total / 2**20:.1f} MiB")


@store_app.command("verify")
def verify_store(folder: Folder) -> None:
    """Check every entry's checksum; a corrupt one is set aside, and made again when needed."""
    from harness.store_files import StoreFiles

    files = StoreFiles(folder)
    number, corrupt = files.verify()
    for path, reason in corrupt:
        typer.echo(f"corrupt, set aside: {path} ({reason})")
    typer.echo(f"{number} entries, {len(corrupt)} corrupt")
    raise typer.Exit(_INCOMPLETE if corrupt else 0)


@store_app.command("prune")
def prune_store(folder: Folder) -> None:
    """Remove what is never read again: superseded checkpoints, corrupt entries, left-overs."""
    from harness.store_files import StoreFiles

    number, size = StoreFiles(folder).prune()
    typer.echo(f"removed {number}, {size / 2**20:.1f} MiB")
