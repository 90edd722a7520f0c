"""Taking apart what JSON gave: maps of known keys, and an error for what has another shape.

Every value of every row goes through here, so that the usual case is the shortest way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from hephaestus_pg.errors import SerializationError


def reader(name: str, *known: str) -> Callable[[Any], tuple[Sequence[Any], Mapping[str, Any]]]:
    """A function of a map: the values of the ``known`` keys, ``None`` for a lack, and the rest."""
    values_of = itemgetter(*known)
    number = len(known)

    def read(map: Any) -> tuple[Sequence[Any], Mapping[str, Any]]:
        if type(map) is not dict and not isinstance(map, Mapping):
            raise _misshapen(name, map, "map")
        try:
            values = values_of(map)
        except KeyError:
            values = [map.get(key) for key in known]
        else:
            if len(map) == number:
                return values, {}
        return values, {key: map[key] for key in map if key not in known}

    return read


def as_map(value: Any, key: str) -> Mapping[str, Any]:
    """The map at ``key``; a lack is an empty one."""
    if type(value) is dict:  # what JSON gives: several times faster than the general question
        return value
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _misshapen(key, value, "map")
    return value


def as_list(value: Any, key: str) -> list[Any]:
    """The list at ``key``; a lack is an empty one."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise _misshapen(key, value, "list")
    return value


def as_text(value: Any) -> str:
    """The value, which has to be a text."""
    if not isinstance(value, str):
        raise ValueError(f"a {type(value).__name__} stands where a text should")
    return value


def _misshapen(key: str, value: Any, expected: str) -> ValueError:
    return ValueError(f"{key} is a {type(value).__name__}, not a {expected}")


def add(state: dict[str, Any], unknown: Any, path: str) -> None:
    """Put keys beside those of ``state``, none of which they may replace."""
    if not isinstance(unknown, Mapping):
        raise SerializationError(path, "it is not a mapping")
    if taken := sorted(state.keys() & unknown.keys()):
        raise SerializationError(path, f"{', '.join(taken)} has a field of its own; set that")
    state.update(unknown)


of_state = reader(
    "state",
    "current_step",
    "context",
    "step_configs",
    "active_steps",
    "completed_steps",
    "execution_history",
    "runtime_metadata",
)
of_context = reader("context", "initial", "steps")
of_entry = reader("it", "step_ref", "event", "timestamp", "context_updates")
