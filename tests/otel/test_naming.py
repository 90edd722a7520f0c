"""Names and attributes of operations."""

from __future__ import annotations

import pytest

from hephaestus_pg import ConnectionLostError, RejectedError
from hephaestus_pg.driver.connection import Server

pytest.importorskip("opentelemetry", reason="the group test is not installed")

from hephaestus_pg.otel.naming import Naming, failure

pytestmark = pytest.mark.quick


def test_an_operation_is_named_with_its_table() -> None:
    naming = Naming("tenant")
    naming.learn(Server("10.0.0.1", 5433, "orders"))
    assert naming["put"].span == "put workflow_instances"
    assert naming["put"].attributes == {
        "db.system.name": "postgresql",
        "db.namespace": "orders|tenant",
        "server.address": "10.0.0.1",
        "server.port": 5433,
        "db.operation.name": "put",
        "db.collection.name": "workflow_instances",
    }


def test_one_without_the_table_is_named_by_itself() -> None:
    named = Naming("tenant")["ping"]
    assert named.span == "ping"
    assert "db.collection.name" not in named.attributes


def test_after_a_failover_it_is_the_server_that_answers_now() -> None:
    naming = Naming("public")
    naming.learn(Server("first", 5432, "orders"))
    assert naming["put"].attributes["server.address"] == "first"
    naming.learn(Server("/run/postgresql/.s.PGSQL.5432", None, None))
    assert naming["put"].attributes["server.address"] == "/run/postgresql/.s.PGSQL.5432"
    assert not naming["put"].attributes.keys() & {"server.port", "db.namespace"}


def test_of_an_error_the_class_is_reported_and_the_code_but_no_message() -> None:
    lost = ConnectionLostError("of 'order-1'", applied="no", retryable=True)
    assert failure(lost) == {"error.type": "ConnectionLostError"}
    rejected = RejectedError("of 'order-1'", applied="no", retryable=False)
    rejected.sqlstate = "23514"
    assert failure(rejected) == {
        "error.type": "RejectedError",
        "db.response.status_code": "23514",
    }
