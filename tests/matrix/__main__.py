"""``python -m tests.matrix``: parses the arguments, runs the pairs, prints the table."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.matrix.environment import Environment
from tests.matrix.machine import interpreters, servers
from tests.matrix.pairs import NAMES, Missing, Pair, Result, Unavailable, pairs, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

QUICK = ("-m", "quick")
FAILED = "failed"
UNAVAILABLE = "not to be had"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.matrix",
        description="Run the suite on every Python and PostgreSQL that is promised and to be had.",
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        choices=NAMES,
        metavar="PYTHON, POSTGRESQL or PYTHON/POSTGRESQL",
        help="such as 3.14, 15 or 3.14/15; any number of times",
    )
    parser.add_argument("--quick", action="store_true", help="only what is marked quick")
    parser.add_argument("--list", action="store_true", help="say what there is; run nothing")
    parser.add_argument(
        "--pythons", action="store_true", help="print the interpreters, oldest first; run nothing"
    )
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, after --")
    given = parser.parse_args(argv)
    found = interpreters()
    if given.pythons:
        print(*(path for path in found.values() if not isinstance(path, Missing)), sep="\n")
        return 0
    chosen = pairs(found, servers(given=os.environ.get("HEPHAESTUS_PG_TEST_BINARIES")), given.only)
    arguments = None if given.list else [*(QUICK if given.quick else ()), *given.pytest]
    lines = list(_lines(chosen, arguments))
    print(f"\n{table(lines)}")
    return exit_code([outcome for _, _, outcome, _ in lines])


def exit_code(outcomes: Sequence[str]) -> int:
    """1 if a pair failed, or if there was none."""
    return int(FAILED in outcomes or set(outcomes) <= {UNAVAILABLE})


def _lines(
    chosen: Sequence[Pair | Unavailable], arguments: Sequence[str] | None
) -> Iterator[tuple[str, str, str, str]]:
    """The table's line of each pair, once it is run; it is not run without ``arguments``."""
    with tempfile.TemporaryDirectory() as folder:
        # Run by root, the server is started by an account that has to reach the binaries there.
        Path(folder).chmod(0o755)
        environments = _Environments(Path(folder))
        for pair in chosen:
            if isinstance(pair, Unavailable):
                yield pair.python, pair.postgresql, UNAVAILABLE, pair.reason
            elif arguments is None:
                remark = f"{pair.interpreter}, {pair.server.source}"
                yield pair.python, pair.server.version, "there", remark
            else:
                print(f"Python {pair.python}, PostgreSQL {pair.server.version}", flush=True)
                result = environments.run(pair, arguments)
                outcome = FAILED if result.code else "passed"
                yield pair.python, pair.server.version, outcome, result.summary


class _Environments:
    """Makes the environment of each Python once, when its first pair is run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[str, Environment | Result] = {}

    def run(self, pair: Pair, arguments: Sequence[str]) -> Result:
        if pair.python not in self._made:
            self._made[pair.python] = self._make(pair)
        environment = self._made[pair.python]
        if isinstance(environment, Result):
            return environment
        return environment.run(pair.server, arguments)

    def _make(self, pair: Pair) -> Environment | Result:
        try:
            return Environment(pair.interpreter, self._folder / pair.python)
        except subprocess.CalledProcessError as error:
            return Result(1, f"no environment: {' '.join(map(str, error.cmd[1:4]))} failed")


if __name__ == "__main__":
    sys.exit(main())
