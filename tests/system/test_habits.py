"""The table of users' habits names tests that exist."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

pytestmark = pytest.mark.quick

TESTS = Path(__file__).parents[1]
HEAD = ["case", "what must happen", "shown by"]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]


def tables() -> dict[str, list[list[str]]]:
    """By heading, the rows of its table."""
    found: dict[str, list[list[str]]] = defaultdict(list)
    heading = ""
    for line in (TESTS / "habits.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            heading = line.removeprefix("## ")
            found[heading] = []
        elif line.startswith("|") and cells(line) != HEAD and set(line) - set("|-: "):
            found[heading].append(cells(line))
    return found


@cache
def names(file: str) -> set[str]:
    """The file, its classes and their tests, as the table names them."""
    path = TESTS / file
    if not path.exists():
        return set()
    found = {file}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        within = [node, *node.body] if isinstance(node, ast.ClassDef) else [node]
        for each in within:
            if isinstance(each, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                prefix = "" if each is node else f"{node.name}::"  # type: ignore[attr-defined]
                found.add(f"{file}::{prefix}{each.name}")
    return {
        name
        for name in found
        if name.rpartition("::")[2].rpartition("/")[2].startswith(("test_", "Test"))
    }


TABLES = tables()


@pytest.mark.parametrize("heading", TABLES)
def test_each_kind_of_habit_has_cases(heading: str) -> None:
    assert TABLES[heading]


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, id=f"{heading}: {row[0]}")
        for heading, rows in TABLES.items()
        for row in rows
    ],
)
def test_each_case_is_shown_by_a_test_that_exists(row: list[str]) -> None:
    assert len(row) == len(HEAD)
    assert all(row)
    shown = re.findall(r"[\w/]+\.py[\w:]*", row[2])
    assert shown
    assert [name for name in shown if name not in names(name.partition("::")[0])] == []
