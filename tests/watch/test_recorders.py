from __future__ import annotations

import pytest

from hephaestus_pg import Instance, Status
from hephaestus_pg.watch.recorders import Recorder

pytestmark = pytest.mark.quick


def test_what_somebody_listens_to_is_told_and_all_else_looked_at_here() -> None:
    recorder = Recorder()
    recorder.written(Instance("a", "Order"), is_certain=False, is_listened=True)
    done = Instance("b", "Order", status=Status.COMPLETED)
    recorder.written(done, is_certain=False, is_listened=False)
    assert recorder.news.ids == {"a", "b"}
    assert recorder.told.ids == {"a"}
    assert recorder.told.has_work


def test_what_nobody_listens_to_is_told_to_nobody() -> None:
    recorder = Recorder()
    recorder.written(Instance("a", "Order"), is_certain=False, is_listened=False)
    assert not recorder.told
