"""What is wrong with settings, in one line."""

from typing import Any

from pydantic import BaseModel, ValidationError

from harness.errors import suggest
from harness.settings.names import names_of, nearest


def describe(error: ValidationError, model: type[BaseModel]) -> str:
    """Turn pydantic's report about a model's settings into one line: where, got, expected."""
    # A union reports each of its branches; the deepest one is the branch that nearly fitted.
    first = max(error.errors(include_url=False), key=_depth)
    where = ".".join(
        str(part)
        for part in first["loc"]
        if part != "str" and not str(part).startswith(("function-", "tuple["))
    )
    if first["type"] == "value_error":
        message = str(first["ctx"]["error"])
        return message if not where or message.startswith(where) else f"{where}: {message}"
    if first["type"] == "extra_forbidden":
        if ".".join(map(str, first["loc"])) != where:
            return f"{where}: unknown key; remove it"
        return f"unknown setting '{where}'; {nearest(where, list(names_of(model)))}"
    if first["type"] == "missing":
        return f"{where}: missing, expected a value"
    expected = first["msg"].removeprefix("Input should be ").removeprefix("a valid ")
    if first["type"] == "literal_error" and isinstance(first["input"], str):
        names = [name.strip("'") for name in expected.replace(" or ", ", ").split(", ")]
        return f"{where}: got '{first['input']}'; {suggest(first['input'], names)}"
    expected = {"tuple_type": "a list", "model_type": "a table of settings"}.get(
        first["type"], expected
    )
    prefix = f"{where}: " if where else ""
    return f"{prefix}got {first['input']!r}, expected {expected}"


def _depth(item: Any) -> tuple[int, bool]:
    """Order pydantic's findings: deepest first, an unknown key before what it leaves missing."""
    return len(item["loc"]), item["type"] == "extra_forbidden"
