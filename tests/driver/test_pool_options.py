"""The options for a pool of our own are checked before asyncpg sees them."""

from __future__ import annotations

import inspect
import ssl
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from hephaestus_pg import (
    InvalidTypeError,
    InvalidValueError,
)
from hephaestus_pg.driver.pool_options import POOL_OPTIONS, checked_pool_options

pytestmark = pytest.mark.quick


class Hidden:
    def get_secret_value(self) -> str:
        return "secret"


def test_each_option_of_asyncpg_is_known() -> None:
    assert {"min_size", "init", "user", "ssl", "server_settings", "password"} <= POOL_OPTIONS
    for function in (asyncpg.connect, asyncpg.create_pool):
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.kind is parameter.KEYWORD_ONLY and name not in {"loop", "timeout"}:
                assert name in POOL_OPTIONS


@pytest.mark.parametrize(
    "options",
    (
        {},
        {"min_size": 0, "max_size": 1, "max_queries": 1, "init_size": None},
        {"min_size": 10},
        {"min_size": 2, "max_size": 5, "init_size": 3},
        {"max_inactive_connection_lifetime": 0, "command_timeout": 0.5},
        {"command_timeout": None, "statement_cache_size": 0},
        {"host": ["a", "b"], "port": [1, 2], "user": None, "database": "db"},
        {"host": "a", "port": "5432", "ssl": "require", "passfile": Path("x")},
        {"password": lambda: "secret", "ssl": True, "init": None, "setup": print},
        {"ssl": ssl.create_default_context(), "server_settings": {"geqo": "off"}},
        {"connection_class": asyncpg.Connection, "record_class": asyncpg.Record},
        {"target_session_attrs": "any", "service": "x", "direct_tls": False},
    ),
    ids=lambda options: ", ".join(options) or "none",
)
def test_options_that_asyncpg_takes_are_accepted(options: dict[str, Any]) -> None:
    assert checked_pool_options(options) is options


@pytest.mark.parametrize(
    ("options", "message"),
    (
        ({"max_sise": 3}, "^max_sise is 3: there is no such option; did you mean max_size"),
        ({"minsize": 3}, "^minsize is 3: .*min_size"),
        ({"server_setings": {}}, "server_settings"),
        ({"usr": "x"}, "user"),
        ({"shema": "x"}, "did you mean schema"),
        ({"dbname": "x"}, "^dbname is 'x': there is no such option"),
        ({"loop": None}, "^loop is None: there is no such option"),
        ({"max_size": "3"}, "^max_size is '3': give a whole number"),
        ({"max_size": 3.0}, "^max_size is 3.0: give a whole number"),
        ({"max_size": True}, "^max_size is True"),
        ({"max_size": None}, "^max_size is None"),
        ({"command_timeout": "5"}, "^command_timeout is '5': give a number of seconds"),
        ({"command_timeout": Decimal(5)}, "^command_timeout is "),
        ({"init": "x"}, "^init is 'x': give a function"),
        ({"connect": 5}, "^connect is 5: give a function"),
        ({"user": 5}, "^user is 5: give text"),
        ({"database": b"x"}, "^database is b'x': give text"),
        ({"password": 5}, "^password is '<int>': give text, or a function"),
        ({"password": Hidden()}, r"^password is '<Hidden>': .*get_secret_value\(\)"),
        ({"pasword": "secret"}, r"^pasword is '<str>': .*password"),
        ({"host": 5}, "^host is 5: give text"),
        ({"host": ["a", None]}, "^host is .* list of texts"),
        ({"port": 1.5}, "^port is 1.5: give a number"),
        ({"ssl": 1}, "^ssl is 1: give True, False"),
        ({"server_settings": "geqo=off"}, "^server_settings is 'geqo=off': give a dict"),
        ({"server_settings": {"geqo": False}}, r"^server_settings\['geqo'\] is False: give text"),
        ({"connection_class": object}, "^connection_class is "),
        ({"record_class": 5}, "^record_class is 5"),
    ),
)
def test_an_option_of_a_wrong_type_or_name_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidTypeError, match=message) as caught:
        checked_pool_options(options, others=("schema", "name"))
    assert "secret" not in str(caught.value).replace("get_secret", "")


@pytest.mark.parametrize(
    ("options", "message"),
    (
        ({"min_size": 20}, "^min_size is 20: give at most max_size, which is 10, the default"),
        ({"min_size": 3, "max_size": 2}, "^min_size is 3: give at most max_size, which is 2"),
        ({"max_size": 0}, "^max_size is 0: give a whole number from 1 on"),
        ({"max_size": -1}, "^max_size is -1"),
        ({"min_size": -1}, "^min_size is -1: give a whole number from 0 on"),
        ({"init_size": 11}, "^init_size is 11: give from min_size to max_size, 0 to 10"),
        ({"init_size": 1, "min_size": 2}, "^init_size is 1"),
        ({"max_queries": 0}, "^max_queries is 0"),
        ({"max_inactive_connection_lifetime": -1}, "^max_inactive_connection_lifetime is -1"),
        ({"statement_cache_size": -1}, "^statement_cache_size is -1"),
        ({"command_timeout": 0}, "^command_timeout is 0: give a number of seconds above 0"),
        ({"command_timeout": float("nan")}, "^command_timeout is nan"),
        ({"max_cached_statement_lifetime": -1}, "^max_cached_statement_lifetime is -1"),
    ),
)
def test_an_option_out_of_range_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        checked_pool_options(options)
