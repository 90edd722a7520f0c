"""What the READMEs show is run, and what they name is there, so that they stay true."""

from __future__ import annotations

import ast
import inspect
import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import hephaestus_pg
from hephaestus_pg import AsyncStorage, Serializer, migrations
from tests.codec.test_elixir import ROWS as RUNTIME_ROWS

CHECKOUT = Path(__file__).parents[2]
README, GUIDE, SQL, TESTS, BENCHMARKS = DOCUMENTS = [
    CHECKOUT / folder / "README.md"
    for folder in ("", "hephaestus_pg", "sql", "tests", "benchmarks")
]
MOST_WORDS = 1500

pytestmark = pytest.mark.skipif(not README.exists(), reason="there is no README beside these tests")


def name_of(path: Path) -> str:
    return str(path.relative_to(CHECKOUT))


each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)


def blocks(document: Path, language: str) -> list[str]:
    text = document.read_text(encoding="utf-8") if document.exists() else ""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def run(*arguments: str, dsn: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"HEPHAESTUS_PG_DSN": dsn},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("document", (README, GUIDE, SQL), ids=name_of)
async def test_the_examples_run_one_after_the_other(database: str, document: Path) -> None:
    await migrations.up(database)
    names = {"dsn": database}
    for block in blocks(document, "python"):
        if not any(each in block for each in ("asyncio.run", "FastAPI(", "def test_")):
            code = compile(block, str(document), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            running = eval(code, names)
            if inspect.isawaitable(running):
                await running


async def test_the_example_of_shared_tables_starts_before_there_is_a_tenant(database: str) -> None:
    await migrations.up(database)
    [block] = [block for block in blocks(GUIDE, "python") if "ContextVar" in block]
    names: dict[str, Any] = {"dsn": database, "AsyncStorage": AsyncStorage}
    exec(block, names)
    async with await names["started"]() as storage:
        names["tenant"].set("acme")
        assert await storage.count() == 0


def test_no_other_document_has_an_example_that_is_not_run() -> None:
    assert [path for path in (TESTS, BENCHMARKS) if blocks(path, "python")] == []


@pytest.mark.parametrize("row", RUNTIME_ROWS, ids=lambda row: row[0])
def test_the_classes_for_a_mixed_team_read_what_its_runtime_wrote(row: Any) -> None:
    [block] = [block for block in blocks(SQL, "python") if "Hephaestus.Steps" in block]
    names: dict[str, Any] = {}
    exec(block, names)
    serializer = Serializer(names["references"])

    instance = serializer.from_db(*row)

    assert instance.workflow is names["Order"]
    assert [*serializer.to_db(instance)] == row


def lines_of_commands() -> list[str]:
    found = [block for document in DOCUMENTS for block in blocks(document, "sh")]
    return [line for block in found for line in block.splitlines()]


def commands(module: str) -> list[list[str]]:
    """The arguments of those commands that run this module."""
    found = [shlex.split(line) for line in lines_of_commands()]
    return [words[1:] for words in found if words[:3] == ["python", "-m", module]]


def test_the_migration_commands_do_what_they_say(database: str, tmp_path: Path) -> None:
    given = [each for each in commands("hephaestus_pg.migrate") if "index" not in each]
    assert len(given) == 9
    for command in given:
        done = run(*command, dsn=database, cwd=tmp_path)
        assert done.stderr == ""
        assert done.returncode == (1 if "status" in command else 0)


async def test_the_index_over_states_is_what_was_chosen(database: str) -> None:
    await migrations.up(database)
    given = [each for each in commands("hephaestus_pg.migrate") if "index" in each]
    assert len(given) == 3
    for command in given:
        done = run(*command, dsn=database)
        assert (done.returncode, done.stderr) == (0, "")
        assert (await migrations.status(database)).index == command[-1]


async def test_the_other_commands_do_what_they_say(database: str, tmp_path: Path) -> None:
    await migrations.up(database)
    given = commands("hephaestus_pg")
    assert len(given) == 2
    for command in given:
        done = run(*command, dsn=database, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")


def test_the_one_line_commands_make_their_own_environment() -> None:
    lines = [line for line in lines_of_commands() if "venv" in line]
    assert len(lines) == 2
    assert lines[0].endswith(".venv/bin/python -m hephaestus_pg demo")
    assert lines[1].endswith(".venv/bin/python -m pytest -n 2")
    for line in lines:
        # First of all: an old pip would look without end for a version that fits.
        assert line.startswith("python3 -m venv .venv && .venv/bin/pip install -q -U pip && ")


def code_spans(text: str) -> list[str]:
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", prose)


def tools() -> list[str]:
    """The commands of the checkout that are shown, be it in a block or in a line of text."""
    spans = [span for path in DOCUMENTS if path.exists() for span in code_spans(path.read_text())]
    begin = ("python -m tests.", "python -m benchmarks", "pytest ")
    return [line for line in {*lines_of_commands(), *spans} if line.startswith(begin)]


@pytest.mark.parametrize(
    "module", ("tests.chaos", "tests.matrix", "benchmarks", "benchmarks.planning")
)
def test_a_tool_has_the_flags_that_are_shown(module: str) -> None:
    if module.startswith("benchmarks"):
        pytest.importorskip("matplotlib", reason="the group bench is not installed")
    shown = {
        word
        for line in tools()
        if line.split()[:3] == ["python", "-m", module]
        for word in shlex.split(line)
        if word.startswith("--")
    }
    usage = run("-m", module, "--help", dsn="", cwd=CHECKOUT).stdout
    assert shown
    assert [flag for flag in shown if not re.search(rf"{flag}\b", usage)] == []


def test_a_module_that_is_to_be_run_is_there() -> None:
    shown = {line.split()[2] for line in tools() if line.startswith("python -m ")}
    assert [module for module in shown if find_spec(module) is None] == []


def test_pytest_is_given_files_and_marks_that_there_are() -> None:
    settings = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    marks = {line.split(":")[0] for line in settings["tool"]["pytest"]["ini_options"]["markers"]}
    lines = [shlex.split(line) for line in tools() if line.startswith("pytest ")]
    files = {word for words in lines for word in words if word.endswith(".py")}
    pairs = [pair for words in lines for pair in pairwise(words)]
    given = {mark for flag, mark in pairs if flag == "-m"}
    assert [file for file in files if not (CHECKOUT / file).exists()] == []
    assert given <= marks


def anchors(document: Path) -> set[str]:
    """The headings of a document, as a link names them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def links(document: Path) -> list[str]:
    """Where a document leads, from within a sentence or from the list at its end."""
    text = document.read_text(encoding="utf-8")
    found = re.findall(r"\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)$", text, flags=re.MULTILINE)
    return [inline or listed for inline, listed in found]


REPOSITORY = "https://github.com/hephaestus-pg/hephaestus-pg"


@each_document
def test_a_link_leads_somewhere(document: Path) -> None:
    for link in links(document):
        place, _, anchor = link.removeprefix(f"{REPOSITORY}/blob/main/").partition("#")
        start = CHECKOUT if link.startswith(REPOSITORY) else document.parent
        target = start / place if place else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_links_of_the_first_document_work_wherever_it_is_shown() -> None:
    text = README.read_text(encoding="utf-8")
    assert {*re.findall(r"\]\[(\w+)\]", text)} == {*re.findall(r"^\[(\w+)\]:", text, re.MULTILINE)}
    assert all(link.startswith(f"{REPOSITORY}/blob/main/") for link in links(README))
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["urls"]["Source"] == REPOSITORY


def test_the_first_document_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").split()) <= MOST_WORDS


def test_what_the_walks_name_is_there() -> None:
    development = README.read_text(encoding="utf-8").split("\n## Development\n")[1]
    development += TESTS.read_text(encoding="utf-8").split("\n## Walks\n")[1]
    steps = re.findall(r"^\d\. .*\n(?:   .*\n)*", development, re.MULTILINE)
    assert len(steps) > 8
    for step in steps:
        spans = code_spans(step)
        paths = [CHECKOUT / span for span in spans if "/" in span]
        statements = [span for span in spans if re.fullmatch(r"\w+\.sql", span)]
        names = [span for span in spans if re.fullmatch(r"[A-Za-z_]+", span)]
        held = "".join(path.read_text(encoding="utf-8") for path in paths if path.suffix == ".py")
        assert [path for path in paths if not path.exists()] == []
        assert [name for name in statements if not [*(CHECKOUT / "sql").rglob(name)]] == []
        assert [name for name in names if name not in held] == []


def lines_of_the_log(path: Path) -> list[str]:
    """The messages that a module logs as warnings and above."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    texts = (
        each.value
        for call in calls
        if re.fullmatch(r"logger\.(warning|error|exception|log)", ast.unparse(call.func))
        for each in call.args
        if isinstance(each, ast.Constant)
    )
    return [text for text in texts if isinstance(text, str)]


def test_an_operator_finds_each_line_of_the_log() -> None:
    package = CHECKOUT / "hephaestus_pg"
    logged = [line for path in package.rglob("*.py") for line in lines_of_the_log(path)]
    assert len(logged) > 20
    explained = GUIDE.read_text(encoding="utf-8").partition("| in the log |")[2]
    explained = explained.partition("\n\n")[0]
    for line in logged:
        parts = [part.strip(" :,;").split()[:3] for part in re.split(r"%\w", line)]
        words = [" ".join(part) for part in parts if len(part) > 1]
        assert not words or any(each in explained for each in words), line


def test_the_drawing_has_every_room() -> None:
    package = CHECKOUT / "hephaestus_pg"
    rooms = {each.parent.name for each in package.glob("*/__init__.py")}
    assert rooms <= {*re.findall(r"\w+", hephaestus_pg.__doc__ or "")}
