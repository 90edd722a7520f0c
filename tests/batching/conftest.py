"""The server behind a batcher."""

from __future__ import annotations

import pytest

from tests.support.answering import Server


@pytest.fixture
def server() -> Server:
    return Server()
