import json
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from hephaestus_pg import (
    Context,
    ExecutionEntry,
    Instance,
    Names,
    SerializationError,
    Serializer,
)
from tests.support.rows import (
    CLASSES,
    Charge,
    Notify,
    Order,
    Validate,
)

pytestmark = pytest.mark.quick


def test_what_is_stored_is_what_a_read_gives_not_what_was_passed() -> None:
    given = {"items": (1, 2), "tags": {"b", "a"}}
    encoded = Serializer(Names()).encode(Instance.new("W", given, id="x"))
    given["items"] = (3,)

    assert encoded.expected().context.initial == {"items": [1, 2], "tags": ["a", "b"]}


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
    row: dict[str, Any] = {"workflow_version": 3, "revision": 7, "runner": None}
    row |= dict.fromkeys(moments, now.timestamp())
    serializer = Serializer(CLASSES)
    for given in (instance, replace(instance, unknown_state={"later": unknown})):
        encoded = serializer.encode(given)
        read = serializer.from_db(*encoded.columns[:3], 1, json.loads(encoded.state))
        configs[Validate] = {}
        for map in maps:
            map["n"]["m"] = map["more"] = 2

        # Equal to the last zone of a moment, which a comparison may miss.
        assert repr(encoded.expected()) == repr(read)
        assert encoded.expected().unknown_state == read.unknown_state
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
            read = serializer.from_db(*encoded.columns[:3], 1, json.loads(encoded.state))
            assert encoded.expected() == read
    finally:
        ended.set()
        thread.join()
        sys.setswitchinterval(switch)
