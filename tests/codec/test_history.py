import copy
import json
import pickle
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hephaestus_pg import (
    CorruptInstanceError,
    ExecutionEntry,
    Instance,
    NamedClasses,
    Names,
    SerializationError,
    Serializer,
    UnknownReferenceError,
)
from hephaestus_pg.codec.plain import MAX_DEPTH
from tests.support.rows import Charge, Order, Validate, from_state
from tests.support.strategies import maps, same, texts

pytestmark = pytest.mark.quick

LENGTHS = (1, 5, 12, 40)
NOW = datetime(2026, 4, 6, 12, 0, 0, 7, tzinfo=UTC)


def stored(number: int) -> list[dict[str, Any]]:
    return [
        {
            "step_ref": "SR"[n % 2],
            "event": "done",
            "timestamp": f"2026-04-06T12:00:{n:02}{'.000007' * (n % 3 > 0)}Z",
            "context_updates": {"n": n} if n % 4 == 1 else None,
        }
        for n in range(number)
    ]


def made(number: int) -> tuple[ExecutionEntry, ...]:
    return tuple(
        ExecutionEntry(
            entry["step_ref"],
            entry["event"],
            datetime.fromisoformat(entry["timestamp"]),
            entry["context_updates"],
        )
        for entry in stored(number)
    )


def read(number: int) -> Instance:
    return from_state({"execution_history": stored(number)})


def written(instance: Instance, references: Any = None) -> list[dict[str, Any]]:
    text = Serializer(references or Names()).encode(instance).state
    history: list[dict[str, Any]] = json.loads(text)["execution_history"]
    return history


@pytest.mark.parametrize("number", LENGTHS)
def test_a_history_is_a_tuple_of_entries_however_it_is_looked_at(number: int) -> None:
    history = made(number)
    whole = Instance("x", "W", execution_history=history)

    assert type(read(number).execution_history) is tuple
    assert read(number).execution_history == history
    assert read(number) == read(number) == whole
    assert repr(read(number)) == repr(whole)
    assert asdict(read(number)) == asdict(whole)
    assert replace(read(number), revision=3).execution_history == history
    for twin in (copy.copy(read(number)), copy.deepcopy(read(number))):
        assert twin == whole
    assert pickle.loads(pickle.dumps(read(number))) == whole
    instance = read(number)
    assert instance.execution_history is instance.execution_history


@pytest.mark.parametrize("number", LENGTHS)
def test_a_history_is_written_as_it_was_read_whoever_made_it(number: int) -> None:
    sent = pickle.loads(pickle.dumps(read(number)))
    for instance in (read(number), sent, Instance("x", "W", execution_history=made(number))):
        for _ in range(2):  # the second time from what the entries keep
            assert written(instance) == stored(number)
        later = ExecutionEntry("S", "later", NOW, {"a": [1]})
        more = replace(instance, execution_history=(*instance.execution_history, later))
        assert written(more)[:-1] == stored(number)
        assert written(more)[-1]["context_updates"] == {"a": [1]}


@pytest.mark.parametrize("number", LENGTHS)
def test_what_is_stored_of_a_history_is_what_a_read_gives(number: int) -> None:
    instance = Instance("x", "W", execution_history=made(number))
    encoded = Serializer(Names()).encode(instance)
    for entry in instance.execution_history:
        if entry.context_updates is not None:
            entry.context_updates["n"] = "changed since"  # type: ignore[index]

    assert encoded.expected().execution_history == read(number).execution_history


BROKEN: tuple[Any, ...] = (
    1,
    [],
    "text",
    {},
    {"step_ref": 1},
    {"step_ref": ["S"]},
    {"event": None},
    {"timestamp": "now"},
    {"timestamp": 1},
    {"timestamp": "2026-04-06T12:00:00"},
    {"timestamp": "2026-04-06Z12:00:00"},
    {"timestamp": "2026-13-06T12:00:00.000007Z"},
    {"context_updates": []},
    {"context_updates": "x"},
)


@pytest.mark.parametrize("broken", BROKEN, ids=repr)
def test_a_broken_entry_is_found_by_the_read_itself_in_a_history_of_any_length(broken: Any) -> None:
    reasons = set()
    for number in LENGTHS:
        history: list[Any] = stored(number)
        history[0] = {**history[0], **broken} if isinstance(broken, dict) and broken else broken
        with pytest.raises(CorruptInstanceError, match=r"execution_history\[0\]: ") as caught:
            from_state({"execution_history": history})
        reasons.add(str(caught.value))
    assert len(reasons) == 1


@pytest.mark.parametrize("number", LENGTHS)
@pytest.mark.parametrize(
    "text",
    (
        "2026-04-06T12:00:00.5Z",
        "2026-04-06T12:00:00.000000Z",
        "2026-04-06T14:00:00+02:00",
        '2026-04-06"12:00:00Z',
    ),
)
def test_a_timestamp_of_another_writer_keeps_its_text_among_ours(number: int, text: str) -> None:
    history = stored(number)
    history[-1]["timestamp"] = text

    instance = from_state({"execution_history": history})

    assert instance.execution_history[-1].timestamp == datetime.fromisoformat(text)
    assert written(instance) == history


@pytest.mark.parametrize("number", LENGTHS)
def test_an_unknown_key_is_kept_in_a_history_of_any_length(number: int) -> None:
    history = stored(number)
    history[-1]["node"] = "a@b"

    instance = from_state({"execution_history": history})

    assert instance.execution_history[-1].unknown == {"node": "a@b"}
    assert written(instance) == history


def test_an_entry_is_written_under_the_name_that_each_storage_gives_its_step() -> None:
    instance = Instance("x", Order, execution_history=(ExecutionEntry(Charge, "done", NOW),))
    for name in ("a", "b", "a"):
        named = NamedClasses({"order": Order, name: Charge})
        assert [entry["step_ref"] for entry in written(instance, named)] == [name]


@pytest.mark.parametrize("number", LENGTHS)
def test_a_step_that_is_not_known_is_found_by_the_read_itself(number: int) -> None:
    state = {"execution_history": stored(number)}
    with pytest.raises(CorruptInstanceError, match="'S' is not a known class") as caught:
        Serializer(NamedClasses({"W": Order, "R": Validate})).from_db("x", "W", "pending", 1, state)
    assert isinstance(caught.value.__cause__, UnknownReferenceError)


@given(st.lists(st.tuples(texts, st.none() | maps, st.timedeltas(timedelta(0))), max_size=14))
def test_any_history_comes_back_equal_and_of_the_same_types(entries: Any) -> None:
    history = tuple(
        ExecutionEntry("S", event, datetime(1, 1, 1, tzinfo=UTC) + min(after, TWO_THOUSAND), maps)
        for event, maps, after in entries
        if event
    )
    encoded = Serializer(Names()).encode(Instance("x", "W", execution_history=history))

    got = Serializer(Names()).decode((*encoded.columns[:3], 1, encoded.state, 1, 0, 0, None, None))  # type: ignore[arg-type]

    for here, back, there in zip(
        history, encoded.expected().execution_history, got.execution_history, strict=True
    ):
        assert here == back == there
        assert same(back.context_updates, here.context_updates)
        assert same(there.context_updates, here.context_updates)


TWO_THOUSAND = timedelta(days=2000 * 365)


@pytest.mark.parametrize("event", ("a\0b", "\ud800"))
def test_an_event_that_cannot_be_stored_is_refused_with_its_path(event: str) -> None:
    for number in LENGTHS:
        history = (*made(number), ExecutionEntry("S", event, NOW))
        with pytest.raises(SerializationError) as caught:
            written(Instance("x", "W", execution_history=history))
        assert caught.value.path == f"execution_history[{number}].event"


def test_context_updates_are_as_deep_as_the_state_may_be() -> None:
    above = 3  # the state, its history and the entry
    for levels in (MAX_DEPTH - above, MAX_DEPTH - above + 1):
        updates: Any = {}
        for _ in range(levels - 1):
            updates = {"a": updates}
        entry = ExecutionEntry("S", "done", NOW, updates)
        instance = Instance("x", "W", execution_history=(entry,))
        if levels + above > MAX_DEPTH:
            with pytest.raises(SerializationError, match="more than 254 levels"):
                written(instance)
        else:
            assert written(instance)[0]["context_updates"] == updates


def test_what_updates_hold_is_refused_with_its_path() -> None:
    entry = ExecutionEntry("S", "done", NOW, {"a": [float("nan")]})
    with pytest.raises(SerializationError) as caught:
        written(Instance("x", "W", execution_history=(*made(3), entry)))
    assert caught.value.path == "execution_history[3].context_updates.a[0]"
