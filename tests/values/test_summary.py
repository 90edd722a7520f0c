from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime

import pytest

from hephaestus_pg import Summary

pytestmark = pytest.mark.quick

NOW = datetime.now(UTC)
SUMMARY = Summary("a", "Order", 1, "running", None, 10, 1, None, 0, None, NOW, NOW)


def test_a_summary_is_frozen_and_can_be_sent_to_another_process() -> None:
    with pytest.raises(FrozenInstanceError):
        SUMMARY.status = "failed"  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(SUMMARY)) == SUMMARY
