"""The changes that each entry of a history made, told from the entries before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hephaestus_pg.cli.json_lines import readable
from hephaestus_pg.cli.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hephaestus_pg.values.instance import Instance


def changes(instance: Instance) -> list[list[str]]:
    """Lists for each entry a line a value that it added (``+``) or changed (``~``).

    Before the first entry there was the initial context; each update is laid over what was there.
    """
    known: dict[str, Any] = dict(instance.context.initial)
    found = []
    for entry in instance.execution_history:
        updates = entry.context_updates or {}
        found.append(list(_between(known, updates, "")))
        known |= updates
    return found


def _between(known: Mapping[str, Any], updates: Mapping[str, Any], path: str) -> Iterator[str]:
    for key, value in updates.items():
        place = f"{path}{printable(key)}"
        if key not in known:
            yield f"+ {place}: {readable(value)}"
        elif isinstance(known[key], dict) and isinstance(value, dict) and value:
            yield from _between(known[key], value, f"{place}.")
        elif readable(known[key]) != readable(value):  # 1 is not true, nor 1.0, in a state
            yield f"~ {place}: {readable(known[key])} -> {readable(value)}"
