"""``python -m hephaestus_pg``: what a person types."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

from hephaestus_pg import (
    migrate,
    prune,
)
from hephaestus_pg.cli import options
from hephaestus_pg.demo import command

if TYPE_CHECKING:
    from collections.abc import Sequence

_PROG = "python -m hephaestus_pg"
_COMMANDS = {
    "demo": partial(command.main, prog=f"{_PROG} demo"),
    "migrate": partial(migrate.main, prog=f"{_PROG} migrate"),
    "prune": partial(prune.main, prog=f"{_PROG} prune"),
}
_DESCRIPTION = """\
demo: run workflows, kill their runner again and again, and check that nothing was lost.
migrate: bring a schema to a version; the same as python -m hephaestus_pg.migrate.
prune: delete what finished long ago.
"""


def main(argv: Sequence[str]) -> int:
    """Hand the rest of the arguments to the command named first; the exit code is its."""
    parser = options.Parser(prog=_PROG, description=_DESCRIPTION)
    options.add_version_flag(parser)
    parser.add_argument("command", choices=_COMMANDS, help="COMMAND --help tells more")
    command = parser.parse_args(argv[:1]).command
    return _COMMANDS[command](argv[1:])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
