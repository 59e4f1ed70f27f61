"""Which configurations stand beside each other in one panel, and where.

A panel varies one or two settings, its axes; configurations that differ in others are never
averaged. A setting that does not apply is a place of its own on its axis, named after what decides
that it does not: at ``kd.variant = off`` the place on the axis of the temperature is ``off``.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from analysis.aggregate import (
    Configuration,
    applying,
    configuration_text,
    is_missing,
    setting_text,
    value_order,
)
from analysis.answers import is_number

NOWHERE = "-"
"""Place of a setting that does not apply, where no other setting decides that."""


class Place(NamedTuple):
    """A configuration in a panel."""

    configuration: Configuration
    labels: tuple[str, ...]
    """Where it stands on each axis."""


class Panel(NamedTuple):
    """Configurations that differ in the axes alone, or to which other settings do not apply."""

    text: str
    """The other settings in words; empty where there are none."""
    places: list[Place]
    """In the order of the axes, each with its own labels; at least one."""


def arrange(found: Sequence[Configuration], axes: Sequence[str]) -> list[Panel]:
    """Arrange configurations in panels.

    A configuration to which one of the other settings does not apply belongs to all of their
    values (at a main-model probability of 1 the distribution of the others plays no part), and so
    does one to which an axis does not apply, whatever the setting says that decides it.

    Args:
        found: As ``list_configurations`` returns them; each is in one panel or more.
        axes: Dotted names of varied settings.
    """
    deciding = {axis: _deciding(found, axis, axes) for axis in axes}
    free = {name for names in deciding.values() for name in names}
    whole = [one for one in found if not any(is_missing(one.settings[axis]) for axis in axes)]
    keys = [_others(one, axes) for one in whole]
    keys = [key for key in keys if not any(key.items() < other.items() for other in keys)]
    panels: list[tuple[dict[str, Any], dict[tuple[str, ...], Configuration]]] = []
    for key in keys:
        if key not in (known for known, _ in panels):
            panels.append((key, {}))
    for one in found:
        labels = tuple(_label(one, axis, deciding[axis]) for axis in axes)
        ignored = free if any(is_missing(one.settings[axis]) for axis in axes) else set()
        fitting = [
            places
            for key, places in panels
            if labels not in places and _fits(one, key, axes, ignored)
        ]
        if not fitting:
            fitting = [{}]
            panels.append((_others(one, axes), fitting[0]))
        for places in fitting:
            places[labels] = one
    # In every panel there are others for which it does not say what the text would say.
    silent = {name for name in free if len({str(key.get(name)) for key, _ in panels}) == 1}
    return [
        Panel(
            _text({name: value for name, value in key.items() if name not in silent}),
            [
                Place(one, labels)
                for labels, one in sorted(places.items(), key=lambda item: _order(item[1], axes))
            ],
        )
        for key, places in panels
    ]


def place_labels(found: Sequence[Configuration], setting: str) -> list[str]:
    """Return where each configuration stands on the axis of one setting."""
    deciding = _deciding(found, setting, [setting])
    return [_label(one, setting, deciding) for one in found]


def axis_labels(panels: Sequence[Panel], axes: Sequence[str], axis: int) -> list[str]:
    """Return the places on an axis: where it does not apply, then its values, smallest first."""
    places = [place for panel in panels for place in panel.places]
    places.sort(key=lambda place: _order(place.configuration, axes[axis : axis + 1]))
    return list(dict.fromkeys(place.labels[axis] for place in places))


def _deciding(found: Sequence[Configuration], axis: str, axes: Sequence[str]) -> list[str]:
    """The settings that say whether an axis applies: those that agree nowhere if it does or not."""
    names = [name for name in (found[0].settings if found else ()) if name not in axes]
    decided = []
    for name in names:
        values: tuple[set[str], set[str]] = (set(), set())
        for one in found:
            values[is_missing(one.settings[axis])].add(setting_text(one.settings[name]))
        if values[0] and values[1] and not values[0] & values[1]:
            decided.append(name)
    return decided


def _label(one: Configuration, axis: str, deciding: Sequence[str]) -> str:
    if not is_missing(one.settings[axis]):
        return setting_text(one.settings[axis])
    return ", ".join(_decision(name, one.settings[name]) for name in deciding) or NOWHERE


def _decision(name: str, value: Any) -> str:
    """A deciding setting in a word; a number alone would look like one on the axis."""
    text = setting_text(value)
    return f"{name.rpartition('.')[2]} = {text}" if is_number(value) or text == NOWHERE else text


def _text(settings: dict[str, Any]) -> str:
    return configuration_text(list(settings), settings.values()) if settings else ""


def _others(one: Configuration, axes: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in applying(one.settings).items() if name not in axes}


def _fits(
    one: Configuration, key: Mapping[str, Any], axes: Sequence[str], ignored: set[str]
) -> bool:
    others = _others(one, axes)
    return all(key.get(name) == others[name] for name in others if name not in ignored)


def _order(one: Configuration, axes: Sequence[str]) -> list[Any]:
    """Missing first, then numbers, then texts."""
    values = [one.settings[axis] for axis in axes]
    return [(not is_missing(value), value_order(value)) for value in values]
