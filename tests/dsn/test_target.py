"""DSNs as hosts, tools and configuration files hand them out."""

from __future__ import annotations

import os
import re
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from hephaestus_pg import (
    InvalidTypeError,
    InvalidValueError,
)
from hephaestus_pg.dsn import libpq
from hephaestus_pg.dsn.target import checked_dsn, target

if TYPE_CHECKING:
    from hephaestus_pg.dsn.target import Target


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the machine's: neither variables nor files in the home folder."""
    for name in [name for name in os.environ if name.startswith(("PG", "HEPHAESTUS_PG_DSN"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


def read(dsn: Any, **options: Any) -> Target:
    return target(checked_dsn(dsn), options)


def settings(found: Target) -> dict[str, str]:
    return {name: parameter.value for name, parameter in found.settings.items()}


class TestText:
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
    def test_what_is_none_says_what_to_type_and_shows_no_password(
        self, dsn: str, advice: str, monkeypatch: pytest.MonkeyPatch
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
    def test_those_that_hosts_hand_out_are_read(
        self, dsn: str, host: str | None, user: str, database: str
    ) -> None:
        found = read(dsn)
        [(name, _)] = found.hosts
        assert name == host or name in dsn
        assert user in found.options["user"]
        assert database in found.options["database"]

    def test_a_variable_that_is_empty_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HEPHAESTUS_PG_DSN", "")
        assert checked_dsn(None) is None

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
    def test_a_password_may_hold_anything(self, dsn: str, password: str) -> None:
        found = read(dsn)
        assert found.options["password"] == password
        assert found.options["user"] == "u"
        assert password not in repr(found)

    def test_an_object_is_taken_by_its_text(self) -> None:
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
    def test_an_object_whose_text_is_no_dsn_is_refused(self, dsn: Any, advice: str) -> None:
        with pytest.raises(InvalidTypeError, match=advice) as caught:
            read(dsn)
        assert "secret" not in f"{caught.value} {caught.value.value}"

    def test_pydantics_types_and_sqlalchemys_url(self) -> None:
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


class TestHosts:
    @pytest.mark.parametrize(
        ("dsn", "hosts"),
        (
            ("postgresql://", ()),
            ("postgresql:///db", ()),
            ("postgres://h", (("h", 5432),)),
            ("POSTGRESQL://h:/db", (("h", 5432),)),
            ("postgresql://u:p@/db?host=/cloudsql/p:r:i", (("/cloudsql/p:r:i", 5432),)),
            ("postgresql://u:p@%2Fcloudsql%2Fp%3Ar%3Ai/db", (("/cloudsql/p:r:i", 5432),)),
            ("postgresql:///db?host=::1", (("::1", 5432),)),
            ("postgresql:///db?hostaddr=10.0.0.1&port=7", (("10.0.0.1", 7),)),
            ("postgresql://h:7/db?hostaddr=10.0.0.1", (("10.0.0.1", 7),)),
            ("postgresql://a,b:7/db?hostaddr=::1,::2", (("::1", 5432), ("::2", 7))),
        ),
    )
    def test_each_form_is_read(self, dsn: str, hosts: tuple[tuple[str, int], ...]) -> None:
        assert read(dsn).hosts == hosts

    def test_no_database_is_left_to_the_server(self) -> None:
        assert "database" not in read("postgresql://u@h/").options
        assert read("postgresql://u@h/db%2F1").options["database"] == "db/1"

    @pytest.mark.parametrize(
        ("dsn", "variables", "options", "message"),
        (
            ("postgresql://h:70000/db", {}, {}, "^port is '70000': .* 1 to 65535"),
            ("postgresql://h:0/db", {}, {}, "^port is '0'"),
            ("postgresql://h,i:99999/db", {}, {}, "^port is '99999'"),
            ("postgresql:///db?port=abc", {}, {}, "^port is 'abc'"),
            ("postgresql://h/db", {"PGPORT": "abc"}, {}, "^PGPORT is 'abc'"),
            (
                "postgresql://h/db",
                {"PGPORT": "5432,"},
                {},
                "^port is .* as many as there are hosts",
            ),
            (None, {"PGPORT": "70000"}, {}, "^PGPORT is '70000'"),
            (None, {"PGHOST": "h,", "PGPORT": "1"}, {}, "^PGHOST is 'h,'"),
            ("postgresql://h/db", {}, {"port": 70000}, "^port is 70000"),
            ("postgresql://h/db", {}, {"port": "abc"}, "^port is 'abc'"),
            ("postgresql://h/db", {}, {"port": 1.5}, "^port is 1.5"),
            ("postgresql://a,b,c/db", {}, {"port": [1, 2]}, r"^port is \[1, 2\]: .* 3"),
            ("postgresql://a,b/db?hostaddr=10.0.0.1", {}, {}, "^hostaddr is .* as many"),
            (
                "postgresql://a/db?hostaddr=10.0.0.1&sslmode=verify-full&sslrootcert=system",
                {},
                {},
                "^hostaddr is .* certificate",
            ),
            (None, {"PGTARGETSESSIONATTRS": "master"}, {}, "^PGTARGETSESSIONATTRS is .*read-write"),
            ("postgresql://h/?target_session_attrs=x", {}, {}, "^target_session_attrs is .*any, r"),
            (None, {}, {"target_session_attrs": "x"}, "^target_session_attrs is .*prefer-standby"),
            (None, {"PGSSLMODE": "wrong"}, {}, "^PGSSLMODE is 'wrong': .*verify-full"),
            ("postgresql://h/db", {}, {"ssl": "wrong"}, "^ssl is 'wrong': .*verify-full"),
            (None, {"PGCONNECT_TIMEOUT": "5s"}, {}, "^PGCONNECT_TIMEOUT is '5s'"),
            (None, {"PGCHANNELBINDING": "require"}, {}, "^PGCHANNELBINDING is 'require'"),
        ),
    )
    def test_what_is_wrong_is_named_wherever_it_stands(
        self,
        monkeypatch: pytest.MonkeyPatch,
        dsn: str | None,
        variables: dict[str, str],
        options: dict[str, Any],
        message: str,
    ) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(InvalidValueError, match=message):
            read(dsn, **options)

    def test_an_address_in_the_environment_is_for_the_host_there(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PGHOSTADDR", "10.0.0.1")
        assert read(None).hosts == (("10.0.0.1", 5432),)
        assert read("postgresql://h/db").hosts == (("h", 5432),)
        monkeypatch.setenv("PGHOST", "other")
        assert read(None).hosts == (("10.0.0.1", 5432),)


class TestParameters:
    def test_every_parameter_of_libpq_has_its_place(self) -> None:
        known = {each.keyword.decode() for each in psycopg.pq.Conninfo.get_defaults()}
        assert known <= libpq.PARAMETERS
        variables = {
            each.keyword.decode(): each.envvar.decode()
            for each in psycopg.pq.Conninfo.get_defaults()
            if each.envvar
        }
        for name, variable in libpq.VARIABLES.items():
            assert variables[name] == variable

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
    def test_what_loses_nothing_is_left_out_with_one_line_in_the_log(
        self, query: str, caplog: pytest.LogCaptureFixture
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
    def test_what_would_lose_safety_is_refused(self, query: str, advice: str) -> None:
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
    def test_what_is_another_librarys_says_what_to_do(self, query: str, advice: str) -> None:
        with pytest.raises(InvalidValueError, match=advice) as caught:
            read(f"postgresql://u:secret@h/db?{query}")
        assert not str(caught.value).startswith("dsn is")
        assert "secret" not in str(caught.value)

    def test_all_of_them_are_named_at_once(self) -> None:
        with pytest.raises(InvalidValueError, match=r"^pgbouncer is .*max_size=5.*schema='x'"):
            read("postgresql://u:secret@h/db?pgbouncer=true&connection_limit=5&schema=x")

    def test_what_is_honoured(self) -> None:
        found = read(
            "postgresql://u:p@h:1/db?connect_timeout=7&keepalives=1&keepalives_idle=30"
            "&keepalives_interval=5&keepalives_count=3&tcp_user_timeout=1000"
            "&fallback_application_name=fallback&target_session_attrs=primary&gsslib=gssapi"
            "&krbsrvname=pg&sslmode=verify_full&sslrootcert=system&load_balance_hosts=disable"
        )
        assert found.connect_timeout == 7
        assert found.socket == {
            "keepalives": 1,
            "keepalives_idle": 30,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 1000,
        }
        assert settings(found) == {"application_name": "fallback"}
        assert found.session == "primary"
        context = found.options["ssl"]
        assert isinstance(context, ssl.SSLContext)
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
        assert found.options["krbsrvname"] == "pg"

    def test_no_timeout_is_none(self) -> None:
        for seconds in ("0", "-1"):
            assert read(f"postgresql://h/db?connect_timeout={seconds}").connect_timeout is None

    def test_ssl_true_means_what_it_means_to_libpq(self) -> None:
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
    def test_settings_go_to_the_server(self, query: str, expected: dict[str, str]) -> None:
        assert settings(read(f"postgresql://h/db?{query}")) == expected

    def test_the_environment_comes_last(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in {
            "PGAPPNAME": "variable",
            "PGOPTIONS": "-c geqo=off",
            "PGCONNECT_TIMEOUT": "3",
            "PGSSLMODE": "require",
        }.items():
            monkeypatch.setenv(name, value)
        found = read("postgresql://h/db?connect_timeout=4")
        assert settings(found) == {"application_name": "variable", "geqo": "off"}
        assert found.connect_timeout == 4
        assert found.options["ssl"] == "require"
        assert settings(read("postgresql://h/db?application_name=x&options=-c%20geqo%3Don")) == {
            "application_name": "x",
            "geqo": "on",
        }


class TestFiles:
    @pytest.mark.parametrize("name", ("sslrootcert", "sslcert", "sslkey", "sslcrl"))
    def test_a_file_that_is_missing_or_no_pem_is_named(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
    ) -> None:
        mode = "sslmode=require"
        missing, wrong = tmp_path / "missing", tmp_path / "wrong"
        wrong.write_text("no certificate")
        with pytest.raises(InvalidValueError, match=f"^{name} is .*missing.*No such file"):
            read(f"postgresql://h/db?{mode}&{name}={missing}")
        monkeypatch.setenv(f"PG{name.upper()}", str(missing))
        with pytest.raises(InvalidValueError, match=f"^PG{name.upper()} is ") as caught:
            read(f"postgresql://h/db?{mode}")
        assert isinstance(caught.value.__cause__, FileNotFoundError)
        if name != "sslkey":
            with pytest.raises(InvalidValueError, match=f"^{name} is .*give a PEM file"):
                read(f"postgresql://h/db?{mode}&{name}={wrong}")
        assert read("postgresql://h/db?sslmode=disable").options["ssl"] == "disable"
        assert read(f"postgresql:///db?host={tmp_path}").options == {"database": "db"}

    def test_somebody_must_vouch_for_the_server(self) -> None:
        for mode in ("verify-ca", "verify-full"):
            with pytest.raises(InvalidValueError, match=f"^sslmode is '{mode}'.*sslrootcert=FILE"):
                read(f"postgresql://h/db?sslmode={mode}")
        with pytest.raises(InvalidValueError, match="^sslmode is 'require'.*verify-full"):
            read("postgresql://h/db?sslmode=require&sslrootcert=system")
        with pytest.raises(InvalidValueError, match=r"^ssl is 'verify-full'.*sslrootcert=FILE"):
            read("postgresql://h/db", ssl="verify-full")

    def test_a_file_of_passwords_that_cannot_be_read_is_named(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        missing, open_to_all = tmp_path / "missing", tmp_path / "open"
        open_to_all.write_text("*:*:*:*:secret")
        open_to_all.chmod(0o644)
        with pytest.raises(InvalidValueError, match=r"^passfile is .*No such file"):
            read(f"postgresql://h/db?passfile={missing}")
        with pytest.raises(InvalidValueError, match=r"^passfile is .*chmod 600"):
            read("postgresql://h/db", passfile=open_to_all)
        monkeypatch.setenv("PGPASSFILE", str(missing))
        with pytest.raises(InvalidValueError, match=r"^PGPASSFILE is "):
            read("postgresql://h/db")
        assert read("postgresql://u:p@h/db").options["password"] == "p"  # it is not needed
        monkeypatch.setenv("PGPASSFILE", os.devnull)  # none is wanted
        assert read("postgresql://h/db").hosts


class TestServices:
    FILE = """
# two hosts
[pair]
host=a,b
port=1,2
dbname=orders
user=app
password=100%s=cret
target_session_attrs=any

[one]
host = one
connect_timeout=4
channel_binding=prefer

[wrong]
secret
"""

    @pytest.fixture
    def file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        path = tmp_path / "services"
        path.write_text(self.FILE)
        monkeypatch.setenv("PGSERVICEFILE", str(path))
        return path

    def test_it_is_read_wherever_it_is_named(
        self, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = [read("postgresql://?service=pair"), read("postgresql:///?service=pair")]
        found += [read(None, service="pair"), read("postgresql://", service="pair")]
        monkeypatch.delenv("PGSERVICEFILE")
        found.append(read(f"postgresql://?service=pair&servicefile={file}"))
        found.append(read(None, service="pair", servicefile=file))
        file.rename(Path.home() / ".pg_service.conf")
        monkeypatch.setenv("PGSERVICE", "pair")
        found += [read(None), read("postgresql://")]
        (Path.home() / "etc").mkdir()
        (Path.home() / ".pg_service.conf").rename(Path.home() / "etc" / "pg_service.conf")
        monkeypatch.setenv("PGSYSCONFDIR", str(Path.home() / "etc"))
        found.append(read(None))

        for each in found:
            assert each.hosts == (("a", 1), ("b", 2))
            assert each.options == {
                "user": "app",
                "password": "100%s=cret",
                "database": "orders",
            }
            assert each.session == "any"
            assert "cret" not in repr(each)

    @pytest.mark.usefixtures("file")
    def test_the_dsn_comes_first_and_the_variables_last(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PGHOST", "variable")
        monkeypatch.setenv("PGPORT", "9")
        monkeypatch.setenv("PGCONNECT_TIMEOUT", "9")
        found = read("postgresql://other@/mine?service=pair")
        assert found.hosts == (("a", 1), ("b", 2))
        assert (found.options["user"], found.options["database"]) == ("other", "mine")
        found = read("postgresql://?service=one")
        assert (found.hosts, found.connect_timeout) == ((("one", 9),), 4)
        assert read("postgresql://h/?service=one").hosts == (("h", 9),)

    def test_a_missing_one_is_an_error(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(InvalidValueError, match=r"^service is 'none': .*\[none\].*services"):
            read("postgresql://?service=none")
        monkeypatch.setenv("PGSERVICE", "none")
        with pytest.raises(InvalidValueError, match="^PGSERVICE is 'none'"):
            read(None)
        with pytest.raises(InvalidValueError, match="^PGSERVICE is 'none'"):
            read("postgresql://h/db")
        file.unlink()
        with pytest.raises(InvalidValueError, match="^service is 'pair'"):
            read("postgresql://?service=pair")
        file.mkdir()
        with pytest.raises(InvalidValueError, match="cannot be read"):
            read("postgresql://?service=pair")

    @pytest.mark.usefixtures("file")
    def test_what_it_cannot_say_names_the_place(self, caplog: pytest.LogCaptureFixture) -> None:
        with pytest.raises(InvalidValueError, match=r"line 17 of .*services") as caught:
            read("postgresql://?service=wrong")
        assert "secret" not in str(caught.value)
        read("postgresql://?service=one")
        assert "channel_binding of the service one" in caplog.text
