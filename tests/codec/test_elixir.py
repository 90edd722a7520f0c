"""Beside an Elixir application: its rows are read, and it is sent none that it can't read."""

from __future__ import annotations

import json
from collections import UserDict
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from hephaestus_pg import (
    AsyncStorage,
    Context,
    ExecutionEntry,
    Instance,
    InvalidTypeError,
    LoadedClasses,
    NamedClasses,
    Names,
    SerializationError,
    Serializer,
    Status,
)

pytestmark = pytest.mark.quick

RUNTIME = Path(__file__).parents[1] / "golden" / "hephaestus_runtime.jsonl"
"""Rows in the shape in which Hephaestus' own runtime leaves them, its built-in steps included."""

COLUMNS = ("id", "workflow", "status", "workflow_version", "state")
ROWS = [
    [json.loads(line)[name] for name in COLUMNS]
    for line in RUNTIME.read_text(encoding="utf-8").splitlines()
]
BUILT_IN = {"Done", "Wait", "WaitForEvent", "Debug"}

ATOMS = {"amount", "customer", "name", "charge", "receipt", "done", "paid"}
CHARGE = "Elixir.MyApp.Steps.Charge"
NOW = datetime(2026, 4, 6, 12, tzinfo=UTC)
GOOD = Instance(
    "x",
    "Elixir.MyApp.Order",
    status=Status.WAITING,
    current_step=CHARGE,
    context=Context(
        {"amount": 99, "customer": [{"name": "any text"}]}, {"charge": {"receipt": "r-1"}}
    ),
    step_configs={CHARGE: {"any key": {"at all": 1}}},
    active_steps=frozenset({CHARGE}),
    completed_steps=frozenset({"Elixir.Hephaestus.Steps.Done"}),
    runtime_metadata={"any key": {"at all": [{"is": "free"}]}},
    execution_history=(
        ExecutionEntry(CHARGE, "done", NOW, {"receipt": {"name": 1}}),
        ExecutionEntry(CHARGE, "paid", NOW.astimezone(timezone(timedelta(hours=2)))),
    ),
    unknown_state={"later": {"free": 1}},
)


def entry(**fields: Any) -> dict[str, Any]:
    changed = replace(GOOD.execution_history[0], **fields)
    return {"execution_history": (GOOD.execution_history[1], changed)}


def initial(value: Any) -> dict[str, Any]:
    return {"context": Context(value)}


def stored_moment(text: str) -> datetime:
    """A moment as another wrote it, which keeps its text."""
    step = {"step_ref": CHARGE, "event": "done", "timestamp": text, "context_updates": None}
    row = Serializer(Names()).from_db("x", "W", "failed", 1, {"execution_history": [step]})
    return row.execution_history[0].timestamp


UNREADABLE: dict[str, tuple[dict[str, Any], str]] = {
    "a key of the initial context": (initial({"amuont": 1}), "context.initial.amuont"),
    "a key within": (
        initial({"customer": [{"name": {"first": 1}}]}),
        "context.initial.customer[0].name.first",
    ),
    "a key in a tuple, a mapping": (
        initial({"customer": (1, UserDict({"first": 1}))}),
        "context.initial.customer[1].first",
    ),
    "a step in the context": ({"context": Context({}, {"pack": {}})}, "context.steps.pack"),
    "a key of a result": (
        {"context": Context({}, {"charge": {"no such": 1}})},
        "context.steps.charge['no such']",
    ),
    "an event": (entry(event="ended"), "execution_history[1].event"),
    "a key of updates": (
        entry(context_updates={"done": [{"x": 1}]}),
        "execution_history[1].context_updates.done[0].x",
    ),
    "a moment not in UTC": (
        entry(timestamp=stored_moment("2026-04-06T14:00:00+02:00")),
        "execution_history[1].timestamp",
    ),
    "a workflow": ({"workflow": "demo.Order"}, "workflow"),
    "a current step": ({"current_step": "charge_it"}, "current_step"),
    "an active step": ({"active_steps": frozenset({"demo.Charge"})}, "active_steps[0]"),
    "a completed step": ({"completed_steps": frozenset({CHARGE, "pack"})}, "completed_steps[1]"),
    "a configured step": ({"step_configs": {"demo.Charge": {}}}, "step_configs['demo.Charge']"),
    "an entry's step": (entry(step_ref="demo.Charge"), "execution_history[1].step_ref"),
    "an integer": (initial({"amount": [10**1024]}), "context.initial.amount[0]"),
    "an integer in metadata": (
        {"runtime_metadata": {"n": {"m": -(10**1024)}}},
        "runtime_metadata.n.m",
    ),
    "an integer in a config": (
        {"step_configs": {CHARGE: {"n": 10**1024}}},
        f"step_configs[{CHARGE!r}].n",
    ),
    "an integer in what is unknown": ({"unknown_state": {"n": [10**2000]}}, "n[0]"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_elixir_could_not_read_is_refused_with_its_path(case: str) -> None:
    changes, path = UNREADABLE[case]
    serializer = Serializer(Names(), elixir=ATOMS)
    changed = replace(GOOD, **changes)

    for write in (serializer.to_db, serializer.encode):
        with pytest.raises(SerializationError) as caught:
            write(changed)
        assert caught.value.path == path
    Serializer(Names()).to_db(changed)  # which is fine where only Python reads


def test_what_elixir_can_read_is_stored_as_ever() -> None:
    largest = replace(GOOD, runtime_metadata={"n": 10**1024 - 1, "f": 1.5e300})
    utc = replace(GOOD, **entry(timestamp=stored_moment("2026-04-06T12:00:00.5+00:00")))

    for instance in (GOOD, largest, utc, Instance.new("Elixir.W", {}, id="y")):
        assert Serializer(Names(), elixir=ATOMS).to_db(instance) == Serializer(Names()).to_db(
            instance
        )


def test_a_module_that_is_not_elixirs_may_be_among_the_atoms() -> None:
    Serializer(Names(), elixir=["my_erlang_module"]).to_db(Instance("x", "my_erlang_module"))


def test_classes_need_the_names_that_elixir_knows() -> None:
    instance = Instance("x", dict, current_step=list)
    named = NamedClasses({"Elixir.MyApp.Order": dict, "Elixir.MyApp.Steps.Charge": list})

    Serializer(named, elixir=ATOMS).to_db(instance)
    with pytest.raises(SerializationError, match=r"builtins\.dict.*Elixir\.….*NamedClasses"):
        Serializer(LoadedClasses(), elixir=ATOMS).to_db(instance)


@pytest.mark.parametrize("given", ("amount", 1, {"amount", 1}, [b"amount"], True))
def test_atoms_are_several_texts(given: Any) -> None:
    with pytest.raises(InvalidTypeError, match="^elixir is "):
        Serializer(elixir=given)


def test_what_is_given_later_does_not_count() -> None:
    atoms: list[str] = []
    serializer = Serializer(Names(), elixir=atoms)
    atoms.append("amount")

    with pytest.raises(SerializationError, match="once it exists there, add it"):
        serializer.to_db(Instance.new("Elixir.W", {"amount": 1}, id="x"))


async def test_every_verb_refuses_it_before_it_is_sent(dsn: str, migrated: str) -> None:
    async with AsyncStorage.start(
        dsn, schema=migrated, references=Names(), elixir=ATOMS
    ) as storage:
        held = await storage.put(GOOD)
        bad = replace(held, context=Context({"amuont": 1}))
        async with storage.transaction() as tx:
            for refused in (
                storage.put(bad),
                storage.insert(replace(bad, id="y")),
                storage.update(bad),
                storage.put_many([replace(GOOD, id="z"), bad]),
                tx.put(bad),
            ):
                with pytest.raises(SerializationError, match=r"^context\.initial\.amuont: "):
                    await refused
        assert await storage.query() == [held]
        # Nothing keeps one from reading, finding and deleting what another wrote.
        assert await storage.query(contains={"context": {"initial": {"amuont": 1}}}) == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_of_the_runtime_goes_there_and_back(row: Any) -> None:
    named = {f"Elixir.Hephaestus.Steps.{step}": type(step, (), {}) for step in BUILT_IN}
    named |= {name: type(name, (), {}) for name in ("Elixir.MyApp.Order", CHARGE)}
    atoms = ATOMS | {"debug", "wait_for_event"}

    for references in (NamedClasses(named), Names()):
        serializer = Serializer(references, elixir=atoms)
        assert [*serializer.to_db(serializer.from_db(*row))] == row
