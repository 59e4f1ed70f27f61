"""Dotted names of settings: ``pool.main_probability``."""

from collections.abc import Iterator, Sequence

from pydantic import BaseModel

from harness.errors import suggest
from harness.plugins import PLUGIN


def names_of(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield the dotted name of every setting, but for what only methods of other packages have."""
    for name, field in model.model_fields.items():
        if name in (PLUGIN, "method_code"):
            continue
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from names_of(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name


def nearest(name: str, known: Sequence[str]) -> str:
    """Suggest the nearest setting: by last word, else among its own section's (``pool.*``)."""
    section, _, leaf = name.rpartition(".")
    same_leaf = [other for other in known if other.rsplit(".", 1)[-1] == leaf]
    if same_leaf:
        return f"did you mean '{same_leaf[0]}'?"
    prefix = f"{section}." if section else ""
    rests = [other.removeprefix(prefix) for other in known if other.startswith(prefix)]
    siblings = {prefix + (f"{rest.split('.')[0]}.*" if "." in rest else rest) for rest in rests}
    return suggest(name, siblings or known)
