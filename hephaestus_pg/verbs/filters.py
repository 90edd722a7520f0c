"""Filters, checked and turned into the parameters of ``fragments/matching.sql``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict
from uuid import UUID

from hephaestus_pg.codec.timestamps import for_column, format_due
from hephaestus_pg.errors import InvalidTypeError, InvalidValueError
from hephaestus_pg.values.arguments import checked_flag, listed, unstorable
from hephaestus_pg.values.instance import (
    Status,
    StatusName,
    checked_id,
    checked_moment,
    checked_status,
    checked_version,
)
from hephaestus_pg.values.references import named
from hephaestus_pg.verbs import containment

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import datetime

    from hephaestus_pg.values.references import References


class Filters(TypedDict, total=False):
    """The filters of ``query``, ``stream`` and ``count``. All that are given must hold.

    ``status_in`` that is empty matches nothing. ``workflow_family`` is a literal prefix of the
    stored workflow's name. The bounds of time are aware datetimes, exclusive, compared with columns
    that have a precision of one second; but ``due_at``, which ``due_before`` is compared with, has
    microseconds. ``runner`` is the token of the runner that owns an instance; ``None`` means that
    nobody owns it.

    ``contains`` is a part of ``state``, such as ``{"context": {"initial": {"order_id": 1}}}``. The
    state's keys are ``current_step``, ``context``, ``step_configs``, ``active_steps``,
    ``completed_steps``, ``execution_history`` and ``runtime_metadata``; any other is refused. A
    ``contains`` without a value, or whose value the schema's index does not hold (see
    :func:`hephaestus_pg.migrations.index`), would read every row, and needs ``allow_scan``.
    """

    id: str
    status: Status | StatusName
    # The tuple is for mypy, which does not take a tuple of literals for such a collection.
    status_in: Collection[Status | StatusName] | tuple[Status | StatusName, ...]
    workflow: Any
    workflow_version: int
    workflow_family: str
    contains: Mapping[str, Any]
    allow_scan: bool
    inserted_before: datetime
    inserted_after: datetime
    updated_before: datetime
    updated_after: datetime
    runner: UUID | None
    due_before: datetime


@dataclass(frozen=True, slots=True)
class Search:
    """A ``contains``, and the index over states that can serve it."""

    pattern: Mapping[str, Any]
    in_initial: bool
    """It names a value under ``context.initial``: the smaller index can serve it."""
    may_scan: bool

    def driver(self, profile: str, schema: str) -> str:
        """The driver by the index which the schema has.

        Raises:
            InvalidValueError: The index does not serve this, and every row may not be read.
        """
        if profile == "initial" and self.in_initial:
            return "initial"
        if profile != "full" and not self.may_scan:
            raise InvalidValueError(
                "contains",
                self.pattern,
                f"the index over states in schema {schema!r} is {profile!r}, which does not serve "
                "it, and every row would be read; run: python -m hephaestus_pg.migrate index full "
                f"--schema {schema}, or allow that with allow_scan=True",
            )
        return "contains"


class Matching(NamedTuple):
    """Filters, checked."""

    driver: str
    """The filter by whose index rows are found; see ``Statements.searches``."""
    parameters: tuple[Any, ...]
    """``$1`` to ``$14`` of ``fragments/matching.sql``; ``None`` where a filter is not given."""
    search: Search | None
    """The ``contains``, if there is one."""


# The drivers, the most selective first, each with the place of its parameter.
_DRIVERS = {
    "id": 0,
    "runner": 12,
    "contains": 7,
    "workflow": 3,
    "family": 5,
    "due": 13,
    "status": 1,
    "statuses": 2,
    "version": 4,
}

_MOMENTS = ("inserted_before", "inserted_after", "updated_before", "updated_after")

# The surrogates, which are no characters and cannot be encoded in UTF-8.
_FIRST_SURROGATE, _LAST_SURROGATE = 0xD800, 0xDFFF
_LAST_CHARACTER = "\U0010ffff"


def matching(filters: Mapping[str, Any], references: References) -> Matching:
    """The ``filters``, checked.

    Raises:
        InvalidValueError: There is no such filter, or its value is out of its range.
        InvalidTypeError: A value is of the wrong type; ``None`` too, but as a ``runner``, lest a
            variable that happens to be ``None`` returns every row.
    """
    for name, value in filters.items():
        if name not in Filters.__annotations__:
            known = ", ".join(Filters.__annotations__)
            raise InvalidValueError("filter", name, f"the filters are {known}")
        if value is None and name != "runner":
            raise InvalidTypeError(name, value, "leave the filter out to match every row")
    checked_flag("allow_scan", filters.get("allow_scan", False))
    family_from, family_until = _bounds(filters)
    contained, search = _contained(filters)
    given = (
        _checked(filters, "id", checked_id),
        *_statuses(filters),
        _checked(filters, "workflow", partial(named, references, "workflow")),
        _checked(filters, "workflow_version", lambda version: str(checked_version(version))),
        family_from,
        family_until,
        contained,
        *(_checked(filters, name, partial(column_moment, name)) for name in _MOMENTS),
        _checked(filters, "runner", _token),
        _checked(filters, "due_before", _due_moment),
    )
    # Nobody's runner, which is '', does not drive; nor do no statuses at all.
    driver = next((name for name, place in _DRIVERS.items() if given[place]), "none")
    return Matching(driver, given, search)


def _checked(filters: Mapping[str, Any], name: str, check: Callable[[Any], Any]) -> Any:
    return check(filters[name]) if name in filters else None


def _statuses(filters: Mapping[str, Any]) -> tuple[str | None, list[str] | None]:
    """Both filters of status as a single one, or else as several."""
    wanted: set[Status] | None = None
    if "status_in" in filters:
        wanted = set(map(checked_status, listed("status_in", filters["status_in"], "statuses")))
    if "status" in filters:
        status = checked_status(filters["status"])
        wanted = {status} if wanted is None else wanted & {status}
    if wanted is not None and len(wanted) == 1:
        return next(iter(wanted)), None
    return None, None if wanted is None else sorted(wanted)


def _bounds(filters: Mapping[str, Any]) -> tuple[str, str] | tuple[None, None]:
    """The texts between which, byte by byte, exactly those with the prefix lie: from, until."""
    if "workflow_family" not in filters:
        return None, None
    prefix = filters["workflow_family"]
    if not isinstance(prefix, str):
        raise InvalidTypeError("workflow_family", prefix, "give the beginning of a name as a str")
    head = prefix.rstrip(_LAST_CHARACTER)
    if not head or unstorable(prefix):
        raise InvalidValueError("workflow_family", prefix, "give the beginning of a name")
    following = ord(head[-1]) + 1
    if following == _FIRST_SURROGATE:
        following = _LAST_SURROGATE + 1
    return prefix, head[:-1] + chr(following)


def _contained(filters: Mapping[str, Any]) -> tuple[str, Search] | tuple[None, None]:
    if "contains" not in filters:
        return None, None
    others = {name: None for name in Filters.__annotations__ if name != "contains"}
    text, plain = containment.pattern(filters["contains"], others)
    may_scan = filters.get("allow_scan", False)
    if not _has_leaf(plain) and not may_scan:
        raise InvalidValueError(
            "contains",
            filters["contains"],
            "without any value the index cannot serve it and every row would be read; "
            "name a value, or allow that with allow_scan=True",
        )
    initial = plain.get("context", {}).get("initial")
    in_initial = isinstance(initial, dict) and _has_leaf(initial)
    return text, Search(filters["contains"], in_initial=in_initial, may_scan=may_scan)


def _has_leaf(value: Any) -> bool:
    match value:
        case dict():
            return any(map(_has_leaf, value.values()))
        case list():
            return any(map(_has_leaf, value))
    return True


def _token(runner: Any) -> str:
    """The runner's token as text, which is empty for none."""
    if not (runner is None or isinstance(runner, UUID)):
        raise InvalidTypeError("runner", runner, "give a runner's token, or None")
    return "" if runner is None else str(runner)


def _due_moment(value: Any) -> str:
    return format_due(checked_moment(value, "due_before"))


def column_moment(name: str, value: Any) -> str:
    """The aware ``value`` as the columns hold it, as text."""
    return for_column(checked_moment(value, name))
