"""The pattern of a ``contains``: a part of a state, checked against the shape that states have.

PostgreSQL finds nothing, without a word, by a key that no state has, or by a map where states have
a list. So what can match no state is refused, and told what was probably meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hephaestus_pg.codec import exact_json
from hephaestus_pg.errors import (
    InvalidTypeError,
    InvalidValueError,
    SerializationError,
    shown,
)

_SHAPES: dict[str, tuple[type, ...]] = {
    "current_step": (str, type(None)),
    "context": (dict,),
    "step_configs": (dict,),
    "active_steps": (list,),
    "completed_steps": (list,),
    "execution_history": (list,),
    "runtime_metadata": (dict,),
}
_IN_CONTEXT = ("initial", "steps")


def pattern(contains: Any, columns: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The pattern as JSON text, and as the plain types that it is made of.

    ``columns`` are the filters that there are beside it, by name.

    Raises:
        InvalidTypeError: It is no mapping.
        InvalidValueError: No state can contain it.
        SerializationError: JSON cannot hold it.
    """
    if not isinstance(contains, Mapping):
        raise InvalidTypeError("contains", contains, "give a part of the state as a mapping")
    try:
        text, plain, _ = exact_json.dumps(contains, "contains")
    except SerializationError as error:
        if error.path == "contains":
            raise
        dot = "" if error.path.startswith("[") else "."
        raise SerializationError(f"contains{dot}{error.path}", error.reason) from error
    _check(plain, contains, columns)
    return text.decode(), plain


def _check(plain: dict[str, Any], given: Any, columns: Mapping[str, Any]) -> None:
    for key, value in plain.items():
        if key in _IN_CONTEXT:
            _refuse(given, _no_key(key, _SHAPES), {"context": {key: value}})
        if key not in _SHAPES:
            if key in columns:
                _refuse(given, f"{key!r} is a filter of its own, not part of the state")
            _refuse(given, _no_key(key, _SHAPES), {"context": {"initial": {key: value}}})
        if not isinstance(value, _SHAPES[key]):
            shape = _SHAPES[key][0]
            meant = {key: [value]} if shape is list else None
            _refuse(given, f"{key!r} of a state is a {shape.__name__}", meant)
    for key, value in plain.get("context", {}).items():
        if key not in _IN_CONTEXT:
            reason = _no_key(f"context.{key}", _IN_CONTEXT)
            _refuse(given, reason, {"context": {"initial": {key: value}}})
        if not isinstance(value, dict):
            _refuse(given, f"'context.{key}' of a state is a dict")


def _no_key(key: str, known: Any) -> str:
    return f"no state has the key {key!r}, only {', '.join(known)}"


def _refuse(given: Any, reason: str, meant: Any = None) -> None:
    advice = f"; probably contains={shown(meant)} is meant" if meant is not None else ""
    raise InvalidValueError("contains", given, f"{reason}{advice}")
