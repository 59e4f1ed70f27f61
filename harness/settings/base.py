"""What all tables of settings share."""

from pydantic import BaseModel, ConfigDict

from harness.architecture import Architecture
from harness.errors import ConfigError


class Settings(BaseModel):
    """Base of all settings: read-only, no unknown keys, no silent conversions."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


def as_tuple(value: object) -> object:
    """Take a list, as TOML has it, for a tuple."""
    return tuple(value) if isinstance(value, list) else value


def check_label(label: str, where: str) -> None:
    """Raise a ValueError where a label names no architecture."""
    try:
        Architecture.parse(label)
    except ConfigError as error:
        raise ValueError(f"{where}: {error}") from None
