"""The values: a workflow instance and what it is made of. Plain data, no I/O.

All are frozen: a change is a new value, made with :func:`dataclasses.replace`. What is wrong is
refused here, at construction, by an error that names the field and the value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, make_dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal, Self, TypeVar
from uuid import UUID

from hephaestus_pg.business_key import MAX_ID_LENGTH
from hephaestus_pg.codec.timestamps import moment_at, text_of
from hephaestus_pg.errors import (
    CorruptInstanceError,
    InvalidTypeError,
    InvalidValueError,
    _shown,
    is_a,
)

Value = TypeVar("Value")

MAX_VERSION = 2**31 - 1
"""The largest ``workflow_version``: the column is an ``integer``."""


class Status(StrEnum):
    """Where an instance stands in its life."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"

    # No ClassVar: of an enum's, pyright makes Any.
    ACTIVE: frozenset[Status]
    """Pending, running, waiting: there is work left."""
    FINISHED: frozenset[Status]
    """Completed and failed: nothing will change any more."""


Status.ACTIVE = frozenset({Status.PENDING, Status.RUNNING, Status.WAITING})
Status.FINISHED = frozenset({Status.COMPLETED, Status.FAILED})

StatusName = Literal["pending", "running", "waiting", "completed", "failed"]
"""The text of a :class:`Status`, for type checkers."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a workflow started from (``initial``) and what each step gave (``steps``, by name)."""

    initial: Mapping[str, Any] = field(default_factory=dict)
    steps: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require(self.initial, Mapping, "context.initial", "give a mapping")
        _require(self.steps, Mapping, "context.steps", "give a mapping of step name to its result")

    def put_step_result(self, step: str, result: Mapping[str, Any]) -> Context:
        """This context with ``result`` as what ``step`` gave."""
        _require(step, str, "step", "give the step's name")
        _require(result, Mapping, "result", "give a mapping")
        return Context(self.initial, {**self.steps, step: result})


class _WithText:
    """What an entry has beside its fields: its timestamp as stored, once it was read or written.

    An instance carries its entries from step to step, each of which writes all of them again.
    """

    __slots__ = ("_text",)


@dataclass(frozen=True, slots=True)
class ExecutionEntry(_WithText):
    """One line of an instance's history: ``event`` happened to ``step_ref`` at ``timestamp``.

    ``timestamp`` is aware; ``context_updates`` is what the event changed. ``unknown`` holds keys of
    a stored entry that this version does not know; they are written back.
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

    ``workflow`` and steps are whatever the storage's ``References`` translate: classes, or text.
    ``revision``, ``inserted_at`` and ``updated_at`` (aware, UTC) are the row's own and ``None``
    until it is stored; ``unknown_state`` holds keys of a stored state that this version does not
    know, which are written back. These four do not count when two instances are compared. An
    instance can be pickled and copied, but is no key of a dict, since its maps can't be: its ``id``
    is one.

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
    revision: int | None = field(default=None, compare=False)
    inserted_at: datetime | None = field(default=None, compare=False)
    updated_at: datetime | None = field(default=None, compare=False)
    unknown_state: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def new(
        cls, workflow: Any, context: Context | Mapping[str, Any], *, id: str, version: int = 1
    ) -> Self:
        """A pending instance of ``workflow``; ``context`` may be just what it starts from."""
        whole: Any = context if is_a(context, Context) else Context(context)  # type: ignore[arg-type]
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
            if not is_a(given, frozenset):
                _require(given, set, name, "give a frozenset of steps")
                object.__setattr__(self, name, frozenset(given))
        _require(self.runtime_metadata, Mapping, "runtime_metadata", "give a mapping")
        if not is_a(self.execution_history, tuple):
            _require(self.execution_history, list, "execution_history", "give a tuple of entries")
            object.__setattr__(self, "execution_history", tuple(self.execution_history))
        for entry in self.execution_history:
            require_kind(entry, ExecutionEntry, "execution_history", "give ExecutionEntry values")
        _require(self.unknown_state, Mapping, "unknown_state", "give a mapping")
        if self.revision is not None:
            checked_revision(self.revision)
        for name in ("inserted_at", "updated_at"):
            if getattr(self, name) is not None:
                checked_moment(getattr(self, name), name)


def _restorer(cls: type[Value]) -> Callable[..., Value]:
    """A constructor of ``cls`` from all its fields in order, without the checks.

    For values that passed them before they were stored, and that a reader makes by the thousand. A
    frozen class sets each field by a call; its thawed twin, of the same slots, does it eight times
    as fast and then turns into it. An entry's takes its timestamp's text behind its fields.
    """

    def freeze(self: Any) -> None:
        self.__class__ = cls

    base = cls.__base__
    assert base is not None
    names = [each.name for each in fields(cls)]  # type: ignore[arg-type]
    return make_dataclass(
        f"Thawed{cls.__name__}",
        [*names, *getattr(base, "__slots__", ())],
        bases=(base,),
        slots=True,
        namespace={"__post_init__": freeze},
    )


restored_context = _restorer(Context)
restored_entry = _restorer(ExecutionEntry)
restored_instance = _restorer(Instance)


def timestamp_text(entry: ExecutionEntry) -> str:
    """The timestamp of the entry as it is stored."""
    text: str | None = getattr(entry, "_text", None)
    if text is None:
        text = text_of(entry.timestamp)
        object.__setattr__(entry, "_text", text)
    return text


def with_row(  # noqa: PLR0913, PLR0917 - the columns
    given: Instance,
    row: Any,
    context: Context,
    step_configs: Mapping[Any, Mapping[str, Any]],
    runtime_metadata: Mapping[str, Any],
    history: tuple[ExecutionEntry, ...],
) -> Instance:
    """The ``given`` instance with those maps, and with what its row, once written, says of itself.

    Raises:
        CorruptInstanceError: The row says what no instance can hold.
    """
    try:
        inserted_at, updated_at = moment_at(row["inserted_at"]), moment_at(row["updated_at"])
    except ValueError as error:
        raise CorruptInstanceError(given.id, f"{error}; its state has been written") from error
    return restored_instance(
        given.id,
        given.workflow,
        row["workflow_version"],
        given.status,
        given.current_step,
        context,
        step_configs,
        given.active_steps,
        given.completed_steps,
        runtime_metadata,
        history,
        None if (revision := row["revision"]) is None else int(revision),
        inserted_at,
        updated_at,
        given.unknown_state,
    )


def checked_id(id: Any) -> str:
    """``id``, when it can be stored exactly: 1 to 255 characters, no U+0000, no lone surrogate."""
    if type(id) is not str and not is_a(id, str):
        raise InvalidTypeError(
            "id", id, f"give a str of 1 to {MAX_ID_LENGTH} characters{_such(id)}"
        )
    if not 0 < len(id) <= MAX_ID_LENGTH:
        raise InvalidValueError("id", id, f"give 1 to {MAX_ID_LENGTH} characters, not {len(id)}")
    if not id.isascii():
        try:
            id.encode()
        except UnicodeEncodeError:
            raise InvalidValueError("id", id, "it holds a lone surrogate") from None
    if "\0" in id:
        raise InvalidValueError("id", id, "PostgreSQL cannot store U+0000 in a text")
    return id  # type: ignore[no-any-return]


def _such(id: Any) -> str:
    """The text that what was given for an id stands for, if that is known."""
    if is_a(id, Instance):
        return f": its id, {id.id!r}"
    if is_a(id, bytes):
        return f", such as {_shown(id)}.decode()"
    if is_a(id, UUID):
        return f", such as {str(id)!r}"
    if is_a(id, int) and not is_a(id, bool):
        return f", such as {_shown(id)!r}"
    return ""


def checked_version(version: Any) -> int:
    """``version``, when it is a whole number from 1 on that the column can hold."""
    if type(version) is not int and (not is_a(version, int) or isinstance(version, bool)):
        raise InvalidTypeError("workflow_version", version, "give a whole number from 1 on")
    if not 0 < version <= MAX_VERSION:
        raise InvalidValueError("workflow_version", version, f"give 1 to {MAX_VERSION}")
    return version


def checked_revision(revision: Any) -> int:
    """``revision``, when it is one that a row may have."""
    if not is_a(revision, int) or isinstance(revision, bool):
        raise InvalidTypeError("revision", revision, "use the revision of a stored instance")
    if not 0 < revision < 2**63:
        raise InvalidValueError("revision", revision, "use the revision of a stored instance")
    return revision  # type: ignore[no-any-return]


def checked_status(status: Any) -> Status:
    """``status`` as a :class:`Status`; its text is as good."""
    _require(status, str, "status", "give a Status")
    try:
        return Status(status)
    except ValueError:
        raise InvalidValueError("status", status, f"give one of {', '.join(Status)}") from None


def checked_moment(moment: Any, field_name: str) -> datetime:
    """``moment``, when it is a datetime that knows its time zone."""
    _require(moment, datetime, field_name, "give a datetime with a time zone")
    try:
        aware = moment.utcoffset() is not None and moment.astimezone(UTC)
    except Exception as error:  # its time zone may be the caller's own
        raise InvalidValueError(
            field_name, moment, f"it has no place in UTC ({type(error).__name__})"
        ) from error
    if not aware:
        raise InvalidValueError(field_name, moment, "give a datetime with a time zone, such as UTC")
    return moment  # type: ignore[no-any-return]


def require_kind(value: Any, kind: type, field_name: str, expected: str) -> None:
    """Refuse a ``value`` that is not of this ``kind``, or is of one with fields of its own."""
    if type(value) is kind:  # by far the most are
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


def _require(value: Any, kind: type, field_name: str, expected: str) -> None:
    if not is_a(value, kind):
        raise InvalidTypeError(field_name, value, expected)
