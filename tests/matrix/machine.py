"""Finds the interpreters and servers that this machine has, and says why it lacks others."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.matrix.pairs import POSTGRESQLS, PYTHONS, Missing, Server

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

EMBEDDED = "18"
"""The version that the extra ``embedded`` brings."""

_PROBE = "import ssl, sys; print('%d.%d' % sys.version_info[:2])"
_FOLDERS = (
    "/usr/lib/postgresql/{}/bin",  # Debian
    "/usr/pgsql-{}/bin",  # Red Hat
    "/opt/homebrew/opt/postgresql@{}/bin",
)


def interpreters(candidates: Iterable[Path] | None = None) -> dict[str, Path | Missing]:
    """For each Python that is promised the first candidate that runs and is of that version."""
    found: dict[str, Path] = {}
    for path in _candidates() if candidates is None else candidates:
        version = _output([str(path), "-c", _PROBE])
        if version in PYTHONS:
            found.setdefault(version, path)
    return {
        version: found.get(version) or Missing(f"no Python {version} on PATH or of pyenv or uv")
        for version in PYTHONS
    }


def _candidates() -> Iterator[Path]:
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    uv = Path.home() / ".local/share/uv/python"
    for version in PYTHONS:
        # Those of pyenv come first, since its commands on PATH run only the one that it is set to.
        yield from sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True)
        if command := shutil.which(f"python{version}"):
            yield Path(command)
        yield from sorted(uv.glob(f"cpython-{version}.*/bin/python3"), reverse=True)
    yield from map(Path, (sys.executable, *filter(None, [shutil.which("python3")])))


def servers(
    versions: Iterable[str] = POSTGRESQLS,
    *,
    given: str | None = None,
    folders: Iterable[str] = _FOLDERS,
    pull: bool = True,
) -> dict[str, Server | Missing]:
    """The server of each version: in the folder ``given``, installed, embedded, or a container.

    Without ``pull`` an image that Docker lacks is taken to be there.
    """
    installed = [folder.format(version) for folder in folders for version in POSTGRESQLS]
    found: dict[str, Server] = {}
    for folder in (*filter(None, [given]), *installed):
        version = _version(Path(folder) / "postgres")
        if version in POSTGRESQLS:
            variables = {"HEPHAESTUS_PG_TEST_BINARIES": folder}
            found.setdefault(version, Server(version, folder, variables))
    found.setdefault(EMBEDDED, Server(EMBEDDED, "embedded", {}))
    return {version: found.get(version) or _image(version, pull=pull) for version in versions}


def _version(postgres: Path) -> str:
    # It prints: postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)
    match = re.search(r"\(PostgreSQL\) (\d+)", _output([str(postgres), "--version"]))
    return match[1] if match else ""


def _image(version: str, *, pull: bool) -> Server | Missing:
    none = f"no PostgreSQL {version} installed"
    if not _output(["docker", "version", "--format", "{{.Server.Version}}"]):
        return Missing(f"{none}, and no Docker engine answers")
    image = f"postgres:{version}"
    has_it = _output(["docker", "image", "inspect", "--format", "{{.Id}}", image])
    if pull and not has_it and not _output(["docker", "pull", "--quiet", image], seconds=600):
        return Missing(f"{none}, and no image {image}")
    return Server(version, f"image {image}", {"HEPHAESTUS_PG_TEST_IMAGE": image})


def _output(command: list[str], *, seconds: float = 20) -> str:
    """The output of a command; nothing if there is no such command, or if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
