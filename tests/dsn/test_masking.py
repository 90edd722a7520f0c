from __future__ import annotations

import pytest

from hephaestus_pg.dsn.masking import without_password

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    ("text", "shown"),
    (
        ("postgresql://u:secret@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:se:cr@et@h/db", "postgresql://u:***@h/db"),
        (
            "postgresql://h/db?user=u&password=secret&x=1",
            "postgresql://h/db?user=u&password=***&x=1",
        ),
        (
            "connect postgresql://u:secret@a,b:1/db failed",
            "connect postgresql://u:***@a,b:1/db failed",
        ),
        ("postgresql://user@tenant:secret@h:5432/db", "postgresql://user@tenant:***@h:5432/db"),
        ("postgresql://us/er:secret@h/db", "postgresql://us/er:***@h/db"),
        ("postgresql://u:se/cr?et@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:a secret@h/db", "postgresql://u:***@h/db"),
        ("u:secret@h/db", "u:***@h/db"),
        ("host=h password='a secret' user=u", "host=h password=*** user=u"),
        (r"password='a\' secret' user=u", "password=*** user=u"),
        (r"password=a\ secret user=u", "password=*** user=u"),
        ("password='a secret", "password=***"),
        ("postgresql://h:5432/db is silent: ask a@b", "postgresql://h:5432/db is silent: ask a@b"),
        ("postgresql://h:5432 is silent: ask a@b", "postgresql://h:5432 is silent: ask a@b"),
        ("postgresql://u@h/db", "postgresql://u@h/db"),
        ("psql 'postgresql://u:secret@h/db'", "psql 'postgresql://u:***@h/db'"),
        (
            "jdbc:postgresql://h/db?user=u&password=secret",
            "jdbc:postgresql://h/db?user=u&password=***",
        ),
        ("postgresql://h/db?sslpassword=a%20b&x=1", "postgresql://h/db?sslpassword=***&x=1"),
        (
            "postgresql://h/db?oauth_client_secret=secret",
            "postgresql://h/db?oauth_client_secret=***",
        ),
        ("postgresql://h/db?scram_client_key=secret", "postgresql://h/db?scram_client_key=***"),
        ("prisma://h/?api_key=secret", "prisma://h/?api_key=***"),
        ("PGPASSWORD=secret psql", "PGPASSWORD=*** psql"),
        ('{"username": "u", "password": "a secret"}', '{"username": "u", "password": ***}'),
        ("error: ask a@b", "error: ask a@b"),
        ("no password here", "no password here"),
    ),
)
def test_a_password_is_never_shown(text: str, shown: str) -> None:
    assert without_password(text) == shown
