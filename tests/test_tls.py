"""Encrypted connections: ``sslmode`` and certificates in the DSN do what they say."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import (
    AsyncStorage,
    DatabaseError,
    Instance,
    Names,
    UnavailableError,
    migrations,
)
from hephaestus_pg.embedded import EmbeddedServer, _unprivileged_account
from hephaestus_pg.errors import EmbeddedServerError

if TYPE_CHECKING:
    from collections.abc import Iterator

OPENSSL = shutil.which("openssl")
pytestmark = pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")


def certificate(folder: Path, name: str, subject: str = "localhost") -> tuple[Path, Path]:
    """A certificate that vouches for itself, and its key."""
    assert OPENSSL is not None
    paths = folder / f"{name}.crt", folder / f"{name}.key"
    subprocess.run(
        [
            *(OPENSSL, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", f"/CN={subject}", "-addext", f"subjectAltName=DNS:{subject}"),
            *("-out", paths[0], "-keyout", paths[1]),
        ],
        check=True,
        capture_output=True,
    )
    return paths


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="hephaestus_pg-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[EmbeddedServer]:
    public, key = certificate(folder, "server")
    if os.geteuid() == 0:  # then the server runs as another, who must own its key
        account = _unprivileged_account()
        os.chown(key, account["user"], account["group"])
    trusted, _ = certificate(folder, "client", "runner")
    settings = {
        "ssl": "on",
        "ssl_cert_file": str(public),
        "ssl_key_file": str(key),
        "ssl_ca_file": str(trusted),
    }
    binaries = os.environ.get("HEPHAESTUS_PG_TEST_BINARIES") or None
    with ExitStack() as stack:
        try:
            running = stack.enter_context(
                EmbeddedServer(settings={"fsync": "off", **settings}, binaries=binaries)
            )
        except EmbeddedServerError as error:
            if "SSL is not supported by this build" in str(error):
                pytest.skip("this PostgreSQL has no TLS; name one in HEPHAESTUS_PG_TEST_BINARIES")
            raise
        yield running


async def test_a_trusted_server_is_spoken_to_in_private(
    server: EmbeddedServer, folder: Path
) -> None:
    dsn = (
        f"postgresql://postgres@localhost:{server.port}/postgres"
        f"?sslmode=verify-full&sslrootcert={folder / 'server.crt'}"
    )
    await migrations.up(dsn)
    async with AsyncStorage.start(dsn, references=Names()) as storage:
        put = await storage.put(Instance("x", "W"))
        assert await storage.get("x") == put
        async with storage.transaction() as transaction:
            assert await transaction.connection.fetchval(
                "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            )


async def test_a_client_shows_its_certificate(server: EmbeddedServer, folder: Path) -> None:
    def shown(name: str) -> str:
        return (
            f"postgresql://postgres@localhost:{server.port}/postgres?sslmode=verify-full"
            f"&sslrootcert={folder / 'server.crt'}"
            f"&sslcert={folder / f'{name}.crt'}&sslkey={folder / f'{name}.key'}"
        )

    await migrations.up(shown("client"))
    async with (
        AsyncStorage.start(shown("client"), references=Names()) as storage,
        storage.transaction() as transaction,
    ):
        assert (
            await transaction.connection.fetchval(
                "SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            )
            == "/CN=runner"
        )
    certificate(folder, "stranger", "stranger")
    with pytest.raises(DatabaseError) as caught:
        await AsyncStorage.start(shown("stranger"), timeout=3)
    assert caught.value.applied == "no"


async def test_a_server_of_another_name_or_authority_is_refused(
    server: EmbeddedServer, folder: Path
) -> None:
    other, _ = certificate(folder, "other")
    for host, root in (("localhost", other), ("127.0.0.1", folder / "server.crt")):
        dsn = (
            f"postgresql://postgres@{host}:{server.port}/postgres"
            f"?sslmode=verify-full&sslrootcert={root}"
        )
        with pytest.raises(UnavailableError, match="certificate"):
            await AsyncStorage.start(dsn)
