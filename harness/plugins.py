"""Methods of other packages, named as ``package.module:Class``.

A config that names one imports its module: what a class says of itself (``Plugin``) is part of what
is checked, and its code is part of what a set is known by. So only names that the user gives are
ever passed here, none that stands in a file of others.
"""

import hashlib
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType
from typing import Any, TypeGuard

from pydantic import BaseModel, ValidationError

from harness.errors import suggest

PLUGIN = "plugin"
"""The table of settings of such a method."""

OF_PLUGINS = ("method", "method_code", PLUGIN)
"""Settings that say which code runs."""

_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_MEMBERS = ("load_state_dict", "pool_path", "state_dict", "step", "synthetic")
"""What a class that keeps ``harness.distill.Distiller`` has before it is constructed."""


@dataclass(frozen=True)
class Plugin:
    """A class and, in these attributes where it has them, what it says of itself."""

    name: str
    """``package.module:Class``."""
    distiller: type
    """The class."""
    settings: type[BaseModel] | None
    """``Settings``: a frozen pydantic model of the table ``plugin``; without one it has none."""
    tables: frozenset[str]
    """``tables``: tables of built-in methods that it has too (``harness.settings.methods``)."""
    defaults: Mapping[str, Any]
    """``defaults``: shared settings that it fills in where nothing is said, nested."""
    scheduled: bool
    """``scheduled``: whether an iteration depends on how many there are to be."""
    code: str
    """Hash of the sources of its whole top-level package: 64 hex digits."""

    def check(self, table: object) -> dict[str, Any]:
        """Check the table of settings.

        Args:
            table: As given.

        Returns:
            It as plain data, with defaults filled in.

        Raises:
            ValueError: It is not what ``Settings`` says.
        """
        if not isinstance(table, Mapping):
            raise ValueError(f"{PLUGIN}: got {table!r}, expected a table of settings")
        if self.settings is None:
            if table:
                raise ValueError(f"{PLUGIN}.{next(iter(table))}: '{self.name}' has no settings")
            return {}
        try:
            return self.read(table).model_dump(mode="json")
        except ValidationError as error:
            raise ValueError(_describe(error, self.settings)) from None
        except TypeError as error:
            raise ValueError(f"{PLUGIN}: {error}; expected plain values") from None

    def read(self, table: Mapping[str, Any]) -> BaseModel:
        """The table as an object of ``Settings``; as JSON, in which lists may be tuples."""
        assert self.settings is not None, f"{self.name} has no class attribute Settings"
        return self.settings.model_validate_json(json.dumps(dict(table)))

    def provenance(self) -> dict[str, str]:
        """What is recorded of it: its name, its hash, and its package's version where installed."""
        package = self.name.partition(":")[0].partition(".")[0]
        found = {"method": self.name, "code": self.code}
        for name in metadata.packages_distributions().get(package, ())[:1]:
            found |= {"distribution": name, "version": metadata.version(name)}
        return found


def is_plugin(method: object) -> TypeGuard[str]:
    """Whether a method's name is that of a class in some package."""
    return isinstance(method, str) and ":" in method


@cache
def load_plugin(name: str) -> Plugin:
    """Import the class that a method's name says.

    Args:
        name: ``package.module:Class``.

    Raises:
        ValueError: With one line: it cannot be imported, or is no Distiller.
    """
    where = f"method: '{name}'"
    if not _NAME.fullmatch(name):
        raise ValueError(f"method: got '{name}', expected package.module:Class")
    path, _, attribute = name.partition(":")
    try:
        module = import_module(path)
    except Exception as error:  # noqa: BLE001 - whatever somebody's module does when imported
        reason = next(iter(str(error).splitlines()), "")
        raise ValueError(
            f"{where}: '{path}' cannot be imported ({type(error).__name__}: {reason}); install its "
            "package, or put its folder on PYTHONPATH"
        ) from None
    if not hasattr(module, attribute):
        classes = [key for key, item in vars(module).items() if isinstance(item, type)]
        raise ValueError(f"{where}: no '{attribute}' in '{path}'; {suggest(attribute, classes)}")
    found = getattr(module, attribute)
    missing = [member for member in _MEMBERS if not hasattr(found, member)]
    if not isinstance(found, type) or missing:
        lacks = f"it has no {', '.join(missing)}" if missing else "it is no class"
        raise ValueError(f"{where} is no Distiller, {lacks}; see harness.distill.Distiller")
    settings = getattr(found, "Settings", None)
    if settings is not None and not (
        isinstance(settings, type) and issubclass(settings, BaseModel)
    ):
        raise ValueError(f"{where}: its Settings is no pydantic model; derive it from BaseModel")
    return Plugin(
        name,
        found,
        settings,
        frozenset(getattr(found, "tables", ())),
        dict(getattr(found, "defaults", {})),
        bool(getattr(found, "scheduled", False)),
        _hash_code(module, where),
    )


def _hash_code(module: ModuleType, where: str) -> str:
    """Hash of all Python files of a module's top-level package, names and contents."""
    top = sys.modules[module.__name__.partition(".")[0]]
    digest = hashlib.sha256()
    for folder in getattr(top, "__path__", ()):
        for path in sorted(Path(folder).rglob("*.py")):
            _add(digest, path.relative_to(folder).as_posix(), path)
    if not hasattr(top, "__path__"):
        if not getattr(top, "__file__", None):
            raise ValueError(f"{where}: it has no source file to know it by; put it into one")
        path = Path(str(top.__file__))
        _add(digest, path.name, path)
    return digest.hexdigest()


def _add(digest: Any, name: str, path: Path) -> None:
    content = path.read_bytes()
    digest.update(f"{name}\0{len(content)}\0".encode())
    digest.update(content)


def _describe(error: ValidationError, settings: type[BaseModel]) -> str:
    """Turn pydantic's report into one line: where, got, expected."""
    first = error.errors(include_url=False)[0]
    where = ".".join([PLUGIN, *map(str, first["loc"])])
    if first["type"] == "value_error":
        return f"{where}: {first['ctx']['error']}"
    if first["type"] == "extra_forbidden":
        known = [f"{PLUGIN}.{name}" for name in settings.model_fields]
        return f"unknown setting '{where}'; {suggest(where, known)}"
    return f"{where}: got {first['input']!r}, {first['msg'][:1].lower()}{first['msg'][1:]}"
