from __future__ import annotations

import pytest

from hephaestus_pg.pool import without_password


@pytest.mark.parametrize(
    ("text", "shown"),
    (
        ("postgresql://user:secret@host/db", "postgresql://user:***@host/db"),
        ("postgresql://user:se@cr:et@host:1/db", "postgresql://user:***@host:1/db"),
        ("cannot reach postgres://u:secret@h/x now", "cannot reach postgres://u:***@h/x now"),
        ("postgresql://host/db?password=secret&x=1", "postgresql://host/db?password=***&x=1"),
        ("host=h password=secret user=u", "host=h password=*** user=u"),
        ("postgresql://user@host:5432/db", "postgresql://user@host:5432/db"),
    ),
)
def test_what_is_shown_has_no_password(text: str, shown: str) -> None:
    assert without_password(text) == shown
