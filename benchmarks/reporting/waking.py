"""The sections about waking up: how soon work starts, and what notifications cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.queues import QUEUES
from benchmarks.reporting import texts
from benchmarks.reporting.runners import BASE, ordered
from benchmarks.reporting.summary import medians
from benchmarks.reporting.tables import milliseconds, ratio, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    Records = Sequence[dict[str, Any]]

QUIET = "nobody listens"
"""The case that the others are compared with."""


def wake_ups(records: Records) -> str:
    """The time from an insert to the start of work."""
    return "\n\n".join(
        (
            texts.WAKE_UPS.strip(),
            table(
                ("", "", "p50", "p99", "x PgQueuer", "worst", "other writes/s"),
                [
                    (
                        line["case"],
                        QUEUES[line["contender"]].title,
                        *milliseconds(line, "p50", "p99"),
                        ratio(line.get("p99_ratio")),
                        *milliseconds(line, "worst"),
                        f"{line['writes']:,.0f}",
                    )
                    for line in ordered(medians(records, ("case",), base=BASE), "case")
                ],
            ),
        )
    )


def notifications(records: Records) -> str:
    """What the server commits, then what one process writes."""
    commits = [record for record in records if "operation" not in record]
    written = [record for record in records if "operation" in record]
    return "\n\n".join(
        (
            texts.NOTIFICATIONS.strip(),
            table(
                ("", "commits/s", "x nobody", "p50", "p99", "server CPU", "NOTIFY/s"),
                [
                    (
                        line["contender"],
                        f"{line['throughput']:,.0f}",
                        ratio(line["throughput_ratio"]),
                        *milliseconds(line, "p50", "p99"),
                        f"{line['server_cpu']:.3f}",
                        f"{line['notified']:,.0f}",
                    )
                    for line in _by_case(medians(commits, (), base=QUIET))
                ],
            ),
            texts.NOTIFIED_WRITES.strip(),
            table(
                ("", "callers", "", "instances/s", "x nobody", "p50", "p99", "client CPU"),
                [
                    (
                        line["operation"],
                        line["callers"],
                        line["contender"],
                        f"{line['throughput']:,.0f}",
                        f"{line['throughput_ratio']:.3f}",
                        *milliseconds(line, "p50", "p99"),
                        f"{line['client_cpu']:.3f}",
                    )
                    for line in medians(written, ("operation", "callers"), base=QUIET)
                ],
            ),
        )
    )


def _by_case(lines: Records) -> Records:
    """The case that the others are compared with first."""
    return sorted(lines, key=lambda line: bool(line["contender"] != QUIET))
