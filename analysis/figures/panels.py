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
    """The other settings in words, each text once; empty where there are none."""
    places: list[Place]
    """In the order of the axes, each with its own labels; at least one."""


class _Panel(NamedTuple):
    """A panel that is being filled."""

    others: dict[str, Any]
    """The settings that are no axes, where they apply."""
    places: dict[tuple[str, ...], Configuration]


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
    free = {name for name in deciding.values() if name is not None}
    panels = _empty_panels(found, axes)
    by_setting: dict[tuple[str, Any], list[_Panel]] = {}
    for panel in panels.values():
        for item in panel.others.items():
            by_setting.setdefault(item, []).append(panel)
    for one in found:
        labels = tuple(_label(one, axis, deciding[axis]) for axis in axes)
        others = _others(one, axes)
        lacking = any(is_missing(one.settings[axis]) for axis in axes)
        if not lacking and len(others) + len(axes) == len(one.settings):
            candidates = [panels[_key(others)]]
        else:
            wanted = {k: v for k, v in others.items() if not (lacking and k in free)}
            # Of the setting that fewest agree in.
            fewest = [by_setting.get(item, []) for item in wanted.items()]
            candidates = [
                panel
                for panel in min(fewest or [list(panels.values())], key=len)
                if wanted.items() <= panel.others.items()
            ]
        # Taken by a value that reads the same, or by another that does not apply.
        fitting = [panel for panel in candidates if labels not in panel.places]
        if not fitting:
            fitting = [panels.setdefault((len(panels),), _Panel(others, {}))]
            for item in others.items():
                by_setting.setdefault(item, []).append(fitting[0])
        for panel in fitting:
            panel.places[labels] = one
    # In every panel there are others for which it does not say what the text would say.
    silent = {n for n in free if len({str(p.others.get(n)) for p in panels.values()}) == 1}
    made: dict[str, Panel] = {}
    for panel in panels.values():
        text = _text({name: value for name, value in panel.others.items() if name not in silent})
        if text in made:  # numbers that read the same
            text = f"{text} ({len(made) + 1})".strip()
        ordered = sorted(panel.places.items(), key=lambda item: _order(item[1], axes))
        made[text] = Panel(text, [Place(one, labels) for labels, one in ordered])
    return list(made.values())


def place_labels(found: Sequence[Configuration], setting: str) -> list[str]:
    """Return where each configuration stands on the axis of one setting."""
    deciding = _deciding(found, setting, [setting])
    return [_label(one, setting, deciding) for one in found]


def axis_labels(panels: Sequence[Panel], axes: Sequence[str], axis: int) -> list[str]:
    """Return the places on an axis: where it does not apply, then its values, smallest first."""
    places = [place for panel in panels for place in panel.places]
    places.sort(key=lambda place: _order(place.configuration, axes[axis : axis + 1]))
    return list(dict.fromkeys(place.labels[axis] for place in places))


def _deciding(found: Sequence[Configuration], axis: str, axes: Sequence[str]) -> str | None:
    """The setting that says whether an axis applies: no value of it does so here and not there.

    By chance that is so for numbers that were drawn, of which no two are equal; so it is the one of
    fewest values.
    """
    names = [name for name in (found[0].settings if found else ()) if name not in axes]
    decided: dict[str, int] = {}
    for name in names:
        values: tuple[set[str], set[str]] = (set(), set())
        for one in found:
            values[is_missing(one.settings[axis])].add(setting_text(one.settings[name]))
        if values[0] and values[1] and not values[0] & values[1]:
            decided[name] = len(values[0] | values[1])
    return min(decided, key=decided.__getitem__) if decided else None


def _label(one: Configuration, axis: str, deciding: str | None) -> str:
    if not is_missing(one.settings[axis]):
        return setting_text(one.settings[axis])
    return NOWHERE if deciding is None else _decision(deciding, one.settings[deciding])


def _decision(name: str, value: Any) -> str:
    """A deciding setting in a word; a number alone would look like one on the axis."""
    text = setting_text(value)
    return f"{name.rpartition('.')[2]} = {text}" if is_number(value) or text == NOWHERE else text


def _text(settings: dict[str, Any]) -> str:
    return configuration_text(list(settings), settings.values()) if settings else ""


def _others(one: Configuration, axes: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in applying(one.settings).items() if name not in axes}


def _key(settings: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(settings.items())


def _empty_panels(
    found: Sequence[Configuration], axes: Sequence[str]
) -> dict[tuple[Any, ...], _Panel]:
    """A panel for each combination of other settings that has all axes, and that none extends."""
    panels: dict[tuple[Any, ...], _Panel] = {}
    for one in found:
        if not any(is_missing(one.settings[axis]) for axis in axes):
            others = _others(one, axes)
            panels.setdefault(_key(others), _Panel(others, {}))
    most = max((len(panel.others) for panel in panels.values()), default=0)
    return {
        key: panel
        for key, panel in panels.items()
        if len(panel.others) == most
        or not any(panel.others.items() < other.others.items() for other in panels.values())
    }


def _order(one: Configuration, axes: Sequence[str]) -> list[Any]:
    """Missing first, then numbers, then texts."""
    values = [one.settings[axis] for axis in axes]
    return [(not is_missing(value), value_order(value)) for value in values]
