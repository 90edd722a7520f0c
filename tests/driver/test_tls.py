"""Encrypted connections: ``sslmode`` and certificates in the DSN do what they say."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import (
    AccessDeniedError,
    AsyncStorage,
    DatabaseError,
    Instance,
    InvalidValueError,
    Names,
    UnavailableError,
    migrations,
)
from hephaestus_pg.driver.connector import connect
from hephaestus_pg.embedded import EmbeddedServer
from hephaestus_pg.embedded.programs import unprivileged_account
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
        account = unprivileged_account()
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


async def test_a_connection_to_a_trusted_server_is_encrypted(
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


async def test_sslrootcert_system_trusts_the_systems_authorities(
    server: EmbeddedServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "server.crt"))
    query = "sslmode=verify-full&sslrootcert=system&keepalives_idle=30&connect_timeout=10"
    assert await encrypted(f"postgresql://postgres@localhost:{server.port}/postgres?{query}")
    with pytest.raises(UnavailableError, match="at 127.0.0.1:.* be for the host's name in the DSN"):
        await connect(f"postgresql://postgres@127.0.0.1:{server.port}/postgres?{query}")
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "client.crt"))
    with pytest.raises(UnavailableError, match="must be vouched for by what sslrootcert holds"):
        await connect(f"postgresql://postgres@localhost:{server.port}/postgres?{query}")


async def test_tls_parameters_may_stand_in_a_service_or_the_environment(
    server: EmbeddedServer, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "services"
    root = folder / "server.crt"
    file.write_text(
        f"[x]\nhost=localhost\nport={server.port}\nuser=postgres\ndbname=postgres\n"
        f"sslmode=verify-full\nsslrootcert={root}\n"
    )
    assert await encrypted(f"postgresql://?service=x&servicefile={file}")
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    monkeypatch.setenv("PGSSLROOTCERT", str(root))
    assert await encrypted(f"postgresql://postgres@localhost:{server.port}/postgres")


def locked(key: Path) -> Path:
    """The key, behind the password "a secret"."""
    assert OPENSSL is not None
    path = key.with_suffix(".locked")
    subprocess.run(
        [OPENSSL, "rsa", "-in", key, "-aes256", "-passout", "pass:a secret", "-out", path],
        check=True,
        capture_output=True,
    )
    return path


async def test_a_key_may_have_a_password(server: EmbeddedServer, folder: Path) -> None:
    dsn = (
        f"postgresql://postgres@localhost:{server.port}/postgres?sslmode=require"
        f"&sslcert={folder / 'client.crt'}&sslkey={locked(folder / 'client.key')}&sslpassword="
    )
    assert await encrypted(f"{dsn}a%20secret")
    for wrong in ("another%20secret", ""):
        with pytest.raises(InvalidValueError, match="^sslcert is .*sslpassword") as caught:
            await connect(f"{dsn}{wrong}")
        assert "another" not in str(caught.value)


async def test_a_server_that_wants_tls_says_how(server: EmbeddedServer) -> None:
    dsn = f"postgresql://postgres@127.0.0.1:{server.port}/postgres"
    connection = await connect(dsn)
    try:
        file = Path(await connection.fetchval("SHOW hba_file"))
        before = await asyncio.to_thread(file.read_text)
        await asyncio.to_thread(file.write_text, "hostssl all all 127.0.0.1/32 trust\n")
        await connection.execute("SELECT pg_reload_conf()")
        while await connection.fetchval("SELECT count(*) FROM pg_hba_file_rules") != 1:
            await asyncio.sleep(0.01)
        try:
            for mode in ("prefer", "require"):
                assert await encrypted(f"{dsn}?sslmode={mode}")
            with pytest.raises(AccessDeniedError, match="give sslmode=require"):
                await until_refused(f"{dsn}?sslmode=disable")
        finally:
            await asyncio.to_thread(file.write_text, before)
            await connection.execute("SELECT pg_reload_conf()")
    finally:
        await connection.close()


async def until_refused(dsn: str) -> None:
    """Connect until the server knows its new rules: it may be a moment behind its file."""
    async with asyncio.timeout(10):
        while True:
            await (await connect(dsn)).close()


async def encrypted(dsn: str) -> bool:
    connection = await connect(dsn)
    try:
        shown: bool = await connection.fetchval(
            "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        )
    finally:
        await connection.close()
    return shown
