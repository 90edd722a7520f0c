"""What the callers saw, checked call by call against what the storage promises.

Every state that is written carries a token of its own, the writer's number and a count, so that it
is known of each state who wrote it, and what became of that call. A call is one of

- ``ok``: acknowledged, so it took effect, once, between its beginning and its end;
- ``no``: refused, or failed without effect: nobody may ever see its token;
- ``unknown``: it may take effect, at any moment after its beginning, or never;
- ``fault``: it ended as no call may.

An id's family says who writes it, and so what may be seen:

- ``put`` and ``pair``: one writer, and no deletes. Whoever reads sees the last write that was
  acknowledged before, or a later one, or one that is unknown.
- ``chain`` and ``job``: many writers, each compare-and-set. No revision has two states.
- ``slot``: who inserts it holds it until it deletes it, and nobody else in between. Its revision
  begins anew, so that a delete of unknown outcome may hit a later row: the id is not used again.
- ``brief``: one writer, who deletes too. A delete has a token as a write has, and nobody sees an
  older state after it, but one whose write is unknown. After a delete of unknown outcome there may
  be no row at any time.
- ``old``: one writer, and whoever prunes deletes. What was seen to be gone is not seen again.
- ``tally``: many who count by ``modify``. What they see is how far, each sees another number, and
  in the end it is as many as were acknowledged, and perhaps those of unknown outcome.

A state whose delete was acknowledged is never seen again.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from math import inf
from typing import Literal, NamedTuple

Outcome = Literal["ok", "no", "unknown", "fault"]

SLACK = 1.0
"""Seconds after its deadline by which a call must have ended, but for its event loop's lag."""

TOKENS = 10**6
"""Tokens that one writer has."""

RESTARTING = {"slot", "brief", "old"}
"""Families whose rows go, so that their revisions begin anew."""


class Call(NamedTuple):
    """One call that ended. Moments are those of the machine's monotonic clock."""

    verb: str
    id: str
    began: float
    ended: float
    timeout: float
    outcome: Outcome
    error: str | None = None
    wrote: int | None = None  # the token
    seen: int | None = None  # the token of what was read
    revision: int | None = None  # of what was written or read
    found: bool = True  # whether there was a row to read or delete
    removed: bool = False  # what it wrote is that there is no row
    lag: float = 0.0  # by how much its event loop was late meanwhile


@dataclass
class _Rising:
    """The highest value that had been seen by any moment."""

    moments: list[float] = field(default_factory=list)
    values: list[int] = field(default_factory=list)

    def add(self, moment: float, value: int) -> None:
        # Calls are added as they end, or nearly so.
        if not self.values or value > self.values[-1]:
            self.moments.append(moment)
            self.values.append(value)
            if len(self.moments) > 2000:
                del self.moments[:1000], self.values[:1000]

    def before(self, moment: float) -> int:
        at = bisect_left(self.moments, moment)
        return self.values[at - 1] if at else 0


@dataclass
class _Hold:
    """Who holds a slot, since when, and what others saw or did meanwhile."""

    token: int
    since: float
    others: list[Call] = field(default_factory=list)


class History:
    """Takes calls in the order in which they ended; ``violations`` is what broke a promise."""

    def __init__(self) -> None:
        self.violations: list[str] = []
        self.outcomes: Counter[tuple[str, Outcome]] = Counter()
        self.errors: Counter[str] = Counter()
        self.seconds: list[float] = []
        self.late = 0
        """Writes of unknown outcome that were seen after a later write had been acknowledged."""
        self.overrun = 0.0
        """By how much a call passed its deadline at the most, but for the lag."""
        self.excused = 0
        """Calls that ended later than they should, by the lag."""
        self.silence = 0.0
        """The longest time in which no call succeeded."""
        self._succeeded: float | None = None
        self._ended: dict[int, int] = {}  # by writer, the last token whose call has ended
        self._early: dict[int, set[int]] = defaultdict(set)  # seen before their calls ended
        self._refused: dict[int, Call] = {}
        self._unknown: set[int] = set()
        self._acknowledged: dict[str, _Rising] = defaultdict(_Rising)  # tokens of put ids
        self._revisions: dict[str, _Rising] = defaultdict(_Rising)
        self._states: dict[str, dict[int, int]] = defaultdict(dict)  # revision to token
        self._holds: dict[str, _Hold] = {}
        self._retired: set[str] = set()  # a delete of unknown outcome may yet take anybody's row
        self._gone: dict[int, float] = {}  # when the delete of a slot's token had ended
        self._removals: set[int] = set()  # the acknowledged tokens that stand for no row
        self._emptied: dict[str, float] = {}  # until when a delete may explain that there is no row
        self._missed: dict[str, list[Call]] = defaultdict(list)  # those who found none, unexplained
        self._absent: dict[str, _Rising] = defaultdict(_Rising)  # tokens that were seen to be gone
        self._counted: dict[str, set[int]] = defaultdict(set)  # the numbers that were told
        self._maybe_counted: Counter[str] = Counter()

    def add(self, call: Call) -> None:
        """Take a call, and see what it breaks."""
        self._measure(call)
        if call.wrote is not None:
            self._settle(call, call.wrote)
        if call.seen is not None:
            self._look(call, call.seen)
        family = call.id.partition("::")[0]
        if call.outcome == "ok" and call.revision is not None and family not in RESTARTING:
            self._rise(call, call.revision)
        getattr(self, f"_{family}", self._other)(call)

    def succeeded(self) -> set[str]:
        """The verbs of which a call was acknowledged."""
        return {verb for verb, outcome in self.outcomes if outcome == "ok"}

    def finish(self, rows: dict[str, tuple[int, int]], moment: float) -> None:
        """Check what is in the table at the end: token and revision by id."""
        for id in {*self._acknowledged, *self._states, *self._counted} - set(rows):
            self.add(Call("end", id, moment, moment, 1, "ok", found=False))
        for id, (token, revision) in rows.items():
            self.add(Call("end", id, moment, moment, 1, "ok", seen=token, revision=revision))
        for call in [call for calls in self._missed.values() for call in calls]:
            self._broken(f"a row was acknowledged, and there is none: {call}")
        for id, hold in self._holds.items():
            if id not in rows:
                self._broken(f"{hold.token} holds {id}, and it is gone")

    def _broken(self, what: str) -> None:
        self.violations.append(what)

    def _measure(self, call: Call) -> None:
        if call.verb in ("look", "end"):
            return
        seconds = call.ended - call.began
        self.outcomes[call.verb, call.outcome] += 1
        self.seconds.append(seconds)
        late = seconds - call.timeout
        self.overrun = max(self.overrun, late - call.lag)
        if late > SLACK + call.lag:
            self._broken(f"{seconds:.2f} s for a deadline of {call.timeout:g} s: {call}")
        elif late > SLACK:
            self.excused += 1
        if call.error:
            self.errors[call.error] += 1
        if call.outcome == "fault":
            self._broken(f"ended as no call may: {call}")
        if call.outcome == "ok":
            if self._succeeded is not None:
                self.silence = max(self.silence, call.ended - self._succeeded)
            self._succeeded = call.ended

    def _settle(self, call: Call, token: int) -> None:
        """The outcome of a write is known now: what was seen of it must fit."""
        writer = token // TOKENS
        self._ended[writer] = token
        if call.outcome == "no":
            self._refused[token] = call
            if token in self._early[writer]:
                self._broken(f"refused, and yet it was seen: {call}")
        elif call.outcome == "unknown":
            self._unknown.add(token)
        self._early[writer].clear()

    def _look(self, call: Call, token: int) -> None:
        """Nobody may see what was refused."""
        writer = token // TOKENS
        if call.verb != "delete" and self._gone.get(token, inf) < call.began:
            self._broken(f"it was deleted, and is seen again: {call}")
        if token > self._ended.get(writer, 0):
            self._early[writer].add(token)
        elif refused := self._refused.pop(token, None):
            self._broken(f"refused, and yet it is seen: {refused}, {call}")

    def _rise(self, call: Call, revision: int) -> None:
        """No revision goes back."""
        revisions = self._revisions[call.id]
        if revision < (before := revisions.before(call.began)):
            self._broken(f"revision {before} went back: {call}")
        revisions.add(call.ended, revision)

    def _put(self, call: Call) -> None:
        acknowledged = self._acknowledged[call.id]
        if call.outcome != "ok":
            return
        if call.wrote is not None:
            acknowledged.add(call.ended, call.wrote)
            return
        last = acknowledged.before(call.began)
        if call.found:
            self._compare(call, last)
        elif last:
            self._broken(f"{last} was acknowledged, and there is no row: {call}")

    def _compare(self, call: Call, last: int) -> None:
        """Nobody sees a state that is older than what was acknowledged before."""
        if call.seen is not None and call.seen < last:
            if call.seen in self._unknown:
                self.late += 1
            else:
                self._broken(f"{last} was acknowledged, and an older one is seen: {call}")

    _pair = _put

    def _brief(self, call: Call) -> None:
        if call.wrote is not None:
            self._explain(call)
            if call.outcome == "ok":
                self._acknowledged[call.id].add(call.ended, call.wrote)
                if call.removed:
                    self._removals.add(call.wrote)
            return
        if call.outcome != "ok":
            return
        last = self._acknowledged[call.id].before(call.began)
        if call.found:
            self._compare(call, last)
        elif self._there(call, last):
            self._missed[call.id].append(call)

    def _there(self, call: Call, last: int) -> bool:
        """Whether the row must be there, unless a delete that has not ended explains it."""
        emptied = self._emptied.get(call.id, -inf)
        return last > 0 and last not in self._removals and emptied < call.began

    def _explain(self, call: Call) -> None:
        """What its one writer did next explains that somebody found no row, or nothing does."""
        deletes = call.removed and call.outcome != "no"
        for missed in self._missed.pop(call.id, []):
            if not (deletes and call.began < missed.ended):
                self._broken(f"a row was acknowledged, and there is none: {missed}")
        last = self._acknowledged[call.id].before(call.began)
        if deletes and call.outcome == "ok" and not call.found and self._there(call, last):
            self._broken(f"{last} was acknowledged, and there is no row to delete: {call}")
        if deletes:
            until = call.ended if call.outcome == "ok" else inf
            self._emptied[call.id] = max(until, self._emptied.get(call.id, -inf))

    def _old(self, call: Call) -> None:
        acknowledged, absent = self._acknowledged[call.id], self._absent[call.id]
        if call.outcome != "ok":
            return
        if call.wrote is not None:
            acknowledged.add(call.ended, call.wrote)
            return
        last = acknowledged.before(call.began)
        if not call.found:
            absent.add(call.ended, last)
            return
        self._compare(call, last)
        if call.seen == absent.before(call.began) == last and call.seen not in self._unknown:
            self._broken(f"it was gone, and is seen again: {call}")

    def _chain(self, call: Call) -> None:
        token = call.wrote if call.wrote is not None else call.seen
        if call.verb == "end" and not call.found:
            self._broken(f"it was written, and is gone: {call}")
        if call.outcome != "ok" or token is None or call.revision is None:
            return
        states = self._states[call.id]
        if states.setdefault(call.revision, token) != token:
            self._broken(f"{states[call.revision]} has the same revision: {call}")
        if len(states) > 2000:
            for revision in sorted(states)[:1000]:
                del states[revision]

    _job = _chain

    def _tally(self, call: Call) -> None:
        counted, number = self._counted[call.id], call.seen or 0
        if call.verb == "end":
            most = len(counted) + self._maybe_counted[call.id]
            if not len(counted) <= number <= most:
                self._broken(f"{len(counted)} to {most} were counted, and it is {number}: {call}")
        elif call.verb == "modify" and call.outcome == "ok":
            if number in counted:
                self._broken(f"two were told the same number: {call}")
            counted.add(number)
        elif call.verb == "modify":
            self._maybe_counted[call.id] += call.outcome == "unknown"

    def _slot(self, call: Call) -> None:
        hold = self._holds.get(call.id)
        if call.verb == "delete" and call.outcome == "ok" and call.seen is not None:
            self._gone[call.seen] = call.ended
        if hold is None:
            if call.verb == "insert" and call.outcome == "ok" and call.id not in self._retired:
                assert call.wrote is not None
                self._holds[call.id] = _Hold(call.wrote, call.ended)
        elif call.verb == "end":
            if call.seen != hold.token:
                self._broken(f"{hold.token} holds it, and another is there: {call}")
        elif call.verb == "delete" and call.seen == hold.token:
            self._let_go(call, hold)
        elif call.outcome == "ok":
            hold.others.append(call)

    def _let_go(self, deleted: Call, hold: _Hold) -> None:
        """Nobody else may have had what one held until it began to delete it."""
        if deleted.outcome == "no":
            return
        if deleted.outcome == "unknown":
            self._retired.add(deleted.id)
        elif not deleted.found:
            self._broken(f"{hold.token} holds it, and it was gone: {deleted}")
        del self._holds[deleted.id]
        for other in hold.others:
            if other.verb == "insert" and other.ended < deleted.began:
                self._broken(f"{hold.token} holds it, and another got it: {other}")
            elif other.began < hold.since or other.ended > deleted.began:
                self._slot(other)
            elif other.seen != hold.token:
                self._broken(f"{hold.token} holds it, and another is seen: {other}")

    def _other(self, call: Call) -> None:
        """Of the rest it counts that it ended, and in time."""
