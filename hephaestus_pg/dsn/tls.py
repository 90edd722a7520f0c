"""The files that a TLS connection needs, checked before it is made."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from hephaestus_pg.dsn.libpq import at_home
from hephaestus_pg.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hephaestus_pg.dsn.parameters import Parameter

_VERIFYING = {"verify-ca", "verify-full"}


def check_files(given: Mapping[str, Parameter]) -> None:
    """Checks that TLS can use each file that the parameters name and that ``sslmode`` needs.

    Raises:
        InvalidValueError: A parameter, which the error names, leads to no such file.
    """
    mode = given["sslmode"].value if "sslmode" in given else "prefer"
    _check_system(mode, given)
    if mode == "disable":
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if mode in _VERIFYING and "sslrootcert" not in given:
        _check_own_authority(given["sslmode"])
    for name in ("sslrootcert", "sslcrl"):
        if name in given and given[name].value != "system" and mode in {*_VERIFYING, "require"}:
            _load(given[name], lambda path: context.load_verify_locations(cafile=path))
    for name in ("sslcert", "sslkey"):
        if name in given:
            _load(given[name], lambda path: Path(path).read_bytes())
    if "sslcert" in given:
        key = given["sslkey"].value if "sslkey" in given else None
        password = given["sslpassword"].value if "sslpassword" in given else ""
        _load(
            given["sslcert"],
            lambda path: context.load_cert_chain(path, key, lambda: password),
            ", with its key in sslkey and the key's password in sslpassword",
        )


def _check_own_authority(mode: Parameter) -> None:
    """Checks that libpq's default file is there, where no authority is named."""
    own = at_home(".postgresql/root.crt")
    if not own.exists():
        raise InvalidValueError(
            mode.field,
            mode.value,
            "who vouches for the server? give sslrootcert=FILE, the certificate of its authority, "
            f"or sslrootcert=system for a public one (there is no {own} either)",
        )


def _check_system(mode: str, given: Mapping[str, Parameter]) -> None:
    """Checks that what the system trusts is trusted for the host's own name alone, as in libpq."""
    root = given.get("sslrootcert")
    if root is not None and root.value == "system" and mode != "verify-full":
        raise InvalidValueError(
            given["sslmode"].field,
            mode,
            f"{root.field}=system needs sslmode=verify-full: anybody may have a certificate of an "
            "authority that the system knows",
        )


def _load(parameter: Parameter, load: Callable[[str], object], more: str = "") -> None:
    path, field = parameter
    try:
        load(path)
    except OSError as error:  # ssl.SSLError too
        said = error.strerror if isinstance(error, FileNotFoundError) else str(error)
        raise InvalidValueError(
            field, path, f"the file cannot be used: {said}; give a PEM file{more}"
        ) from error


def system_context(values: Mapping[str, str]) -> ssl.SSLContext:
    """Makes the context for ``sslrootcert=system``, which trusts what the system trusts."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["postgresql"])
    if "sslcert" in values:
        password = values.get("sslpassword", "")
        context.load_cert_chain(values["sslcert"], values.get("sslkey"), lambda: password)
    for name in ("minimum", "maximum"):
        version = values.get(f"ssl_{name[:3]}_protocol_version")
        if version:
            setattr(context, f"{name}_version", ssl.TLSVersion[version.replace(".", "_")])
    return context
