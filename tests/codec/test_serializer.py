import json
import pickle
import sys
import threading
from collections import UserDict
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from traceback import format_exception
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from hephaestus_pg import (
    Context,
    CorruptInstanceError,
    ExecutionEntry,
    Instance,
    InvalidTypeError,
    InvalidValueError,
    NamedClasses,
    Names,
    SerializationError,
    Serializer,
    UnknownReferenceError,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "hephaestus_ecto_0.3.0.jsonl"
ROWS = [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]

COLUMNS = ("id", "workflow", "status", "workflow_version", "state")


class Order:
    pass


class Payment:
    pass


class Validate:
    pass


class Charge:
    pass


class Notify:
    pass


CLASSES = NamedClasses(
    {
        "Elixir.MyApp.Workflows.Order.V1": Order,
        "Elixir.MyApp.Workflows.Payment.V2": Payment,
        "Elixir.MyApp.Steps.Validate": Validate,
        "Elixir.MyApp.Steps.Charge": Charge,
        "Elixir.MyApp.Steps.Notify": Notify,
    }
)
EMPTY_STATE: dict[str, Any] = {
    "current_step": None,
    "context": {"initial": {}, "steps": {}},
    "step_configs": {},
    "active_steps": [],
    "completed_steps": [],
    "execution_history": [],
    "runtime_metadata": {},
}


def from_state(state: Any, **columns: Any) -> Instance:
    row = {"id": "x", "workflow": "W", "status": "pending", "workflow_version": 1, **columns}
    return Serializer(Names()).from_db(**row, state=state)


@pytest.mark.parametrize("references", (CLASSES, Names()), ids=["classes", "names"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_a_row_of_the_original_is_written_back_equal(row: dict[str, Any], references: Any) -> None:
    serializer = Serializer(references)
    columns = tuple(row[column] for column in COLUMNS)

    instance = serializer.from_db(*columns)

    assert serializer.to_db(instance) == columns
    assert json.loads(serializer.encode(instance).state) == row["state"]


def test_a_row_of_the_original_is_read_as_classes_and_moments() -> None:
    row = next(row for row in ROWS if row["status"] == "waiting")

    instance = Serializer(CLASSES).from_db(*(row[column] for column in COLUMNS))

    assert instance.workflow is Payment
    assert instance.workflow_version == 2
    assert instance.current_step is Charge
    assert instance.active_steps == {Charge}
    assert instance.completed_steps == {Validate}
    assert instance.context == Context({"amount": 99}, {"validate": {"score": 0.75, "valid": True}})
    assert instance.runtime_metadata == {"retries": 3, "trace_id": "abc-123"}
    assert instance.execution_history[1] == ExecutionEntry(
        Charge, "payment_confirmed", datetime(2026, 4, 6, 12, 0, 1, 500_000, UTC), {}
    )


def test_a_new_instance_is_written_with_every_key() -> None:
    row = Serializer(CLASSES).to_db(Instance.new(Order, {"order_id": 123}, id="x"))

    assert row == (
        "x",
        "Elixir.MyApp.Workflows.Order.V1",
        "pending",
        1,
        {**EMPTY_STATE, "context": {"initial": {"order_id": 123}, "steps": {}}},
    )


def test_sets_of_steps_are_written_as_sorted_names() -> None:
    instance = Instance("x", Order, active_steps=frozenset({Notify, Charge, Validate}))

    assert Serializer(CLASSES).to_db(instance)[-1]["active_steps"] == [
        "Elixir.MyApp.Steps.Charge",
        "Elixir.MyApp.Steps.Notify",
        "Elixir.MyApp.Steps.Validate",
    ]


def test_a_full_instance_comes_back_equal() -> None:
    instance = Instance(
        "x",
        Order,
        workflow_version=2,
        status="running",  # type: ignore[arg-type]
        current_step=Charge,
        context=Context({"order_id": 123}, {"validate": {"result": True}}),
        step_configs={Charge: {"key": "val"}},
        active_steps=frozenset({Charge}),
        completed_steps=frozenset({Validate}),
        runtime_metadata={"user": "test@example.com"},
        execution_history=(
            ExecutionEntry(Validate, "done", datetime(2026, 1, 1, tzinfo=UTC), None),
            ExecutionEntry(Charge, "started", datetime(2026, 1, 1, 0, 0, 0, 7, UTC), {"n": 1}),
        ),
    )
    serializer = Serializer(CLASSES)

    assert serializer.from_db(*serializer.to_db(instance)) == instance


def test_any_key_that_a_state_lacks_gets_its_default() -> None:
    assert from_state({}) == Instance("x", "W")
    assert from_state(dict.fromkeys(EMPTY_STATE)) == Instance("x", "W")
    for missing in EMPTY_STATE:
        state = {key: value for key, value in EMPTY_STATE.items() if key != missing}
        assert from_state(state) == Instance("x", "W")
    assert from_state({"context": {"initial": {"a": 1}}}).context == Context({"a": 1}, {})


def test_keys_that_are_unknown_are_kept_and_written_back() -> None:
    state = {
        **EMPTY_STATE,
        "context": {"initial": {}, "steps": {}, "shared": {"a": 1}},
        "execution_history": [
            {
                "step_ref": "S",
                "event": "done",
                "timestamp": "2026-04-06T12:00:00Z",
                "context_updates": None,
                "node": "a@b",
            }
        ],
        "later": [1, 2],
    }

    instance = from_state(state)

    assert instance.unknown_state == {"later": [1, 2], "context": {"shared": {"a": 1}}}
    assert Serializer(Names()).to_db(instance)[-1] == state


@pytest.mark.parametrize(
    "unknown", ({"active_steps": []}, {"context": {"steps": {}}}, {"context": 1})
)
def test_an_unknown_key_cannot_stand_for_a_known_one(unknown: Any) -> None:
    instance = replace(Instance("x", "W"), unknown_state=unknown)

    with pytest.raises(SerializationError):
        Serializer(Names()).to_db(instance)


@pytest.mark.parametrize(
    "text",
    (
        "2026-04-06T12:00:00Z",
        "2026-04-06T12:00:00.5Z",
        "2026-04-06T12:00:00.500Z",
        "2026-04-06T12:00:00.500000Z",
        "2026-04-06T12:00:00.000000Z",
        "2026-04-06T12:00:00.123456789Z",
        "2026-04-06T14:00:00+02:00",
    ),
)
def test_a_timestamp_keeps_its_own_text(text: str) -> None:
    entry = {"step_ref": "S", "event": "e", "timestamp": text, "context_updates": {}}
    instance = from_state({"execution_history": [entry]})

    moment = instance.execution_history[0].timestamp
    assert moment == datetime.fromisoformat(text)
    assert Serializer(Names()).to_db(instance)[-1]["execution_history"] == [entry]
    # What is made from it is another moment, with no text to keep.
    later = replace(instance.execution_history[0], timestamp=moment + timedelta(seconds=1))
    written = Serializer(Names()).to_db(replace(instance, execution_history=(later,)))[-1]
    assert datetime.fromisoformat(written["execution_history"][0]["timestamp"]) == later.timestamp
    assert pickle.loads(pickle.dumps(later)) == later


def test_a_timestamp_is_written_in_utc_with_a_z() -> None:
    east = timezone(timedelta(hours=2))
    entry = ExecutionEntry("S", "e", datetime(2026, 4, 6, 14, 0, 0, 5, east), {})

    state = Serializer(Names()).to_db(Instance("x", "W", execution_history=(entry,)))[-1]

    assert state["execution_history"][0]["timestamp"] == "2026-04-06T12:00:00.000005Z"


def test_an_hour_that_a_zone_has_twice_is_written_as_the_one_it_is() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    twice = [datetime(2026, 10, 25, 2, 30, tzinfo=berlin, fold=fold) for fold in (0, 1, 0)]
    history = tuple(ExecutionEntry("S", "e", moment) for moment in twice)

    state = Serializer(Names()).to_db(Instance("x", "W", execution_history=history))[-1]

    assert [entry["timestamp"] for entry in state["execution_history"]] == [
        "2026-10-25T00:30:00Z",
        "2026-10-25T01:30:00Z",
        "2026-10-25T00:30:00Z",
    ]


@pytest.mark.parametrize(
    ("state", "reason"),
    (
        ([], "state is a list"),
        (None, "state is a NoneType"),
        ({"context": []}, "context is a list"),
        ({"context": {"initial": 1}}, "initial is a int"),
        ({"active_steps": "S"}, "active_steps is a str"),
        ({"active_steps": [1]}, "a int stands where a text should"),
        ({"completed_steps": {"S": 1}}, "completed_steps is a dict"),
        ({"current_step": 1}, "a int stands"),
        ({"step_configs": []}, "step_configs is a list"),
        ({"runtime_metadata": "x"}, "runtime_metadata is a str"),
        ({"execution_history": {}}, "execution_history is a dict"),
        ({"execution_history": [1]}, r"execution_history\[0\]: it is a int"),
        ({"execution_history": [{"event": "e"}]}, "a NoneType stands"),
        (
            {"execution_history": [{"step_ref": "S", "event": "e", "timestamp": "now"}]},
            r"execution_history\[0\]: its timestamp is not one of ISO 8601$",
        ),
        (
            {
                "execution_history": [
                    {"step_ref": "S", "event": "e", "timestamp": "2026-04-06T12:00:00"}
                ]
            },
            "time zone",
        ),
        (
            {
                "execution_history": [
                    {
                        "step_ref": "S",
                        "event": "e",
                        "timestamp": "2026-04-06T12:00:00Z",
                        "context_updates": 1,
                    }
                ]
            },
            "context_updates is a int",
        ),
    ),
)
def test_a_broken_state_is_an_error_with_the_id(state: Any, reason: str) -> None:
    with pytest.raises(CorruptInstanceError, match=f"^instance 'x' cannot be read: .*{reason}"):
        from_state(state)


def test_a_broken_state_is_named_by_its_place_and_not_by_what_it_holds() -> None:
    secret = "the patient has it"
    good = {"step_ref": "S", "event": secret, "timestamp": "2026-04-06T12:00:00Z"}
    states: list[Any] = [
        secret,
        [secret],
        {"context": secret},
        {"context": {"initial": secret}},
        {"context": {"steps": [secret]}},
        {"runtime_metadata": secret},
        {"step_configs": [secret]},
        {"active_steps": {secret: secret}},
        {"completed_steps": [{secret: secret}]},
        {"current_step": [secret]},
        {"execution_history": secret},
        {"execution_history": {secret: secret}},
        *(
            {"execution_history": [good, good, {**good, **broken}]}
            for broken in (
                {"timestamp": secret},
                {"timestamp": f"2026-04-06T12:00:00{secret}"},
                {"timestamp": [secret]},
                {"step_ref": [secret]},
                {"event": {secret: secret}},
                {"context_updates": secret},
            )
        ),
        {"execution_history": [good, good, secret]},
    ]
    for state in states:
        with pytest.raises(CorruptInstanceError, match="'x'") as caught:
            from_state(state)
        printed = "".join(format_exception(caught.value))
        assert secret not in printed
        if isinstance(state, dict) and isinstance(state.get("execution_history"), list):
            assert "execution_history[2]" in str(caught.value)


def test_a_broken_column_is_an_error_with_the_id() -> None:
    for columns in ({"status": "paused"}, {"workflow_version": 0}):
        with pytest.raises(CorruptInstanceError, match="'x'") as caught:
            from_state({}, **columns)
        assert caught.value.id == "x"


def test_an_unknown_reference_is_an_error_with_the_id_and_its_cause() -> None:
    with pytest.raises(CorruptInstanceError, match=r"os\.system.*add it") as caught:
        Serializer(CLASSES).from_db("x", "os.system", "pending", 1, {})
    assert isinstance(caught.value.__cause__, UnknownReferenceError)


def test_what_cannot_be_stored_names_its_path_in_the_instance() -> None:
    cases: list[tuple[str, Any, str]] = [
        ("context", Context({"customer": {"name": {1, object()}}}), "context.initial.customer"),
        ("context", Context({}, {"charge": {"at": b""}}), "context.steps.charge.at"),
        ("runtime_metadata", {"a": float("nan")}, "runtime_metadata.a"),
        ("step_configs", {"S": {"t": object}}, "step_configs.S.t"),
    ]
    for field, value, path in cases:
        with pytest.raises(SerializationError) as caught:
            Serializer(Names()).to_db(replace(Instance("x", "W"), **{field: value}))
        assert caught.value.path.startswith(path)


class Refusing(UserDict[Any, Any]):
    def __iter__(self) -> Any:
        raise RuntimeError("no")

    __len__ = __getitem__ = keys = items = __iter__  # type: ignore[assignment]


@pytest.mark.parametrize("field", ("step_configs", "unknown_state", "runtime_metadata"))
def test_a_mapping_that_raises_is_refused(field: str) -> None:
    fields: dict[str, Any] = {field: Refusing()}

    with pytest.raises(SerializationError, match=rf"^({field}|state): .*RuntimeError") as caught:
        Serializer(Names()).to_db(Instance("x", "W", **fields))
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_two_steps_of_one_name_are_refused() -> None:
    class Same(Names):
        def to_name(self, reference: Any) -> str:
            del reference
            return "same"

    instance = Instance("x", "W", step_configs={"a": {}, "b": {}})
    with pytest.raises(SerializationError, match="two steps have the same name"):
        Serializer(Same()).to_db(instance)


def test_a_state_over_the_limit_is_refused_with_both_sizes() -> None:
    instance = Instance.new("W", {"text": "x" * 1000}, id="x")

    assert len(Serializer(Names(), max_state_bytes=2000).encode(instance).state) > 1000
    with pytest.raises(SerializationError, match=r"1,\d\d\d bytes as JSON, 1,000 at most"):
        Serializer(Names(), max_state_bytes=1000).encode(instance)


@pytest.mark.parametrize("limit", (0, -1, 2**28, "1"))
def test_a_limit_beyond_what_the_column_holds_is_refused(limit: Any) -> None:
    with pytest.raises(InvalidValueError, match="max_state_bytes"):
        Serializer(max_state_bytes=limit)


def test_only_instances_are_written() -> None:
    with pytest.raises(InvalidTypeError, match="instance"):
        Serializer().to_db({"id": "x"})  # type: ignore[arg-type]


def test_what_is_stored_is_what_a_read_gives_not_what_was_passed() -> None:
    given = {"items": (1, 2), "tags": {"b", "a"}}
    encoded = Serializer(Names()).encode(Instance.new("W", given, id="x"))
    given["items"] = (3,)

    assert encoded.expected(1).context.initial == {"items": [1, 2], "tags": ["a", "b"]}


def test_what_is_stored_does_not_change_with_what_was_passed() -> None:
    twice = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)
    now = datetime(2026, 4, 6, 12, tzinfo=UTC)
    maps: list[dict[str, Any]] = [{"n": {"m": 1}} for _ in range(6)]
    initial, result, config, metadata, updates, unknown = maps
    configs = {Notify: {}, Charge: config}
    instance = Instance(
        "x",
        Order,
        current_step=Charge,
        context=Context(initial, {"validate": result}),
        step_configs=configs,
        active_steps=frozenset({Charge}),
        completed_steps=frozenset({Validate}),
        runtime_metadata=metadata,
        execution_history=(
            ExecutionEntry(Validate, "done", now),
            ExecutionEntry(Charge, "begun", now, updates),
            ExecutionEntry(Charge, "done", twice),
        ),
    )
    moments = dict.fromkeys(("inserted_at", "updated_at"), now)
    row: dict[str, Any] = {"workflow_version": 3, "revision": 7}
    row |= dict.fromkeys(moments, now.timestamp())
    serializer = Serializer(CLASSES)
    for given in (instance, replace(instance, unknown_state={"later": unknown})):
        encoded = serializer.encode(given)
        read = serializer.from_db(*encoded[:4], json.loads(encoded.state))
        configs[Validate] = {}
        for map in maps:
            map["n"]["m"] = map["more"] = 2

        # Equal to the last zone of a moment, which a comparison may miss.
        assert repr(encoded.expected(1)) == repr(read)
        assert encoded.expected(1).unknown_state == read.unknown_state
        assert repr(encoded.stored(row)) == repr(replace(read, **(row | moments)))


def test_what_is_stored_is_one_state_of_maps_that_a_thread_changes() -> None:
    serializer = Serializer(Names())
    initial: dict[str, Any] = {"n": {}}
    configs: dict[str, Any] = {}
    entry = ExecutionEntry("S", "e", datetime(2026, 4, 6, tzinfo=UTC), initial)
    instance = Instance("x", "W", 1, context=Context(initial), step_configs=configs)
    instance = replace(instance, runtime_metadata=initial, execution_history=(entry,))
    ended = threading.Event()

    def change() -> None:
        n = 0
        while not ended.is_set():
            n += 1
            initial[f"k{n % 7}"] = configs[f"S{n % 5}"] = initial["n"][f"k{n % 3}"] = {"n": n}
            for map in (initial, configs, initial["n"]):
                map.pop(f"k{n % 4}", None)
                map.pop(f"S{n % 3}", None)

    thread = threading.Thread(target=change)
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        stored = refused = 0
        while stored < 2000:
            try:
                encoded = serializer.encode(instance)
            except SerializationError:
                refused += 1
                assert refused < 100_000
                continue
            stored += 1
            read = serializer.from_db(*encoded[:4], json.loads(encoded.state))
            assert encoded.expected(1) == read
    finally:
        ended.set()
        thread.join()
        sys.setswitchinterval(switch)
