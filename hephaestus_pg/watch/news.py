"""News: what one notification tells, as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from hephaestus_pg.values.instance import is_work

if TYPE_CHECKING:
    from hephaestus_pg.values.instance import Instance

MAX_BYTES = 7_999
"""The longest payload that PostgreSQL takes."""

MAX_IDS = 1_000
"""Ids that are kept; of more, the news is that nobody knows which."""


class News:
    """The ids that were written, and whether a runner may claim one of them.

    Without ids, ``None``, nobody knows which they were: whoever waits has to look.
    """

    __slots__ = ("has_timer", "has_work", "ids")

    def __init__(
        self, ids: set[str] | None = None, *, has_work: bool = False, has_timer: bool = False
    ) -> None:
        self.ids = ids
        self.has_work = has_work
        """Something may be claimable now."""
        self.has_timer = has_timer
        """Something may be claimable at a moment to come."""

    @classmethod
    def none(cls) -> News:
        """Returns news to which what is written can be added."""
        return cls(set())

    @classmethod
    def anything(cls) -> News:
        """Returns the news after which everybody looks."""
        return cls(None, has_work=True, has_timer=True)

    @classmethod
    def of(cls, instance: Instance) -> News:
        """Returns news of a write."""
        news = cls.none()
        news.add(instance)
        return news

    def add(self, instance: Instance) -> None:
        """Adds a write."""
        if self.ids is not None:
            self.ids.add(instance.id)
            if len(self.ids) > MAX_IDS:
                self.ids = None
        if is_work(instance):
            self.has_work = True
            self.has_timer |= instance.due_at is not None

    def merge(self, other: News) -> None:
        """Adds all of the ``other``."""
        if self.ids is None or other.ids is None:
            self.ids = None
        else:
            self.ids |= other.ids
        self.has_work |= other.has_work
        self.has_timer |= other.has_timer

    def __bool__(self) -> bool:
        return self.ids is None or bool(self.ids)

    def payload(self, sender: str) -> str:
        """Returns it as text, without ids where they would be too long."""
        known = {"from": sender, "work": self.has_work, "timer": self.has_timer}
        if self.ids is not None:
            text = orjson.dumps(known | {"ids": sorted(self.ids)})
            if len(text) <= MAX_BYTES:
                return text.decode()
        return orjson.dumps(known | {"ids": None}).decode()


def parse(payload: str, *, sender: str) -> News | None:
    """Reads a payload, ``None`` where it is from that sender.

    One that is none of ours, perhaps of a newer version's, is news of anything.
    """
    try:
        match orjson.loads(payload):
            case {"from": from_whom} if from_whom == sender:
                return None
            case {"ids": None, "work": bool(work), "timer": bool(timer)}:
                return News(None, has_work=work, has_timer=timer)
            case {"ids": list(ids), "work": bool(work), "timer": bool(timer)}:
                return News({str(id) for id in ids}, has_work=work, has_timer=timer)
    except orjson.JSONDecodeError:
        pass
    return News.anything()
