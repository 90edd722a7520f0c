"""The parameters of libpq and of other libraries, sorted by what is done with them; its files.

https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
"""

from __future__ import annotations

import os
from pathlib import Path

VARIABLES = {
    "application_name": "PGAPPNAME",
    "channel_binding": "PGCHANNELBINDING",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "gssencmode": "PGGSSENCMODE",
    "gsslib": "PGGSSLIB",
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "krbsrvname": "PGKRBSRVNAME",
    "load_balance_hosts": "PGLOADBALANCEHOSTS",
    "min_protocol_version": "PGMINPROTOCOLVERSION",
    "options": "PGOPTIONS",
    "passfile": "PGPASSFILE",
    "port": "PGPORT",
    "require_auth": "PGREQUIREAUTH",
    "requirepeer": "PGREQUIREPEER",
    "service": "PGSERVICE",
    "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "sslcert": "PGSSLCERT",
    "sslcertmode": "PGSSLCERTMODE",
    "sslcrl": "PGSSLCRL",
    "sslcrldir": "PGSSLCRLDIR",
    "sslkey": "PGSSLKEY",
    "sslmode": "PGSSLMODE",
    "sslnegotiation": "PGSSLNEGOTIATION",
    "sslrootcert": "PGSSLROOTCERT",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}
"""The PG variables read here; asyncpg reads those of user, password and database itself."""

_TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
CHOICES: dict[str, tuple[str, ...]] = {
    "gsslib": ("gssapi", "sspi"),
    "load_balance_hosts": ("disable", "random"),
    "ssl_max_protocol_version": _TLS_VERSIONS,
    "ssl_min_protocol_version": _TLS_VERSIONS,
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "target_session_attrs": (
        "any",
        "read-write",
        "read-only",
        "primary",
        "standby",
        "prefer-standby",
    ),
}
NUMBERS = {
    "connect_timeout",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "tcp_user_timeout",
}
TEXTS = {
    "application_name",
    "dbname",
    "fallback_application_name",
    "host",
    "hostaddr",
    "krbsrvname",
    "options",
    "passfile",
    "password",
    "port",
    "service",
    "servicefile",
    "sslcert",
    "sslcrl",
    "sslkey",
    "sslpassword",
    "sslrootcert",
    "user",
}
HONOURED = TEXTS | NUMBERS | CHOICES.keys()

IGNORED = {
    "authtype",
    "gssdelegation",
    "max_protocol_version",
    "sslcompression",
    "sslkeylogfile",
    "sslsni",
    "tty",
}
"""Parameters that asyncpg lacks and that are safe to do without, whatever their value."""

_VERIFY = (
    "sslmode=verify-full, with sslrootcert=system for a public authority, keeps others out of the "
    "connection"
)
_NO_OAUTH = "asyncpg has no OAuth: take it away, and give the token as password="
_NO_KEYS = "asyncpg needs the password itself: take it away, and give that"
REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "channel_binding": (
        ("disable", "prefer"),
        f"asyncpg cannot bind to the channel; take it away: {_VERIFY} as well",
    ),
    "client_encoding": (("auto", "unicode", "utf-8", "utf8"), "asyncpg speaks UTF8: take it away"),
    "gssencmode": (
        ("disable", "prefer"),
        f"asyncpg cannot encrypt by GSSAPI; take it away: {_VERIFY} as well",
    ),
    "min_protocol_version": (("3.0",), "asyncpg speaks 3.0: take it away"),
    "oauth_ca_file": ((), _NO_OAUTH),
    "oauth_client_id": ((), _NO_OAUTH),
    "oauth_client_secret": ((), _NO_OAUTH),
    "oauth_issuer": ((), _NO_OAUTH),
    "oauth_scope": ((), _NO_OAUTH),
    "replication": (
        ("0", "false", "no", "off"),
        "such a connection cannot do what is done here: take it away",
    ),
    "require_auth": (
        (),
        (
            "asyncpg answers whatever the server asks for; take it away, have pg_hba.conf ask for "
            f"scram-sha-256, and {_VERIFY}"
        ),
    ),
    "requirepeer": (
        (),
        (
            "asyncpg cannot see who runs the server; take it away, and let nobody else write to "
            "the socket's folder"
        ),
    ),
    "scram_client_key": ((), _NO_KEYS),
    "scram_server_key": ((), _NO_KEYS),
    "sslcertmode": (("allow",), "asyncpg shows what sslcert names if asked: take it away"),
    "sslcrldir": ((), "asyncpg reads one file of revoked certificates: give that as sslcrl"),
}
"""Parameters that asyncpg lacks: the values safe to ignore, and the advice on any other value."""

PARAMETERS = HONOURED | IGNORED | REFUSED.keys()
SECRET = {"oauth_client_secret", "password", "scram_client_key", "scram_server_key", "sslpassword"}

FOREIGN = {
    "application": "application_name= names the program",
    "connection_limit": "start(max_size={value})",
    "conn_max_age": "start(max_inactive_connection_lifetime=SECONDS)",
    "currentSchema": "start(schema={value!r})",
    "default_query_exec_mode": "start(statement_cache_size=0)",
    "loadBalanceHosts": "load_balance_hosts=random",
    "loginTimeout": "connect_timeout=SECONDS",
    "pgbouncer": "start(pgbouncer=True) where it is true",
    "pool": "start(max_size={value})",
    "pool_max_conns": "start(max_size={value})",
    "pool_mode": "start(pgbouncer=True) where it is transaction",
    "pool_size": "start(max_size={value})",
    "pool_timeout": "start(timeout=SECONDS), which covers waiting for a connection",
    "preferQueryMode": "start(statement_cache_size=0)",
    "prepareThreshold": "start(statement_cache_size=0) where it is 0",
    "prepared_statement_cache_size": "start(statement_cache_size={value})",
    "prepared_statements": "start(statement_cache_size=0) where it is false",
    "query_timeout": "start(timeout=SECONDS)",
    "schema": "start(schema={value!r})",
    "socketTimeout": "start(timeout=SECONDS)",
    "socket_timeout": "start(timeout=SECONDS)",
    "ssl": "sslmode=require, or sslmode=disable",
    "ssl_require": "sslmode=require",
    "sslaccept": "sslmode=verify-full where it is strict, sslmode=require else",
    "sslidentity": "sslcert= and sslkey=, with the certificate and the key as PEM files",
    "sslfactory": "sslmode=verify-full",
    "supa": "",
    "targetServerType": "target_session_attrs=primary, =standby or =any",
    "tcpKeepAlive": "keepalives=1",
    "unix_sock": "host=FOLDER, without the name of the file",
    "unix_socket": "host=FOLDER, without the name of the file",
    "uselibpqcompat": "",
    "workaround": "",
}
"""Parameters of Prisma, JDBC, SQLAlchemy, node-postgres and others, and what to give instead."""

OPTIONS = {
    "command_timeout",
    "connect",
    "connect_kwargs",
    "connection_class",
    "database",
    "direct_tls",
    "dsn",
    "gsslib",
    "host",
    "init",
    "init_size",
    "krbsrvname",
    "loop",
    "max_cacheable_statement_size",
    "max_cached_statement_lifetime",
    "max_inactive_connection_lifetime",
    "max_queries",
    "max_size",
    "min_size",
    "passfile",
    "password",
    "port",
    "record_class",
    "reset",
    "server_settings",
    "service",
    "servicefile",
    "setup",
    "ssl",
    "statement_cache_size",
    "target_session_attrs",
    "timeout",
    "user",
}
"""Options of asyncpg's functions, that users put into a DSN by mistake."""


def at_home(name: str) -> Path:
    """Returns the path of a file in the user's home; ``~`` stays where nobody knows that."""
    return Path(os.path.expanduser(f"~/{name}"))  # noqa: PTH111 - Path's own raises then
