"""A search that several tests look at, loaded once."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.load import SearchResults, load_search


@pytest.fixture(scope="session")
def kd(kd_folder: Path) -> SearchResults:
    return load_search(kd_folder)


@pytest.fixture(scope="session")
def texts() -> Callable[[str], list[str]]:
    """The texts of an SVG, as they are read."""

    def read(svg: str) -> list[str]:
        root = ElementTree.fromstring(svg)
        return ["".join(node.itertext()) for node in root.iter() if node.tag.endswith("text")]

    return read
