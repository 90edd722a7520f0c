"""Ids that say what they stand for: ``orderid::abc123``.

The form is HephaestusEcto 0.3's: ``key::value``, and ``key::value::<8 hex>`` where two runs for the
same value need different ids.
"""

from __future__ import annotations

import re
import secrets

from hephaestus_pg._checks import MAX_ID_LENGTH, plain_text
from hephaestus_pg.errors import InvalidTypeError, InvalidValueError

_KEY = re.compile(r"[a-z0-9]+")
_VALUE = re.compile(r"[a-z0-9]+|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SUFFIX_BYTES = 4


def build(key: str, value: str) -> str:
    """Builds the id ``key::value``.

    Raises:
        InvalidTypeError: One of them is not a ``str``.
        InvalidValueError: The key is not ``[a-z0-9]+``; the value is neither that nor a lower-case
            UUID; or the id would be longer than 255 characters.
    """
    key = _checked("key", key, _KEY, "use lower-case letters and digits only")
    value = _checked(
        "value", value, _VALUE, "use lower-case letters and digits only, or a lower-case UUID"
    )
    return _checked_length(f"{key}::{value}")


def build_unique(key: str, value: str) -> str:
    """Builds the id ``key::value::<8 hex>``, a different one at each call.

    Raises:
        InvalidValueError: As for :func:`build`.
    """
    return _checked_length(f"{build(key, value)}::{secrets.token_hex(_SUFFIX_BYTES)}")


def extract_value(id: str) -> str:
    """Returns the value in an id that :func:`build` or :func:`build_unique` made.

    Raises:
        InvalidTypeError: The id is not a ``str``.
        InvalidValueError: The id has no ``::``, as the bare UUIDs from before 0.3 have none.
    """
    if not isinstance(id, str):
        raise InvalidTypeError("id", id, "give it as a str")
    _, separator, rest = id.partition("::")
    if not separator or not rest:
        raise InvalidValueError("id", id, "a business key has the form key::value")
    return rest.partition("::")[0]


def _checked(field: str, text: str, form: re.Pattern[str], expected: str) -> str:
    if not isinstance(text, str):
        raise InvalidTypeError(field, text, "give it as a str")
    if not form.fullmatch(text):
        raise InvalidValueError(field, text, expected)
    return plain_text(text)


def _checked_length(id: str) -> str:
    if len(id) > MAX_ID_LENGTH:
        raise InvalidValueError("id", id, f"it has {len(id)} characters, {MAX_ID_LENGTH} at most")
    return id
