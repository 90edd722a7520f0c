"""Takes parsed JSON apart: known keys from unknown ones, with an error for another shape.

Every value of every row goes through here, so the usual case comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from hephaestus_pg.errors import SerializationError


def unpacker(name: str, *known: str) -> Callable[[Any], tuple[Sequence[Any], Mapping[str, Any]]]:
    """Makes a function that takes a map apart: the values of the ``known`` keys, and the rest.

    A key that the map lacks has the value ``None``; ``name`` stands for the map in an error.
    """
    values_of = itemgetter(*known)
    number = len(known)

    def unpack(map: Any) -> tuple[Sequence[Any], Mapping[str, Any]]:
        if type(map) is not dict and not isinstance(map, Mapping):
            raise _wrong_shape(name, map, "map")
        try:
            values = values_of(map)
        except KeyError:
            values = [map.get(key) for key in known]
        else:
            if len(map) == number:
                return values, {}
        return values, {key: map[key] for key in map if key not in known}

    return unpack


unpack_state = unpacker(
    "state",
    "current_step",
    "context",
    "step_configs",
    "active_steps",
    "completed_steps",
    "execution_history",
    "runtime_metadata",
)
unpack_context = unpacker("context", "initial", "steps")
unpack_entry = unpacker("it", "step_ref", "event", "timestamp", "context_updates")


def require_mapping(value: Any, key: str) -> Mapping[str, Any]:
    """Returns the map at ``key``, an empty one for ``None``."""
    if type(value) is dict:  # several times faster than asking for a Mapping
        return value
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _wrong_shape(key, value, "map")
    return value


def require_list(value: Any, key: str) -> list[Any]:
    """Returns the list at ``key``, an empty one for ``None``."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise _wrong_shape(key, value, "list")
    return value


def require_text(value: Any) -> str:
    """Returns a ``str``, and refuses anything else."""
    if not isinstance(value, str):
        raise ValueError(f"a {type(value).__name__} stands where a text should")
    return value


def merge_unknown(state: dict[str, Any], unknown: Any, path: str) -> None:
    """Puts unknown keys into ``state``, where they may not replace a known one."""
    if not isinstance(unknown, Mapping):
        raise SerializationError(path, "it is not a mapping")
    if taken := sorted(state.keys() & unknown.keys()):
        raise SerializationError(path, f"{', '.join(taken)} has a field of its own; set that")
    state.update(unknown)


def _wrong_shape(key: str, value: Any, expected: str) -> ValueError:
    return ValueError(f"{key} is a {type(value).__name__}, not a {expected}")
