"""Parameters of a DSN are honoured, ignored, refused, or passed on as settings."""

from __future__ import annotations

import pytest

from hephaestus_pg import (
    InvalidValueError,
)
from tests.support.targets import read, settings

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    "query",
    (
        "channel_binding=prefer",
        "channel_binding=disable",
        "gssencmode=prefer",
        "gssencmode=disable",
        "gssdelegation=0",
        "sslcompression=0",
        "sslcompression=1",
        "sslsni=0",
        "sslcertmode=allow",
        "sslkeylogfile=/tmp/keys",
        "client_encoding=UTF8",
        "client_encoding=auto",
        "replication=false",
        "min_protocol_version=3.0",
        "max_protocol_version=latest",
    ),
)
def test_a_harmless_parameter_is_ignored_with_one_line_in_the_log(
    query: str, caplog: pytest.LogCaptureFixture
) -> None:
    found = read(f"postgresql://u:secret@h/db?{query}&sslsni=1")
    assert settings(found) == {}
    assert found.dsn is None
    assert len(caplog.records) == 1
    assert query.partition("=")[0] in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("query", "advice"),
    (
        ("channel_binding=require", "sslmode=verify-full"),
        ("gssencmode=require", "sslmode=verify-full"),
        ("require_auth=scram-sha-256", "pg_hba.conf"),
        ("require_auth=!password", "pg_hba.conf"),
        ("requirepeer=postgres", "socket's folder"),
        ("sslcertmode=require", "sslcert"),
        ("sslcertmode=disable", "sslcert"),
        ("sslcrldir=/etc/crls", "sslcrl"),
        ("min_protocol_version=3.2", "3.0"),
        ("replication=database", "take it away"),
        ("client_encoding=latin1", "UTF8"),
        ("scram_client_key=secret", "the password itself"),
        ("oauth_client_secret=secret", "password="),
        ("oauth_issuer=https://issuer", "password="),
    ),
)
def test_a_parameter_whose_safety_asyncpg_lacks_is_refused(query: str, advice: str) -> None:
    name = query.partition("=")[0]
    with pytest.raises(InvalidValueError, match=f"^{name} is .*{advice}") as caught:
        read(f"postgresql://u:secret@h/db?{query}")
    assert "secret" not in str(caught.value).replace("client_secret", "")
    assert caught.value.value != "secret"


@pytest.mark.parametrize(
    ("query", "advice"),
    (
        ("pgbouncer=true", r"start\(pgbouncer=True\)"),
        ("connection_limit=5", r"start\(max_size=5\)"),
        ("schema=tenant_a", r"start\(schema='tenant_a'\)"),
        ("pool_timeout=10", r"start\(timeout="),
        ("socket_timeout=10", r"start\(timeout="),
        ("sslaccept=strict", "sslmode=verify-full"),
        ("ssl=require", "sslmode=require"),
        ("ssl=false", "sslmode=disable"),
        ("ssl=1", "sslmode=require"),
        ("sslmode=no-verify", "sslmode=require"),
        ("uselibpqcompat=true", "take it out"),
        ("prepared_statement_cache_size=0", r"start\(statement_cache_size=0\)"),
        ("currentSchema=x", r"start\(schema='x'\)"),
        ("ApplicationName=x", "it is written application_name"),
        ("connectTimeout=5", "it is written connect_timeout"),
        ("sslMode=require", "it is written sslmode"),
        ("ssl_mode=require", "it is written sslmode"),
        ("socketTimeout=5", r"start\(timeout="),
        ("prepareThreshold=0", r"start\(statement_cache_size=0\)"),
        ("targetServerType=primary", "target_session_attrs=primary"),
        ("conn_max_age=60", "max_inactive_connection_lifetime"),
        ("pool_max_conns=5", r"start\(max_size=5\)"),
        ("pool_size=5", r"start\(max_size=5\)"),
        ("workaround=supabase-pooler.vercel", "take it out"),
        ("min_size=5", r"start\(min_size=5\)"),
        ("statement_cache_size=0", r"start\(statement_cache_size=0\)"),
        ("command_timeout=5", r"start\(command_timeout=5\)"),
        ("unix_sock=/cloudsql/x", "host=FOLDER"),
        ("x=1&amp;sslmode=require", "write & for &amp;"),
        ("a%20b=1", "take it out"),
    ),
)
def test_a_parameter_of_another_library_says_what_to_give_instead(query: str, advice: str) -> None:
    with pytest.raises(InvalidValueError, match=advice) as caught:
        read(f"postgresql://u:secret@h/db?{query}")
    assert not str(caught.value).startswith("dsn is")
    assert "secret" not in str(caught.value)


def test_several_refused_parameters_are_named_at_once() -> None:
    with pytest.raises(InvalidValueError, match=r"^pgbouncer is .*max_size=5.*schema='x'"):
        read("postgresql://u:secret@h/db?pgbouncer=true&connection_limit=5&schema=x")


def test_ssl_true_means_what_it_means_to_libpq() -> None:
    assert read("postgresql://h/db?ssl=true").options["ssl"] == "require"


@pytest.mark.parametrize(
    ("query", "expected"),
    (
        ("application_name=a&fallback_application_name=b", {"application_name": "a"}),
        ("statement_timeout=5s&app.tenant=x", {"statement_timeout": "5s", "app.tenant": "x"}),
        (
            r"options=-c%20search_path%3Da%5C%20b%20-cstatement-timeout%3D5s",
            {"search_path": "a b", "statement_timeout": "5s"},
        ),
        ("options=-c+geqo%3Doff&geqo=on", {"geqo": "on"}),
        (
            "options=endpoint%3Dep-1%20-c%20geqo%3Doff",
            {"options": "endpoint=ep-1", "geqo": "off"},
        ),
        ("options=--cluster%3Dname", {"options": "--cluster=name"}),
        ("options=-c", {"options": "-c"}),
    ),
)
def test_settings_go_to_the_server(query: str, expected: dict[str, str]) -> None:
    assert settings(read(f"postgresql://h/db?{query}")) == expected
