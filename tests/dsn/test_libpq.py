from __future__ import annotations

import inspect

import asyncpg
import psycopg
import pytest

from hephaestus_pg.dsn import libpq

pytestmark = pytest.mark.quick


def test_every_parameter_of_libpq_is_known() -> None:
    known = {each.keyword.decode() for each in psycopg.pq.Conninfo.get_defaults()}
    assert known <= libpq.PARAMETERS
    variables = {
        each.keyword.decode(): each.envvar.decode()
        for each in psycopg.pq.Conninfo.get_defaults()
        if each.envvar
    }
    for name, variable in libpq.VARIABLES.items():
        assert variables[name] == variable


def test_each_option_of_asyncpg_is_known() -> None:
    for function in (asyncpg.connect, asyncpg.create_pool):
        assert set(inspect.signature(function).parameters) <= libpq.OPTIONS
