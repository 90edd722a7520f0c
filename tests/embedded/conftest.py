from __future__ import annotations

import pytest

from hephaestus_pg.embedded import EmbeddedServer


@pytest.fixture
def server() -> EmbeddedServer:
    return EmbeddedServer(settings={"fsync": "off"})
