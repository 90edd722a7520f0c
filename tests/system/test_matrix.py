"""Pairs are chosen, found and judged as they should be; none is run here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.matrix import machine
from tests.matrix.__main__ import exit_code
from tests.matrix.environment import inherited, judged, server_of
from tests.matrix.pairs import (
    POSTGRESQLS,
    PYTHONS,
    Missing,
    Pair,
    Result,
    Server,
    Unavailable,
    pairs,
    table,
    versions,
)

INTERPRETERS: dict[str, Path | Missing] = dict.fromkeys(PYTHONS, Path("/python"))
SERVERS: dict[str, Server | Missing] = {
    version: Server(version, "installed", {}) for version in POSTGRESQLS
}


def chosen(*only: str) -> list[tuple[str, str]]:
    found = pairs(INTERPRETERS, SERVERS, only)
    return [(pair.python, pair.server.version) for pair in found if isinstance(pair, Pair)]


def test_every_promised_pair_is_run_where_all_are_there() -> None:
    assert len(chosen()) == len(PYTHONS) * len(POSTGRESQLS) == 20


def test_pairs_are_chosen_by_python_by_postgresql_or_by_both() -> None:
    assert chosen("3.14") == [("3.14", version) for version in POSTGRESQLS]
    assert chosen("15") == [(version, "15") for version in PYTHONS]
    assert chosen("3.11/18", "3.14/14") == [("3.11", "18"), ("3.14", "14")]


def test_only_servers_that_are_needed_are_looked_for() -> None:
    assert versions([]) == list(POSTGRESQLS)
    assert versions(["3.14"]) == list(POSTGRESQLS)
    assert versions(["15", "3.11/18"]) == ["15", "18"]


def test_a_pair_that_cannot_be_had_says_what_is_missing() -> None:
    interpreters = INTERPRETERS | {"3.14": Missing("no Python")}
    servers = SERVERS | {"14": Missing("no server")}
    found = pairs(interpreters, servers, ["3.13/14", "3.14/14", "3.14/15"])
    assert found == [
        Unavailable("3.13", "14", "no server"),
        Unavailable("3.14", "14", "no Python; no server"),
        Unavailable("3.14", "15", "no Python"),
    ]


@pytest.mark.parametrize(
    ("outcomes", "code"),
    (
        (["passed", "not to be had"], 0),
        (["there"], 0),
        (["passed", "failed"], 1),
        (["not to be had"], 1),
        ([], 1),
    ),
)
def test_it_fails_if_a_pair_failed_or_none_was_run(outcomes: list[str], code: int) -> None:
    assert exit_code(outcomes) == code


def test_the_table_has_a_line_for_each_pair() -> None:
    lines = [
        ("3.11", "15", "passed", "3 passed in 2s"),
        ("3.14", "14", "not to be had", "no Python"),
    ]
    assert table(lines).splitlines() == [
        "Python  PostgreSQL  outcome",
        "3.11    15          passed         3 passed in 2s",
        "3.14    14          not to be had  no Python",
    ]


def program(path: Path, prints: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{prints}'\n")
    path.chmod(0o700)
    return path


def test_an_interpreter_is_taken_for_the_version_that_it_tells(tmp_path: Path) -> None:
    broken = tmp_path / "shim"
    newer = program(tmp_path / "python3.12", "3.13")
    second = program(tmp_path / "python3.13", "3.13")
    old = program(tmp_path / "python3", "3.10")
    found = machine.interpreters([broken, newer, second, old])
    assert found["3.13"] == newer
    assert isinstance(found["3.12"], Missing)
    assert found.keys() == set(PYTHONS)


def test_the_interpreter_that_runs_this_is_found() -> None:
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert isinstance(machine.interpreters()[version], Path)


@pytest.fixture
def no_docker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    program(tmp_path / "bin" / "docker", "").write_text("#!/bin/sh\nexit 1\n")


@pytest.mark.usefixtures("no_docker")
def test_servers_are_those_given_then_installed_then_embedded(tmp_path: Path) -> None:
    for folder, version in (("16", "16.2"), ("18", "18.1"), ("given", "16.9"), ("15", "15.1")):
        program(tmp_path / folder / "bin" / "postgres", f"postgres (PostgreSQL) {version}")
    found = machine.servers(given=f"{tmp_path}/given/bin", folders=[f"{tmp_path}/{{}}/bin"])
    sources = {
        version: server.source for version, server in found.items() if isinstance(server, Server)
    }
    assert sources == {
        "15": f"{tmp_path}/15/bin",
        "16": f"{tmp_path}/given/bin",
        "18": f"{tmp_path}/18/bin",
    }
    assert found["14"] == Missing("no PostgreSQL 14 installed, and no Docker engine answers")


@pytest.mark.usefixtures("no_docker")
def test_without_any_server_there_is_the_embedded_one() -> None:
    server = machine.servers(folders=[])[machine.EMBEDDED]
    assert isinstance(server, Server)
    assert server.source == "embedded"


def test_an_image_is_taken_where_docker_has_it_or_gets_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    docker = program(tmp_path / "docker", "")
    docker.write_text('#!/bin/sh\ncase "$*" in *postgres:17*) exit 1;; esac\necho it\n')
    found = machine.servers(folders=[])
    assert found["14"] == Server(
        "14", "image postgres:14", {"HEPHAESTUS_PG_TEST_IMAGE": "postgres:14"}
    )
    assert found["17"] == Missing("no PostgreSQL 17 installed, and no image postgres:17")
    assert isinstance(machine.servers(["17"], folders=[], pull=False)["17"], Server)


def test_nothing_but_the_pair_chooses_server_and_package() -> None:
    kept = {"HOME": "/root", "HEPHAESTUS_PG_TEST_X": "1"}
    chosen = {"HEPHAESTUS_PG_TEST_DSN": "x", "HEPHAESTUS_PG_TEST_BINARIES": "y"}
    assert inherited({**kept, **chosen, "PYTHONPATH": "/elsewhere"}) == kept


def test_a_run_on_another_server_than_was_asked_for_is_a_failure() -> None:
    line = "PostgreSQL 18.6: embedded, /somewhere (no container: it is too old)"
    assert server_of(line) == "18"
    assert server_of("platform linux -- Python 3.11.7") == ""
    assert judged(0, "=== 2 passed in 1s ===", "18", "18") == Result(0, "2 passed in 1s")
    assert judged(0, "=== 2 passed in 1s ===", "18", "14") == Result(1, "it ran on PostgreSQL 18")
    assert judged(4, "no tests", "", "14") == Result(4, "no tests")


def test_the_command_lists_what_there_is() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.matrix", "--list", "--only", "18"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("\n") == 2 + len(PYTHONS)
