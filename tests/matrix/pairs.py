"""Chooses the pairs to run, and shows what became of each."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
POSTGRESQLS = ("14", "15", "16", "17", "18")


@dataclass(frozen=True)
class Missing:
    """The reason why an interpreter or a server cannot be had."""

    reason: str


@dataclass(frozen=True)
class Server:
    """A PostgreSQL to run the suite on, with the variables that tell ``conftest`` of it."""

    version: str
    source: str
    variables: Mapping[str, str]


@dataclass(frozen=True)
class Pair:
    """A Python and a PostgreSQL to run together."""

    python: str
    interpreter: Path
    server: Server


@dataclass(frozen=True)
class Unavailable:
    """A pair that was chosen and cannot be run."""

    python: str
    postgresql: str
    reason: str


@dataclass(frozen=True)
class Result:
    """The end of a run: its exit code, and pytest's last line or another reason."""

    code: int
    summary: str


def named(python: str, postgresql: str) -> tuple[str, str, str]:
    """The texts by which a pair can be chosen."""
    return python, postgresql, f"{python}/{postgresql}"


NAMES = sorted({name for pair in product(PYTHONS, POSTGRESQLS) for name in named(*pair)})


def is_chosen(python: str, postgresql: str, only: Collection[str]) -> bool:
    """True for a pair that ``only`` names; for every pair if it names none."""
    return not only or not set(named(python, postgresql)).isdisjoint(only)


def versions(only: Collection[str]) -> list[str]:
    """The versions of PostgreSQL that the chosen pairs need."""
    return [
        postgresql
        for postgresql in POSTGRESQLS
        if any(is_chosen(python, postgresql, only) for python in PYTHONS)
    ]


def pairs(
    interpreters: Mapping[str, Path | Missing],
    servers: Mapping[str, Server | Missing],
    only: Collection[str] = (),
) -> list[Pair | Unavailable]:
    """Every pair that is promised and chosen; one that cannot be had with the reason why.

    Those of one Python stand together, since they share an environment.
    """
    found: list[Pair | Unavailable] = []
    for python, postgresql in product(PYTHONS, POSTGRESQLS):
        if not is_chosen(python, postgresql, only):
            continue
        interpreter, server = interpreters[python], servers[postgresql]
        if isinstance(interpreter, Missing) or isinstance(server, Missing):
            reasons = [each.reason for each in (interpreter, server) if isinstance(each, Missing)]
            found.append(Unavailable(python, postgresql, "; ".join(reasons)))
        else:
            found.append(Pair(python, interpreter, server))
    return found


def table(lines: Sequence[tuple[str, str, str, str]]) -> str:
    """Python, PostgreSQL, outcome and remark, in columns."""
    head = ("Python", "PostgreSQL", "outcome", "")
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in (head, *lines)
    )
