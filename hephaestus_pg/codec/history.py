"""An instance's history, read from its state.

A long one is checked as a whole, and its entries are made when somebody looks at them: most readers
don't.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

from hephaestus_pg.codec import timestamps
from hephaestus_pg.codec.restore import restore_entry
from hephaestus_pg.codec.shape import require_mapping, require_text, unpack_entry
from hephaestus_pg.values.instance import ExecutionEntry, UnreadHistory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_columns_of = itemgetter("step_ref", "event", "timestamp", "context_updates")
_COLUMNS = 4
_KINDS_OF_UPDATES = {dict, type(None)}

_LONG = 12
"""Entries from which on it is less work to check them together."""


def unpack(
    history: list[Any], to_reference: Callable[[str], Any]
) -> UnreadHistory | tuple[ExecutionEntry, ...]:
    """Returns the history of a state, which is not empty.

    Raises:
        ValueError: An entry is of another shape than it should be.
        UnknownReferenceError: The name of a step stands for nothing that is known.
    """
    number = len(history)
    if number < _LONG:
        return _unpack_each(history, to_reference)
    try:
        steps, events, texts, updates = zip(*map(_columns_of, history), strict=True)
        "".join(steps + events)  # refuses whatever is no text
        moments = timestamps.parse_all(texts)
        is_usual = (
            moments is not None
            and (updates.count(None) == number or set(map(type, updates)) <= _KINDS_OF_UPDATES)
            and sum(map(len, history)) == number * _COLUMNS
        )
    except (KeyError, TypeError, ValueError):
        is_usual = False
    if not is_usual:
        return _unpack_each(history, to_reference)
    references = {name: to_reference(name) for name in dict.fromkeys(steps)}
    return UnreadHistory(_entries, references, steps, events, moments, updates, texts)


def _entries(references: dict[str, Any], *columns: Iterable[Any]) -> tuple[ExecutionEntry, ...]:
    made = [
        restore_entry(references[step], event, moment, updates, {}, text)
        for step, event, moment, updates, text in zip(*columns, strict=True)
    ]
    return tuple(made)


def _unpack_each(
    history: list[Any], to_reference: Callable[[str], Any]
) -> tuple[ExecutionEntry, ...]:
    entries: list[ExecutionEntry] = []
    try:
        for stored in history:
            (step, event, moment, updates), unknown = unpack_entry(stored)
            if not type(step) is type(event) is type(moment) is str:
                step, event, moment = map(require_text, (step, event, moment))
            entries.append(
                restore_entry(
                    to_reference(step),
                    event,
                    timestamps.parse(moment),
                    None if updates is None else require_mapping(updates, "context_updates"),
                    unknown,
                    moment,
                )
            )
    except ValueError as error:
        raise ValueError(f"execution_history[{len(entries)}]: {error}") from None
    return tuple(entries)
