"""Settings as a user writes them: TOML files and ``--set key=value``."""

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness.dotted import set_dotted
from harness.errors import ConfigError


def parse_assignments(texts: Iterable[str]) -> dict[str, Any]:
    """Read ``key=value`` texts.

    Args:
        texts: The value is TOML (``0.9``, ``true``, ``["mlp", "lenet"]``); a bare word is text.

    Returns:
        Dotted setting -> value, later ones winning.

    Raises:
        ConfigError: A text has no ``=``, or its value starts like TOML but is not.
    """
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set: got '{text}', expected key=value, for example --set ipc=10")
        found[key.strip()] = _parse_value(value.strip(), text)
    return found


def read_toml(path: Path, option: str) -> dict[str, Any]:
    """Read a TOML file that an option names.

    Raises:
        ConfigError: The file is not there, or not TOML.
    """
    where = f"{option}: {path}"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{where}: {error.strerror}; give an existing file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where}: not text ({error.reason}); expected TOML") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: broken TOML: {error}") from None


def read_settings(path: Path) -> dict[str, Any]:
    """Read a TOML file of settings: nested tables or quoted dotted names.

    Raises:
        ConfigError: The file is not there, not TOML, or names an unknown setting.
    """
    data = read_toml(path, "--config")
    settings: dict[str, Any] = {}
    for key, value in data.items():
        if "." in key:
            try:
                set_dotted(settings, key, value)
            except ConfigError as error:
                raise ConfigError(f"--config: {path}: {error}") from None
        elif isinstance(value, dict):
            settings[key] = {**settings.get(key, {}), **value}
        else:
            settings[key] = value
    return settings


def _parse_value(value: str, text: str) -> Any:
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError as error:
        if value[:1] in tuple("[{\"'"):
            raise ConfigError(f"--set: '{text}': broken TOML value: {error}") from None
        return value
