"""DSNs as hosts, tools and configuration files hand them out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from hephaestus_pg import AsyncStorage, InvalidTypeError, InvalidValueError, registry
from tests.support.targets import read

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    ("dsn", "advice"),
    (
        ("", "it is empty"),
        (" postgresql://u:secret@h/db", "blanks or line ends around it"),
        ("postgresql://u:secret@h/db\n", "blanks or line ends around it"),
        ("\tpostgresql://u:secret@h/db\r\n", "blanks or line ends around it"),
        ("'postgresql://u:secret@h/db'", "quotes around it"),
        ('"postgresql://u:secret@h/db"', "quotes around it"),
        ('postgresql://u:secret@h/db"', "quotes around it"),
        ("psql postgresql://u:secret@h/db", "take psql and the quotes away"),
        ("psql 'postgresql://u:secret@h/db?sslmode=require' -c x", "take psql and the quotes"),
        ("DATABASE_URL=postgresql://u:secret@h/db", "take DATABASE_URL= away"),
        ("export DB='postgres://u:secret@h/db' X", "take export DB= away"),
        ("postgresql+asyncpg://u:secret@h/db", r"take \+asyncpg away"),
        ("postgresql+psycopg://u:secret@h/db", r"take \+psycopg away"),
        ("postgresql+psycopg2://u:secret@h/db", r"take \+psycopg2 away"),
        ("postgres+asyncpg://u:secret@h/db", r"take \+asyncpg away"),
        ("jdbc:postgresql://h/db?user=u&password=secret", "take jdbc: away"),
        ("prisma+postgres://h/?api_key=secret", "Prisma's own proxy"),
        ("mysql://u:secret@h/db", "give postgresql://"),
        ("cockroachdb://u:secret@h/db", "give postgresql://"),
        ("postgis://u:secret@h/db", "give postgresql://"),
        ("u:secret@h/db", "give postgresql://"),
        ("localhost:5432/db", "give postgresql://"),
        ("postgresql:/u:secret@h/db", "give postgresql://"),
        ('{"username": "u", "password": "secret"}', "give postgresql://"),
        (
            "host=h port=1 dbname='my db' user=u password=secret sslmode=require",
            re.escape("a URL, postgresql://u:***@h:1/my%20db?sslmode=require"),
        ),
        ("host=a,b port=1,2 password = 'a secret'", re.escape("//user:***@a:1,b:2/")),
        ("postgresql://u:secret@h:port/db", "its port is no number"),
        ("postgresql://u:secret/db", "its port is no number; a password needs @host after it"),
        ("postgresql://u:s@secret@h/db", "percent-encode"),
        ("postgresql://u@tenant:secret@h/db", "percent-encode"),
        ("postgresql://u:s/secret@h/db", "percent-encode"),
        ("postgresql://u:12/secret@h/db", "percent-encode"),
        ("postgresql://u:s?secret@h/db", "percent-encode"),
        ("postgresql://u:s#secret@h/db", "percent-encode"),
        ("postgresql://u:a secret/\n@h/db", "percent-encode"),
        ("postgresql://u:secret%ff@h/db", "UTF-8"),
        ("postgresql://u:secret%00@h/db", "%00"),
        ("postgresql://u:secret@h/db?sslmode", "name=value"),
        ("postgresql://u:secret@h,,i/db", "give host:port"),
        ("postgresql://u:secret@[::1/db", "give host:port"),
        ("postgresql://u:secret@::1/db", "give host:port"),
        ("postgresql://u:[YOUR-PASSWORD]@h/db", "where its placeholder stands"),
        ("postgresql://u:<password>@h/db", "where its placeholder stands"),
        ("postgresql://u:***@h/db", "render_as_string"),
    ),
)
def test_a_malformed_dsn_says_what_to_type_and_shows_no_password(
    dsn: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidValueError, match=rf"^dsn is .*{advice}") as caught:
        read(dsn)
    assert "secret" not in f"{caught.value} {caught.value.value}"
    assert caught.value.__cause__ is None
    if dsn:
        monkeypatch.setenv("HEPHAESTUS_PG_DSN", dsn)
        with pytest.raises(InvalidValueError, match=rf"{advice}.*\(from HEPHAESTUS_PG_DSN\)$"):
            read(None)


@pytest.mark.parametrize(
    ("dsn", "host", "user", "database"),
    (
        # Heroku, Render, Railway, Fly
        ("postgres://u:p@ec2-1.amazonaws.com:5432/d1", "ec2-1.amazonaws.com", "u", "d1"),
        ("postgresql://u:p@dpg-x-a.oregon-postgres.render.com/d", None, "u", "d"),
        ("postgresql://postgres:p@postgres.railway.internal:5432/railway", None, "", ""),
        (
            "postgres://postgres:p@top2.nearest.of.db.internal:5432/a?sslmode=disable",
            None,
            "",
            "",
        ),
        # Supabase, by its pooler; Neon, by endpoint; Aiven; DigitalOcean
        ("postgresql://postgres.ref:p@aws-0.pooler.supabase.com:6543/postgres", None, "", ""),
        (
            "postgresql://u:p@ep-x.neon.tech/d?sslmode=require&options=endpoint%3Dep-x",
            None,
            "",
            "",
        ),
        (
            "postgres://avnadmin:p@pg-x.aivencloud.com:12691/defaultdb?sslmode=require",
            None,
            "",
            "",
        ),
        ("postgresql://doadmin:p@x.db.ondigitalocean.com:25060/defaultdb", None, "doadmin", ""),
        # Azure, RDS with a token, Cloud SQL, CockroachDB
        ("postgres://me%40srv:p@srv.postgres.database.azure.com/d", None, "me@srv", "d"),
        ("postgresql://u:h%3A5432%2F%3FAction%3Dconnect@x.rds.amazonaws.com/d", None, "u", "d"),
        (
            "postgresql://u:p@/d?host=/cloudsql/proj:region:name",
            "/cloudsql/proj:region:name",
            "",
            "d",
        ),
        ("postgresql://u:p@x.cockroachlabs.cloud:26257/d?sslmode=require", None, "u", "d"),
    ),
)
def test_dsns_of_hosting_services_are_read(
    dsn: str, host: str | None, user: str, database: str
) -> None:
    found = read(dsn)
    [(name, _)] = found.hosts
    assert name == host or name in dsn
    assert user in found.options["user"]
    assert database in found.options["database"]


@pytest.mark.parametrize(
    ("dsn", "password"),
    (
        ("postgresql://u:a:b@h/db", "a:b"),
        ("postgresql://u:a[b]c@h/db", "a[b]c"),
        ("postgresql://u:100%25@h/db", "100%"),
        ("postgresql://u:100%@h/db", "100%"),
        ("postgresql://u:a+b@h/db", "a+b"),
        ("postgresql://u:%40%2F%23%3F@h/db", "@/#?"),
        ("postgresql://h/db?user=u&password=a%26b", "a&b"),
        ("postgresql://u:first@h/db?password=second", "first"),
    ),
)
def test_a_password_may_hold_reserved_characters(dsn: str, password: str) -> None:
    found = read(dsn)
    assert found.options["password"] == password
    assert found.options["user"] == "u"
    assert password not in repr(found)


def test_an_object_is_taken_by_its_text() -> None:
    class Url:
        def __str__(self) -> str:
            return "postgresql://u:secret@h:1/db"

    found = read(Url())
    assert found.hosts == (("h", 1),)
    assert found.options == {"user": "u", "password": "secret", "database": "db"}


@pytest.mark.parametrize(
    ("dsn", "advice"),
    (
        (b"postgresql://u:secret@h/db", r"dsn\.decode\(\)"),
        (Path("postgresql://u:secret@h/db"), "give text"),
        ({"password": "secret"}, "parts as options"),
        (["postgresql://u:secret@h/db"], "give text"),
        (5, "give text"),
        (True, "give text"),
    ),
    ids=lambda each: type(each).__name__,
)
def test_an_object_whose_text_is_no_dsn_is_refused(dsn: Any, advice: str) -> None:
    with pytest.raises(InvalidTypeError, match=advice) as caught:
        read(dsn)
    assert "secret" not in f"{caught.value} {caught.value.value}"


def test_pydantics_and_sqlalchemys_types_are_read_or_say_what_to_call() -> None:
    pydantic = pytest.importorskip("pydantic")
    sqlalchemy = pytest.importorskip("sqlalchemy")

    text = "postgresql://u:secret@h:5432/db"
    assert read(pydantic.PostgresDsn(text)) == read(text)
    with pytest.raises(InvalidTypeError, match="get_secret_value"):
        read(pydantic.SecretStr(text))
    url = sqlalchemy.make_url(text)
    with pytest.raises(InvalidValueError, match=r"render_as_string\(hide_password=False\)"):
        read(url)
    assert read(url.render_as_string(hide_password=False)) == read(text)
    with pytest.raises(InvalidValueError, match=r"take \+asyncpg away"):
        read(sqlalchemy.make_url("postgresql+asyncpg://u@h/db"))


@pytest.mark.parametrize(
    "dsn_given",
    (
        "postgresql://u:secret@[bad/db",
        "postgresql://u:secret@h:port/db",
        "postgresql://u@tenant:secret@h:5432/db",
        "postgresql://u@tenant:secret@h:5432,i:5432/db",
        "postgresql://u:secret@h,,i/db",
        "postgresql://u:secret@h,i:port/db",
        "u:secret@h/db",
        "host=h password='a secret'",
    ),
)
async def test_a_dsn_that_cannot_be_read_is_refused_without_its_password(dsn_given: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        await AsyncStorage.start(dsn_given, name="malformed")
    assert "secret" not in str(caught.value)
    assert "malformed" not in registry.names()
