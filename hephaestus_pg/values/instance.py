"""A workflow instance and what it is made of: plain data, checked when it is made.

All values are frozen: a change is a new value, made with :func:`dataclasses.replace`. A wrong
field is refused at construction, by an error that names the field and the value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import Any, Literal, Self
from uuid import UUID

from hephaestus_pg._checks import MAX_ID_LENGTH, is_int
from hephaestus_pg.errors import InvalidTypeError, InvalidValueError, shown
from hephaestus_pg.values.arguments import unstorable, whole_number

MAX_VERSION = 2**31 - 1
"""The largest ``workflow_version``: the column is an ``integer``."""

MAX_REVISION = 2**63 - 1
"""The largest ``revision``: the column is a ``bigint``."""


class Status(StrEnum):
    """The state of an instance's life."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"

    # Not a ClassVar: pyright takes that of an enum for Any.
    ACTIVE: frozenset[Status]
    """Pending, running or waiting: there is work left."""
    FINISHED: frozenset[Status]
    """Completed or failed: nothing will change any more."""


Status.ACTIVE = frozenset({Status.PENDING, Status.RUNNING, Status.WAITING})
Status.FINISHED = frozenset({Status.COMPLETED, Status.FAILED})

StatusName = Literal["pending", "running", "waiting", "completed", "failed"]
"""The text of a :class:`Status`, for type checkers."""


@dataclass(frozen=True, slots=True)
class Context:
    """The data that a workflow started from (``initial``) and its steps' results (``steps``)."""

    initial: Mapping[str, Any] = field(default_factory=dict)
    steps: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require(self.initial, Mapping, "context.initial", "give a mapping")
        _require(self.steps, Mapping, "context.steps", "give a mapping of step name to its result")

    def put_step_result(self, step: str, result: Mapping[str, Any]) -> Context:
        """Returns this context with ``result`` as the result of ``step``."""
        _require(step, str, "step", "give the step's name")
        _require(result, Mapping, "result", "give a mapping")
        return Context(self.initial, {**self.steps, step: result})


class _CachedText:
    """A slot for ``timestamp`` as JSON text, filled by the codec.

    An update writes all entries again, and would format each timestamp again.
    """

    __slots__ = ("_text",)


@dataclass(frozen=True, slots=True)
class ExecutionEntry(_CachedText):
    """One line of an instance's history: ``event`` happened to ``step_ref`` at ``timestamp``.

    ``timestamp`` is aware; ``context_updates`` are the changes that the event made. ``unknown``
    holds keys of a stored entry that this version does not know; they are written back.
    """

    step_ref: Any
    event: str
    timestamp: datetime
    context_updates: Mapping[str, Any] | None = None
    unknown: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        _require(self.event, str, "event", "give the event's name")
        checked_moment(self.timestamp, "timestamp")
        if self.context_updates is not None:
            _require(self.context_updates, Mapping, "context_updates", "give a mapping or None")
        _require(self.unknown, Mapping, "unknown", "give a mapping")


@dataclass(frozen=True, slots=True)
class Instance:
    """One run of a workflow.

    ``workflow`` and steps are what the storage's ``References`` translate: classes, or text.
    ``due_at`` (aware) is the moment before which no runner is given the instance; a waiting one is
    only given out if it has one. ``revision``, ``runner``, ``inserted_at`` and ``updated_at``
    (aware, UTC) come from the row and are ``None`` until the instance is stored. ``runner`` is the
    token of the runner that owns it; no write sets it. ``unknown_state`` holds keys of a stored
    state that this version does not know; they are written back. These five are not compared by
    ``==``.

    An instance can be pickled and copied. It cannot be hashed, because it holds mappings: use its
    ``id`` as a key.

    Raises:
        InvalidTypeError: A field is of the wrong type.
        InvalidValueError: A field is out of its range.
    """

    id: str
    workflow: Any
    workflow_version: int = 1
    status: Status = Status.PENDING
    current_step: Any = None
    context: Context = field(default_factory=Context)
    step_configs: Mapping[Any, Mapping[str, Any]] = field(default_factory=dict)
    active_steps: frozenset[Any] = frozenset()
    completed_steps: frozenset[Any] = frozenset()
    runtime_metadata: Mapping[str, Any] = field(default_factory=dict)
    execution_history: tuple[ExecutionEntry, ...] = ()
    due_at: datetime | None = None
    revision: int | None = field(default=None, compare=False)
    runner: UUID | None = field(default=None, compare=False)
    inserted_at: datetime | None = field(default=None, compare=False)
    updated_at: datetime | None = field(default=None, compare=False)
    unknown_state: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def new(
        cls, workflow: Any, context: Context | Mapping[str, Any], *, id: str, version: int = 1
    ) -> Self:
        """Makes a pending instance; ``context`` may be just the data that it starts from."""
        whole = context if isinstance(context, Context) else Context(context)
        return cls(id=id, workflow=workflow, workflow_version=version, context=whole)

    def __post_init__(self) -> None:
        checked_id(self.id)
        checked_version(self.workflow_version)
        if self.workflow is None:
            raise InvalidTypeError("workflow", None, "give the workflow's class or name")
        if type(self.status) is not Status:
            object.__setattr__(self, "status", checked_status(self.status))
        require_kind(self.context, Context, "context", "give a Context, or use Instance.new")
        _require(self.step_configs, Mapping, "step_configs", "give a mapping of step to mapping")
        for name in ("active_steps", "completed_steps"):
            given = getattr(self, name)
            if not isinstance(given, frozenset):
                _require(given, set, name, "give a frozenset of steps")
                object.__setattr__(self, name, frozenset(given))
        _require(self.runtime_metadata, Mapping, "runtime_metadata", "give a mapping")
        if not isinstance(self.execution_history, tuple):
            _require(self.execution_history, list, "execution_history", "give a tuple of entries")
            object.__setattr__(self, "execution_history", tuple(self.execution_history))
        for entry in [each for each in self.execution_history if type(each) is not ExecutionEntry]:
            require_kind(entry, ExecutionEntry, "execution_history", "give ExecutionEntry values")
        _require(self.unknown_state, Mapping, "unknown_state", "give a mapping")
        if self.revision is not None:
            checked_revision(self.revision)
        _require(self.runner, (UUID, type(None)), "runner", "use that of a stored instance")
        for name in ("due_at", "inserted_at", "updated_at"):
            if getattr(self, name) is not None:
                checked_moment(getattr(self, name), name)


class UnreadHistory(partial[tuple[ExecutionEntry, ...]]):
    """Makes the entries of an instance that has been read, when somebody looks at them.

    The codec puts it in place of the tuple. Most readers don't look.
    """

    __slots__ = ()


_execution_history = Instance.__dict__["execution_history"]  # the slot itself


def _read_history(instance: Instance) -> tuple[ExecutionEntry, ...]:
    held = _execution_history.__get__(instance)
    if type(held) is UnreadHistory:
        held = held()
        _execution_history.__set__(instance, held)
    return held  # type: ignore[no-any-return]


# Not __getattr__, which makes Python 3.11 slower at each attribute.
type.__setattr__(Instance, "execution_history", property(_read_history, _execution_history.__set__))


def checked_id(id: Any) -> str:
    """Returns an ``id`` that can be stored exactly.

    It has 1 to 255 characters, none of them U+0000 or a lone surrogate.
    """
    if not isinstance(id, str):
        raise InvalidTypeError(
            "id", id, f"give a str of 1 to {MAX_ID_LENGTH} characters{_id_advice(id)}"
        )
    if not 0 < len(id) <= MAX_ID_LENGTH:
        raise InvalidValueError("id", id, f"give 1 to {MAX_ID_LENGTH} characters, not {len(id)}")
    if reason := unstorable(id):
        raise InvalidValueError("id", id, reason)
    return id


def _id_advice(given: Any) -> str:
    """Suggests the text that was probably meant by a value that is no ``str``."""
    if isinstance(given, Instance):
        return f": its id, {given.id!r}"
    if isinstance(given, bytes):
        return f", such as {shown(given)}.decode()"
    if isinstance(given, UUID):
        return f", such as {str(given)!r}"
    if is_int(given):
        return f", such as {shown(given)!r}"
    return ""


def checked_version(version: Any) -> int:
    """Returns a ``workflow_version`` that the column can hold."""
    return whole_number("workflow_version", version, MAX_VERSION)


def checked_revision(revision: Any) -> int:
    """Returns a ``revision`` that a row may have."""
    return whole_number("revision", revision, MAX_REVISION, "use the revision of a stored instance")


def checked_status(status: Any) -> Status:
    """Returns a :class:`Status`, given one or its text."""
    _require(status, str, "status", "give a Status")
    try:
        return Status(status)
    except ValueError:
        raise InvalidValueError("status", status, f"give one of {', '.join(Status)}") from None


def checked_moment(moment: Any, field_name: str) -> datetime:
    """Returns a ``moment`` that has a time zone and can be written in UTC."""
    _require(moment, datetime, field_name, "give a datetime with a time zone")
    try:
        aware = moment.utcoffset() is not None and moment.astimezone(UTC)
    except (OverflowError, ValueError) as error:  # the first and the last hours that Python knows
        raise InvalidValueError(
            field_name, moment, "it is outside the years 1 to 9999 in UTC"
        ) from error
    if not aware:
        raise InvalidValueError(field_name, moment, "give a datetime with a time zone, such as UTC")
    return moment  # type: ignore[no-any-return]


KEPT = frozenset({Status.PENDING, Status.RUNNING})
"""The statuses with which a write leaves an instance to the runner that owns it."""


def is_work(instance: Instance) -> bool:
    """Tells whether a runner may claim the instance, now or when it is due."""
    return instance.runner is None and (
        instance.status in KEPT
        or (instance.status is Status.WAITING and instance.due_at is not None)
    )


def require_kind(value: Any, kind: type, field_name: str, expected: str) -> None:
    """Refuses a ``value`` of another ``kind``, or of a subclass that adds fields."""
    if type(value) is kind:
        return
    _require(value, kind, field_name, expected)
    known = {field.name for field in fields(kind)}
    if own := [field.name for field in fields(value) if field.name not in known]:
        raise InvalidTypeError(
            field_name,
            value,
            f"{', '.join(own)} of {type(value).__qualname__} would not be stored; keep that in the "
            "context",
        )


def _require(value: Any, kind: type | tuple[type, ...], field_name: str, expected: str) -> None:
    if not isinstance(value, kind):
        raise InvalidTypeError(field_name, value, expected)
