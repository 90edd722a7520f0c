from __future__ import annotations

import copy
import pickle
import re
from typing import TYPE_CHECKING

import pytest

import hephaestus_pg
from hephaestus_pg import errors

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.quick

STALE = errors.StaleInstanceError("order::1", expected=3, found=4)

# One of each class, made as the package makes it.
EXAMPLES: list[errors.HephaestusError] = [
    errors.HephaestusError("something else"),
    errors.InvalidValueError("limit", 0, "give a whole number from 1 on"),
    errors.InvalidTypeError("schema", 1, "give the schema's name as a str"),
    errors.SerializationError("context.initial", "it contains itself"),
    errors.UnknownReferenceError("demo.Order", "import its module"),
    errors.LifecycleError("default", "it cannot be used like this"),
    errors.NotStartedError("tenant_a", ["tenant_c", "tenant_b"]),
    errors.AlreadyStartedError("default"),
    errors.StorageClosedError("default"),
    errors.WrongEventLoopError("default", "another event loop"),
    errors.TransactionEndedError("default"),
    errors.RunnerEndedError("default", runner="worker-7", reason="it was stopped"),
    errors.InstanceError("order::1", "it is not as expected"),
    errors.InstanceExistsError("order::1", status="running", workflow="Order"),
    errors.InstanceNotFoundError("order::1"),
    STALE,
    errors.CorruptInstanceError("order::1", "its status is 'lost'"),
    errors.MigrationError("public", "it is not as it should be"),
    errors.SchemaOutdatedError("tenant_a", found=2, needed=4),
    errors.UnrecognizedSchemaError("public", "ours", "its comment is not a number"),
    errors.MigrationFileError("003 is missing"),
    errors.MigrationChangedError("public", version=3, name="ids"),
    errors.DataLossError("public", "it holds rows", flag="--drop-rows"),
    errors.RewriteRefusedError("public", size=2**30, flag="--allow-rewrite"),
    errors.MigrationLockError("public", "another migration runs"),
    errors.EmbeddedServerError("PostgreSQL did not start", "FATAL: no"),
    errors.DatabaseError("it failed", applied="unknown", retryable=False),
    errors.UnavailableError("refused", applied="no", retryable=True),
    errors.ConnectionLostError("broken", applied="unknown", retryable=True),
    errors.OperationTimeoutError("the deadline passed", applied="unknown", retryable=True),
    errors.OperationInterruptedError(),
    errors.HookError("init", KeyError("x"), applied="no", retryable=False),
    errors.ConflictError("a deadlock", applied="no", retryable=True),
    errors.ClaimLostError("order::1", "its runner is dead"),
    errors.ConcurrentUseError(),
    errors.AccessDeniedError("no such role", applied="no", retryable=False),
    errors.RejectedError("too long", applied="no", retryable=False),
    errors.UnexpectedRowError("put", "order::1", schema="public", found="other"),
    errors.CodecError("it gives a bytes", applied="unknown"),
]


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError


# Who derives from whom, as ``name: (parent, built-in parent)``.
Tree = dict[str, tuple[str, str | None]]


def tree_as_drawn() -> Tree:
    tree: Tree = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if drawn := re.match(r"    ([│├└─ ]*)(\w+Error)(?: \((\w+)\))?(?:  |$)", line):
            branch, name, built_in = drawn.groups()
            above = [*above[: len(branch) // 4], name]
            tree[name] = (above[-2] if len(above) > 1 else "Exception", built_in)
    return tree


def tree_as_written() -> Tree:
    tree: Tree = {}
    for cls in vars(errors).values():
        if isinstance(cls, type) and issubclass(cls, errors.HephaestusError):
            parent, *others = (base.__name__ for base in cls.__bases__)
            tree[cls.__name__] = (parent, others[0] if others else None)
    return tree


def test_the_tree_is_as_it_is_drawn() -> None:
    assert tree_as_drawn() == tree_as_written()


def test_every_error_is_public() -> None:
    assert sorted(tree_as_written()) == sorted(errors.__all__)
    assert set(errors.__all__) <= set(hephaestus_pg.__all__)


def test_there_is_an_example_of_each() -> None:
    assert sorted(type(error).__name__ for error in EXAMPLES) == sorted(errors.__all__)


@pytest.mark.parametrize(
    "copied", (copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e)))
)
@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_can_be_copied_and_sent_to_another_process(
    error: errors.HephaestusError,
    copied: Callable[[errors.HephaestusError], errors.HephaestusError],
) -> None:
    twin = copied(error)
    assert type(twin) is type(error)
    assert twin is not error
    assert str(twin) == str(error) != ""
    assert twin.args == error.args
    assert vars(twin) == vars(error)


def test_a_note_goes_along() -> None:
    error = copy.copy(STALE)
    error.add_note("while shipping")
    assert pickle.loads(pickle.dumps(error)).__notes__ == ["while shipping"]


def test_a_value_whose_repr_raises_does_not_hide_the_error_about_it() -> None:
    error = errors.InvalidValueError("context", Broken(), "give a mapping")
    assert str(error) == "context is <Broken>: give a mapping"


def test_a_long_value_is_cut_in_the_message_but_not_in_the_attribute() -> None:
    error = errors.InvalidValueError("id", "x" * 300, "255 characters at most")
    assert error.value == "x" * 300
    assert str(error) == f"id is '{'x' * 53}…{'x' * 25}': 255 characters at most"
