"""The page: what is on it, and writing it as one file.

It holds its styles, its script, figures and pictures, and its policy forbids to ask for anything
from elsewhere, or to run any other script: a text that slipped past the escaping would stay text.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from analysis.files import write_whole
from analysis.load import SearchResults
from analysis.report.section import Block, Section, make_section, show_table
from analysis.searches import compare, search_labels
from harness.errors import ResultError

_HERE = Path(__file__).parent


def write_report(
    searches: Sequence[SearchResults], path: Path | str, *, include_stopped: bool = False
) -> None:
    """Write one HTML file about some searches, whole or not at all.

    The answer first, then figures, tables, distilled images, what did not finish, protocol and
    provenance; of several searches, first the best of each, and what differs between them. The
    same searches are the same file, at any time.

    Args:
        searches: As ``analysis.load.load`` returns them, at least one.
        path: File to write; its folder must exist.
        include_stopped: Whether to list what was stopped early.

    Raises:
        ResultError: The file cannot be written.
    """
    path = Path(path)
    if path.is_dir() or not path.parent.is_dir():  # before the work, which would be lost
        wrong = "it is a folder" if path.is_dir() else f"no folder {path.parent}"
        raise ResultError(f"{path}: cannot be written ({wrong}); choose another file")
    labels = search_labels(searches)
    sections = [
        make_section(results, label, share=1 / len(searches), include_stopped=include_stopped)
        for results, label in zip(searches, labels, strict=True)
    ]
    page = _render(sections, [show_table(table) for table in compare(searches)])
    write_whole(path, page)


def _breakable(name: str) -> Markup:
    """Let a dotted name break after its dots and underscores."""
    return Markup(re.sub(r"([._])", r"\1<wbr>", str(escape(name))))


def _render(sections: Sequence[Section], compared: Sequence[Block]) -> str:
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    script = (_HERE / "sort.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html.j2").render(
        sections=sections,
        compared=compared,
        style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=digest,
    )
