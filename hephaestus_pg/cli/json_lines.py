"""JSON with one object a line, for scripts and log collectors."""

from __future__ import annotations

import re
from typing import Any

from hephaestus_pg.cli.terminal import printable
from hephaestus_pg.codec import exact_json

_NOT_PLAIN = re.compile(r"[^ -~]")


def json_text(value: Any) -> str:
    """Returns ``value`` as exact JSON in one line, in ASCII whatever it holds.

    So it is the same in every locale, and nothing in it steers a terminal.
    """
    text, _, _ = exact_json.dumps(value)
    return _NOT_PLAIN.sub(_escaped, text.decode())


def readable(value: Any) -> str:
    """Returns ``value`` as exact JSON in one line, for a person: letters stay as they are."""
    text, _, _ = exact_json.dumps(value)
    return printable(text.decode())


def _escaped(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
