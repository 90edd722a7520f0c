"""Passwords in messages: each is replaced by ``***``."""

from __future__ import annotations

import re


def mask_dsn(dsn: str) -> str:
    """Replaces the password of a text that should be a DSN, however malformed it is."""
    if "@" in dsn:
        dsn = _BEFORE_HOST.sub(r"\1***", dsn)
    elif "://[" not in dsn:
        dsn = _NO_HOST.sub(r"\1***", dsn)
    return without_password(dsn)


# A user, then everything up to the last @: a password need not be encoded as it should be.
_BEFORE_HOST = re.compile(r"(://[^:@/?]*:).*(?=@)", re.DOTALL)
# Without a host after it, a password stands where the port would.
_NO_HOST = re.compile(r"(://[^:/?]*:)(?!\d*(?:[,/?]|$))[^/?]*")


def without_password(text: str) -> str:
    """Replaces the password of every DSN in ``text``, such as the driver's message."""
    return _PASSWORD.sub(lambda found: f"{found[found.lastindex or 0]}***", text)


# First, the user and password before an @, in a URL or in what was meant as one; again, they need
# not be encoded. Then password=… in a query, a keyword string or an environment.
_PASSWORD = re.compile(
    r"""(://[^:\s]*:)(?:\S*|(?!\d+\s)[^/\n]*)(?=@)"""
    r"""|(^[^:\s]*:(?!//))\S*(?=@)"""
    r"""|((?:password|scram_(?:client|server)_key|client_secret|api_key)["']?\s*[=:]\s*)"""
    r"""(?:'(?:[^'\\]|\\.)*'?|"(?:[^"\\]|\\.)*"?|(?:[^&\s\\]|\\.)+)""",
    re.IGNORECASE,
)
