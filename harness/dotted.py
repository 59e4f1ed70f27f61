"""Settings of a trial by their dotted names, as users write them: ``pool.main_probability``."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from harness.config import TrialConfig
from harness.errors import ConfigError
from harness.plugins import PLUGIN
from harness.settings.names import names_of, nearest


@cache
def setting_names() -> tuple[str, ...]:
    """Every setting, but for what only methods of other packages have."""
    return tuple(names_of(TrialConfig))


def is_setting(name: str) -> bool:
    """Whether a dotted name may be set; below ``plugin.`` a method's class decides."""
    return name in setting_names() or name.startswith(f"{PLUGIN}.")


def set_dotted(data: dict[str, Any], name: str, value: object) -> None:
    """Set a nested key of plain settings by its dotted name, in place.

    Raises:
        ConfigError: The name is not a setting.
    """
    if not is_setting(name):
        raise ConfigError(f"unknown setting '{name}'; {nearest(name, setting_names())}")
    *parents, leaf = name.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise ConfigError(f"{name}: '{parent}' holds {data!r}, expected a table of settings")
    data[leaf] = value


def get_dotted(config: TrialConfig, name: str) -> Any:
    """Return a setting of a config by its dotted name, as plain data.

    None where it is one of ``plugin``'s that the method does not have.
    """
    return dig(config.model_dump(mode="json"), name)


def dig(data: Mapping[str, Any], name: str) -> Any:
    """Return a setting of a dumped config by its dotted name; see ``get_dotted``."""
    value: Any = data
    for part in name.split("."):
        value = value.get(part) if name.startswith(f"{PLUGIN}.") else value[part]
        if value is None:
            return None
    return value
